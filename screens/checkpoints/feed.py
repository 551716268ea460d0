"""Follows the checkpoints of a workspace: what was read once is only looked at. For a thread.

Nothing of the terminal is in here. The first look believes what is remembered of a run whose folders have not changed;
the second stats the folder of each checkpoint, 0.1 s for ten thousand. From then on a look is four `stat` for each run,
and one for each checkpoint of a few runs in turn: what another console pinned or removed a file from changes no folder
but its own.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.runs.catalogue import Catalogue, RunEntry, in_lineage, read_catalogue, read_run
from engine.runs.directory import RunDirectory, all_runs
from engine.runs.liveness import Life, liveness
from engine.runs.summary import summarise_if_readable

READ_SECONDS = (0.2, 3.0)
"""Of reading runs nobody has read before, until what is known can be drawn: at first, and then each time."""
LISTING_SECONDS = 10.0
"""Between two listings of the folder when nothing says that it has changed."""
LIFE_SECONDS = 2.5
"""Between two looks at the processes of a run; their keeper's heart beats every 2 s."""
CHECKPOINTS_PER_LOOK = 300
"""Whose folders are looked at per look, in turn: some 1 ms."""

Stamp = tuple[int, ...]
"""Times of change (ns) and sizes."""


@dataclass(slots=True)
class CatalogueFeed:
    """The runs of a workspace with their checkpoints, followed."""

    folder: Path
    """The workspace's `runs`. Need not exist."""
    catalogue: Catalogue = field(default_factory=lambda: Catalogue(()))
    """Replaced as a whole when anything has changed, and only then."""
    version: int = 0
    """How often it was replaced."""
    complete: bool = False
    """Whether every run has been read once."""
    near: str = ""
    """The run that somebody looks at: its checkpoints have their turn in every look."""
    _logs: dict[str, Stamp] = field(default_factory=dict)
    _shelves: dict[str, Stamp] = field(default_factory=dict)
    _turn: int | None = None
    """Whose checkpoints are looked at next; None for those of all."""
    _listed_at: float = 0.0
    _folder_stamp: Stamp = ()
    _life_due: dict[str, float] = field(default_factory=dict)
    _lives: dict[str, Life] = field(default_factory=dict)
    _asked: set[str] = field(default_factory=set)

    @property
    def active(self) -> bool:
        """Whether some process works on one of the runs."""
        return any(run.summary.active for run in self.catalogue.runs)

    def look_at(self, name: str) -> None:
        """Read this run whole at the next look."""
        self._asked.add(name)

    def look(self) -> bool:
        """Read what has changed since the last look.

        Returns:
            Whether there is more to read: look again at once.
        """
        if not self.complete:
            self.catalogue = read_catalogue(
                self.folder, max_seconds=READ_SECONDS[bool(self.catalogue.runs)], closely=False
            )
            self.version += 1
            self.complete = not self.catalogue.pending
            if self.complete:
                for run in self.catalogue.runs:
                    self._remember(run)
                self._list()
            return not self.complete
        known = {run.name: run for run in self.catalogue.runs}
        changed = False
        now = time.monotonic()
        names = self._list() if self._may_have_others(now) else None
        if names is not None:
            for name in known.keys() - names:
                del known[name]
                changed = True
            for name in names - known.keys():
                known[name] = self._read(name)
                changed = True
        asked, self._asked = self._asked & known.keys(), set()
        turn = self._whose_turn(list(known.values()))
        for name, run in known.items():
            found = self._looked_at(run, now, whole=name in asked, closely=name in turn)
            if found is not run:
                known[name] = found
                changed = True
        if changed:
            self.catalogue = Catalogue(tuple(in_lineage(known.values())))
            self.version += 1
        return False

    def _may_have_others(self, now: float) -> bool:
        return now - self._listed_at > LISTING_SECONDS or _stamp(self.folder) != self._folder_stamp

    def _list(self) -> set[str]:
        self._listed_at = time.monotonic()
        self._folder_stamp = _stamp(self.folder)
        return {run.name for run in all_runs(self.folder)}

    def _whose_turn(self, runs: list[RunEntry]) -> set[str]:
        """Return the runs whose checkpoints are looked at one by one."""
        if self._turn is None:
            self._turn = 0
            return {run.name for run in runs}
        chosen = {self.near}
        looked = 0
        for offset in range(len(runs)):
            run = runs[(self._turn + offset) % len(runs)]
            if looked and looked + len(run.checkpoints) > CHECKPOINTS_PER_LOOK:
                self._turn = (self._turn + offset) % len(runs)
                break
            looked += len(run.checkpoints)
            chosen.add(run.name)
        return chosen

    def _looked_at(self, run: RunEntry, now: float, *, whole: bool, closely: bool) -> RunEntry:
        """Return a run as it is now; the same one where nothing has changed."""
        name = run.name
        if whole or self._shelf(name) != self._shelves.get(name) or (closely and self._differs(run)):
            found = self._read(name)
            return run if found == replace(run, depth=found.depth, parent=found.parent) else found
        log = self._log(name)
        if log == self._logs.get(name) and not self._may_have_ended(run, now):
            return run
        self._logs[name] = log
        summary = summarise_if_readable(RunDirectory(self.folder / name))
        return replace(run, summary=summary)

    def _may_have_ended(self, run: RunEntry, now: float) -> bool:
        if not (run.summary.active or run.summary.state == "unknown") or now < self._life_due.get(run.name, 0.0):
            return False
        self._life_due[run.name] = now + LIFE_SECONDS
        before, life = self._lives.get(run.name), liveness(self.folder / run.name).life
        self._lives[run.name] = life
        return before is not life

    def _differs(self, run: RunEntry) -> bool:
        return any(_stamp(one.folder) != tuple(one.stamp) for one in run.checkpoints)

    def _read(self, name: str) -> RunEntry:
        log, shelf = self._log(name), self._shelf(name)  # before reading: what changes meanwhile is read again
        run = read_run(RunDirectory(self.folder / name))
        self._remember(run)
        self._logs[name], self._shelves[name] = log, shelf
        return run

    def _remember(self, run: RunEntry) -> None:
        self._logs[run.name], self._shelves[run.name] = self._log(run.name), self._shelf(run.name)

    def _log(self, name: str) -> Stamp:
        return _stamp(f"{self.folder}/{name}/events.jsonl")

    def _shelf(self, name: str) -> Stamp:
        return sum((_stamp(f"{self.folder}/{name}/{part}") for part in ("checkpoints", "best", "final", "stages")), ())


def _stamp(path: str | Path) -> Stamp:
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)
