"""The gauge of forgetting: its formula, what a run says of it, and its alarm."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import events
from engine.config.load import loads
from engine.data.rows import Row
from engine.errors import ConfigError, NothingToLearn
from engine.launch.prepare import new_run
from engine.runs import checkpoints
from engine.runs.directory import RunDirectory
from engine.workspace import Workspace
from tests.conftest import read_records
from tests.engine.training.conftest import write_rows
from tests.engine.training.test_exact_resume import reported, train

TEXTS = [{"text": "Water boils when it is hot."}, {"text": "A week has seven days."}]
Make = Callable[..., RunDirectory]


@pytest.fixture
def make(config_text: Callable[..., str], tmp_path: Path) -> Make:
    """Return a function that makes a run of 4 steps with a gauge of two texts."""
    config_text()
    write_rows(tmp_path / "workspace" / "data" / "probe.jsonl", TEXTS)

    def run(name: str, *, gauge: dict[str, Any], **more: Any) -> RunDirectory:
        settings: dict[str, Any] = {
            "training": {"max_steps": 4},
            "evaluation": {"eval_steps": 2, "prompts": []},
            "saving": {"save_steps": None},
            **more,
            "forgetting": {"gauge": True, "probe": "data/probe.jsonl", **gauge},
        }
        return new_run(Workspace(tmp_path / "workspace"), loads(config_text(**settings), "test.yaml"), name=name)

    return run


def measured(run: RunDirectory) -> list[events.ForgettingMeasured]:
    return [event for record in read_records(run) if isinstance(event := record.event, events.ForgettingMeasured)]


def test_the_loss_is_the_mean_over_the_scored_tokens_of_all_texts(small_model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from engine.training.forgetting import probe_loss, read_probe
    from engine.training.loading import load_tokenizer

    model = AutoModelForCausalLM.from_pretrained(small_model).train()
    tokenizer = load_tokenizer(str(small_model))
    question = [{"role": "user", "content": "How many days has a week?"}]
    answer = [{"role": "assistant", "content": "Seven."}]
    rows = [
        *(Row(Path("probe"), n, [], [{"role": "assistant", "content": text["text"]}], kind="text")
          for n, text in enumerate(TEXTS)),
        Row(Path("probe"), 3, question, answer),
    ]  # fmt: skip
    probe = read_probe(rows, tokenizer, 512)
    wanted = []
    model.eval()
    for row in rows:
        whole, first = row.completion[0]["content"], 1
        if row.prompt:
            whole = tokenizer.apply_chat_template([*row.prompt, *row.completion], tokenize=False)
            asked = tokenizer.apply_chat_template(row.prompt, add_generation_prompt=True, tokenize=False)
            first = len(tokenizer(asked)["input_ids"])
        ids = tokenizer(whole)["input_ids"]
        with torch.no_grad():
            log_probs = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        wanted += [-float(log_probs[place - 1, ids[place]]) for place in range(first, len(ids))]
    model.train()
    found = probe_loss(model, probe, 0, lambda: None)
    assert found == pytest.approx(math.fsum(wanted) / len(wanted), abs=1e-5)
    assert model.training
    with pytest.raises(NothingToLearn, match=r"forgetting\.probe"):
        read_probe(rows[-1:], tokenizer, 8)


def test_a_run_begins_at_nothing_forgotten_and_a_resume_compares_with_the_same_base(make: Make) -> None:
    whole, broken = make("whole", gauge={}), make("broken", gauge={})
    train(whole)
    said = measured(whole)
    assert [event.step for event in said] == [0, 2, 4]
    assert said[0].change == 0.0
    assert said[-1].change == said[-1].loss - said[-1].base_loss != 0.0
    train(broken, stop_at=1)
    kept = json.loads(broken.forgetting.read_text())
    assert (kept["base_loss"], kept["texts"]) == (said[0].base_loss, 2)
    chosen, _ = checkpoints.newest_valid(broken)
    assert chosen is not None
    assert chosen.metadata["forgetting"] == {"step": 0, "change": 0.0, "alarmed": False}
    train(broken, resume=f"checkpoints/{chosen.path.name}")
    assert reported(broken) == reported(whole)
    assert reported(whole)["EvaluationFinished", 4].keys() >= {"eval_loss", "eval_forgetting"}
    assert (broken.final / "adapter_model.safetensors").read_bytes() == (
        whole.final / "adapter_model.safetensors"
    ).read_bytes()
    broken.forgetting.write_text(json.dumps({**kept, "base_loss": kept["base_loss"] + 1}))
    train(broken, resume=f"checkpoints/{chosen.path.name}")
    assert measured(broken)[-1].change == pytest.approx(said[-1].change - 1)


def test_without_a_validation_set_it_has_its_own_interval_and_its_alarm_ends_the_run(
    make: Make, tmp_path: Path
) -> None:
    # What the answers that are learned have nothing of becomes less likely.
    write_rows(tmp_path / "workspace" / "data" / "signs.jsonl", [{"text": "~~~ ^^^ {{{ ||| @@@ %%%"}])
    gauge = {"probe": "data/signs.jsonl", "alarm": 1e-6, "stop": True}
    run = make(
        "run", gauge={**gauge, "eval_steps": 3}, data={"validation": {}},
        evaluation={"eval_steps": None, "prompts": []}, training={"max_steps": 12, "learning_rate": 1e-2},
    )  # fmt: skip
    train(run)
    log = [record.event for record in read_records(run)]
    assert [event.step for event in measured(run)] == [0, 3]
    warned = [event for event in log if isinstance(event, events.Warned)]
    assert [event.code for event in warned] == ["forgetting"]
    ended = log[-1]
    assert isinstance(ended, events.RunEnded)
    assert (ended.outcome, ended.step) == ("finished", 3)
    assert ended.detail.startswith("forgetting: At step 3 the loss on the probe is +")
    again = make("again", gauge=gauge, model={"adapter": "run", "device": "cpu"})
    again.forgetting.write_text("torn")
    with pytest.raises(ConfigError, match=r"forgetting\.alarm"):
        train(again)
