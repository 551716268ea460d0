"""Follows one run for any screen: its past at once, then what it says and whether anybody still works on it.

Nothing of the terminal is in here. Whoever shows the run asks `changes` in a worker of his own and draws what the
attributes say; files are read in threads, so a slow network file system stops no key.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from engine import events
from engine.runs.directory import RunDirectory
from engine.runs.follow import Batch, EventReader
from engine.runs.history_index import HistoryIndexFailed, build_index, needs_index, open_history
from engine.runs.liveness import Life, Liveness, liveness
from tui.run_samples import SampleBook
from tui.state import LogLine, RunState

ACTIVE_SECONDS = 0.5
"""Between two looks at a run that somebody works on: the one timer of a live view."""
RESTING_SECONDS = 2.0
"""Between two looks at a run that is over, or that nobody looks at. One `stat` each."""
LIFE_SECONDS = 2.0
"""Between two looks at the processes, as often as their keeper's heart beats."""
LOOK_BYTES = 256 << 10
"""Of the log per look: 600 steps, which the event loop takes in 3 ms."""
WORKER_LOG_BYTES = 16 << 10
WORKER_LOG_LINES = 120


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look found, to be taken by the event loop."""

    batch: Batch
    found: Liveness | None
    """None: the processes were not looked at."""
    samples: bool
    gone: bool
    """The folder of the run is not there."""


class RunFeed:
    """One run, followed.

    Args:
        run: Its log need not exist.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.state = RunState(run.name)
        """Replaced as a whole once the past is known, and when the log turns out to be another one."""
        self.samples = SampleBook(run.samples)
        self.opening = "Reading the run"
        """What is being done before the past is known, for people. Empty afterwards."""
        self.reason = ""
        """Why its processes are thought to be alive, dead or neither."""
        self.worker_log: list[str] = []
        """The last lines of `worker.log` of a run that failed or died; foreign text."""
        self.gone = False
        """Whether somebody has taken the folder of the run away."""
        self.watched = True
        """Whether somebody looks. False makes the looks rare."""
        self._reader = EventReader(run.events)
        self._life_due = 0.0
        self._again = asyncio.Event()

    async def changes(self) -> AsyncIterator[None]:
        """Yield when something may have changed, twice a second at most. Never ends by itself.

        While somebody works on the run it yields at each look, because time itself is shown then.
        """
        async for _ in self._open():
            yield
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._again.wait(), self._pause_seconds)
            self._again.clear()
            changed = await self._look_and_take()
            if changed or self.state.active:
                yield

    def look_again(self) -> None:
        """Look now rather than at the next turn: something was just done."""
        self._again.set()

    @property
    def _pause_seconds(self) -> float:
        return ACTIVE_SECONDS if self.state.active and self.watched else RESTING_SECONDS

    # The past

    async def _open(self) -> AsyncIterator[None]:
        yield
        trouble = None
        if await asyncio.to_thread(needs_index, self.run):
            megabytes = await asyncio.to_thread(_size, self.run) / 1e6
            self.opening = f"Indexing {megabytes:,.0f} MB of history, once"
            yield
            try:
                await asyncio.to_thread(build_index, self.run)
            except HistoryIndexFailed as error:
                trouble = LogLine(time.time(), "warning", str(error))
                self.opening = f"Reading {megabytes:,.0f} MB of history"
                yield
        await asyncio.to_thread(self._read_past)
        if trouble is not None:
            self.state.log.append(trouble)
        self.opening = ""
        yield

    def _read_past(self) -> None:
        opened = open_history(self.run)
        state = RunState(self.run.name, history=opened.history, damaged=opened.damaged)
        for record in opened.records:
            state.apply(record.event, record.time, numbers=False)
        more = True
        while more:
            batch = opened.reader.read()
            _take(state, batch)
            more = batch.more
        while self.samples.read():  # in pieces, so that no more than one is in memory
            pass
        found = liveness(self.run.path)
        state.life, self.reason = found.life, found.reason
        self._life_due = time.monotonic() + LIFE_SECONDS
        self._reader = opened.reader
        # Last: from here on the state belongs to the event loop.
        self.state = state
        if self._needs_explanation:
            self.worker_log = last_lines(self.run)

    # The present

    async def _look_and_take(self) -> bool:
        changed = False
        while True:
            look = await asyncio.to_thread(self._look)
            if look.batch.restarted:
                self.state = RunState(self.run.name, life=self.state.life)
            _take(self.state, look.batch)
            changed |= bool(look.batch.records or look.batch.damaged or look.samples)
            if look.found is not None and (look.found.life, look.found.reason) != (self.state.life, self.reason):
                self.state.life, self.reason = look.found.life, look.found.reason
                changed = True
            if look.gone != self.gone:
                self.gone = look.gone
                changed = True
            if not look.batch.more:
                break
        if not self._needs_explanation:
            self.worker_log = []
        elif not self.worker_log:
            self.worker_log = await asyncio.to_thread(last_lines, self.run)
        return changed

    def _look(self) -> _Look:
        batch = self._reader.read(LOOK_BYTES)
        gone = not batch.records and not self.run.path.is_dir()
        state, now = self.state, time.monotonic()
        begins = any(isinstance(record.event, events.KeeperStarted) for record in batch.records)
        asked = not state.lifecycle.over and state.life is not Life.DEAD and now >= self._life_due
        # Whoever is thought dead and speaks, lives; asking only then spares a dead run the asking.
        if asked or begins or (batch.records and state.life is Life.DEAD and not state.lifecycle.over):
            self._life_due = now + LIFE_SECONDS
            return _Look(batch, liveness(self.run.path), self.samples.read(), gone)
        return _Look(batch, None, self.samples.read(), gone)

    @property
    def _needs_explanation(self) -> bool:
        return self.state.state in ("failed", "died")


def last_lines(run: RunDirectory) -> list[str]:
    """Return the last lines of what the worker printed; none when there is no such file."""
    try:
        with run.log.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - WORKER_LOG_BYTES))
            said = file.read(WORKER_LOG_BYTES)
    except OSError:
        return []
    lines = said.decode("utf-8", "backslashreplace").split("\n")
    if size > WORKER_LOG_BYTES:
        lines = lines[1:]
    # A progress bar draws itself over and over: what it showed last is what there is to see.
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
    return [line for line in shown if line.strip()][-WORKER_LOG_LINES:]


def _take(state: RunState, batch: Batch) -> None:
    state.damaged += batch.damaged
    for record in batch.records:
        state.apply(record.event, record.time)


def _size(run: RunDirectory) -> int:
    try:
        return run.events.stat().st_size
    except OSError:
        return 0
