"""What one piece of a file of JSON lines holds: lengths, roles, kinds, and a hash of every row.

A gigabyte has some 800,000 rows, so every microsecond a row costs is a second. The two commonest shapes are therefore
read here, without making a `Row`; whatever is not plainly of them is given to `engine.data.shapes.row_of`, and a test
holds both ways against each other.
"""

from __future__ import annotations

import os
import random
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TypeAlias

from engine.data.row import Problem, Row
from engine.data.shapes import Recognised, row_of
from engine.data.spellings import CONTEXT, METADATA, SYSTEM

PIECE_BYTES: Final = 16 << 20
"""At most: some 12,000 rows, 60 ms; what is known of them then changes hands once."""
_SMALL_PIECE_BYTES: Final = 1 << 20
MAX_LINE_BYTES: Final = 64 << 20
"""The longest line that training reads."""
MAX_CATEGORIES: Final = 10_000
"""Told apart in one piece; a column of identifiers would otherwise fill the memory."""
_SHOWN: Final = 20
_ROLES: Final = frozenset({"system", "user", "assistant", "tool", "developer"})
_READ_BYTES: Final = 1 << 16
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Source:
    """A file whose rows are to be measured."""

    path: Path
    """As it was named."""
    text: Path
    """Where its rows stand as JSON lines."""
    separator: bytes
    """`\\n`, or `\\r` in a small file that has none."""
    recognised: Recognised


@dataclass(slots=True)
class Piece:
    """What was found between two positions of a file. Lines are counted from 0, the first of the piece."""

    num_lines: int = 0
    rows: array[int] = field(default_factory=lambda: array("I"))
    """Line of each usable row."""
    characters: array[int] = field(default_factory=lambda: array("I"))
    """Per usable row, of all its text."""
    answers: array[int] = field(default_factory=lambda: array("I"))
    """Per usable row, of what is learned from it: of a preference pair the chosen answer."""
    tokens: array[int] = field(default_factory=lambda: array("I"))
    """Per usable row of a tokenised file."""
    hashes: array[int] = field(default_factory=lambda: array("q"))
    """Per usable row, of its texts (`text_of_row`). The same in another process only with the same PYTHONHASHSEED."""
    roles: Counter[str] = field(default_factory=Counter)
    """Messages by who speaks."""
    dataset_types: Counter[str] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    """Rows of a KTO file: "true", "false"."""
    unusable: Counter[str] = field(default_factory=Counter)
    """Lines by the reason why they are no rows. Blank lines are neither."""
    unusable_lines: list[tuple[int, str]] = field(default_factory=list)
    """The first of them."""
    sample: list[tuple[int, bytes]] = field(default_factory=list)
    """Usable rows picked by chance, for what is too slow to be asked of all."""


def separator_of(file: int) -> bytes:
    """Return what ends the lines of a file."""
    head = os.pread(file, 1 << 16, 0)
    if b"\n" in head or b"\r" not in head.rstrip() or os.fstat(file).st_size > MAX_LINE_BYTES:
        return b"\n"
    return b"\n" if b"\n" in os.pread(file, MAX_LINE_BYTES, 0) else b"\r"


def cuts(file: int, separator: bytes) -> Iterator[tuple[int, int]]:
    """Yield where pieces of whole lines begin and end."""
    start, size = 0, os.fstat(file).st_size
    length = min(PIECE_BYTES, max(_SMALL_PIECE_BYTES, size // 16))  # some for each core
    while start < size:
        stop = start + length
        while stop < size:
            data = os.pread(file, 1 << 16, stop - 1)
            found = data.find(separator)
            if found >= 0 or not data:
                stop += found
                break
            stop += len(data)
        yield start, min(stop, size)
        start = min(stop, size)


def lines_of(source: Source, piece: tuple[int, int]) -> Iterator[bytes]:
    """Yield the lines of a piece. Of a line over the limit only the beginning, which is no JSON."""
    start, stop = piece
    with source.text.open("rb", buffering=1 << 18) as file:
        file.seek(start)
        if source.separator == b"\n" and stop - start <= PIECE_BYTES + MAX_LINE_BYTES:
            while start < stop:
                # `readlines` ends with the line that exceeds its hint, and takes 0 for none: no further than the piece.
                hint = min(_READ_BYTES, stop - start) - 1
                lines = file.readlines(hint) if hint else [file.readline()]
                if not lines or not lines[0]:
                    return
                if not start:
                    lines[0] = lines[0].removeprefix(_BOM)
                start = file.tell()
                yield from lines
        else:
            lines = file.read(min(stop - start, PIECE_BYTES + MAX_LINE_BYTES)).split(source.separator)
            lines[0] = lines[0] if start else lines[0].removeprefix(_BOM)
            yield from lines if lines[-1] else lines[:-1]


def row_in(source: Source, number: int, line: bytes) -> Row | Problem | None:
    """Return the row of a line, or why it has none; None when it is blank."""
    import orjson

    try:
        record = orjson.loads(line)
    except ValueError:
        return Problem(source.path, number, "not JSON", malformed=True) if line.strip() else None
    if type(record) is not dict:
        return Problem(source.path, number, "not a JSON object", malformed=True)
    return row_of(record, source.recognised, source.path, number)


def text_of_row(row: Row) -> str:
    """Return all texts of a row in order, with a NUL between two: rows are equal when these are."""
    if row.input_ids is not None:
        return repr(row.input_ids)
    return "\0".join([message["content"] for message in (*row.prompt, *row.completion, *row.rejected)])


def measure(source: Source, piece: tuple[int, int], sample: int) -> Piece:
    """Return what a piece holds.

    Args:
        source: See there.
        piece: Where it begins and ends, from `cuts`.
        sample: How many of its rows are to be returned.
    """
    import orjson

    found = Piece()
    # Counted by the turns of a whole row, and nothing of a row is kept: its memory is then used for the next.
    spoken: dict[tuple[str, ...], int] = {}
    plain = _plain_reader(source.recognised, spoken)
    types, categories, loads = found.dataset_types, found.categories, orjson.loads
    add_row, add_hash = found.rows.append, found.hashes.append
    add_characters, add_answer = found.characters.append, found.answers.append
    number = -1
    for number, line in enumerate(lines_of(source, piece)):
        try:
            record = loads(line)
        except ValueError:
            if line.strip():
                _unusable(found, number, "not JSON")
            continue
        if type(record) is not dict:
            # A copy has, as text, why there is no record.
            copied = type(record) is str and source.text != source.path
            _unusable(found, number, str(record) if copied else "not a JSON object")
            continue
        metadata = record.get("metadata")
        read = plain(record) if type(metadata) is not str else None
        if read is not None:
            text, turns, answered = read
            told = metadata if type(metadata) is dict else record
            dataset_type, category = told.get("dataset_type"), told.get("category")
            if told is not record:
                if dataset_type is None and "dataset_type" not in told:
                    dataset_type = record.get("dataset_type")
                if category is None and "category" not in told:
                    category = record.get("category")
            between = len(turns) - 1
        else:
            row = row_of(record, source.recognised, source.path, number)
            if isinstance(row, Problem):
                _unusable(found, number, row.reason)
                continue
            text = text_of_row(row)
            turns = tuple([message["role"] for message in (*row.prompt, *row.completion)])
            between = max(0, len(turns) + len(row.rejected) - 1)
            answered = sum(len(message["content"]) for message in row.completion)
            dataset_type, category = row.dataset_type, row.category
            if row.label is not None:
                found.labels["true" if row.label else "false"] += 1
            if row.input_ids is not None:
                found.tokens.append(len(row.input_ids))
        spoken[turns] = spoken.get(turns, 0) + 1
        if dataset_type and type(dataset_type) is str:
            types[dataset_type] += 1
        if category and type(category) is str:
            categories[category] += 1
        add_row(number)
        add_characters(len(text) - between)
        add_answer(answered)
        add_hash(hash(text))
    found.num_lines = number + 1
    for turns, times in spoken.items():
        for role in turns:
            found.roles[role] += times
    for counter in (categories, types, found.unusable):
        if len(counter) > MAX_CATEGORIES:
            kept = dict(counter.most_common(MAX_CATEGORIES))
            counter.clear()
            counter.update(kept)
    if sample:
        chosen = set(random.Random(piece[0]).sample(found.rows, min(sample, len(found.rows))))
        found.sample = [(number, line) for number, line in enumerate(lines_of(source, piece)) if number in chosen]
    return found


_Read: TypeAlias = tuple[str, tuple[str, ...], int]
"""All texts as `text_of_row` gives them, who speaks, and the characters of the answer."""


class _Reader:
    """Reads the rows of one shape, as far as they are plainly of it."""

    def __init__(self, recognised: Recognised, spoken: Mapping[tuple[str, ...], int]) -> None:
        self.spoken = spoken
        """Turns of rows that were read."""
        columns = recognised.columns
        self.messages = columns.get("messages", "")
        self.prompt, self.completion = columns.get("prompt", ""), columns.get("completion", "")
        self.context = columns.get("context", "")
        besides = {*SYSTEM, "history", columns.get("system", ""), columns.get("history", "")}
        besides |= {f"metadata.{name}" for name in METADATA}
        self.besides = frozenset(besides | set(CONTEXT.get(self.prompt, ())) - {self.context})
        """Columns that change what a row says; one that has any of them is not plain."""

    def conversation(self, record: dict[str, Any]) -> _Read | None:
        """Read a row with messages; None when it is not plain."""
        if not self.besides.isdisjoint(record):
            return None
        try:
            messages = record[self.messages]
            texts = list(map(_CONTENT, messages))
            roles = list(map(_ROLE, messages))
            turns = tuple(roles)  # half the time of a tuple that has to grow
            text = "\0".join(texts)
            answer = texts[-1]
            if not answer or answer.isspace():
                return None
            # Of a thousand rows, nearly all have turns that were looked at already.
            if turns not in self.spoken and (
                len(turns) < 2 or turns[-1] != "assistant" or not _ROLES.issuperset(turns)
            ):
                return None
        except (KeyError, TypeError, IndexError):  # no list, no objects, not text, or nothing
            return None
        return text, turns, len(answer)

    def pair(self, record: dict[str, Any]) -> _Read | None:
        """Read a row with question and answer; None when it is not plain."""
        if not self.besides.isdisjoint(record):
            return None
        asked, said = record.get(self.prompt), record.get(self.completion)
        if type(asked) is not str or type(said) is not str:
            return None
        # A list or an object may be spelled in a text.
        if asked.lstrip()[:1] in _EMPTY_OR_SPELLED or said.lstrip()[:1] in _EMPTY_OR_SPELLED:
            return None
        extra = record.get(self.context) if self.context else None
        if extra is not None and type(extra) is str and extra.strip():
            asked = f"{asked}\n\n{extra}"
        return f"{asked}\0{said}", _ASKED_AND_SAID, len(said)


_CONTENT: Final = itemgetter("content")
_ROLE: Final = itemgetter("role")
_EMPTY_OR_SPELLED: Final = ("", "[", "{")
_ASKED_AND_SAID: Final = ("user", "assistant")


def _plain_reader(
    recognised: Recognised, spoken: Mapping[tuple[str, ...], int]
) -> Callable[[dict[str, Any]], _Read | None]:
    reader = _Reader(recognised, spoken)
    if recognised.kind == "sft" and not recognised.given:
        if recognised.shape == "messages":
            return reader.conversation
        if reader.prompt and reader.completion and not reader.messages:
            return reader.pair
    return lambda _: None


def _unusable(found: Piece, number: int, reason: str) -> None:
    found.unusable[reason] += 1
    if len(found.unusable_lines) < _SHOWN:
        found.unusable_lines.append((number, reason))
