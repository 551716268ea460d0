"""The numbers of many `StepFinished` lines at once.

One writer's lines differ in their numbers only. With every `:` made a comma such a line is a row of CSV whose cells
alternate between constants (`"loss"`) and numbers, and pyarrow reads that in 1.2 s of CPU per million lines of 436
bytes. Its JSON reader takes 2.1 s; orjson takes 2.2 s with the extraction and holds the interpreter lock. Nothing
is taken on trust: every constant is compared, and what differs in any way is read as JSON, line by line.

Only the process that builds an index imports this module: it loads numpy and pyarrow.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from engine.events import EvaluationFinished, StepFinished
from engine.runs.follow import Record, Unreadable, decode_lines
from engine.runs.history import plausible

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

STEP_MARK: Final = b'"event":"StepFinished"'
_COMMAS: Final = bytes.maketrans(b":", b",")
_END: Final = b"}}"
_NUMBER: Final = re.compile(rb'\s*(-?\d+(\.\d+)?([eE][-+]?\d+)?|"NaN"|"-?Infinity")\s*')
_NON_FINITE: Final = ("NaN", "Infinity", "-Infinity")
_INTEGERS: Final = frozenset({"seq", "step", "num_tokens"})
_NEEDED: Final = frozenset({"seq", "time", "step", "epoch", "num_tokens"})
_SAMPLES: Final = 9
_WINDOW: Final = 1 << 20
"""Bytes rewritten at a time: small enough for the cache; each window is four hand-overs of the interpreter lock."""


@dataclass(slots=True)
class Rows:
    """Rows of a history, column by column."""

    step: Integers
    epoch: Floats
    num_tokens: Integers
    time: Floats
    """As recorded, Unix seconds."""
    metrics: dict[str, NDArray[np.float32]]
    """NaN: the row does not have it. Infinity: it was recorded and is not finite."""

    def __len__(self) -> int:
        return len(self.step)

    def __getitem__(self, part: slice) -> Rows:
        metrics = {name: values[part] for name, values in self.metrics.items()}
        return Rows(self.step[part], self.epoch[part], self.num_tokens[part], self.time[part], metrics)


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


class _Irregular(Exception):
    """The lines are not all of one shape."""


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
    shape = _common_shape(data)
    if shape is not None:
        with suppress(_Irregular):
            return _with_odd_lines(*_table(data, shape))
    lines = list(enumerate(data.split(b"\n")[:-1]))
    if shape is not None:
        # Perhaps a line that is no step, or is torn, has as many cells as a step.
        steps = [n for n, line in lines if STEP_MARK in line and line.endswith(_END) and line.isascii()]
        with suppress(_Irregular):
            rows, seq, odd = _table(b"".join([lines[n][1] + b"\n" for n in steps]), shape)
            regular = set(steps).difference(steps[number] for number, _ in odd)
            return _with_odd_lines(rows, seq, [numbered for numbered in lines if numbered[0] not in regular])
    return _with_odd_lines(rows_of([]), 0, lines)


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


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the lines of one writer have in common."""

    num_cells: int
    constants: dict[str, bytes]
    """Column to the bytes that every line has in it."""
    numbers: dict[str, str]
    """Column to the name of its number: "step", "metrics.loss"."""


def _common_shape(data: bytes) -> _Shape | None:
    """Return the shape that most of a few steps have; None without steps, or when it is no shape we can use."""
    samples = []
    for sample in range(_SAMPLES):
        mark = data.find(STEP_MARK, len(data) * sample // _SAMPLES)
        if mark >= 0:
            samples.append(data[data.rfind(b"\n", 0, mark) + 1 : data.find(b"\n", mark)])
    if not samples:
        return None
    counts = [sample.count(b":") + sample.count(b",") for sample in samples]
    usual, _ = Counter(counts).most_common(1)[0]
    return _shape(samples[counts.index(usual)])


def _shape(line: bytes) -> _Shape | None:
    try:
        names = list(_number_names(orjson.loads(line)))
    except orjson.JSONDecodeError:
        return None
    if not line.endswith(_END):
        return None
    cells = line.removesuffix(_END).translate(_COMMAS).split(b",")
    places = [place for place, cell in enumerate(cells) if _NUMBER.fullmatch(cell)]
    keys = [cells[place - 1].strip(b" {") for place in places]
    if keys != [orjson.dumps(name.rpartition(".")[2]) for name in names] or not _NEEDED.issubset(names):
        return None
    return _Shape(
        len(cells),
        {f"{place}": cell for place, cell in enumerate(cells) if place not in places},
        {f"{place}": name for place, name in zip(places, names, strict=True)},
    )


def _number_names(record: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _number_names(value, f"{prefix}{key}.")
        elif type(value) in (int, float) or value in _NON_FINITE:
            yield prefix + key


def _table(data: bytes, shape: _Shape) -> tuple[Rows, int, list[tuple[int, bytes]]]:
    """Return the steps of a shape, their highest `seq`, and the lines of another shape with their numbers.

    Raises:
        _Irregular: A line has as many cells as the shape and is not of it, or there is other than ASCII.
    """
    odd: list[int] = []

    def set_aside(row: csv.InvalidRow) -> str:
        odd.append(row.number - 1)
        return "skip"

    types: dict[str, pa.DataType] = {
        column: pa.int64() if name in _INTEGERS else pa.float64() for column, name in shape.numbers.items()
    }
    for column, constant in shape.constants.items():
        types[column] = pa.binary(len(constant))
    if not data.isascii():  # `set_aside` would be handed text, which half a character is not
        raise _Irregular
    text, ends, torn = _as_csv(data)
    try:
        table = csv.read_csv(
            pa.BufferReader(pa.py_buffer(text)),
            csv.ReadOptions(
                use_threads=False,
                block_size=len(text) + 1,
                column_names=[str(place) for place in range(shape.num_cells)],
            ),
            csv.ParseOptions(quote_char=False, invalid_row_handler=set_aside),
            csv.ConvertOptions(
                check_utf8=False,
                column_types=types,
                null_values=[f'"{name}"' for name in _NON_FINITE],
                strings_can_be_null=False,
                include_columns=list(types),
            ),
        )
    except pa.ArrowInvalid as error:
        raise _Irregular from error
    # pyarrow ends a line at \r too, and passes over empty ones: the numbers of the odd lines would be wrong.
    if table.num_rows + len(odd) != len(ends) or not set(torn.tolist()).issubset(odd):
        raise _Irregular
    if not table.num_rows or table.column(0).num_chunks != 1:
        raise _Irregular
    for column, constant in shape.constants.items():
        if not _all_equal(table.column(column), constant):
            raise _Irregular
    starts = [int(ends[number - 1]) + 1 if number else 0 for number in odd]
    return *_rows_of_table(table, shape), [(n, data[start : ends[n]]) for n, start in zip(odd, starts, strict=True)]


def _as_csv(data: bytes) -> tuple[NDArray[np.uint8], NDArray[np.intp], NDArray[np.intp]]:
    """Return `data` with commas for colons and blanks for `}}` at line ends; where lines end; those without `}}`."""
    text = np.frombuffer(bytearray(data), np.uint8)
    for start in range(0, len(text), _WINDOW):
        window = text[start : start + _WINDOW]
        colons = (window == ord(":")).view(np.uint8)
        colons *= ord(":") - ord(",")
        window -= colons
    ends = np.flatnonzero(text == ord("\n"))
    closed = (text[ends - 1] == ord("}")) & (text[ends - 2] == ord("}"))
    text[ends[closed] - 1] = text[ends[closed] - 2] = ord(" ")
    return text, ends, np.flatnonzero(~closed)


def _all_equal(column: pa.ChunkedArray, constant: bytes) -> bool:
    chunk = column.chunk(0)
    return bool(pa.py_buffer(constant * len(chunk)).equals(chunk.buffers()[1]))


def _rows_of_table(table: pa.Table, shape: _Shape) -> tuple[Rows, int]:
    fields: dict[str, NDArray[Any]] = {}
    metrics: dict[str, NDArray[np.float32]] = {}
    for column, name in shape.numbers.items():
        values, missing = _numbers(table.column(column))
        if missing is not None and name in _NEEDED and name != "epoch":
            raise _Irregular
        if name in _NEEDED:
            fields[name] = values if missing is None else np.where(missing, np.nan, values)
        elif name.startswith("metrics."):
            if missing is not None:
                values = np.where(missing, np.inf, values)
            with np.errstate(over="ignore"):
                metrics[name.removeprefix("metrics.")] = values.astype(np.float32)
    if fields["step"].min() < 0 or fields["num_tokens"].min() < 0 or fields["seq"].min() < 1:
        raise _Irregular
    rows = Rows(fields["step"], fields["epoch"], fields["num_tokens"], fields["time"], metrics)
    return rows, int(fields["seq"].max())


def _numbers(column: pa.ChunkedArray) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return a column's numbers and which of them are nulls, None without any.

    `ChunkedArray.to_numpy` does that too, and imports pandas for it: half a second of CPU.
    """
    chunk = column.chunk(0)
    bitmap, numbers = chunk.buffers()
    values = np.frombuffer(numbers, np.int64 if pa.types.is_integer(chunk.type) else np.float64, len(chunk))
    if not chunk.null_count:
        return values, None
    return values, np.unpackbits(np.frombuffer(bitmap, np.uint8), count=len(chunk), bitorder="little") == 0
