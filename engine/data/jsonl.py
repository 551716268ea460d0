"""Lines of JSON: reading them one by one, and saying in plain words what is wrong with one."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from engine.data.row import kind_of_value

MAX_LINE_BYTES = 64 << 20
"""Longer lines, fields and rows are told as a problem: no example is so long, and memory stays bounded."""
_FOREIGN: tuple[tuple[bytes, str, str], ...] = (
    (rb"version https://git-lfs", "a git-lfs pointer, not the file", "Run `git lfs pull`."),
    (rb"PK\x03\x04", "a zip archive", "Unpack it."),
    (rb"\xff\xfe|\xfe\xff", "UTF-16 text", "Convert it with `iconv -f UTF-16 -t UTF-8`."),
    (rb"(?i)<(?:!doctype|html|\?xml)", "a web page", "Download the file itself, not the page that shows it."),
)
"""How files begin that hold no rows, what they are, and what to do."""
_ARRAY = re.compile(rb'\[\s*(?:["{[]|$)')
_OBJECT = re.compile(rb"\{\s*$")
BOM = b"\xef\xbb\xbf"


class LineProblem(Exception):
    """A line that cannot be read. Its only argument is the reason."""

    @property
    def reason(self) -> str:
        return str(self.args[0])


def parse_line(line: bytes) -> dict[str, Any]:
    """Return the object a line holds.

    Raises:
        LineProblem: It holds none.
    """
    import orjson  # deferred: 6 ms

    if len(line) >= MAX_LINE_BYTES:
        raise LineProblem(f"longer than {MAX_LINE_BYTES >> 20} MB")
    try:
        record = orjson.loads(line)
    except ValueError:
        raise LineProblem(why_not_json(line)) from None
    if not isinstance(record, dict):
        raise LineProblem(f"a JSON object is needed, not {kind_of_value(record)}")
    # Escaped quotation marks are no ends of keys. Where there are more ends than keys, one may stand twice.
    ends = line.count(b'":') - line.count(b'\\":')
    if ends > len(record) and ends > _count_keys(record) and (twice := _key_twice(line)):
        raise LineProblem(f"the key {twice[:60]!r} stands twice")
    return record


def _count_keys(record: dict[str, Any]) -> int:
    number, waiting = 0, list[Any]([record])
    while waiting:  # not recursive: what was parsed may be nested deeper than Python can go
        value = waiting.pop()
        if isinstance(value, dict):
            number += len(value)
            value = value.values()
        waiting += [each for each in value if isinstance(each, (dict, list))]
    return number


def _key_twice(line: bytes) -> str:
    """Return a key that an object of the line has twice; empty when there is none."""
    found: list[str] = []

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            names = [name for name, _ in pairs]
            found.append(next(name for name in names if names.count(name) > 1))
        return made

    with contextlib.suppress(ValueError, RecursionError):  # then it is an oddity of another kind
        json.loads(line, object_pairs_hook=look)
    return found[0] if found else ""


def lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file, without the byte order mark.

    Of a line over the limit only the beginning; a file may end its lines with CR alone.
    """
    first = True
    while line := file.readline(MAX_LINE_BYTES):
        if len(line) == MAX_LINE_BYTES:
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = file.readline(MAX_LINE_BYTES)
        elif first and not line.endswith(b"\n") and b"\r" in line.rstrip():
            yield from line.removeprefix(BOM).split(b"\r")
            return
        yield line.removeprefix(BOM) if first else line
        first = False


def foreign(beginning: bytes) -> tuple[str, str] | None:
    """Return what a file that begins like this is, and what to do; None when it may hold rows."""
    beginning = beginning.removeprefix(BOM).lstrip()
    return next(((what, remedy) for pattern, what, remedy in _FOREIGN if re.match(pattern, beginning)), None)


def why_not_json(line: bytes) -> str:
    """Return a plain reason. The standard parser is asked again because its messages have positions."""
    if found := foreign(line):
        return f"this is {found[0]}"
    if _ARRAY.match(line.strip()):
        return "this is a JSON array"
    if _OBJECT.match(line.lstrip()):
        return "this is an object over several lines"
    if b"\x00" in line[:4096]:
        return "it has NUL bytes; the file is not UTF-8 text"
    try:
        text = line.decode("utf-8").rstrip()
    except UnicodeDecodeError as error:
        return f"byte {error.start + 1} is not UTF-8"
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return plainly(error)
    except RecursionError:
        return "nested too deeply"
    return "not standard JSON (NaN, a lone surrogate or a number out of range)"


def plainly(error: json.JSONDecodeError, *, column: int | None = None) -> str:
    """Return the commonest mistakes in words of their own, the others in the parser's.

    Args:
        error: What the parser said.
        column: Where it is in its line, 1 the first; None where the text is one line.
    """
    before, after = error.doc[: error.pos].rstrip(), error.doc[error.pos :].strip()
    at = column if column is not None else error.colno
    if after.startswith(("}", "]")) and before.endswith(","):
        return f"trailing comma at column {at if column is not None else len(before)}"
    if error.msg.startswith("Illegal trailing comma"):  # Python 3.13 finds the comma itself
        return f"trailing comma at column {at}"
    if after.startswith("'"):
        return f"single quotes at column {at}, where JSON has double ones"
    if not after:
        return f"it ends in the middle, at column {at}"
    return f"{error.msg.removesuffix(' at')} at column {at}"
