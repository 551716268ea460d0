"""What a list of runs says of each, read from the two ends of its event log."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from engine import events
from engine.errors import EngineError
from engine.runs.directory import RunDirectory, all_runs
from engine.runs.follow import Record, head, newest, tail
from engine.runs.lifecycle import ACTIVE, Lifecycle, State
from engine.runs.liveness import Life, liveness

_LOSSES_KEPT = 64
"""Points of the sparkline: the newest, as many as the list ever draws."""
_HEAD_BYTES = (16 << 10, 256 << 10)
"""How much of a log's beginning is read until training begins. Fifty dropped rows take 10 kB in each data set."""
_TAIL_BYTES = (64 << 10, 1 << 20, 8 << 20)
"""How much of a log's end is read until a step is found. A paused run says 200 bytes of its device every 5 s: its last
step is 64 kB back after half an hour and 8 MB back after two days."""
_FOUND = (events.StepFinished, events.TrainingStarted, events.KeeperStarted)


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
    stage: str = ""
    """Of a run in several, the one at work or the last."""
    explanation: str = ""
    """How it ended, in words, or why that cannot be told; empty while it is active."""

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
    """Read the two ends of the log: some 80 kB and a few hundred microseconds, whatever its length.

    Of a run in several stages its middle is searched once for where the newest of them began.

    Raises:
        WorkspaceError: The log is there and cannot be read.
    """
    lifecycle = Lifecycle()
    summary = _empty(run)
    seen = 0
    seconds: list[float] = []
    first, last = _head_with_the_plan(run.events), _tail_with_a_step(run.events)
    unseen = bool(first and last) and last[0].seq > first[-1].seq + 1
    if unseen and any(isinstance(record.event, events.StageBegun) for record in first):
        last = [*_newest_plan(run.events, last), *last]
    for record in (*first, *last):
        if unseen and record is last[0]:
            # What the beginning said of pauses and ends may be long over.
            lifecycle = Lifecycle(attempt=lifecycle.attempt)
            summary.stage = ""
            summary.losses.clear()
            seconds.clear()
            seen = 0  # the newest plan may stand in the beginning
        if record.seq <= seen:
            continue  # a short log: the ends overlap
        seen = record.seq
        event = record.event
        if not isinstance(event, events.CheckpointRemoved):  # a person's deletion, perhaps long after the end
            summary.last_said = record.time
        lifecycle.apply(event)
        if isinstance(event, events.RunCreated):
            summary.method, summary.model, summary.parent = event.method, event.model, event.parent
            summary.created = record.time
        elif isinstance(event, events.TrainingStarted):
            summary.total_steps, summary.step = event.total_steps, event.resumed_from_step
            summary.losses.clear()
        elif isinstance(event, events.StageBegun):
            summary.stage = event.name
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
    found = None if lifecycle.over else liveness(run.path)
    summary.state = lifecycle.state(found.life if found else Life.DEAD)
    summary.explanation = lifecycle.explanation()
    if not summary.explanation and found is not None:
        summary.explanation = _without_a_word(summary.state, lifecycle.attempt, found.reason)
    newest = sorted(seconds[-_LOSSES_KEPT:])
    if newest:
        summary.seconds_per_step = newest[len(newest) // 2]
    if summary.state == "running" and summary.seconds_per_step and summary.total_steps:
        summary.eta_seconds = (summary.total_steps - summary.step) * summary.seconds_per_step
    return summary


def summarise_all(runs: Path) -> list[RunSummary]:
    """Return every run of the workspace: those at work first, then the newest first.

    A run whose log cannot be read is "unknown", with the reason.
    """
    return in_order(summarise_if_readable(run) for run in all_runs(runs))


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


def summarise_if_readable(run: RunDirectory) -> RunSummary:
    """Return the summary; "unknown", with the reason, where the log cannot be read."""
    try:
        return summarise(run)
    except EngineError as error:
        return replace(_empty(run), explanation=str(error))


def _empty(run: RunDirectory) -> RunSummary:
    return RunSummary(
        name=run.name, path=str(run.path), state="unknown", method="", model="", parent=None, created=0.0, step=0,
        total_steps=0, loss=None,
    )  # fmt: skip


def _head_with_the_plan(path: Path) -> list[Record]:
    """Return the beginning of a log, reaching on to where the number of steps is told if that is near."""
    records: list[Record] = []
    for max_bytes in _HEAD_BYTES:
        records = head(path, max_bytes)
        if any(isinstance(record.event, events.TrainingStarted) for record in records):
            break
    return records


def _tail_with_a_step(path: Path) -> list[Record]:
    """Return the end of a log, reaching back to a step if there is one near."""
    records: list[Record] = []
    for max_bytes in _TAIL_BYTES:
        records = tail(path, max_bytes)
        if any(isinstance(record.event, _FOUND) for record in records):
            break
    return records


def _newest_plan(path: Path, last: list[Record]) -> list[Record]:
    """Return what a stage in the middle of a long log said of the steps there will be, and of itself.

    A stage that was stopped early makes fewer of them than the first one told. The middle is searched once: what was
    looked at is not looked at again.
    """
    if any(isinstance(record.event, events.TrainingStarted) for record in last):
        return []
    size = path.stat().st_size
    searched, found = _searched.get(path, (0, []))
    if size < searched:
        searched, found = 0, []  # another log
    new = [newest(path, kind.__name__, since=searched) for kind in (events.StageBegun, events.TrainingStarted)]
    found = sorted((record for record in new if record is not None), key=lambda one: one.seq) or found
    _searched[path] = max(0, size - _TAIL_BYTES[0]), found
    return found


_searched: dict[Path, tuple[int, list[Record]]] = {}
"""By log: how many bytes of it were searched, and what was found."""


def _without_a_word(state: State, attempt: int, reason: str) -> str:
    """Return what can be said of a run whose log does not say how it ended."""
    if state == "unknown":
        return f"Nobody can say whether it still runs: {reason}. It is left alone."
    if state == "died":
        return f"It ended without a word: {reason}." if attempt else "It was never started."
    return ""
