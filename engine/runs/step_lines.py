"""What a piece of an event log holds: its steps column by column, everything else record by record.

Most lines are steps of one shape and read as a table; what differs in any way is read as JSON, line by line.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.events import EvaluationFinished, StepFinished
from engine.runs.follow import Record, Unreadable, decode_lines
from engine.runs.history import plausible
from engine.runs.step_table import STEP_MARK, Irregular, Rows, common_shape, read_table


class Other(NamedTuple):
    """A line that is no step."""

    row: int
    """Steps of the same piece that stand before it."""
    record: Record


@dataclass(slots=True)
class Piece:
    """What some whole lines of a log hold."""

    rows: Rows
    others: list[Other] = field(default_factory=list)
    damaged: int = 0
    seq: int = 0
    """The highest."""
    last_step: bytes = b""
    """The last line that reads like a step, empty without any."""


def rows_of(events: Sequence[tuple[float, StepFinished | EvaluationFinished]]) -> Rows:
    """Return the rows of events with their recorded times."""
    names = dict.fromkeys(name for _, event in events for name in event.metrics)
    metrics = {name: _gaps_marked([event.metrics.get(name) for _, event in events]) for name in names}
    return Rows(
        np.array([event.step for _, event in events], np.int64),
        np.array([event.epoch for _, event in events], np.float64),
        np.array([event.num_tokens for _, event in events], np.int64),
        np.array([time for time, _ in events], np.float64),
        metrics,
    )


def _gaps_marked(values: Iterable[float | None]) -> NDArray[np.float32]:
    floats = [math.nan if v is None else v if math.isfinite(v) else math.inf for v in map(_float, values)]
    with np.errstate(over="ignore"):
        return np.array(floats, np.float64).astype(np.float32)


def _float(value: float | None) -> float | None:
    try:
        return None if value is None else float(value)
    except OverflowError:  # an integer of more than 308 digits
        return math.inf


def parse(data: bytes) -> Piece:
    """Return what `data`, whole lines that end with a newline, holds."""
    piece = _parse(data)
    mark = data.rfind(STEP_MARK)
    if mark >= 0:
        piece.last_step = data[data.rfind(b"\n", 0, mark) + 1 : data.find(b"\n", mark)]
    return piece


def _parse(data: bytes) -> Piece:
    shape = common_shape(data)
    if shape is not None:
        with suppress(Irregular):
            return _with_odd_lines(*read_table(data, shape))
    return _with_odd_lines(rows_of([]), 0, list(enumerate(data.split(b"\n")[:-1])))


def _with_odd_lines(rows: Rows, seq: int, odd: Sequence[tuple[int, bytes]]) -> Piece:
    """Return `rows` together with what the numbered lines hold that are not among them."""
    piece = Piece(rows, seq=seq)
    steps: list[tuple[float, StepFinished]] = []
    places: list[int] = []
    for nth, (number, line) in enumerate(odd):
        for record in decode_lines([line]):
            if isinstance(record, Record):
                piece.seq = max(piece.seq, record.seq)
                event = record.event
                if not isinstance(event, StepFinished):
                    piece.others.append(Other(number - nth + len(steps), record))
                elif plausible(event):
                    steps.append((record.time, event))
                    places.append(number - nth)
            elif record is Unreadable.DAMAGED:
                piece.damaged += 1
    if steps:
        piece.rows = _merged(rows, rows_of(steps), places)
    return piece


def _merged(rows: Rows, more: Rows, places: list[int]) -> Rows:
    """Return `rows` with each row of `more` put before the row of `rows` that `places` names."""

    def all_values(name: str) -> NDArray[np.float32]:
        missing = np.full(len(rows) + len(more), np.nan, np.float32)
        ours = rows.metrics.get(name, missing[: len(rows)])
        return np.insert(ours, places, more.metrics.get(name, missing[: len(more)]))

    metrics = {name: all_values(name) for name in dict.fromkeys([*rows.metrics, *more.metrics])}
    return Rows(
        np.insert(rows.step, places, more.step),
        np.insert(rows.epoch, places, more.epoch),
        np.insert(rows.num_tokens, places, more.num_tokens),
        np.insert(rows.time, places, more.time),
        metrics,
    )
