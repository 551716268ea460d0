"""A loss or gradient that is not a number ends the run before the step; float16's overflows do not."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import events
from engine.config.load import loads
from engine.errors import NonFinite
from engine.launch.prepare import new_run
from engine.runs.directory import RunDirectory
from engine.training.control import CommandReader, Control
from engine.training.reporter import Reporter
from engine.workspace import Workspace
from tests.conftest import read_records

STEPS = {"max_steps": 30, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "warmup_steps": 0}


@pytest.fixture
def run(config_text: Callable[..., str], tmp_path: Path) -> RunDirectory:
    text = config_text(training=STEPS, data={"validation": {}}, evaluation={"eval_steps": None, "prompts": []})
    return new_run(Workspace(tmp_path / "workspace"), loads(text, "test.yaml"))


def train(run: RunDirectory) -> None:
    from engine.training.worker import work

    reporter = Reporter(run.events)
    work(run, reporter, Control(CommandReader(run.commands), reporter), resume=None)


def steps(run: RunDirectory) -> list[events.StepFinished]:
    return [record.event for record in read_records(run) if isinstance(record.event, events.StepFinished)]


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_loss_that_is_not_finite_ends_the_run_although_the_gradients_are(
    bad: float, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.training.sft import ObservedSFTTrainer

    plain = ObservedSFTTrainer.training_step

    def training_step(self: Any, *arguments: Any, **named: Any) -> Any:
        loss = plain(self, *arguments, **named)
        return loss + bad if self.state.global_step == 4 else loss

    monkeypatch.setattr(ObservedSFTTrainer, "training_step", training_step)
    with pytest.raises(NonFinite, match=f"Step 5 was not taken: loss {bad:g}") as caught:
        train(run)
    assert [event.step for event in steps(run)] == [1, 2, 3, 4]
    assert "checkpoint-3" in caught.value.remedy
    assert not run.final.exists()


def overflowing(monkeypatch: pytest.MonkeyPatch, until: int) -> None:
    """Let the gradients of the first steps overflow as those of a loss scaled for float16 do."""
    from transformers import Trainer

    from engine.training.observed import ObservedTrainer

    plain = Trainer._get_grad_norm

    def norm(self: Any, model: Any, grad_norm: Any = None) -> Any:
        found = plain(self, model, grad_norm=grad_norm)
        return torch.tensor(math.inf) if self.state.global_step < until else found

    monkeypatch.setattr(Trainer, "_get_grad_norm", norm)
    monkeypatch.setattr(ObservedTrainer, "_loss_is_scaled", lambda self: True)


def test_overflows_of_a_scaled_loss_are_left_to_the_scaler(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    overflowing(monkeypatch, until=8)
    train(run)
    assert len(steps(run)) == 30
    assert steps(run)[0].metrics["grad_norm"] == math.inf


def test_overflows_without_end_are_not(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    overflowing(monkeypatch, until=1000)
    with pytest.raises(NonFinite, match="Step 21 was not taken"):
        train(run)
