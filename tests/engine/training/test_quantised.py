"""A base in 4 and in 8 bits, which bitsandbytes has for processors too: the same code as on a card."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import events
from engine.config.load import loads
from engine.launch.prepare import new_run
from engine.runs import checkpoints
from engine.workspace import Workspace
from tests.conftest import read_records
from tests.engine.training.test_exact_resume import reported, train

WEIGHTS = "adapter_model.safetensors"


@pytest.mark.parametrize(("bits", "told"), [("4bit", "nf4"), ("8bit", "int8")])
def test_an_adapter_on_a_quantised_base_learns_and_a_resume_goes_on_exactly(
    bits: str, told: str, config_text: Callable[..., str], tmp_path: Path
) -> None:
    text = config_text(
        model={f"load_in_{bits}": True}, training={"max_steps": 3, "learning_rate": 1e-2},
        evaluation={"eval_steps": 3, "prompts": []}, saving={"save_steps": 3, "save_best": False},
    )  # fmt: skip
    workspace = Workspace(tmp_path / "workspace")
    whole, broken = (new_run(workspace, loads(text, "test.yaml"), name=name) for name in ("whole", "broken"))
    train(whole)
    train(broken, stop_at=1)
    chosen, _ = checkpoints.newest_valid(broken)
    assert chosen is not None
    train(broken, resume=f"checkpoints/{chosen.path.name}")
    assert reported(broken) == reported(whole)
    assert (broken.final / WEIGHTS).read_bytes() == (whole.final / WEIGHTS).read_bytes()
    log = [record.event for record in read_records(whole)]
    started = next(event for event in log if isinstance(event, events.TrainingStarted))
    assert started.dtype == told
    losses = [event.metrics["loss"] for event in log if isinstance(event, events.StepFinished)]
    assert len(losses) == 3
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < losses[0]
