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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from engine.data.row import Problem, Row
from engine.data.shapes import Recognised, row_of
from engine.data.spellings import CONTEXT, METADATA, SYSTEM

PIECE_BYTES: Final = 4 << 20
MAX_LINE_BYTES: Final = 64 << 20
"""The longest line that training reads."""
MAX_CATEGORIES: Final = 10_000
"""Told apart in one piece; a column of identifiers would otherwise fill the memory."""
_SHOWN: Final = 20
_ROLES: Final = frozenset({"system", "user", "assistant", "tool", "developer"})
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
    """Per usable row, of its texts in order. The same in another process only with the same PYTHONHASHSEED."""
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
    while start < size:
        stop = start + PIECE_BYTES
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
            for line in file:  # 3 times faster than to read the piece whole and split it
                yield line if start else line.removeprefix(_BOM)
                start += len(line)
                if start >= stop:
                    return
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


def texts_of(row: Row) -> tuple[str, ...]:
    """Return the texts of a row in order."""
    if row.input_ids is not None:
        return (repr(row.input_ids),)
    return tuple(message["content"] for message in (*row.prompt, *row.completion, *row.rejected))


def measure(source: Source, piece: tuple[int, int], sample: int) -> Piece:
    """Return what a piece holds.

    Args:
        source: See there.
        piece: Where it begins and ends, from `cuts`.
        sample: How many of its rows are to be returned.
    """
    import orjson

    found, spoken = Piece(), list[str]()
    plain = _plain_reader(source.recognised)
    types, categories = found.dataset_types, found.categories
    number = -1
    for number, line in enumerate(lines_of(source, piece)):
        try:
            record = orjson.loads(line)
        except ValueError:
            if line.strip():
                _unusable(found, number, "not JSON")
            continue
        if type(record) is not dict:
            _unusable(found, number, "not a JSON object")
            continue
        metadata = record.get("metadata")
        read = plain(record) if type(metadata) is not str else None
        if read is not None:
            texts, roles = read
            answered = len(texts[-1])
            told = metadata if type(metadata) is dict else record
            dataset_type = told.get("dataset_type", record.get("dataset_type"))
            category = told.get("category", record.get("category"))
        else:
            row = row_of(record, source.recognised, source.path, number)
            if isinstance(row, Problem):
                _unusable(found, number, row.reason)
                continue
            texts = texts_of(row)
            roles = [message["role"] for message in (*row.prompt, *row.completion)]
            answered = sum(len(message["content"]) for message in row.completion)
            dataset_type, category = row.dataset_type, row.category
            if row.label is not None:
                found.labels["true" if row.label else "false"] += 1
            if row.input_ids is not None:
                found.tokens.append(len(row.input_ids))
        spoken += roles
        if dataset_type and type(dataset_type) is str:
            types[dataset_type] += 1
        if category and type(category) is str:
            categories[category] += 1
        found.rows.append(number)
        found.characters.append(sum(map(len, texts)))
        found.answers.append(answered)
        found.hashes.append(hash(texts))
    found.num_lines = number + 1
    found.roles.update(spoken)
    for counter in (categories, types, found.unusable):
        if len(counter) > MAX_CATEGORIES:
            kept = dict(counter.most_common(MAX_CATEGORIES))
            counter.clear()
            counter.update(kept)
    if sample:
        chosen = set(random.Random(piece[0]).sample(found.rows, min(sample, len(found.rows))))
        found.sample = [(number, line) for number, line in enumerate(lines_of(source, piece)) if number in chosen]
    return found


class _Reader:
    """Reads the rows of one shape, as far as they are plainly of it."""

    def __init__(self, recognised: Recognised) -> None:
        columns = recognised.columns
        self.messages = columns.get("messages", "")
        self.prompt, self.completion = columns.get("prompt", ""), columns.get("completion", "")
        self.context = columns.get("context", "")
        besides = {*SYSTEM, "history", columns.get("system", ""), columns.get("history", "")}
        besides |= {f"metadata.{name}" for name in METADATA}
        self.besides = frozenset(besides | set(CONTEXT.get(self.prompt, ())) - {self.context})
        """Columns that change what a row says; one that has any of them is not plain."""

    def conversation(self, record: dict[str, Any]) -> tuple[tuple[str, ...], Sequence[str]] | None:
        """Return the texts and the roles of a row with messages; None when it is not plain."""
        if not self.besides.isdisjoint(record):
            return None
        texts, roles = [], []
        try:
            for message in record[self.messages]:
                content, role = message["content"], message["role"]
                if type(content) is not str or role not in _ROLES:
                    return None
                texts.append(content)
                roles.append(role)
        except (KeyError, TypeError):
            return None
        if len(roles) < 2 or role != "assistant" or not content.strip():
            return None
        return tuple(texts), roles

    def pair(self, record: dict[str, Any]) -> tuple[tuple[str, ...], Sequence[str]] | None:
        """Return the texts and the roles of a row with question and answer; None when it is not plain."""
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
        return (asked, said), ("user", "assistant")


_EMPTY_OR_SPELLED: Final = ("", "[", "{")


def _plain_reader(recognised: Recognised) -> Any:
    reader = _Reader(recognised)
    if recognised.kind != "sft" or recognised.given:
        return lambda _: None
    if recognised.shape == "messages":
        return reader.conversation
    return reader.pair if reader.prompt and reader.completion and not reader.messages else lambda _: None


def _unusable(found: Piece, number: int, reason: str) -> None:
    found.unusable[reason] += 1
    if len(found.unusable_lines) < _SHOWN:
        found.unusable_lines.append((number, reason))
