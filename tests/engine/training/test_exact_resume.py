"""A run that was stopped and went on is, bit for bit, the run that was never stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine import events
from engine.commands import Pause, SaveCheckpoint, Stop, Unpause
from engine.config.load import loads
from engine.launch.prepare import new_run
from engine.runs import checkpoints
from engine.runs.directory import RunDirectory
from engine.training.control import CommandReader, Control
from engine.training.reporter import Reporter
from engine.workspace import Workspace
from tests.conftest import read_records, wait_for

SETUPS = [
    pytest.param({}, 5, id="in the middle of an epoch"),
    pytest.param({}, 9, id="at the end of an epoch"),
    pytest.param({"lora": {"r": 4, "lora_dropout": 0.0}}, 5, id="without dropout"),
    pytest.param({"training": {"gradient_accumulation_steps": 2}}, 3, id="accumulating gradients"),
    pytest.param({"training": {"gradient_accumulation_steps": 4}}, 3, id="accumulating, a short last group"),
    pytest.param({"training": {"dataloader_num_workers": 2}}, 5, id="with two loader workers"),
    pytest.param({"data": {"packing": True, "max_length": 96}}, 3, id="packed"),
    pytest.param({"training": {"lr_scheduler_type": "linear", "optim": "adamw_torch"}}, 1, id="after one step"),
    pytest.param({"data": {"shuffle": False}, "training": {"max_grad_norm": 0.0}}, 7, id="in file order, unclipped"),
]


@dataclass(slots=True)
class StopsAt(Control):
    """A control that is told to stop after a step."""

    step: int = 10**9

    def hear(self, step: int) -> None:
        if step >= self.step and self.stop is None:
            self.stop = Stop(save=True)


def train(run: RunDirectory, *, stop_at: int = 10**9, resume: str | None = None) -> None:
    from engine.training.worker import work

    reporter = Reporter(run.events)
    work(run, reporter, StopsAt(CommandReader(run.commands), reporter, step=stop_at), resume=resume)


def reported(run: RunDirectory) -> dict[tuple[str, int], dict[str, float]]:
    """Return every figure of a run but the timings."""
    return {
        (type(event).__name__, event.step): {
            name: value for name, value in event.metrics.items() if "_second" not in name and "runtime" not in name
        }
        for event in (record.event for record in read_records(run))
        if isinstance(event, events.StepFinished | events.EvaluationFinished)
    }


def whole_and_resumed(workspace: Workspace, text: str) -> tuple[RunDirectory, RunDirectory, checkpoints.Checkpoint]:
    """Train a configuration twice, once stopped after a step and resumed; nothing is to differ.

    Returns both runs, and the checkpoint that the second went on from.
    """
    whole, broken = (new_run(workspace, loads(text, "test.yaml"), name=name) for name in ("whole", "broken"))
    train(whole)
    train(broken, stop_at=1)
    chosen, _ = checkpoints.newest_valid(broken)
    assert chosen is not None
    train(broken, resume=f"checkpoints/{chosen.path.name}")
    assert reported(broken) == reported(whole)
    weights = [(run.final / "adapter_model.safetensors").read_bytes() for run in (whole, broken)]
    assert weights[0] == weights[1]
    return whole, broken, chosen


SHORT = {"max_steps": 4, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "warmup_steps": 0}


def steps(run: RunDirectory) -> list[int]:
    return [record.event.step for record in read_records(run) if isinstance(record.event, events.StepFinished)]


@pytest.mark.parametrize("max_steps", [4, 9], ids=["in the middle of an epoch", "at the end of one"])
def test_a_run_killed_after_its_last_step_only_repeats_its_end(
    max_steps: int, config_text: Callable[..., str], tmp_path: Path
) -> None:
    text = config_text(training={**SHORT, "max_steps": max_steps}, saving={"save_steps": max_steps})
    run = new_run(Workspace(tmp_path / "workspace"), loads(text, "test.yaml"))
    train(run)
    first = (run.final / "adapter_model.safetensors").read_bytes()
    results = json.loads((run.path / "eval_results.json").read_text())
    for made in (run.final, run.path / "train_results.json", run.path / "eval_results.json"):
        shutil.rmtree(made) if made.is_dir() else made.unlink()  # as if it had not come to them
    chosen, _ = checkpoints.newest_valid(run)
    assert chosen is not None
    train(run, resume=f"checkpoints/{chosen.path.name}")
    assert steps(run) == list(range(1, max_steps + 1))
    assert (run.final / "adapter_model.safetensors").read_bytes() == first
    ended = read_records(run)[-1].event
    assert isinstance(ended, events.RunEnded)
    assert (ended.outcome, ended.step) == ("finished", max_steps)
    assert json.loads((run.path / "train_results.json").read_text())["train_loss"] > 0
    assert json.loads((run.path / "eval_results.json").read_text())["eval_loss"] == results["eval_loss"]


def test_the_last_steps_are_reported_although_logging_steps_does_not_divide_them(
    config_text: Callable[..., str], tmp_path: Path
) -> None:
    text = config_text(training={**SHORT, "max_steps": 7, "logging_steps": 3}, saving={"save_steps": 5})
    run = new_run(Workspace(tmp_path / "workspace"), loads(text, "test.yaml"))
    train(run)
    assert steps(run) == [3, 6, 7]
    tokens = {r.event.step: r.event.num_tokens for r in read_records(run) if isinstance(r.event, events.StepFinished)}
    saved = checkpoints.find_checkpoint(run, "5").metadata["num_tokens"]
    assert tokens[3] < saved < tokens[6]


def test_what_is_asked_before_the_first_step_is_obeyed_before_it(
    config_text: Callable[..., str], tmp_path: Path
) -> None:
    from engine.training.orders import StopBeforeTraining
    from engine.training.worker import work

    run = new_run(Workspace(tmp_path / "workspace"), loads(config_text(training=SHORT), "test.yaml"))
    reporter = Reporter(run.events)
    run.tell(Stop(save=True))
    with pytest.raises(StopBeforeTraining):
        work(run, reporter, Control(CommandReader(run.commands), reporter), resume=None)
    assert not steps(run)
    assert not checkpoints.all_checkpoints(run)


def test_a_run_paused_while_it_loads_waits_before_its_first_step(
    config_text: Callable[..., str], tmp_path: Path
) -> None:
    from engine.training.worker import work

    run = new_run(Workspace(tmp_path / "workspace"), loads(config_text(training=SHORT), "test.yaml"))
    reporter = Reporter(run.events)
    run.tell(Pause())
    run.tell(SaveCheckpoint())

    def go_on() -> None:
        wait_for(lambda: [r for r in read_records(run) if isinstance(r.event, events.RunPaused)])
        assert not steps(run)
        run.tell(Unpause())

    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(go_on)
        work(run, reporter, Control(CommandReader(run.commands), reporter), resume=None)
        waiting.result()
    paused = [r.event.step for r in read_records(run) if isinstance(r.event, events.RunPaused)]
    assert paused == [0]
    assert steps(run) == [1, 2, 3, 4]
    assert 1 in [checkpoint.step for checkpoint in checkpoints.all_checkpoints(run)]  # there was nothing to save at 0
    assert all(r.event.accepted for r in read_records(run) if isinstance(r.event, events.CommandConfirmed))


@pytest.mark.parametrize(("more", "stop_at"), SETUPS)
def test_stopped_and_resumed_equals_uninterrupted(
    more: dict[str, Any], stop_at: int, config_text: Callable[..., str], tmp_path: Path
) -> None:
    training = {
        "max_steps": 12,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "learning_rate": 1e-3,
        "warmup_steps": 2,
        **more.get("training", {}),
    }
    text = config_text(
        **{**more, "training": training}, saving={"save_steps": None}, evaluation={"eval_steps": 4, "prompts": []}
    )
    workspace = Workspace(tmp_path / "workspace")
    whole = new_run(workspace, loads(text, "test.yaml"), name="whole")
    broken = new_run(workspace, loads(text, "test.yaml"), name="broken")
    train(whole)
    train(broken, stop_at=stop_at)
    assert not broken.final.exists()
    chosen, skipped = checkpoints.newest_valid(broken)
    assert chosen is not None
    assert (chosen.step, skipped) == (stop_at, [])
    train(broken, resume=f"checkpoints/{chosen.path.name}")
    for folder in ("final", "best"):
        name = f"{folder}/adapter_model.safetensors"
        assert (broken.path / name).read_bytes() == (whole.path / name).read_bytes()
    figures = [reported(run) for run in (whole, broken)]
    assert figures[0] == figures[1]


@pytest.mark.parametrize("packing", [False, True], ids=["plain", "packed"])
def test_a_run_on_data_prepared_before_prepares_nothing_and_is_the_same_bit_for_bit(
    packing: bool, config_text: Callable[..., str], tmp_path: Path, cache: Path
) -> None:
    text = config_text(training=SHORT, data={"packing": packing, "max_length": 96})
    workspace = Workspace(tmp_path / "workspace")
    first, second = (new_run(workspace, loads(text, "test.yaml"), name=name) for name in ("first", "second"))
    train(first)
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("*.arrow")}
    assert len(kept) == 2  # training and validation
    train(second)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.arrow")} == kept
    stages = [r.event for r in read_records(second) if isinstance(r.event, events.StageChanged)]
    assert "36 rows, as prepared before" in [stage.detail for stage in stages]
    adapters = [(run.final / "adapter_model.safetensors").read_bytes() for run in (first, second)]
    assert adapters[0] == adapters[1]
    assert reported(first) == reported(second)
    prepared = [
        [r.event for r in read_records(run) if isinstance(r.event, events.DataPrepared)] for run in (first, second)
    ]
    assert prepared[0] == prepared[1]
