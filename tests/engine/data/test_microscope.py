"""What the microscope shows is what the trainer is given, token for token."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config.arguments import lora_arguments, sft_arguments
from engine.config.load import loads
from engine.data.microscope import Examined, Lens, Microscope, MicroscopeEnded
from engine.errors import DataError, EngineError, NotFound
from engine.launch.prepare import settle
from engine.workspace import Workspace
from tests.chat_models import FAMILIES, LATER, TEMPLATES, write_tokenizer
from tests.engine.training.conftest import config_text, rows, small_model, write_rows

__all__ = ["config_text", "small_model"]  # fixtures

ConfigText = Callable[..., str]


def bench(lens: Lens) -> Any:
    """Return the other side of the microscope, in this process."""
    from dataclasses import asdict

    from engine.data.microscope_worker import Bench

    return Bench(asdict(lens))


def seen(examined: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Return ids and labels of what the model is given, padding included."""
    given = [token for token in examined["tokens"] if not token[3]]
    return [token[1] for token in given], [token[1] if token[2] else -100 for token in given]


def mixed_rows() -> list[dict[str, Any]]:
    """Return rows of several lengths: the third is cut, the fifth has no room for its answer."""
    made: list[dict[str, Any]] = rows(count=8)
    made[2]["output"] *= 10
    made[4]["instruction"] *= 20
    made[5]["output"] = "Ünï 東京 🙂."
    return made


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"completion_only_loss": False},
        {"max_length": 64},
        {"packing": True, "max_length": 96},
    ],
    ids=["plain", "whole conversations", "short", "packed"],
)
def test_tokens_and_mask_are_those_of_the_training_batch(
    data: dict[str, Any], config_text: ConfigText, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from engine.data.rows import Row, read_rows
    from engine.training.building import build_trainer
    from engine.training.loading import load_tokenizer
    from engine.training.reporter import Reporter
    from engine.training.splits import Split

    config_text()
    workspace = Workspace(tmp_path / "workspace")
    path = write_rows(workspace.path / "data" / "mixed.jsonl", mixed_rows())
    text = config_text(
        data={"train": "data/mixed.jsonl", "validation": {}, "shuffle": False, **data},
        evaluation={"eval_steps": None, "prompts": []},
        training={"max_steps": 2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1},
    )
    about = settle(workspace, loads(text, "test.yaml"))
    arguments = sft_arguments(about.resolved, tmp_path / "out")
    folder = about.model.source
    trainer = build_trainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        tokenizer=load_tokenizer(folder),
        arguments=arguments,
        lora=lora_arguments(about.resolved),
        train=Split("train", [row for row in read_rows(path) if isinstance(row, Row)], []),
        validation=[],
        reporter=Reporter(tmp_path / "events.jsonl"),
    )
    batches = list(trainer.get_train_dataloader())
    microscope = bench(Lens(folder, {k: v for k, v in arguments.items() if k != "model_init_kwargs"}))
    if data.get("packing"):
        trained = [
            (ids, labels)
            for batch in batches
            for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True)
        ]
        for line in range(1, 9):
            ids, labels = seen(microscope.examine(str(path), line, 1))
            assert any(
                ids == all_ids[start : start + len(ids)] and labels == all_labels[start : start + len(ids)]
                for all_ids, all_labels in trained
                for start in range(len(all_ids))
            ), line
        return
    given = [
        (ids, labels, mask)
        for batch in batches
        for ids, labels, mask in zip(
            batch["input_ids"].tolist(), batch["labels"].tolist(), batch["attention_mask"].tolist(), strict=True
        )
    ]
    examined = [microscope.examine(str(path), line, 1) for line in range(1, 9)]
    kept = [one for one in examined if one["dropped_reason"] is None]
    assert len(kept) == len(given)
    for one, (ids, labels, mask) in zip(kept, given, strict=True):
        real = sum(mask)
        assert seen(one) == (ids[:real], labels[:real])
    # With the rows behind it in the batch it is padded as there.
    ids, labels = seen(microscope.examine(str(path), 1, 4))
    assert (ids, labels) == given[0][:2]
    padding = sum(token[4] for token in microscope.examine(str(path), 1, 4)["tokens"])
    assert padding == given[0][2].count(0)


@pytest.mark.parametrize("family", [*FAMILIES, *LATER], ids=lambda family: family.name)
def test_every_family_trains_its_end_and_begins_once(family: Any, tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / family.name, family)
    path = write_rows(tmp_path / "rows.jsonl", rows(count=3))
    microscope = bench(Lens(str(folder), {"output_dir": str(tmp_path / "out"), "max_length": 200}))
    whole = microscope.examine(str(path), 2, 1)
    assert whole["ends_trained"]
    assert whole["dropped_reason"] is None
    assert 0 < whole["trained_share"] < 1
    if family.name in ("phi-3", "phi-3.5"):
        assert (whole["bos_count"], whole["bos_expected"]) == (0, 1)  # its template writes none
    else:
        assert whole["bos_count"] == whole["bos_expected"] == (family.bos is not None)
    answer = "".join(token[0] for token in whole["tokens"] if token[2])
    assert answer.strip().startswith("It is")


def test_what_the_length_cuts_off_is_shown_and_marked(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "model", FAMILIES[0])
    path = write_rows(tmp_path / "rows.jsonl", mixed_rows())
    microscope = bench(Lens(str(folder), {"output_dir": str(tmp_path / "out"), "max_length": 100}))
    cut = microscope.examine(str(path), 3, 1)
    assert not cut["ends_trained"]
    assert [token[3] for token in cut["tokens"]].count(False) == 100
    assert cut["tokens"][-1][3]
    assert len("".join(token[0] for token in cut["tokens"]).encode()) == len(cut["rendered"].encode())
    dropped = microscope.examine(str(path), 5, 1)
    assert dropped["dropped_reason"] == "no token of the answer is left within data.max_length 100"
    assert dropped["trained_share"] == 0.0


def test_a_line_of_megabytes_is_refused_in_a_sentence(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "model", FAMILIES[0])
    path = write_rows(tmp_path / "rows.jsonl", [*rows(count=2), {"instruction": "x", "output": "y" * 20_000_000}])
    with pytest.raises(DataError, match="20,000,001 characters, too many"):
        bench(Lens(str(folder))).examine(str(path), 3, 1)


def test_a_preference_shows_both_sides_and_what_they_have_in_common(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "model", FAMILIES[0])
    pairs = [{"prompt": f"Q{n}?", "chosen": "It is so.", "rejected": "It is not."} for n in range(3)]
    path = write_rows(tmp_path / "pairs.jsonl", pairs)
    found = bench(Lens(str(folder), {"output_dir": str(tmp_path / "out")})).examine(str(path), 1, 1)
    texts = [[token[0] for token in found[side] if not token[4]] for side in ("tokens", "rejected_tokens")]
    common = found["common_prefix"]
    assert texts[0][:common] == texts[1][:common]
    assert "".join(texts[0][:common]).endswith("It is ")
    assert ("".join(texts[0][common:]), "".join(texts[1][common:])) == ("so.<|im_end|>\n", "not.<|im_end|>\n")
    assert ["".join(side) for side in texts] == [found["rendered"], found["rejected_rendered"]]


@pytest.mark.parametrize("name", ["dpo", "kto"])
def test_answers_that_are_compared_are_those_of_the_training_batch(name: str, tmp_path: Path) -> None:
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import DPOConfig, KTOConfig

    from engine.data.preparing import placeholder
    from engine.data.rows import Row, read_rows
    from engine.training import dpo, kto

    folder = write_tokenizer(tmp_path / "model", FAMILIES[0])
    pairs = [{"prompt": f"Q{n}?", "chosen": "It is so.", "rejected": "It is not, " * n + "no."} for n in range(4)]
    pairs[2] = {"prompt": "Why? " * 40, "chosen": "So.", "rejected": "Not."}  # no room for its answers
    pairs[3]["rejected"] *= 20
    marked = [{"prompt": pair["prompt"], "completion": pair["rejected"], "label": False} for pair in pairs]
    path = write_rows(tmp_path / "rows.jsonl", pairs if name == "dpo" else marked)
    common: dict[str, Any] = {"use_cpu": True, "bf16": False, "max_length": 100, "report_to": "none"}
    config: Any = DPOConfig(str(tmp_path / "out"), **common)
    trainer_class: Any = dpo.ObservedDPOTrainer
    if name == "kto":
        config = KTOConfig(str(tmp_path / "out"), loss_type="apo_zero_unpaired", **common)
        trainer_class = kto.ObservedKTOTrainer
    found_rows = [row for row in read_rows(path) if isinstance(row, Row)]
    trainer = trainer_class(
        model=placeholder(),
        args=config,
        train_dataset=(dpo.pairs_of if name == "dpo" else kto.marked_of)(found_rows),
        processing_class=AutoTokenizer.from_pretrained(folder),
        peft_config=LoraConfig(task_type="CAUSAL_LM", r=1, target_modules=["q_proj"]),
    )
    assert [example["row"] for example in trainer.train_dataset] == [0, 1, 3]
    microscope = bench(Lens(str(folder), {"max_length": 100, "completion_only_loss": True, "packing": False}))
    for example in trainer.train_dataset:
        batch = trainer.data_collator([{key: value for key, value in example.items() if key != "row"}])
        found = microscope.examine(str(path), example["row"] + 1, 1)
        for place, side in enumerate(("tokens", "rejected_tokens")[: len(batch["input_ids"])]):
            given = [token for token in found[side] if not token[3]]
            assert [token[1] for token in given] == batch["input_ids"][place].tolist()
            assert [token[2] for token in given] == batch["completion_mask"][place].bool().tolist()
            assert [not token[4] for token in given] == batch["attention_mask"][place].bool().tolist()
    cut = microscope.examine(str(path), 4, 1)
    assert cut["rejected_tokens" if name == "dpo" else "tokens"][-1][3]
    assert not cut["rejected_ends_trained" if name == "dpo" else "ends_trained"]
    dropped = microscope.examine(str(path), 3, 1)
    assert dropped["dropped_reason"] == "no token of the answer is left within data.max_length 100"


def test_what_only_one_answer_of_a_pair_has_is_marked() -> None:
    from engine.data.preparing_answers import common_prefix, only_here

    one, other = [1, 2, 3, 9], [1, 2, 7, 8, 9]
    assert common_prefix(one, other) == 2
    assert only_here(one, other) == ([False, False, True, False], [False, False, True, True, False])
    assert only_here([1], [1]) == ([False], [False])


async def look(microscope: Microscope, path: Path, line: int) -> Examined:
    return await asyncio.wait_for(microscope.examine(path, line), 120)


async def test_the_process_answers_lives_on_after_a_bad_row_and_is_started_again(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "model", FAMILIES[0])
    path = write_rows(tmp_path / "rows.jsonl", rows(count=3))
    path.write_text(path.read_text() + '{"torn": \n')
    microscope = Microscope(Lens(str(folder), {"output_dir": str(tmp_path / "out"), "max_length": 200}))
    try:
        first = await look(microscope, path, 1)
        assert first.messages[0]["content"] == rows()[0]["instruction"]
        assert json.loads(first.raw) == rows()[0]
        assert "".join(token.text for token in first.tokens) == first.rendered
        with pytest.raises(EngineError, match=r"Line 4 of rows\.jsonl is no example"):
            await look(microscope, path, 4)
        with pytest.raises(EngineError, match="no line 9"):
            await look(microscope, path, 9)
        passed_over = asyncio.create_task(microscope.examine(path, 2))
        await asyncio.sleep(0)
        passed_over.cancel()
        assert (await look(microscope, path, 3)).line == 3
        process = microscope._process
        assert process is not None
        process.kill()
        with pytest.raises(MicroscopeEnded):
            await look(microscope, path, 1)
        await process.wait()
        assert (await look(microscope, path, 2)).line == 2
    finally:
        await microscope.close()


def test_a_template_that_loops_for_ever_is_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.data import microscope_worker

    monkeypatch.setattr(microscope_worker, "SECONDS", 0.3)
    folder = write_tokenizer(tmp_path / "model", FAMILIES[0], template=(TEMPLATES / "endless.jinja").read_text())
    path = write_rows(tmp_path / "rows.jsonl", rows(count=3))
    other = bench(Lens(str(folder), {"output_dir": str(tmp_path / "out")}))
    said = microscope_worker.answer(other, {"path": str(path), "line": 1, "batch_rows": 1})
    assert said["error"]["code"] == "template-endless"


def test_loading_the_libraries_is_not_counted_as_time_of_the_first_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.data import microscope_worker
    from engine.data.microscope_worker import Bench

    def limited(name: str) -> None:
        assert name == "engine.data.preparing"
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        raise NotFound("reached")

    monkeypatch.setattr(microscope_worker, "import_module", limited)
    bench = Bench.__new__(Bench)
    reply = microscope_worker.answer(bench, {"path": "x", "line": 1, "batch_rows": 1})
    assert reply["error"]["message"] == "reached"


def test_a_part_of_a_character_is_shown_by_its_bytes() -> None:
    from engine.data.microscope_worker import spelled_bytes

    assert spelled_bytes("ĠæŃ") == " <0xE6><0xAD>"
    assert spelled_bytes("Į") == "<0x8C>"
    assert spelled_bytes("<0xE6>") == "<0xE6>"
    assert spelled_bytes("▁東") == "▁東"
