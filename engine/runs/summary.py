"""What a list of runs says of each, read from the two ends of its event log."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine import events
from engine.runs.directory import RunDirectory, all_runs
from engine.runs.follow import head, tail
from engine.runs.lifecycle import ACTIVE, Lifecycle, State
from engine.runs.liveness import Life, liveness

_LOSSES_KEPT = 64
"""Points of the sparkline: the newest, as many as the list ever draws."""


@dataclass(slots=True)
class RunSummary:
    """One line of the list."""

    name: str
    path: str
    state: State
    method: str
    model: str
    parent: str | None
    created: float
    """Unix seconds."""
    step: int
    total_steps: int
    """0 before it is known."""
    loss: float | None
    """The newest training loss; may be NaN."""
    losses: list[float] = field(default_factory=list)
    """The newest training losses, oldest first."""
    seconds_per_step: float | None = None
    """Over the newest steps."""
    eta_seconds: float | None = None
    """None unless running."""
    last_said: float = 0.0
    """Unix time of the newest event."""
    explanation: str = ""
    """How it ended, in words; empty while it has not."""

    @property
    def progress(self) -> float:
        """Done fraction in [0, 1]."""
        return min(1.0, self.step / self.total_steps) if self.total_steps else 0.0

    @property
    def active(self) -> bool:
        """Whether a process works on it."""
        return self.state in ACTIVE

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form, with NaN as text and without the sparkline's points."""
        record = asdict(self)
        del record["losses"]
        record["loss"] = None if self.loss is None else events.json_number(self.loss)
        record["progress"] = round(self.progress, 6)
        return record


def summarise(run: RunDirectory) -> RunSummary:
    """Read at most 64 kB from either end of the log; a few hundred microseconds, whatever its length."""
    lifecycle = Lifecycle()
    summary = RunSummary(
        name=run.name, path=str(run.path), state="unknown", method="", model="", parent=None, created=0.0, step=0,
        total_steps=0, loss=None,
    )  # fmt: skip
    seen = 0
    seconds: list[float] = []
    for record in (*head(run.events), *tail(run.events)):
        if record.seq <= seen:
            continue  # a short log: the ends overlap
        seen = record.seq
        event = record.event
        summary.last_said = record.time
        lifecycle.apply(event)
        if isinstance(event, events.RunCreated):
            summary.method, summary.model, summary.parent = event.method, event.model, event.parent
            summary.created = record.time
        elif isinstance(event, events.TrainingStarted):
            summary.total_steps, summary.step = event.total_steps, event.resumed_from_step
            summary.losses.clear()
        elif isinstance(event, events.StepFinished):
            summary.step = event.step
            seconds.append(event.seconds)
            loss = event.metrics.get("loss")
            if loss is not None:
                summary.loss = loss
                summary.losses.append(loss)
        elif isinstance(event, events.RunEnded | events.CheckpointSaved):
            summary.step = max(summary.step, event.step)
    del summary.losses[:-_LOSSES_KEPT]
    summary.state = lifecycle.state(Life.DEAD if lifecycle.over else liveness(run.path).life)
    summary.explanation = lifecycle.explanation()
    newest = sorted(seconds[-_LOSSES_KEPT:])
    if newest:
        summary.seconds_per_step = newest[len(newest) // 2]
    if summary.state == "running" and summary.seconds_per_step and summary.total_steps:
        summary.eta_seconds = (summary.total_steps - summary.step) * summary.seconds_per_step
    return summary


def summarise_all(runs: Path) -> list[RunSummary]:
    """Return every run of the workspace: those at work first, then the newest first."""
    return in_order(summarise(run) for run in all_runs(runs))


def in_order(summaries: Iterable[RunSummary]) -> list[RunSummary]:
    """Return summaries in the order of the list."""
    return sorted(summaries, key=lambda s: (not s.active, -s.created, s.name))


def age_text(since: float, now: float | None = None) -> str:
    """Return how long ago a Unix time was: "4 s", "12 min", "3 h", "5 d". A time in the future is "0 s"."""
    seconds = max(0.0, (time.time() if now is None else now) - since)
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds / size)} {unit}"
    return f"{int(seconds / 86400)} d"
