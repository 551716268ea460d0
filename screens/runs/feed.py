"""Follows every run of a workspace: which there are, what changed, and whether their processes live. For a thread.

Nothing of the terminal is in here. One look is a `stat` for most runs; only what has changed is read again, and a
look stops after `LOOK_SECONDS` of work, so that a workspace of a thousand runs delays no key.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import EngineError
from engine.runs.directory import RunDirectory, all_runs
from engine.runs.liveness import Life, liveness
from engine.runs.summary import RunSummary, in_order, summarise

if TYPE_CHECKING:
    from screens.runs.reading import Details

LOOK_SECONDS = 0.03
"""Of reading per look. A run takes 0.3 to 1 ms, and keys share the interpreter with this thread."""
LISTING_SECONDS = 30.0
"""Between two listings of the folder when nothing says that it has changed."""
SETTLED_SECONDS = 2.0
"""A folder changed so recently may change again within the same tick of its clock."""
LIFE_SECONDS = 2.5
"""Between two looks at the processes of a run; their keeper's heart beats every 2 s."""
STATS_PER_LOOK = 100
"""Runs that are over and looked at per look, in turn: somebody may resume one elsewhere."""

Stamp = tuple[int, int, int]
"""Inode, size and time of change (ns) of an event log."""


@dataclass(slots=True)
class _Known:
    """One run as it was read last."""

    summary: RunSummary
    stamp: Stamp | None
    """None: its log could not be looked at."""
    life: Life | None = None
    """None: it is over, so nobody asked."""
    life_due: float = 0.0
    """Monotonic time of the next question."""

    @property
    def watched(self) -> bool:
        """Whether it may change at any moment."""
        return self.summary.active or self.summary.state == "unknown"


@dataclass(slots=True)
class RunsFeed:
    """The runs of a workspace, followed."""

    folder: Path
    """The workspace's `runs`. Need not exist."""
    summaries: Mapping[str, RunSummary] = field(default_factory=dict)
    """By name, in the order of the list. Replaced as a whole when anything has changed, and only then: another
    thread may keep what it has, and compare."""
    complete: bool = False
    """Whether every run has been read once."""
    _known: dict[str, _Known] = field(default_factory=dict)
    _unread: list[str] = field(default_factory=list)
    """Names not read yet, the newest log last."""
    _due: list[str] = field(default_factory=list)
    """Names still to be looked at before this look is over, the first one last."""
    _folder_stamp: tuple[int, int] | None = None
    _listed_at: float | None = None
    _turn: int = 0
    _asked: set[str] = field(default_factory=set)

    @property
    def active(self) -> bool:
        """Whether some process works on one of them."""
        return any(summary.active for summary in self.summaries.values())

    def look_at(self, name: str) -> None:
        """Read this run at the next look, whatever its turn is."""
        self._asked.add(name)

    def look(self) -> bool:
        """Read what has changed since the last look, for at most `LOOK_SECONDS`.

        Returns:
            Whether there is more to read: look again at once.
        """
        began = time.monotonic()
        changed = False
        if not self._unread and not self._due:
            changed = self._list(began)
            self._due = self._whose_turn()
        asked, self._asked = self._asked & self._known.keys(), set()
        self._due.extend(asked)
        while self._unread or self._due:
            if self._unread:
                changed |= self._read(self._unread.pop())
            else:
                changed |= self._read_if_changed(self._due.pop(), began)
            if time.monotonic() - began > LOOK_SECONDS:
                break
        if changed:
            ordered = in_order(known.summary for known in self._known.values())
            self.summaries = {summary.name: summary for summary in ordered}
        more = bool(self._unread or self._due)
        self.complete |= not more
        return more

    def details(self, name: str) -> Details | None:
        """Read the details of a run; None when it is not known."""
        from screens.runs.reading import read_details  # 20 ms, after the first paint

        known = self._known.get(name)
        return read_details(RunDirectory(self.folder / name), known.summary) if known is not None else None

    def _list(self, now: float) -> bool:
        """Take note of new and vanished runs, if the folder may have any; return whether one vanished."""
        try:
            status = os.stat(self.folder)
        except OSError:
            stamp = None
        else:
            stamp = (status.st_ino, status.st_mtime_ns)
        fresh = self._listed_at is not None and now - self._listed_at < LISTING_SECONDS
        if fresh and stamp == self._folder_stamp:
            return False
        self._listed_at = now
        # Not remembered while it is fresh: what is made a moment later would have the same time.
        settled = stamp is not None and time.time() - stamp[1] / 1e9 > SETTLED_SECONDS
        self._folder_stamp = stamp if settled or stamp is None else None
        names = {run.name for run in all_runs(self.folder)}
        gone = self._known.keys() - names
        for name in gone:
            del self._known[name]
        new = names - self._known.keys()
        self._unread = sorted(new, key=self._changed_at)
        return bool(gone)

    def _changed_at(self, name: str) -> int:
        stamp = self._stamp(name)
        return stamp[2] if stamp is not None else 0

    def _whose_turn(self) -> list[str]:
        """Return the runs to look at, last first: those that may change at any moment, before some of the others."""
        watched = [name for name, known in self._known.items() if known.watched]
        resting = [name for name, known in self._known.items() if not known.watched]
        start = self._turn if self._turn < len(resting) else 0
        self._turn = start + STATS_PER_LOOK
        return resting[start : self._turn] + watched

    def _read_if_changed(self, name: str, now: float) -> bool:
        known = self._known.get(name)
        if known is None:
            return False
        if self._stamp(name) != known.stamp:
            return self._read(name)
        if known.watched and now >= known.life_due:
            known.life_due = now + LIFE_SECONDS
            if liveness(self.folder / name).life is not known.life:
                return self._read(name)
        return False

    def _read(self, name: str) -> bool:
        """Read a run; return whether it looks different from before."""
        run = RunDirectory(self.folder / name)
        before = self._known.get(name)
        stamp = self._stamp(name)  # before reading: what is appended meanwhile is read again
        try:
            summary = summarise(run)
        except EngineError as error:
            summary = _unreadable(run, error)
        known = _Known(summary, stamp)
        if known.watched:
            known.life = liveness(run.path).life
            known.life_due = time.monotonic() + LIFE_SECONDS
        self._known[name] = known
        return before is None or before.summary != summary

    def _stamp(self, name: str) -> Stamp | None:
        try:
            status = os.stat(f"{self.folder}/{name}/events.jsonl")
        except OSError:
            return None
        return (status.st_ino, status.st_size, status.st_mtime_ns)


def _unreadable(run: RunDirectory, error: EngineError) -> RunSummary:
    return RunSummary(
        name=run.name, path=str(run.path), state="unknown", method="", model="", parent=None, created=0.0, step=0,
        total_steps=0, loss=None, explanation=str(error),
    )  # fmt: skip
