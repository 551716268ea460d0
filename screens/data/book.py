"""One data file, opened: its shape, its pages, what stands on its lines.

For a thread: its methods read. Nothing of the terminal is in here.
"""

from __future__ import annotations

import json
import mmap
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from engine.data.paging import Line, Pages
from engine.data.row import Problem, Row
from engine.errors import DataError, WorkspaceError
from screens.data.columns import Shown
from tui.display import plain

if TYPE_CHECKING:
    from engine.data.shapes import Recognised

FIRST_LINES: Final = 200
"""Read plainly when a file is opened, so that there is something to see before its lines are counted."""
SAMPLED: Final = 1_000
"""Rows, spread over the file, by which its shape is recognised."""
READ_TO: Final = 20_000
"""Lines up to here are reached by reading the file in a few milliseconds."""
_PLACES: Final = 8
_CELL: Final = 300
"""Characters of a text that a column may show."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line, read."""

    line: Line
    row: Row | Problem | None
    """None: the line is blank."""


@dataclass(slots=True)
class Book:
    """A data file that is looked at.

    Args:
        path: The file.
        name: What the user calls it.
        mapping: Column by field, where the user corrected how it is read.
    """

    path: Path
    name: str
    mapping: Mapping[str, str] | None = None
    recognised: Recognised | None = None
    columns: tuple[str, ...] = ()
    """What the first rows have, cleaned."""
    metadata: frozenset[str] = frozenset()
    """What the first rows have in their `metadata`."""
    pages: Pages = field(init=False)
    _numbers: Sequence[int] | None = None
    """Line in the file of each row, where rows are not lines: CSV, and what is compressed. None where they are."""

    def __post_init__(self) -> None:
        self.pages = Pages(self.path)

    @property
    def kind(self) -> str:
        """Of the rows; empty while nothing is recognised."""
        return self.recognised.kind if self.recognised is not None else ""

    def first(self) -> list[Shown]:
        """Return the first lines, and recognise the shape by them.

        Raises:
            EngineError: The file cannot be read.
        """
        lines = self.pages.first(FIRST_LINES)
        records = [record for line in lines if isinstance(record := self._record(line), dict)]
        self.columns = tuple(dict.fromkeys(plain(name, limit=60) for record in records[:20] for name in record))
        inner = [record["metadata"] for record in records[:20] if isinstance(record.get("metadata"), dict)]
        self.metadata = frozenset(name for each in inner for name in each)
        self._recognise(records)
        return [self._shown(Entry(line, self._row(line))) for line in lines]

    def sample(self) -> bool:
        """Recognise the shape by rows spread over the whole file, once its lines are counted; tell whether it changed.

        Raises:
            EngineError: The file cannot be read.
        """
        before, total = self.recognised, self.pages.num_lines or 0
        if total <= FIRST_LINES or self.mapping:
            return False
        each = SAMPLED // _PLACES
        records: list[dict[str, Any]] = []
        for place in range(_PLACES):
            start = 1 + place * max(0, total - each) // max(1, _PLACES - 1)
            for line in self.pages.page(start, each):
                if isinstance(record := self._record(line), dict):
                    records.append(record)
        self._recognise(records)
        after = self.recognised
        return (before and (before.shape, before.columns)) != (after and (after.shape, after.columns))

    def _recognise(self, records: Sequence[Mapping[str, Any]]) -> None:
        from engine.data.shapes import from_mapping, recognise

        if self.mapping:
            try:
                self.recognised = from_mapping(self.mapping)
            except ValueError as error:
                raise DataError(f"The columns cannot be read so: {error}.", remedy="Correct them with c.") from None
        elif records:
            self.recognised = recognise(records)

    def find_numbers(self) -> None:
        """Find out which row stands on which line, where rows are not lines. After `pages.build_index`."""
        if not self.pages.copied:
            return
        from engine.data.row_copy import kept_copy, numbers_path

        copy = kept_copy(self.path)
        if copy is None:
            return
        try:
            with numbers_path(copy).open("rb") as file:
                self._numbers = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)).cast("Q")
        except (OSError, ValueError):  # gone already, or empty: then they are counted as they come
            self._numbers = None

    def row_file(self, number: int, folder: Path) -> tuple[Path, int]:
        """Return a file, and the line in it, where a row is reached by reading that file from its beginning.

        Line 9,000,000 is not: that takes 5 to 20 s. Such a row, and one of a copy, is written to a file of its own.

        Args:
            number: Of the row in the table.
            folder: Where that file may be written.

        Raises:
            EngineError: The row cannot be read.
        """
        if not self.pages.copied and number <= READ_TO:
            return self.path, number
        text = self.pages.whole(number)
        alone = folder / "row.jsonl"
        try:
            made = folder / "row.new"
            made.write_bytes(text + b"\n")
            made.replace(alone)
        except OSError as error:
            raise WorkspaceError(
                f"Row {number:,} could not be written to {folder}: {error.strerror}.", remedy="Make room there."
            ) from error
        return alone, 1

    def lines_file(self) -> Path | None:
        """Return the file whose lines are the rows of the table: itself, or its copy; None before that is made."""
        from engine.data.row_copy import kept_copy

        return kept_copy(self.path) if self.pages.copied else self.path

    def line_of(self, number: int) -> int:
        """Return the line, as the rest of the program counts, of a row of the table."""
        numbers = self._numbers
        return numbers[number - 1] if numbers is not None and 0 < number <= len(numbers) else number

    def number_of(self, line: int) -> int:
        """Return the row of the table that stands on a line, or the next one."""
        return line if self._numbers is None else bisect_left(self._numbers, line) + 1

    def read(self, numbers: Iterable[int]) -> list[Shown]:
        """Return lines in as many words as a table has room for. Those that cannot be reached yet are left out.

        Raises:
            EngineError: The file is gone, or has changed.
        """
        shown: list[Shown] = []
        for _, run in groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0]):
            wanted = [number for _, number in run]
            for line in self.pages.page(wanted[0], len(wanted)):
                shown.append(self._shown(Entry(line, self._row(line))))
        return shown

    def entry(self, number: int) -> Entry | None:
        """Return one line and the row on it; None when it cannot be reached.

        Raises:
            EngineError: As `read`.
        """
        lines = self.pages.page(number, 1)
        return Entry(lines[0], self._row(lines[0])) if lines else None

    def _record(self, line: Line) -> dict[str, Any] | Problem:
        return record_of(line, copied=self.pages.copied)

    def _row(self, line: Line) -> Row | Problem | None:
        if not line.text.strip():
            return None
        record = self._record(line)
        if isinstance(record, Problem):
            return Problem(self.path, line.number, record.reason, record.malformed)
        if self.recognised is None:
            return Problem(self.path, line.number, "no shape is recognised", malformed=False)
        from engine.data.shapes import row_of

        return row_of(record, self.recognised, self.path, line.number)

    def _shown(self, entry: Entry) -> Shown:
        line, row = entry.line, entry.row
        if row is None:
            return Shown(line.number, (), blank=True)
        if isinstance(row, Problem):
            text = line.text[:_CELL].decode("utf-8", "backslashreplace")
            return Shown(line.number, (_cell(text),), problem=_cell(row.reason))
        return Shown(line.number, texts_of(row))


def record_of(line: Line, *, copied: bool = False) -> dict[str, Any] | Problem:
    """Return the object a line holds, or why it holds none.

    Args:
        line: As it was read.
        copied: Whether it is of a copy, in which a text stands for what could not be read.
    """
    from engine.data import jsonl

    if line.truncated:
        size = f"{line.size / 1e6:,.1f} MB" if line.size is not None else "more than 32 MB"
        return Problem(Path(), line.number, f"a line of {size}, too long to be shown here", malformed=False)
    if copied and line.text.startswith(b'"'):
        return Problem(Path(), line.number, str(json.loads(line.text)), malformed=True)
    text = line.text.removeprefix(jsonl.BOM) if line.number == 1 else line.text
    try:
        return jsonl.parse_line(text)
    except jsonl.LineProblem as problem:
        return Problem(Path(), line.number, problem.reason, malformed=True)


def texts_of(row: Row) -> tuple[str, ...]:
    """Return what the columns of the table say of a row, as in `columns.TEXTS`."""
    if row.kind == "tokenised":
        ids = row.input_ids or []
        return f"{len(ids):,}", " ".join(map(str, ids[:60]))
    said = _last(row.completion)
    if row.kind == "text":
        return (said,)
    asked = _last(row.prompt)
    if row.kind == "preference":
        return asked, said, _last(row.rejected)
    if row.kind == "kto":
        return asked, said, {True: "good", False: "bad", None: ""}[row.label]
    return asked, said, _cell(row.dataset_type or row.category or "")


def _last(messages: Sequence[Mapping[str, str]]) -> str:
    return _cell(messages[-1]["content"]) if messages else ""


def _cell(text: str) -> str:
    return plain(text[:_CELL], limit=_CELL)
