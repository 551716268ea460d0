"""Data files of every format as records, and where they are: a file, a folder with splits, or a data set by name.

What a file is, is told by its content first and by its name second. Nothing is held whole but one record, or for
Parquet and Arrow some megabytes of rows.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, TypeAlias, cast

from engine.data import jsonl, tables
from engine.data.row import Problem
from engine.errors import DataError, NotFound
from engine.workspace import named_path

Format: TypeAlias = Literal["jsonl", "json", "csv", "tsv", "parquet", "arrow"]
Compression: TypeAlias = Literal["", "gz", "zst"]

_PEEKED = 1 << 16
_SAMPLED_FROM = 20_000
"""Of files that can only be read from their beginning, the sample is taken from so many rows."""
ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")


class Record(NamedTuple):
    """What a file holds at one place, before anything is made of it."""

    line: int
    """1 is the first. See `counts_lines`."""
    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows are."""

    name: str
    """As it was asked for."""
    format: Format
    """Of the first file."""
    files: dict[str, Path]
    """The first file of each split: "train", "validation", "test". A single file is "train"."""
    parts: dict[str, tuple[Path, ...]]
    """All files of each split, in order."""


def open_source(name: str | Path) -> Source:
    """Find what a path or the name of a data set stands for.

    Args:
        name: A file; a folder with train, valid, val or test in its files' names; or a data set of the Hub as
            `org/name`, which is looked for in the Hub's cache on this machine.

    Raises:
        NotFound: There is none.
        DataError: A folder without data files, or a file that holds no rows.
    """
    from engine.data.places import dataset_folder, split_files

    path = named_path(name)
    if path.is_dir():
        parts = split_files(path)
        if not parts:
            raise DataError(
                f"The folder {shown(path)} holds no data file.",
                remedy=f"Name a folder with files that end in {', '.join(ENDINGS)}, or with .gz or .zst after it.",
            )
    elif path.exists():
        parts = {"train": (path,)}
    elif (folder := dataset_folder(str(name))) is not None:
        parts = split_files(folder)
        if not parts:
            raise DataError(
                f"The cache of {str(name)[:200]!r} in {shown(folder)} holds no data file.",
                remedy="Download it again.",
            )
    else:
        raise _not_found(path, str(name))
    files = {split: found[0] for split, found in parts.items()}
    return Source(str(name), format_of(next(iter(files.values()))), files, parts)


def format_of(path: Path) -> Format:
    """Return what a file is.

    Raises:
        NotFound: There is no such file.
        DataError: It cannot be read, or it holds no rows: a folder, a web page, a git-lfs pointer ...
    """
    return _look(path)[0]


def counts_lines(path: Path) -> bool:
    """Whether `Record.line` is a line of the file; else it is a row, the first being 1."""
    return format_of(path) in ("jsonl", "csv", "tsv")


def records(path: Path, *, start: int = 0, limit: int | None = None) -> Iterator[Record | Problem]:
    """Yield what a file holds, or why it cannot be read there; blank lines are neither.

    Args:
        path: The file.
        start: Pass over so many first.
        limit: Stop after so many.

    Raises:
        NotFound: There is no such file.
        DataError: It cannot be read, or is damaged so that nothing in it can be told apart.
    """
    kind, compression = _look(path)
    with _plain_errors(path):
        if kind in ("parquet", "arrow"):
            read = tables.parquet_records if kind == "parquet" else tables.arrow_records
            rows: Iterator[Record | Problem] = (
                Record(number, value) for number, value in enumerate(read(path, start=start), start=start + 1)
            )
            yield from islice(rows, limit)
            return
        with _opened(path, compression) as file:
            yield from islice(_of_text(path, file, kind), start, None if limit is None else start + limit)


def read_record(path: Path, line: int) -> dict[str, Any] | Problem:
    """Return the record at a line, as it stands in the file.

    Args:
        path: The file.
        line: As `Record.line` counts.

    Raises:
        NotFound: There is nothing at this line, or no such file.
        DataError: The file cannot be read.
    """
    kind, compression = _look(path)
    if kind == "jsonl":
        with _plain_errors(path), _opened(path, compression) as file:
            for text in islice(jsonl.lines(file), max(0, line - 1), max(0, line)):
                if text.strip():
                    try:
                        return jsonl.parse_line(text)
                    except jsonl.LineProblem as problem:
                        return Problem(path, line, problem.reason, malformed=True)
    else:
        for item in records(path, start=max(0, line - 1) if kind in ("parquet", "arrow") else 0):
            if item.line == line:
                return item.value if isinstance(item, Record) else item
            if item.line > line:
                break
    unit = "line" if counts_lines(path) else "row"
    raise NotFound(f"{shown(path)} has no {unit} {line} with a row.", remedy=f"Name another {unit}; 1 is the first.")


def sample(path: Path, n: int) -> list[dict[str, Any]]:
    """Return up to `n` records spread over a file, for telling what it holds.

    Of compressed files, JSON documents and CSV, which can only be read from their beginning, spread over the first
    20,000 rows. Lines that cannot be read are left out.

    Raises:
        NotFound, DataError: As `records`.
    """
    kind, compression = _look(path)
    with _plain_errors(path):
        if kind == "jsonl" and not compression:
            return _sample_lines(path, n)
        if kind in ("parquet", "arrow"):
            total = tables.num_rows(path, arrow=kind == "arrow")
            step = max(1, total // max(1, n))
            each = max(1, n // 8)
            # 8 places, so that at most 8 groups of rows are read of a large file.
            starts = range(0, total, step * each) if total else range(0)
            found = [
                item.value
                for start in starts
                for item in records(path, start=start, limit=each)
                if isinstance(item, Record)
            ]
            return found[:n]
        spread: list[dict[str, Any]] = []
        step = 1
        for number, item in enumerate(records(path, limit=_SAMPLED_FROM)):
            if number % step == 0 and isinstance(item, Record):
                spread.append(item.value)
                if len(spread) >= 2 * n:  # half of them, and from now on half as many
                    spread, step = spread[::2], step * 2
        return [spread[place * len(spread) // n] for place in range(n)] if len(spread) > n else spread


def shown(path: Path | str) -> str:
    """Return a path for a sentence: as it is, or with escapes where it holds control characters."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


def _of_text(path: Path, file: BinaryIO, kind: Format) -> Iterator[Record | Problem]:
    if kind == "jsonl":
        for number, line in enumerate(jsonl.lines(file), start=1):
            if not line.strip():
                continue
            try:
                yield Record(number, jsonl.parse_line(line))
            except jsonl.LineProblem as problem:
                yield Problem(path, number, problem.reason, malformed=True)
    elif kind == "json":
        from engine.data.json_documents import documents

        for number, item in enumerate(documents(file), start=1):
            if isinstance(item, dict):
                yield Record(number, item)
            else:
                yield Problem(path, number, item.reason, malformed=True)
    else:
        separator = "\t" if kind == "tsv" else None
        for number, row in tables.csv_records(file, shown(path), separator=separator):
            if isinstance(row, dict):
                yield Record(number, row)
            else:
                yield Problem(path, number, row, malformed=True)


def _sample_lines(path: Path, n: int) -> list[dict[str, Any]]:
    """Half of the sample from the beginning, half from places spread evenly over the rest."""
    found: list[dict[str, Any]] = []
    with path.open("rb") as file:
        first = [line for line in islice(jsonl.lines(file), n) if line.strip()]
        size, read = path.stat().st_size, sum(map(len, first))
        if len(first) >= n and size > 2 * read:
            first = first[: n // 2]
            places = n - len(first)
            for place in range(places):
                file.seek(read + (size - read) * place // places)
                file.readline(jsonl.MAX_LINE_BYTES)  # the rest of a line
                first.append(file.readline(jsonl.MAX_LINE_BYTES))
    for line in first:
        with contextlib.suppress(jsonl.LineProblem):
            found.append(jsonl.parse_line(line))
    return found


def _look(path: Path) -> tuple[Format, Compression]:
    """Return what a file is, and how it is compressed."""
    with _plain_errors(path):
        if path.is_dir():
            raise DataError(f"{shown(path)} is a folder, not a file of rows.", remedy="Name a file in it.")
        with path.open("rb") as file:
            beginning = file.read(16)
        compression: Compression = ""
        if beginning.startswith(b"\x1f\x8b"):
            compression = "gz"
        elif beginning.startswith(b"\x28\xb5\x2f\xfd"):
            compression = "zst"
        with _opened(path, compression) as file:
            beginning = file.read(_PEEKED)
            kind = _format(path, beginning, file, compression)
    if compression and kind in ("parquet", "arrow"):
        tool = "gunzip" if compression == "gz" else "unzstd"
        raise DataError(f"{shown(path)} is a compressed {kind} file.", remedy=f"Unpack it with `{tool}`.")
    return kind, compression


def _format(path: Path, beginning: bytes, file: BinaryIO, compression: Compression) -> Format:
    if beginning.startswith(b"PAR1"):
        return "parquet"
    if beginning.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return "arrow"
    if found := jsonl.foreign(beginning):
        raise DataError(f"{shown(path)} is {found[0]}.", remedy=found[1])
    endings = [ending.lower() for ending in path.suffixes]
    ending = next((e for e in reversed(endings) if e not in (".gz", ".zst", ".zstd", ".gzip")), "")
    if ending in (".parquet", ".arrow") and not compression:
        raise DataError(
            f"{shown(path)} is called {ending} and is no such file.", remedy="Download it again, or correct its name."
        )
    if ending in (".csv", ".tsv"):
        return cast(Format, ending[1:])
    text = beginning.removeprefix(jsonl.BOM).lstrip()
    if text.startswith(b"["):
        after = text[1:].lstrip()
        return "json" if after.startswith((b"{", b"]")) or not after else "jsonl"
    if not text.startswith(b"{"):
        return "jsonl"
    line, newline, rest = text.partition(b"\n")
    if not newline and len(beginning) == _PEEKED:  # a long first line: what follows it is what matters
        line += file.readline(jsonl.MAX_LINE_BYTES)
        rest = file.read(64)
    with contextlib.suppress(jsonl.LineProblem):
        jsonl.parse_line(line)
        # One object may wrap all rows; where it does not, it is the row.
        return "jsonl" if rest.strip() or ending != ".json" else "json"
    several = line.strip() == b"{" and rest.lstrip().startswith(b'"')
    return "json" if several or (ending == ".json" and not line.rstrip().endswith(b"}")) else "jsonl"


@contextlib.contextmanager
def _opened(path: Path, compression: Compression) -> Iterator[BinaryIO]:
    if compression == "gz":
        with gzip.open(path, "rb") as file:
            yield cast(BinaryIO, file)
    elif compression == "zst":
        import pyarrow as pa  # deferred: 130 ms; it brings zstd, the standard library does so from Python 3.14 on

        with pa.CompressedInputStream(pa.OSFile(str(path), "rb"), "zstd") as stream, io.BufferedReader(stream) as file:
            yield cast(BinaryIO, file)
    else:
        with path.open("rb") as plain:
            yield plain


@contextlib.contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    """Say what is wrong with a file that cannot be opened or unpacked."""
    try:
        yield
    except FileNotFoundError:
        raise _not_found(path) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _torn(path, "gzip", error) from None
    except OSError as error:
        if error.errno is None:  # pyarrow's word for a frame of zstd that is damaged
            raise _torn(path, "zstd", error) from None
        raise DataError(f"{shown(path)} cannot be read: {error.strerror}.", remedy="Check its permissions.") from error
    except ValueError as error:  # NUL in the name, and whatever else is no path
        raise NotFound(f"{ascii(str(path))[:200]} is no path: {error}.", remedy="Check the path.") from None


def _torn(path: Path, kind: str, error: Exception) -> DataError:
    said = str(error).strip().splitlines()[0][:120].rstrip(".") if str(error).strip() else "it ends in the middle"
    return DataError(
        f"{shown(path)} is a damaged {kind} file: {said}.", remedy="Download or write it again. Nothing was started."
    )


def _not_found(path: Path, name: str = "") -> NotFound:
    remedy = "Check the path in the data section."
    if name.count("/") == 1 and not path.suffix:
        remedy += f" A data set of the Hub is fetched with `hf download --repo-type dataset {name[:200]}`."
    return NotFound(f"There is no data file {shown(path)}.", remedy=remedy)
