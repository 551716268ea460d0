"""Any page of a data file, of any size: the first at once, the others when its lines have been counted.

JSON lines are read where they stand. Other formats have no lines: their records are written as JSON lines into the
user's cache, once, and read from there (`row_copy`). Nothing of either is kept in memory.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from engine.data.data_worker import Cancelled, Progress, never, silent
from engine.data.line_index import LineIndex, build_index, open_data
from engine.data.row_copy import copy_of, first_records, is_copied, numbers_path
from engine.errors import DataError, NotFound

SHOWN_BYTES: Final = 1 << 16
"""Of a line; what a page holds is then bounded whatever the file holds."""
_CHUNK: Final = 1 << 18
_PLAIN_BYTES: Final = 32 << 20
"""How far a page is looked for without an index: 10 ms."""
_WHOLE_BYTES: Final = 64 << 20
"""The longest line that training reads."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file, or one record of a file without lines."""

    number: int
    """1 is the first."""
    text: bytes
    """Without its end, and without a byte order mark; at most `SHOWN_BYTES`."""
    truncated: bool
    """Whether `text` is only its beginning."""
    size: int | None
    """In bytes, without its end. None when its end was not looked for."""


class Pages:
    """Pages of one file. Methods may be called from any thread.

    Args:
        path: JSON lines, or any format that `engine.data.files` reads.

    Raises:
        NotFound: There is no such file.
        DataError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.copied = is_copied(path)
        """Whether the file has no lines of its own, so that a copy that has them is read."""
        self._index: LineIndex | None = None
        self._text: Path | None = None if self.copied else path
        open_data(path).close()

    @property
    def num_lines(self) -> int | None:
        """How many lines or records there are; None before `build_index` is done."""
        return None if self._index is None else self._index.num_lines

    def first(self, count: int) -> list[Line]:
        """Return the first lines by plain reading, without an index. Not for the event loop where `copied`: 0.3 s."""
        if self._text is None:
            return [_line(number, text) for number, text in enumerate(first_records(self.path, count), start=1)]
        return self._plainly(self._text, 1, count)

    def page(self, start: int, count: int) -> list[Line]:
        """Return up to `count` lines from line `start` on.

        Args:
            start: 1 is the first line of the file.
            count: How many; fewer are returned at the end of the file. Before `build_index` is done, also where they
                lie behind the file's first 32 MB.

        Raises:
            NotFound: The file is gone.
            DataError: It was changed since it was indexed.
        """
        if self._text is None:
            return self.first(start + count - 1)[start - 1 :]
        index = self._index
        if index is None:
            return self._plainly(self._text, start, count)
        with open_data(self._text) as file:
            if os.fstat(file.fileno()).st_size < index.size:
                raise _shorter(self.path)
            return list(_indexed(file.fileno(), index, start, count))

    def whole(self, number: int) -> bytes:
        """Return a line without its end. Of one over 64 MB, only as much.

        Raises:
            NotFound: There is no such line, or it is not indexed yet.
            DataError: The file was changed.
        """
        lines = self.page(number, 1)
        if not lines:
            known = "it has not been counted yet" if self.num_lines is None else f"it has {self.num_lines:,} lines"
            raise NotFound(f"{self.path} has no line {number:,}: {known}.", remedy="Choose another line.")
        if not lines[0].truncated or self._text is None:
            return lines[0].text
        with open_data(self._text) as file:
            begin = self._index.offset(file.fileno(), number) if self._index is not None else None
            if begin is None:
                begin = _plain_offset(file.fileno(), number)
            size = lines[0].size if lines[0].size is not None else _WHOLE_BYTES
            return _without_mark(number, os.pread(file.fileno(), min(size, _WHOLE_BYTES), begin))

    def build_index(self, progress: Progress = silent, cancelled: Cancelled = never) -> None:
        """Count the lines, in the background: for a thread. Returns at once where that is remembered.

        Raises:
            WorkCancelled: `cancelled` returned True. What was known stays known.
            EngineError: The file cannot be read, or, without lines of its own, not be copied.
        """
        text = self._text
        if text is None:
            text = copy_of(self.path, progress, cancelled)
        index = build_index(text, progress, cancelled)
        self._index, self._text = index, text

    def line_in_file(self, number: int) -> int:
        """Return where a line of a page is in the file itself, as `engine.data.files.Record.line` counts.

        The same number, but for CSV with blank lines or with line breaks inside of a value. Needs the index there.
        """
        return self._numbers(number - 1, 1)[0] if self.copied and self._text is not None else number

    def number_at(self, line: int) -> int:
        """Return the number, in pages, of the record that is at `line` of the file, or else of the one before it."""
        if not self.copied or self._text is None:
            return line
        low, high = 0, self.num_lines or 0
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self._numbers(middle, 1)[0] <= line else (low, middle)
        return max(1, low)

    def _numbers(self, start: int, count: int) -> array[int]:
        assert self._text is not None
        with open_data(numbers_path(self._text)) as file:
            return array("Q", os.pread(file.fileno(), 8 * count, 8 * start)) or array("Q", [start + 1])

    def _plainly(self, path: Path, start: int, count: int) -> list[Line]:
        with open_data(path) as file:
            lines = _plain(file.fileno(), start + count - 1)
            return [line for line in lines if line.number >= start]


def _line(number: int, text: bytes, size: int | None = None) -> Line:
    length = len(text) if size is None else size
    return Line(number, _without_mark(number, text[:SHOWN_BYTES]), length > SHOWN_BYTES, length)


def _without_mark(number: int, text: bytes) -> bytes:
    """Return a line without the byte order mark that a first line may begin with."""
    return text.removeprefix(b"\xef\xbb\xbf") if number == 1 else text


def _shorter(path: Path) -> Exception:
    return DataError(f"{path} is shorter than when it was opened.", remedy="Open it again.")


def _separator(file: int) -> bytes:
    """Return what ends the lines: `\\r` only in a file whose first 64 kB have no `\\n` and that is small."""
    head = os.pread(file, SHOWN_BYTES, 0)
    if b"\n" in head or b"\r" not in head.rstrip() or os.fstat(file).st_size > _WHOLE_BYTES:
        return b"\n"
    return b"\n" if _plain_find(file, b"\n", 0, _WHOLE_BYTES) is not None else b"\r"


def _plain_find(file: int, separator: bytes, start: int, limit: int) -> int | None:
    """Return the position of the first separator from `start` on, None when there is none within `limit` bytes."""
    position = start
    while position < start + limit:
        data = os.pread(file, _CHUNK, position)
        if not data:
            return None
        found = data.find(separator)
        if found >= 0:
            return position + found
        position += len(data)
    return None


def _plain_offset(file: int, number: int) -> int:
    separator, position = _separator(file), 0
    for _ in range(number - 1):
        found = _plain_find(file, separator, position, _PLAIN_BYTES)
        position = position if found is None else found + 1
    return position


def _plain(file: int, last: int) -> Iterator[Line]:
    """Yield the lines up to number `last` from the beginning, as far as they end within the first 32 MB."""
    separator, size = _separator(file), os.fstat(file).st_size
    position, number, data, base = 0, 1, b"", 0
    while number <= last and position < size and position < _PLAIN_BYTES:
        end = data.find(separator, position - base)
        if end >= 0:
            yield _line(number, data[position - base : end])
            position, number = base + end + 1, number + 1
            continue
        base, data = position, os.pread(file, _CHUNK, position)
        if separator in data:
            continue
        far = _plain_find(file, separator, position, _PLAIN_BYTES)
        if far is None:
            ends_here = size - position <= _PLAIN_BYTES
            line = _line(number, data[:SHOWN_BYTES], size - position)
            yield line if ends_here else replace(line, size=None)
            return
        yield _line(number, data[:SHOWN_BYTES], far - position)
        position, number = far + 1, number + 1


def _indexed(file: int, index: LineIndex, start: int, count: int) -> Iterator[Line]:
    """Yield lines by the index. A line that is longer than a chunk is jumped over, not read."""
    start = max(1, start)
    stop = min(start + count, index.num_lines + 1)
    if start >= stop:
        return
    position, data, base = index.offset(file, start), b"", 0
    for number in range(start, stop):
        end = data.find(index.separator, position - base)
        if end < 0:
            base, data = position, os.pread(file, _CHUNK, position)
            end = data.find(index.separator)
        if end >= 0:
            yield _line(number, data[position - base : end])
            position = base + end + 1
            continue
        following = index.offset(file, number + 1)
        closed = number < index.num_lines or os.pread(file, 1, index.size - 1) == index.separator
        yield _line(number, data[:SHOWN_BYTES], following - closed - position)
        position = following
