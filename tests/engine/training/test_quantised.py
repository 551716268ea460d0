"""A base in 4 and in 8 bits, which bitsandbytes has for processors too: the same code as on a card."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import events
from engine.workspace import Workspace
from tests.conftest import read_records
from tests.engine.training.test_exact_resume import whole_and_resumed


@pytest.mark.parametrize(
    ("bits", "kind", "told"), [("4bit", True, "nf4"), ("8bit", True, "int8"), ("4bit", "eva", "nf4")]
)
def test_an_adapter_on_a_quantised_base_learns_and_a_resume_goes_on_exactly(
    bits: str, kind: bool | str, told: str, config_text: Callable[..., str], tmp_path: Path
) -> None:
    text = config_text(
        model={f"load_in_{bits}": True}, lora={"init_lora_weights": kind},
        training={"max_steps": 3, "learning_rate": 1e-2},
        evaluation={"eval_steps": 3, "prompts": []}, saving={"save_steps": 3, "save_best": False},
    )  # fmt: skip
    workspace = Workspace(tmp_path / "workspace")
    whole, _, _ = whole_and_resumed(workspace, text)
    log = [record.event for record in read_records(whole)]
    started = next(event for event in log if isinstance(event, events.TrainingStarted))
    assert started.dtype == told
    losses = [event.metrics["loss"] for event in log if isinstance(event, events.StepFinished)]
    assert len(losses) == 3
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < losses[0]
