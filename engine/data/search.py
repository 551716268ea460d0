"""Rows of a data file that hold a text, or have a value in a column: their line numbers, as they are found.

The bytes are searched first, a thousand rows at a time; only rows that hold them are parsed. What is found is what JSON
writers write, also PHP's `\\/`, Go's `\\u003c` and .NET's `\\u00E9`; an ASCII letter that is spelled `\\u0061` is not.

    python -P -m engine.data.search FILE WORDS...
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from engine.data.data_worker import Cancelled, Progress, answer, ask, never, silent
from engine.data.line_index import open_data
from engine.errors import UsageError

_CHUNK: Final = 1 << 20
_SAY_SECONDS: Final = 0.05
_SAY_LINES: Final = 10_000
_SPELLED_OTHERWISE: Final = re.compile(r"""[\x00-\x1f\x7f"\\/<>&'+`]+""")
"""What one writer of JSON escapes and another does not, or in another way."""
_ESCAPE: Final = re.compile(r"\\u([0-9a-f]{4})")


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for; all of it must be in a row."""

    texts: tuple[str, ...] = ()
    """Anywhere in the row's texts. Without regard to case when it has no capital letter."""
    values: tuple[tuple[str, str], ...] = ()
    """Column and value: text, or a number, true, false or null as JSON writes it. `metadata.category` is the column
    `category` inside of `metadata`."""


def parse(words: str) -> Query:
    """Return what a line of words asks for: `KEY=VALUE` is a value, everything else is one text.

    A text with an equals sign, or with spaces at its ends, stands in double quotes. So does a value with spaces.

    Raises:
        UsageError: Nothing is asked for, or a quotation mark is not closed.
    """
    texts, values, rest = [], [], words.strip()
    while rest:
        key, equals, after = rest.partition("=")
        if equals and key and not key.startswith('"') and " " not in key:
            value, rest = _value(after)
            values.append((key, value))
        elif rest.startswith('"'):
            text, rest = _value(rest)
            texts.append(text)
        else:
            # A text goes on until a word that is a value, or until a quotation mark.
            words_left = rest.split(" ")
            ends = next(
                (n for n, word in enumerate(words_left) if "=" in word or word.startswith('"')), len(words_left)
            )
            texts.append(" ".join(words_left[:ends]))
            rest = " ".join(words_left[ends:])
        rest = rest.lstrip()
    if not any(texts) and not values:
        raise UsageError("There is nothing to look for.", remedy='Write a text, or KEY=VALUE such as category="a b".')
    return Query(tuple(text for text in texts if text), tuple(values))


def _value(rest: str) -> tuple[str, str]:
    if not rest.startswith('"'):
        value, _, after = rest.partition(" ")
        return value, after
    end = rest.find('"', 1)
    if end < 0:
        raise UsageError("A quotation mark is not closed.", remedy='Write ", or leave the first one out.')
    return rest[1:end], rest[end + 1 :]


def search(path: Path, words: str, progress: Progress = silent, cancelled: Cancelled = never) -> Iterator[list[int]]:
    """Yield numbers of the lines that fit, some at a time, in order. Blocks: for a thread. Leaving it early ends it.

    Args:
        path: Any data file. The numbers are those of `engine.data.paging`.
        words: See `parse`.
        progress: In bytes.
        cancelled: See there.

    Raises:
        UsageError: Nothing is asked for.
        NotFound, DataError: The file cannot be read.
        WorkCancelled: `cancelled` returned True.
    """
    parse(words)
    for said in ask(__name__, [os.fspath(path.absolute()), words], cancelled):
        if said["lines"]:
            yield said["lines"]
        progress(said["done"], said["total"])


class Matcher:
    """Tells which lines fit a query."""

    def __init__(self, query: Query) -> None:
        self.query = query
        self._texts = [(text, text == text.lower()) for text in query.texts]
        needles = [*query.texts, *(value for _, value in query.values)]
        folded = any(lower for _, lower in self._texts) or not query.texts
        self.folded = folded
        """Whether the bytes are compared in small letters."""
        # The longest is likely to be the rarest. What is not ASCII is written as it is, or escaped.
        needle = max((piece for text in needles for piece in _SPELLED_OTHERWISE.split(text)), key=len)
        escaped = json.dumps(needle)[1:-1]
        spelled = {needle, escaped, _ESCAPE.sub(lambda found: "\\u" + found[1].upper(), escaped)} - {""}
        self.needles = sorted(text.lower().encode() if folded else text.encode() for text in spelled)
        if folded and not needle.isascii():
            self.needles = []  # what small letters are outside of ASCII, bytes do not say

    def maybe(self, data: bytes) -> bool:
        """Return whether some of the bytes' lines may fit. Never False where one does."""
        if not self.needles:
            return True
        data = data.lower() if self.folded else data
        return any(needle in data for needle in self.needles)

    def fits(self, line: bytes) -> bool:
        """Return whether a line fits. One that is no JSON is searched as it is, for texts only."""
        if not self.maybe(line):
            return False
        import orjson

        try:
            record = orjson.loads(line)
        except ValueError:
            return not self.query.values and self._has_texts([line.decode("utf-8", "replace")])
        if any(not _has_value(record, key, value) for key, value in self.query.values):
            return False
        return not self._texts or self._has_texts(list(_strings(record)))

    def _has_texts(self, strings: list[str]) -> bool:
        small = [string.lower() for string in strings] if any(lower for _, lower in self._texts) else []
        return all(any(text in string for string in (small if lower else strings)) for text, lower in self._texts)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _has_value(record: Any, key: str, wanted: str) -> bool:
    found = _at(record, key)
    if isinstance(found, str):
        return found == wanted
    return found is not _MISSING and json.dumps(found) == wanted


_MISSING: Final = object()


def _at(record: Any, key: str) -> Any:
    """Return the value of a column; a column whose own name has dots comes first."""
    if not isinstance(record, dict):
        return _MISSING
    if key in record:
        return record[key]
    outer, _, inner = key.partition(".")
    return _at(record[outer], inner) if inner and outer in record else _MISSING


def matching(file: int, matcher: Matcher, separator: bytes, say: Callable[[list[int], int, int], None]) -> None:
    """Look through a file and say the numbers of the lines that fit, and how far it is in bytes.

    Args:
        file: Descriptor.
        matcher: What fits.
        separator: Of the lines.
        say: Called with new numbers, bytes done, and all bytes.
    """
    size, position, number, torn = os.fstat(file).st_size, 0, 1, b""
    found, told = list[int](), time.monotonic()
    while True:
        data = os.pread(file, _CHUNK, position)
        position += len(data)
        block = torn + data
        if data:
            end = block.rfind(separator) + 1
            block, torn = block[:end], block[end:]
        if matcher.maybe(block):
            lines = block.split(separator)
            if number == 1:
                lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
            last = lines.pop()
            found += (at for at, line in enumerate(lines, start=number) if matcher.fits(line))
            number += len(lines)
            if last and matcher.fits(last):  # the file does not end with a separator
                found.append(number)
        else:
            number += block.count(separator)
        now = time.monotonic()
        if now - told > _SAY_SECONDS or len(found) >= _SAY_LINES or not data:
            say(found, position, size)
            found, told = [], now
        if not data:
            return


def _work(arguments: list[str], say: Callable[[dict[str, Any]], None]) -> None:
    from engine.data.row_copy import text_of
    from engine.data.row_measures import separator_of

    path, words = Path(arguments[0]), arguments[1]
    matcher = Matcher(parse(words))
    text = text_of(path, lambda done, total: say({"lines": [], "done": done, "total": total}))
    with open_data(text) as file:
        matching(
            file.fileno(),
            matcher,
            separator_of(file.fileno()),
            lambda lines, done, total: say({"lines": lines, "done": done, "total": total}),
        )


if __name__ == "__main__":
    sys.exit(answer(_work))
