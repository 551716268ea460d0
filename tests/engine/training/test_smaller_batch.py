"""Memory that runs out: the same steps with fewer rows at a time, shown, and kept for a resume."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import events
from engine.config.load import loads
from engine.config.resolved import ResolvedConfig
from engine.config.yaml_text import read_file
from engine.launch.prepare import new_run
from engine.runs.directory import RunDirectory
from engine.training import __main__ as process
from engine.training.smaller_batch import FILE, Batch, batch_of, with_batch_that_fits
from engine.workspace import Workspace
from tests.conftest import read_records


class Replaced(Exception):
    """What `exec` does to a process: nothing after it is done."""


@pytest.mark.parametrize(
    ("size", "accumulation", "smaller"),
    [(8, 1, (4, 2)), (4, 2, (2, 4)), (6, 1, (3, 2)), (3, 2, (1, 6)), (9, 1, (3, 3)), (7, 1, (1, 7))],
)
def test_a_smaller_batch_makes_the_same_steps(size: int, accumulation: int, smaller: tuple[int, int]) -> None:
    found = Batch(size, accumulation).smaller()
    assert found == Batch(*smaller)
    assert found.rows == size * accumulation


def test_one_row_cannot_be_less() -> None:
    assert Batch(1, 8).smaller() is None


@pytest.fixture
def run(config_text: Callable[..., str], tmp_path: Path) -> Callable[..., RunDirectory]:
    def make(**more: Any) -> RunDirectory:
        text = config_text(
            training={"max_steps": 4, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1},
            evaluation={"eval_steps": 2, "prompts": []},
            saving={"save_steps": 2},
            **more,
        )
        return new_run(Workspace(tmp_path / "workspace"), loads(text, "test.yaml"))

    return make


def settings(run: RunDirectory) -> ResolvedConfig:
    return with_batch_that_fits(run, ResolvedConfig.from_yaml(read_file(run.config)))


def train(run: RunDirectory, monkeypatch: pytest.MonkeyPatch, *, most_rows: int, from_step: int = 0) -> int:
    """Train in this process on a device where more than `most_rows` rows at a time do not fit from a step on."""
    from engine.training.observed import ObservedTrainer

    real = ObservedTrainer.training_step

    def step(self: Any, model: Any, inputs: Any, *rest: Any) -> Any:
        if len(inputs["input_ids"]) > most_rows and self.state.global_step >= from_step:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(self, model, inputs, *rest)

    def replaced(_: str, command: list[str]) -> None:
        raise Replaced(command)

    monkeypatch.setattr(ObservedTrainer, "training_step", step, raising=False)
    monkeypatch.setattr(os, "execv", replaced)
    # Children of this process are those of all the tests.
    monkeypatch.setattr("engine.training.stages._end_children", lambda: None)
    arguments = [str(run.path)]
    while True:
        try:
            return process.main(arguments)
        except Replaced as order:
            command = order.args[0]
            assert command[:4] == [sys.executable, "-P", "-m", "engine.training"]
            arguments = command[4:]


def test_the_run_goes_on_with_fewer_rows_at_a_time_and_ends_with_all_its_steps(
    run: Callable[..., RunDirectory], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run()
    assert train(made, monkeypatch, most_rows=1, from_step=2) == 0
    said = [record.event for record in read_records(made)]
    warned = [event for event in said if isinstance(event, events.Warned)]
    assert [event.code for event in warned] == ["smaller-batch", "smaller-batch"]
    assert "goes on from checkpoint-2 with 2 rows at a time instead of 4 and 2 accumulated" in warned[0].message
    assert "1 row at a time instead of 2 and 4 accumulated: a step still learns from 4 rows" in warned[1].message
    assert [event.resumed_from_step for event in said if isinstance(event, events.TrainingStarted)] == [0, 2, 2]
    ended = said[-1]
    assert isinstance(ended, events.RunEnded)
    assert (ended.outcome, ended.step) == ("finished", 4)
    assert batch_of(settings(made)) == Batch(1, 4)


def test_one_row_too_many_is_a_failure_with_its_remedy(
    run: Callable[..., RunDirectory], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run()
    assert train(made, monkeypatch, most_rows=0) == 1
    ended = [r.event for r in read_records(made) if isinstance(r.event, events.RunEnded)]
    assert [event.code for event in ended] == ["out-of-memory"]


def test_it_can_be_switched_off(run: Callable[..., RunDirectory], monkeypatch: pytest.MonkeyPatch) -> None:
    made = run(launch={"retry_smaller_batch": False})
    assert train(made, monkeypatch, most_rows=2) == 1
    assert not (made.path / FILE).exists()


@pytest.mark.parametrize(
    "record", ["{", "[]", "{}", '{"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3}',
               '{"per_device_train_batch_size": -2, "gradient_accumulation_steps": -2}', '{"other": 1}'],
)  # fmt: skip
def test_a_record_that_does_not_fit_the_settings_is_not_obeyed(run: Callable[..., RunDirectory], record: str) -> None:
    made = run()
    (made.path / FILE).write_text(record)
    assert batch_of(settings(made)) == Batch(4, 1)
    (made.path / FILE).write_text(json.dumps({"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}))
    assert batch_of(settings(made)) == Batch(2, 2)
