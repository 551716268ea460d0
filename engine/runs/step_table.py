"""Many `StepFinished` lines of one shape, read as one table.

One writer's lines differ in their numbers only. With every `:` made a comma such a line is a row of CSV whose cells
alternate between constants (`"loss"`) and numbers, and pyarrow reads that in 1.2 s of CPU per million lines of 436
bytes. Its JSON reader takes 2.1 s; orjson takes 2.2 s with the extraction and holds the interpreter lock. Nothing
is taken on trust: every constant is compared.

Only the process that builds an index imports this module: it loads numpy and pyarrow.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

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
_MARK_MOVES: Final = tuple(sorted(range(-7, 8), key=abs))
"""How far `STEP_MARK` stands from where a sample has it: numbers before it gain and lose digits."""
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


class Table(NamedTuple):
    """What `read_table` found."""

    rows: Rows
    seq: int
    """The highest of the rows."""
    odd: list[tuple[int, bytes]]
    """The other lines, with their numbers in the text; 0 is the first."""


class Irregular(Exception):
    """The lines cannot be read as a table: some line looks like the others and is not."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the lines of one writer have in common."""

    num_cells: int
    constants: dict[str, bytes]
    """Column to the bytes that every line has in it."""
    numbers: dict[str, str]
    """Column to the name of its number: "step", "metrics.loss"."""
    mark: int
    """Where the sample has its `STEP_MARK`."""


def common_shape(data: bytes) -> Shape | None:
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


def _shape(line: bytes) -> Shape | None:
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
    return Shape(
        len(cells),
        {f"{place}": cell for place, cell in enumerate(cells) if place not in places},
        {f"{place}": name for place, name in zip(places, names, strict=True)},
        line.find(STEP_MARK),
    )


def _number_names(record: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _number_names(value, f"{prefix}{key}.")
        elif type(value) in (int, float) or value in _NON_FINITE:
            yield prefix + key


def read_table(data: bytes, shape: Shape) -> Table:
    """Return the steps of a shape, and the lines that are something else.

    Args:
        data: Whole lines that end with a newline.
        shape: Of most of them.

    Raises:
        Irregular: Read them one by one.
    """
    text = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(text == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1])
    regular = _look_regular(data, starts, ends, shape)
    aside = np.flatnonzero(~regular).tolist()
    kept = np.flatnonzero(regular)
    table, more = _read_csv(_as_csv(_without(data, starts, ends, aside), ends[kept] - starts[kept] + 1), shape)
    # pyarrow ends a line at \r too: the numbers it gives would be wrong.
    if table.num_rows + len(more) != len(kept) or not table.num_rows or table.column(0).num_chunks != 1:
        raise Irregular
    for column, constant in shape.constants.items():
        if not _all_equal(table.column(column), constant):
            raise Irregular
    odd = sorted([*aside, *kept[more].tolist()])
    return Table(*_rows_of_table(table, shape), [(number, data[starts[number] : ends[number]]) for number in odd])


def _look_regular(data: bytes, starts: NDArray[np.intp], ends: NDArray[np.intp], shape: Shape) -> NDArray[np.bool_]:
    """Return which lines end as steps do, have a `STEP_MARK` near where the sample has it, and are ASCII."""
    text = np.frombuffer(data, np.uint8)
    num_words = len(data) - 7
    if num_words <= 0:
        raise Irregular
    words = np.ndarray((num_words,), np.uint64, data, strides=(1,))  # the 8 bytes at every offset
    inside = STEP_MARK.index(b'"StepFin')  # 8 bytes that no other event has
    mark = np.frombuffer(STEP_MARK, np.uint64, 1, inside)[0]
    marked = np.zeros(len(ends), np.bool_)
    for move in _MARK_MOVES:
        others = np.flatnonzero(~marked)
        if not len(others):
            break
        places = np.clip(starts[others] + (shape.mark + inside + move), 0, num_words - 1)
        marked[others] = words[places] == mark
    marked &= (text[ends - 1] == ord("}")) & (text[ends - 2] == ord("}"))
    if not data.isascii():  # `_read_csv` hands odd lines on as text, which half a character is not
        marked[np.searchsorted(ends, np.flatnonzero(text >= 0x80))] = False
    return marked


def _without(data: bytes, starts: NDArray[np.intp], ends: NDArray[np.intp], lines: list[int]) -> bytearray:
    """Return a copy of `data` without some lines."""
    if not lines:
        return bytearray(data)
    begins = [0, *(ends[lines] + 1).tolist()]
    return bytearray(b"").join(
        [data[begin:end] for begin, end in zip(begins, [*starts[lines].tolist(), len(data)], strict=True)]
    )


def _as_csv(data: bytearray, lengths: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Make, in place, commas of the colons and blanks of the `}}` that ends every line.

    Args:
        data: Lines.
        lengths: Bytes of each line, its newline included.
    """
    text = np.frombuffer(data, np.uint8)
    for start in range(0, len(text), _WINDOW):
        window = text[start : start + _WINDOW]
        colons = (window == ord(":")).view(np.uint8)
        colons *= ord(":") - ord(",")
        window -= colons
    ends = np.cumsum(lengths)
    text[ends - 2] = text[ends - 3] = ord(" ")
    return text


def _read_csv(text: NDArray[np.uint8], shape: Shape) -> tuple[pa.Table, list[int]]:
    """Return the table, and the numbers of the lines that have more or fewer cells."""
    odd: list[int] = []

    def set_aside(row: csv.InvalidRow) -> str:
        odd.append(row.number - 1)
        return "skip"

    types: dict[str, pa.DataType] = {
        column: pa.int64() if name in _INTEGERS else pa.float64() for column, name in shape.numbers.items()
    }
    types |= {column: pa.binary(len(constant)) for column, constant in shape.constants.items()}
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
        raise Irregular from error
    return table, odd


def _all_equal(column: pa.ChunkedArray, constant: bytes) -> bool:
    chunk = column.chunk(0)
    return bool(pa.py_buffer(constant * len(chunk)).equals(chunk.buffers()[1]))


def _rows_of_table(table: pa.Table, shape: Shape) -> tuple[Rows, int]:
    fields: dict[str, NDArray[Any]] = {}
    metrics: dict[str, NDArray[np.float32]] = {}
    for column, name in shape.numbers.items():
        values, missing = _numbers(table.column(column))
        if missing is not None and name in _NEEDED and name != "epoch":
            raise Irregular
        if name in _NEEDED:
            fields[name] = values if missing is None else np.where(missing, np.nan, values)
        elif name.startswith("metrics."):
            if missing is not None:
                values = np.where(missing, np.inf, values)
            with np.errstate(over="ignore"):
                metrics[name.removeprefix("metrics.")] = values.astype(np.float32)
    if fields["step"].min() < 0 or fields["num_tokens"].min() < 0 or fields["seq"].min() < 1:
        raise Irregular
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
