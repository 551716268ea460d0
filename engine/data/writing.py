"""JSON lines written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from engine.data.files import Record, counts_lines, format_of, records, shown
from engine.data.jsonl import lines
from engine.data.row import Problem
from engine.errors import DataError, TargetExists, UsageError

WRITTEN_ENDINGS = (".jsonl", ".ndjson")


def check_writable(path: Path, sources: Iterable[Path], *, overwrite: bool) -> None:
    """Refuse a file that must not be written.

    Raises:
        UsageError: It is there already (`TargetExists`), is one of the sources, or is not called .jsonl.
    """
    if path.suffix.lower() not in WRITTEN_ENDINGS:
        raise UsageError(f"{shown(path)} does not end in .jsonl.", remedy="JSON lines are written: call it .jsonl.")
    if not path.exists():
        return
    if any(path.samefile(source) for source in sources):
        raise UsageError(f"{shown(path)} is the file that is read.", remedy="Choose another name for the new file.")
    if path.is_dir() or not overwrite:
        raise TargetExists(
            f"{shown(path)} is there already.", remedy="Choose another name, or write over it with --force."
        )


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file that takes the place of `path` when the block ends well, and is removed otherwise.

    The folder is made where it is missing, as `mkdir -p` does it.

    Raises:
        DiskFull, WorkspaceError: It cannot be written.
    """
    from engine.journal import write_error  # only where something is written

    making = path.with_name(f".{path.name[:100]}.{os.getpid()}.making")
    try:
        making.parent.mkdir(parents=True, exist_ok=True)
        with making.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        making.replace(path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            making.unlink()


def as_line(value: Any) -> bytes:
    """Return a value as a line of JSON, without its newline. What JSON has no word for, such as a date, is text."""
    import orjson  # deferred: 6 ms

    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # a whole number of more than 64 bits, or nested deeper than 254
        try:
            return json.dumps(value, default=str, ensure_ascii=False).encode("utf-8", "backslashreplace")
        except RecursionError:
            raise DataError("A row is nested too deeply to be written.", remedy="Remove it.") from None


def with_lines(path: Path) -> Iterator[tuple[Record | Problem, bytes]]:
    """Yield what a file holds with the line that says it: of plain JSON lines the line as it stands.

    Raises:
        NotFound, DataError: As `engine.data.files.records`.
    """
    if format_of(path) != "jsonl" or not counts_lines(path) or _compressed(path):
        for item in records(path):
            yield item, as_line(item.value) if isinstance(item, Record) else b""
        return
    with path.open("rb") as file:
        found = enumerate(lines(file), start=1)
        for item in records(path):
            line = next(text for number, text in found if number == item.line)
            yield item, line.strip()


def _compressed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4)[:2] in (b"\x1f\x8b", b"\x28\xb5")
