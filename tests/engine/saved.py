"""Checkpoints as a trainer saves them, without a trainer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.events import RunCreated
from engine.runs.checkpoints import Checkpoint
from engine.runs.directory import RunDirectory, create_run
from engine.training.checkpoint_writer import write_checkpoint

RUN_ID, OTHER_ID = "0123456789abcdef", "fedcba9876543210"
SAVED = {
    "adapter_config.json": b'{"r": 8}',
    "adapter_model.safetensors": bytes(range(256)) * 40,
    "optimizer.pt": bytes(range(255, -1, -1)) * 80,
    "scheduler.pt": b"scheduler" * 30,
    "rng_state.pth": b"generators" * 50,
    "tokenizer.json": b'{"model": {}}',
    "trainer_state.json": b'{"global_step": 0}',
}


def make_run(runs: Path, name: str = "run-1") -> RunDirectory:
    """Make a run whose id is `RUN_ID`."""
    created = RunCreated(name=name, method="sft", model="tiny", parent=None)
    return create_run(runs, name, created=created, files={"provenance.json": f'{{"run_id": "{RUN_ID}"}}\n'})


def saver(step: int) -> Callable[[Path], None]:
    """Return what fills a checkpoint's folder: `SAVED`, with the step in the weights."""

    def save(folder: Path) -> None:
        for name, content in SAVED.items():
            (folder / name).write_bytes(content)
        (folder / "adapter_model.safetensors").write_bytes(SAVED["adapter_model.safetensors"] + b"%d" % step)

    return save


def write(run: RunDirectory, step: int, *, run_id: str = RUN_ID, target: Path | None = None) -> Checkpoint:
    """Write `checkpoint-<step>`, or another folder such as `best`."""
    return write_checkpoint(
        target or run.checkpoints / f"checkpoint-{step}", saver(step), run_id=run_id, step=step, metadata={"epoch": 1.0}
    )


def edit_manifest(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
