"""What became of every row: kept, or listed with its line and the reason, packed or not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import events
from engine.config.load import loads
from engine.launch.prepare import new_run
from engine.training.control import CommandReader, Control
from engine.training.reporter import Reporter
from engine.workspace import Workspace
from tests.conftest import read_records
from tests.engine.training.conftest import rows, write_rows

LENGTH = 100
STEPS = {"max_steps": 2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "warmup_steps": 0}


@pytest.mark.parametrize("packing", [False, True], ids=["plain", "packed"])
def test_a_row_whose_question_fills_the_length_is_listed(
    packing: bool, config_text: Callable[..., str], tmp_path: Path
) -> None:
    from engine.training.worker import work

    config_text()
    workspace = Workspace(tmp_path / "workspace")
    made: list[dict[str, Any]] = rows(count=12)
    for position in (3, 7):
        made[position]["instruction"] *= 20
    made[5]["output"] *= 20  # cut, and still learned from
    data = workspace.path / "data"
    write_rows(data / "mixed.jsonl", made)
    write_rows(data / "long.jsonl", [made[3], made[7]])
    text = config_text(
        data={
            "train": "data/mixed.jsonl",
            "validation": {"some": "data/mixed.jsonl", "none": "data/long.jsonl"},
            "max_length": LENGTH,
            "packing": packing,
        },
        training=STEPS,
        evaluation={"eval_steps": 2, "prompts": []},
    )
    run = new_run(workspace, loads(text, "test.yaml"))
    reporter = Reporter(run.events)
    work(run, reporter, Control(CommandReader(run.commands), reporter), resume=None)
    said = [record.event for record in read_records(run)]
    prepared = {event.split: event for event in said if isinstance(event, events.DataPrepared)}
    assert {name: (e.rows_in, e.rows_kept, e.rows_dropped) for name, e in prepared.items()} == {
        "train": (12, 10, 2),
        "some": (12, 10, 2),
        "none": (2, 0, 2),
    }
    assert [(row["path"], row["line"]) for row in prepared["train"].dropped] == [("mixed.jsonl", 4), ("mixed.jsonl", 8)]
    assert "data.max_length 100" in prepared["train"].dropped[0]["reason"]
    train = prepared["train"]
    assert [prepared[name].rows_cut for name in ("train", "some", "none")] == [1, 1, 0]
    assert 0 < train.num_trained_tokens < train.num_tokens <= 12 * LENGTH
    (evaluation,) = [event for event in said if isinstance(event, events.EvaluationFinished)]
    assert "eval_none_loss" not in evaluation.metrics
    assert evaluation.metrics["eval_loss"] == evaluation.metrics["eval_some_loss"] > 0
    warned = [event for event in said if isinstance(event, events.Warned)]
    assert [event.code for event in warned] == ["rows-cut", "rows-cut", "nothing-to-measure"]
    assert warned[0].message.startswith("1 of 10 rows of train are longer than data.max_length 100")
    assert "none" in warned[2].message


def test_a_row_that_just_fits_is_not_called_cut(config_text: Callable[..., str], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from engine.training.worker import work

    config_text()
    workspace = Workspace(tmp_path / "workspace")
    made = rows(count=8)
    write_rows(workspace.path / "data" / "rows.jsonl", made)
    given = json.loads(config_text())
    tokenizer = AutoTokenizer.from_pretrained(given["model"]["name"])
    longest = max(
        len(tokenizer.apply_chat_template(
            [{"role": "user", "content": row["instruction"]}, {"role": "assistant", "content": row["output"]}],
            return_dict=False,
        ))
        for row in made
    )  # fmt: skip
    for length, cut in ((longest, False), (longest - 1, True)):
        text = config_text(
            data={"train": "data/rows.jsonl", "validation": {}, "max_length": length},
            training=STEPS,
            evaluation={"eval_steps": None, "prompts": []},
        )
        run = new_run(workspace, loads(text, "test.yaml"))
        reporter = Reporter(run.events)
        work(run, reporter, Control(CommandReader(run.commands), reporter), resume=None)
        said = [record.event for record in read_records(run)]
        (prepared,) = [event for event in said if isinstance(event, events.DataPrepared)]
        assert (prepared.rows_cut > 0) is cut
        assert prepared.rows_kept == 8
