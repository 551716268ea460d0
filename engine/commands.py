"""What a run can be told. Anyone may append to `commands.jsonl`; the worker polls it at every step boundary.

Each line: `id` (unique), `time` (Unix seconds), `by` (who, for people), `command` (the class name), the fields.
Every command is confirmed by a `CommandConfirmed` event, accepted or not.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Command:
    """The base of all commands."""


@dataclass(frozen=True, slots=True)
class Pause(Command):
    """Take no further step; keep everything in memory."""


@dataclass(frozen=True, slots=True)
class Unpause(Command):
    """Go on after a pause."""


@dataclass(frozen=True, slots=True)
class SaveCheckpoint(Command):
    """Write a checkpoint after the current step and go on."""


@dataclass(frozen=True, slots=True)
class Stop(Command):
    """End the run."""

    save: bool = True
    """True: write a checkpoint from which `resume` goes on. False: end at once; what was not saved is lost,
    and a worker that does not obey is killed by the keeper."""


@dataclass(frozen=True, slots=True)
class SetLearningRate(Command):
    """Make `learning_rate` the new peak of the schedule, from the next step on.

    The schedule keeps its shape: with a constant schedule it is the rate itself.
    """

    learning_rate: float
    """Above 0."""


@dataclass(frozen=True, slots=True)
class SetEarlyStopping(Command):
    """Let early stopping end the run, or no longer. What it watches is in the run's settings."""

    armed: bool


COMMANDS: Mapping[str, type[Command]] = {
    cls.__name__: cls for cls in (Pause, Unpause, SaveCheckpoint, Stop, SetLearningRate, SetEarlyStopping)
}


def to_json(command: Command) -> dict[str, Any]:
    """Return the command's fields and its name, without the journal's own keys."""
    return {"command": type(command).__name__, **asdict(command)}


def from_json(record: Mapping[str, Any]) -> Command | str:
    """Return the command a line holds, or a sentence that says why it is none."""
    name = record.get("command")
    cls = COMMANDS.get(name) if isinstance(name, str) else None
    if cls is None:
        return f"Unknown command {_shown(name)}."
    values = {f.name: record[f.name] for f in fields(cls) if f.name in record}
    if cls is SetLearningRate:
        rate = _finite(values.get("learning_rate"))
        if rate is None or rate <= 0:
            return f"learning_rate must be a number above 0, not {_shown(values.get('learning_rate'))}."
        return SetLearningRate(rate)
    if cls is SetEarlyStopping:
        armed = values.get("armed")
        return SetEarlyStopping(armed) if isinstance(armed, bool) else (
            f"armed must be true or false, not {_shown(armed)}."
        )  # fmt: skip
    if cls is Stop:
        save = values.get("save", True)
        return Stop(save) if isinstance(save, bool) else f"save must be true or false, not {_shown(save)}."
    return cls()


def _finite(value: object) -> float | None:
    """Return a JSON value as a finite float; None when it is none, or an integer that no float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _shown(value: object) -> str:
    """Return a value as it may stand in a sentence of the event log: anyone can write a megabyte, or depth, here."""
    return reprlib.repr(value)[:80]
