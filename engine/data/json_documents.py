"""Records of a JSON document: an array of objects, objects one after the other, or one object that wraps them.

Read piece by piece with the standard parser: an array of a gigabyte is not held whole.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from engine.data import spellings
from engine.data.jsonl import BOM, LineProblem, plainly
from engine.data.row import kind_of_value
from engine.data.shapes import recognise

_PIECE = 1 << 20
_SPLITS = frozenset({"train", "training", "validation", "valid", "val", "dev", "eval", "test"})
_MAX_RECORD_CHARACTERS = 256 << 20
"""Of one object. A document that wraps all its rows in one object is read whole."""
_BETWEEN = re.compile(r"[\s,]*")
_SPACE = re.compile(r"\s*")
_NEAR_END = 64
"""A mistake so near to the end of what was read may only be a piece that has not been read yet."""


def documents(file: BinaryIO) -> Iterator[dict[str, Any] | LineProblem]:
    """Yield the objects of a document; where one cannot be read, the reason, and nothing after it.

    The reason names the line of the file.
    """
    try:
        text = _Text(file)
        text.skip(_SPACE)
        if text.buffer.startswith("[", text.position):
            text.position += 1
            yield from _array(text)
        else:
            yield from _sequence(text)
    except LineProblem as problem:
        yield problem


def _array(text: _Text) -> Iterator[dict[str, Any] | LineProblem]:
    first = True
    while True:
        separator = text.skip(_BETWEEN)
        if text.buffer.startswith("]", text.position):
            if "," in separator:
                raise LineProblem(f"line {text.line()}: trailing comma before the end of the array")
            text.position += 1
            text.skip(_SPACE)
            if not text.at_end():
                raise LineProblem(f"line {text.line()}: something follows the end of the array")
            return
        if text.at_end():
            raise LineProblem(f"line {text.line()}: the file ends in the middle of the array")
        if separator.count(",") != (0 if first else 1):
            raise LineProblem(f"line {text.line()}: there is no comma between two rows, or one too many")
        yield _record(text.value())
        first = False


def _sequence(text: _Text) -> Iterator[dict[str, Any] | LineProblem]:
    """Yield objects that follow each other; one alone may wrap the rows."""
    if text.at_end():
        return
    first = text.value()
    text.skip(_SPACE)
    if text.at_end() and isinstance(first, dict):
        yield from unwrapped(first)
        return
    yield _record(first)
    while not text.at_end():
        yield _record(text.value())
        text.skip(_SPACE)


def _record(value: object) -> dict[str, Any] | LineProblem:
    if isinstance(value, dict):
        return value
    return LineProblem(f"a JSON object is needed, not {kind_of_value(value)}")


def unwrapped(document: Mapping[str, Any], *, within: bool = False) -> Iterator[dict[str, Any] | LineProblem]:
    """Yield the rows inside of an object that is the whole file, or the object where it is a row itself.

    `{"data": [...]}`, several lists, whose names are taken as the rows' categories, or columns of texts.

    Args:
        document: The object.
        within: It is inside of another, and is not looked into deeper.
    """
    if _are_columns(document):
        for values in zip(*document.values(), strict=True):
            yield dict(zip(document, values, strict=True))
        return
    lists = {
        name: value
        for name, value in document.items()
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value)
    }
    inside = [value for value in document.values() if isinstance(value, dict)]
    if not lists and len(inside) == 1 and not within and recognise([document]).shape in ("unknown", "text"):
        yield from unwrapped(inside[0], within=True)  # {"pairs": {"logic": [...], "ethics": [...]}}
    elif not lists or recognise([document]).shape not in ("unknown", "text"):
        yield dict(document)
    elif len(lists) > 1 and any(name.lower() in _SPLITS for name in lists):
        names = ", ".join(lists)[:80]
        yield LineProblem(f"the file holds several sets of rows ({names}); write each into a file of its own")
    else:
        for name, rows in lists.items():
            for row in rows:
                yield row if len(lists) == 1 or _says_category(row) else {**row, "category": name}


def _are_columns(document: Mapping[str, Any]) -> bool:
    values = list(document.values())
    if len(values) < 2 or not all(isinstance(value, list) and value for value in values):
        return False
    return len({len(value) for value in values}) == 1 and all(isinstance(value[0], str) for value in values)


def _says_category(row: Mapping[str, Any]) -> bool:
    return any(name in row for name in (*spellings.METADATA, "metadata"))


class _Text:
    """The part of a file that is looked at, as text."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.buffer = ""
        self.position = 0
        self.ended = False
        self.lines_before = 0
        """Newlines in what has left the buffer."""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._json = json.JSONDecoder()
        self._begun = False
        self.more()

    def more(self) -> bool:
        """Read as much again as is held, at least one piece; False at the end of the file."""
        if self.ended:
            return False
        held = self.buffer[self.position :]
        raw = self.file.read(max(_PIECE, len(held)))
        if not self._begun:
            raw, self._begun = raw.removeprefix(BOM), True
        self.ended = not raw
        try:
            decoded = self._decoder.decode(raw, final=self.ended)
        except UnicodeDecodeError as error:
            line = self.line(len(self.buffer)) + raw.count(b"\n", 0, error.start)
            raise LineProblem(f"line {line}: a byte that is not UTF-8") from None
        if self.ended:
            return False
        self.lines_before += self.buffer.count("\n", 0, self.position)
        self.buffer, self.position = held + decoded, 0
        return True

    def line(self, position: int | None = None) -> int:
        """Return the line of a position in the buffer, of the current one by default; 1 is the first."""
        upto = self.position if position is None else position
        return self.lines_before + self.buffer.count("\n", 0, upto) + 1

    def at_end(self) -> bool:
        return self.position >= len(self.buffer) and self.ended

    def skip(self, pattern: re.Pattern[str]) -> str:
        """Go past what the pattern takes, and return it."""
        skipped = ""
        while True:
            match = pattern.match(self.buffer, self.position)
            assert match is not None  # both patterns match nothing as well
            skipped += match[0]
            self.position = match.end()
            if self.position < len(self.buffer) or not self.more():
                return skipped

    def value(self) -> Any:
        """Return the value at the position and go past it.

        Raises:
            LineProblem: There is none.
        """
        while True:
            try:
                value, end = self._json.raw_decode(self.buffer, self.position)
            except json.JSONDecodeError as error:
                far = error.pos < len(self.buffer) - _NEAR_END and not error.msg.startswith("Unterminated string")
                if not far and len(self.buffer) - self.position < _MAX_RECORD_CHARACTERS and self.more():
                    continue
                column = error.pos - self.buffer.rfind("\n", 0, error.pos)
                raise LineProblem(f"line {self.line(error.pos)}: {plainly(error, column=column)}") from None
            except RecursionError:
                raise LineProblem(f"line {self.line()}: nested too deeply") from None
            if end == len(self.buffer) and not self.ended and self.more():
                continue  # a number may go on
            if "\\ud" in self.buffer[self.position : end].lower() and _has_surrogate(value):
                raise LineProblem(f"line {self.line()}: a lone surrogate, which is no character")
            self.position = end
            return value


def _has_surrogate(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
