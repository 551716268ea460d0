"""A run asks a suite of its own checkpoints, and training neither notices nor suffers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import events
from engine.config.load import loads
from engine.errors import DataError
from engine.evaluation.evaluate import results_of
from engine.launch.prepare import new_run
from engine.runs.catalogue import read_run
from engine.runs.finding import in_order
from engine.workspace import Workspace
from tests.conftest import read_records
from tests.engine.training.conftest import rows, write_rows
from tests.engine.training.test_exact_resume import train


def test_a_suite_is_asked_of_what_is_written_and_one_that_fails_stops_nothing(
    config_text: Callable[..., str], tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path / "workspace")
    suite = {"suite": "temporal", "suite_at": ["end", "best", "checkpoint"], "suite_test": "data/test.jsonl",
             "suite_limit": 2, "suite_max_new_tokens": 4, "eval_steps": 2, "prompts": []}  # fmt: skip
    text = config_text(training={"max_steps": 4}, saving={"save_steps": 2}, evaluation=suite)
    test = write_rows(workspace.path / "data" / "test.jsonl", rows("retain", 4) + rows("unlearn", 4))
    whole, broken = (new_run(workspace, loads(text, "test.yaml"), name=name) for name in ("whole", "broken"))
    train(whole)
    said = [event for record in read_records(whole) if isinstance(event := record.event, events.CheckpointEvaluated)]
    assert [event.path for event in said] == ["best", "checkpoints/checkpoint-2", "best", "checkpoints/checkpoint-4",
                                              "final"]  # fmt: skip
    assert said[-1].counts == {"accuracy": 4, "retain_answered": 2, "retain_refused": 2, "unlearn_refused": 2,
                               "unlearn_leaked": 2}  # fmt: skip
    (found,) = results_of(whole, whole.final)
    assert found.path == whole.path / said[-1].result
    assert len(json.loads(found.path.read_text())["examples"]) == 4
    kept = read_run(whole).checkpoints
    assert {one.name for one in kept if one.metrics["temporal/accuracy"] == said[-1].scores["accuracy"]} >= {"final"}
    assert len(in_order(kept, "temporal/accuracy")) == 4
    assert all(one.fault is None and one.ours for one in kept)

    (whole.checkpoints / "checkpoint-4" / "scores.json").unlink()  # as if it had been killed while it asked
    train(whole, resume="checkpoints/checkpoint-4")
    again = [event for record in read_records(whole) if isinstance(event := record.event, events.CheckpointEvaluated)]
    assert [event.path for event in again[len(said) :]] == ["checkpoints/checkpoint-4", "final"]
    assert [event.scores for event in again[len(said) :]] == [event.scores for event in said[-2:]]

    test.unlink()
    train(broken)
    log = [record.event for record in read_records(broken)]
    warned = [event for event in log if isinstance(event, events.Warned) and event.code == "suite-failed"]
    assert len(warned) == 5
    assert warned[-1].message.startswith("final was not evaluated, and training goes on: ")
    assert isinstance(log[-1], events.RunEnded)
    assert log[-1].outcome == "finished"
    weights = "final/adapter_model.safetensors"
    assert (broken.path / weights).read_bytes() == (whole.path / weights).read_bytes()


def test_a_suite_with_nothing_to_ask_is_refused_before_the_start(
    config_text: Callable[..., str], tmp_path: Path
) -> None:
    text = config_text(evaluation={"suite": "temporal"})
    with pytest.raises(DataError, match=r"no row of data\.validation says"):
        new_run(Workspace(tmp_path / "workspace"), loads(text, "test.yaml"))
