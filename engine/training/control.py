"""What the worker hears: commands since its start, and SIGTERM."""

from __future__ import annotations

import json
import signal
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import commands, events
from engine.commands import Command, Stop
from engine.training.orders import StopBeforeTraining, StopNow
from engine.training.ranks import Ranks
from engine.training.reporter import Reporter

_MAX_READ_BYTES = 1 << 20


@dataclass(slots=True)
class Heard:
    """One line of the command journal."""

    id: str
    command: Command | str
    """A sentence when the line holds no command."""
    name: str
    record: dict[str, Any] = field(default_factory=dict)
    """As it was written: what other processes of the run are told."""


@dataclass(slots=True)
class CommandReader:
    """Reads what was appended to `commands.jsonl`. Nothing new costs one `stat`, 2 microseconds."""

    path: Path
    offset: int = 0
    """Bytes read. The worker begins where the journal ended when its keeper started."""

    def read(self) -> list[Heard]:
        """Return the commands since the last call; a torn last line waits for its end."""
        try:
            if self.path.stat().st_size <= self.offset:
                return []
            with self.path.open("rb") as file:
                file.seek(self.offset)
                said = file.read(_MAX_READ_BYTES)
        except OSError:
            return []
        whole, newline, _ = said.rpartition(b"\n")
        if not newline:
            if len(said) == _MAX_READ_BYTES:
                self.offset += len(said)  # a megabyte without an end is nothing we wrote
            return []
        self.offset += len(whole) + 1
        return [heard for line in whole.split(b"\n") if (heard := _parse(line)) is not None]


@dataclass(slots=True)
class Control:
    """Turns commands into a state the trainer looks at, and confirms each."""

    reader: CommandReader
    reporter: Reporter
    ranks: Ranks = field(default_factory=Ranks)
    """Of several processes the first hears, and tells the others wherever all hear."""
    paused: bool = False
    stop: Stop | None = None
    save: list[Heard] = field(default_factory=list)
    """Requests to save that have not been carried out."""
    rates: list[tuple[Heard, float]] = field(default_factory=list)
    """Learning rates to set that have not been set."""
    early_stopping: list[tuple[Heard, bool]] = field(default_factory=list)
    """Whether early stopping is to be armed, as it was asked for and not yet done."""
    terminated: bool = False
    """SIGTERM came: save and stop."""
    _noted: list[Heard] = field(default_factory=list)
    """Read while no answer could be written."""
    _untold: list[Heard] = field(default_factory=list)
    """Taken by the first of several processes while it worked alone."""

    def install(self) -> None:
        """Take SIGTERM as "save and stop", and do not mind a lost terminal."""
        signal.signal(signal.SIGTERM, self._terminate)
        signal.pthread_sigmask(
            signal.SIG_UNBLOCK, {signal.SIGTERM}
        )  # one stage's process leaves it blocked for the next
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def hear(self, step: int) -> None:
        """Read commands and change the state. Raises `StopNow` when told to stop without saving.

        So it does when the run's folder was deleted: nothing could be saved, and nobody could say stop. With several
        processes all hear the same at the same place, but for what the first does alone.
        """
        unheard, new = self.reporter.unheard, self._new()
        if self.ranks.several:
            unheard, new = self._told(unheard, new)
        elif self.ranks.alone_now:
            self._untold += new
        if unheard:
            print(f"The run's folder was deleted; ending at step {step}.", file=sys.stderr, flush=True)
            raise StopNow
        for heard in new:
            self._take(heard, step)
        if self.terminated and self.stop is None:
            self.stop = Stop(save=True)
            self.reporter.warn("terminated", f"The worker was asked to end by the system at step {step}; saving.")
        if self.stop == Stop(save=False):
            raise StopNow

    def _told(self, unheard: bool, new: list[Heard]) -> tuple[bool, list[Heard]]:
        """Return what the first process has heard; what it took while it was alone is new to the others only."""
        told: dict[str, Any] | None = None
        if self.ranks.first and (unheard or self.terminated or self._untold or new):
            records = [heard.record for heard in (*self._untold, *new)]
            told = {"unheard": unheard, "terminated": self.terminated, "records": records, "offset": self.reader.offset}
        told = self.ranks.same(told)
        self._untold = []
        if self.ranks.first:
            return unheard, new
        if told is None:
            self.terminated = False  # the launcher tells all; the first one's counts, so that all stop at one step
            return False, []
        self.terminated, self.reader.offset = told["terminated"], told["offset"]
        return told["unheard"], [_heard(record) for record in told["records"]]

    def hear_while_waiting(self) -> None:
        """Note commands that cannot be answered yet. Raises `StopNow` when told to stop at once, or by the system."""
        self._noted += self.reader.read()
        if self.terminated or any(heard.command == Stop(save=False) for heard in self._noted):
            raise StopNow

    def hear_before_training(self, step: int) -> None:
        """Hear commands while there is nothing to save. Raises `StopBeforeTraining` when told to stop."""
        self.hear(step)
        if self.stop is not None:
            raise StopBeforeTraining

    def refuse_the_rest(self) -> None:
        """Confirm what was asked for and can no longer be done, because the run is about to end."""
        waiting = [*self.save, *(heard for heard, _ in self.rates), *(heard for heard, _ in self.early_stopping)]
        self.save.clear()
        self.early_stopping.clear()
        self.rates.clear()
        for heard in [*waiting, *self._new()]:
            self.confirm(heard, "the run has ended", accepted=False)

    def confirm(self, heard: Heard, detail: str, *, accepted: bool = True) -> None:
        """Say what became of a command."""
        self.reporter.say(events.CommandConfirmed(heard.id, heard.name, accepted, detail, "worker"))

    def _new(self) -> list[Heard]:
        noted, self._noted = self._noted, []
        return [*noted, *self.reader.read()]

    def _take(self, heard: Heard, step: int) -> None:
        command = heard.command
        if isinstance(command, str):
            self.confirm(heard, command, accepted=False)
        elif isinstance(command, commands.Stop):
            if self.stop is not None and (self.stop == command or command.save):
                self.confirm(heard, "already stopping")
                return
            self.stop = command
            self.confirm(heard, f"stopping after step {step}" + ("" if command.save else " without saving"))
        elif isinstance(command, commands.Pause):
            self.confirm(heard, "already paused" if self.paused else f"pausing after step {step}")
            self.paused = True
        elif isinstance(command, commands.Unpause):
            self.confirm(heard, "going on" if self.paused else "was not paused", accepted=self.paused)
            self.paused = False
        elif isinstance(command, commands.SaveCheckpoint):
            self.save.append(heard)
        elif isinstance(command, commands.SetLearningRate):
            self.rates.append((heard, command.learning_rate))
        elif isinstance(command, commands.SetEarlyStopping):
            self.early_stopping.append((heard, command.armed))

    def _terminate(self, _signal: int, _frame: types.FrameType | None) -> None:
        self.terminated = True


def _parse(line: bytes) -> Heard | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return _heard(record) if isinstance(record, dict) else None


def _heard(record: dict[str, Any]) -> Heard:
    identity, name = str(record.get("id", ""))[:64], str(record.get("command", ""))[:64]
    return Heard(identity, commands.from_json(record), name, record)
