"""Records of tables: CSV and TSV by the standard library, Parquet and Arrow by pyarrow."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from engine.data.jsonl import MAX_LINE_BYTES, lines
from engine.errors import DataError

_BATCH_BYTES = 8 << 20
_BATCH_ROWS = 1_024
_SEPARATORS = ",;\t|"

csv.field_size_limit(MAX_LINE_BYTES)


def csv_records(file: BinaryIO, path: str, *, separator: str | None) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield the line each row begins on, and the row or what is wrong with it.

    Args:
        file: UTF-8 with a header.
        path: For messages.
        separator: None finds it in the header: the commonest of comma, semicolon, tab and bar.

    Raises:
        DataError: There is no header that could name columns.
    """
    text = _Lines(file)
    header_line = next(iter(text), "")
    if not header_line.strip():
        return
    if separator is None:
        separator = max(_SEPARATORS, key=header_line.count)
    text.again(header_line)
    reader = csv.reader(text, delimiter=separator, strict=True)
    try:
        header = [name.strip() for name in next(reader)]
    except (csv.Error, StopIteration) as error:
        raise DataError(f"{path} has no header that can be read: {error}.", remedy="Correct its first line.") from None
    if text.fault:
        raise DataError(
            f"{path}: the header is not UTF-8 text.", remedy="Convert it, for example with `iconv -f LATIN1 -t UTF-8`."
        )
    if not all(header) or len(set(header)) < len(header):
        doubled = next((name for name in header if name and header.count(name) > 1), None)
        what = f"two columns are called {doubled[:60]!r}" if doubled else "a column has no name"
        raise DataError(f"{path}: {what} in its first line.", remedy="Name every column once, in the first line.")
    while True:
        line = text.number + 1
        text.fault = ""
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, _csv_reason(str(error), line, text.number)
            continue
        if text.fault:
            yield line, text.fault
        elif not values:
            continue  # a blank line
        elif len(values) != len(header):
            yield line, f"{_count(len(values), 'value')} where the header has {_count(len(header), 'column')}"
        else:
            yield line, dict(zip(header, values, strict=True))


def parquet_records(path: Path, *, start: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file from row `start` on, 0 the first; groups of rows before it are not read.

    Raises:
        DataError: It is damaged.
    """
    import pyarrow as pa  # deferred: 130 ms, and the console must not import it
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            metadata = file.metadata
            groups: list[int] = []
            skip = start
            for group in range(metadata.num_row_groups):
                size = metadata.row_group(group).num_rows
                if not groups and skip >= size:
                    skip -= size
                    continue
                groups.append(group)
            if not groups:
                return
            total = sum(metadata.row_group(group).total_byte_size for group in groups)
            held = sum(metadata.row_group(group).num_rows for group in groups)
            size = max(1, min(_BATCH_ROWS, _BATCH_BYTES * held // max(1, total)))
            for batch in file.iter_batches(batch_size=size, row_groups=groups):
                if skip >= batch.num_rows:
                    skip -= batch.num_rows
                    continue
                yield from batch.slice(skip).to_pylist()
                skip = 0
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, "Parquet", error) from None


def arrow_records(path: Path, *, start: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the rows of an Arrow file or stream, as the datasets library keeps them, from row `start` on.

    Raises:
        DataError: It is damaged.
    """
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source:
            for batch in _arrow_batches(source):
                if start >= batch.num_rows:
                    start -= batch.num_rows
                    continue
                size = max(1, min(_BATCH_ROWS, _BATCH_BYTES * batch.num_rows // max(1, batch.nbytes)))
                for offset in range(start, batch.num_rows, size):
                    yield from batch.slice(offset, size).to_pylist()
                start = 0
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, "Arrow", error) from None


def num_rows(path: Path, *, arrow: bool) -> int:
    """Return how many rows a Parquet or Arrow file has, without reading them.

    Raises:
        DataError: It is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if not arrow:
            return int(pq.read_metadata(path).num_rows)
        with pa.memory_map(str(path)) as source:
            return sum(batch.num_rows for batch in _arrow_batches(source))
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, "Arrow" if arrow else "Parquet", error) from None


def _arrow_batches(source: Any) -> Iterator[Any]:
    import pyarrow as pa

    try:
        file = pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        yield from pa.ipc.open_stream(source)
        return
    for index in range(file.num_record_batches):
        yield file.get_batch(index)


def _damaged(path: Path, kind: str, error: Exception) -> DataError:
    from engine.data.files import shown

    first = str(error).strip().splitlines()[0][:160].rstrip(".") if str(error).strip() else type(error).__name__
    return DataError(
        f"{shown(path)} is a damaged {kind} file, such as one whose end is missing: {first}.",
        remedy="Download or write it again.",
    )


class _Lines:
    """The lines of a file as text, with their number, and what is wrong with one."""

    def __init__(self, file: BinaryIO) -> None:
        self.number = 0
        self.fault = ""
        """What is wrong with the first unreadable line since this was emptied."""
        self._lines = lines(file)
        self._again: list[str] = []

    def again(self, line: str) -> None:
        """Give a line once more."""
        self._again.append(line)
        self.number -= 1

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        self.number += 1
        if self._again:
            return self._again.pop()
        try:
            line = next(self._lines)
        except StopIteration:
            self.number -= 1
            raise
        if len(line) >= MAX_LINE_BYTES:
            self.fault = self.fault or f"longer than {MAX_LINE_BYTES >> 20} MB"
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError:
            self.fault = self.fault or f"line {self.number} of the file is not UTF-8"
            return line.decode("utf-8", errors="replace")


def _csv_reason(message: str, first: int, last: int) -> str:
    if "unexpected end of data" in message or "field larger" in message:
        lost = f"; the {_count(last - first, 'line')} after it cannot be read" if last > first else ""
        return f"a quotation mark that is never closed{lost}"
    if "expected after" in message:
        at = f" (line {last})" if last != first else ""
        return f'text follows a closing quotation mark{at}; inside of quotes it is written ""'
    return message


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number != 1 else "")
