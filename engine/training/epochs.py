"""Means of the training figures over an epoch, and the log with one line for each. Standard library only."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import events
from engine.journal import RESUME, write_error
from engine.renaming import replace_file

_LEFT_OUT = ("learning_rate", "tokens_per_second")
"""Figures whose mean over an epoch says nothing."""
_ACCURACIES = ("rewards/accuracies", "mean_token_accuracy")
"""Of the figures that are an accuracy, the first there is stands in the log."""


@dataclass(slots=True)
class EpochMeans:
    """Adds up the figures of the steps since the last epoch ended."""

    sums: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0

    def add(self, metrics: Mapping[str, float], steps: int, seconds: float) -> None:
        """Take the means over `steps` optimizer steps, which took `seconds` each."""
        for name, value in metrics.items():
            if name not in _LEFT_OUT:
                self.sums[name] = self.sums.get(name, 0.0) + value * steps
        self.steps += steps
        self.seconds += seconds * steps

    def take(self) -> tuple[dict[str, float], float]:
        """Return the means and the seconds, and begin again."""
        means = {name: float(f"{total / max(1, self.steps):.7g}") for name, total in self.sums.items()}
        seconds = self.seconds
        self.sums, self.steps, self.seconds = {}, 0, 0.0
        return means, seconds

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint in the middle of an epoch keeps."""
        sums = {name: events.json_number(total) for name, total in self.sums.items()}
        return {"sums": sums, "steps": self.steps, "seconds": round(self.seconds, 3)}

    def restore(self, state: object) -> None:
        """Take over what a checkpoint kept; what is none is nothing."""
        if isinstance(state, dict) and isinstance(state.get("sums"), dict) and isinstance(state.get("steps"), int):
            self.sums = {str(name): events.number_from_json(total) for name, total in state["sums"].items()}
            self.steps = state["steps"]
            self.seconds = events.number_from_json(state.get("seconds", 0.0))


def log_epoch(path: Path, finished: events.EpochFinished, stage: str | None = None) -> None:
    """Append the line of an epoch: `epoch`, `step`, `avg_loss`, `avg_accuracy`, `seconds` and all means.

    Of a run in several stages it names the `stage` first.

    Raises:
        DiskFull, WorkspaceError: It cannot be written.
    """
    means = finished.metrics
    accuracy = next((means[name] for name in _ACCURACIES if name in means), None)
    line = {
        **({"stage": stage} if stage is not None else {}),
        "epoch": finished.epoch,
        "step": finished.step,
        "avg_loss": events.json_number(means.get("loss", math.nan)),
        "avg_accuracy": None if accuracy is None else events.json_number(accuracy),
        "seconds": finished.seconds,
        "means": {name: events.json_number(value) for name, value in means.items()},
    }
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    except OSError as error:
        raise write_error(path, error, then=RESUME) from error


def forget_epochs_after(path: Path, step: int) -> None:
    """Cut the lines that a resume from a step will write again, and what was torn.

    Raises:
        DiskFull, WorkspaceError: It cannot be written.
    """
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines(keepends=True)
    except OSError:
        return
    kept = [line for line in lines if line.endswith("\n") and _step_of(line) <= step]
    if kept == lines:
        return
    try:
        replace_file(path, "".join(kept))
    except OSError as error:
        raise write_error(path, error, then=RESUME) from error


def _step_of(line: str) -> float:
    try:
        read = json.loads(line)
    except ValueError:
        return math.inf
    step = read.get("step") if isinstance(read, dict) else None
    return step if isinstance(step, int) else math.inf
