"""A run that was stopped and went on is, bit for bit, the run that was never stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine import events
from engine.commands import Stop
from engine.config.load import loads
from engine.launch.prepare import new_run
from engine.runs import checkpoints
from engine.runs.directory import RunDirectory
from engine.training.control import CommandReader, Control
from engine.training.reporter import Reporter
from engine.workspace import Workspace
from tests.conftest import read_records

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
