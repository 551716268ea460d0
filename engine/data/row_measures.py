"""What one piece of a file of JSON lines holds: lengths, roles, kinds, and a hash of every row.

A gigabyte has some 800,000 rows, so every microsecond a row costs is a second. The two commonest shapes are therefore
read by `engine.data.plain_rows`, without making a `Row`; whatever is not plainly of them is given to
`engine.data.shapes.row_of`, and a test holds both ways against each other.
"""

from __future__ import annotations

import os
import random
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from engine.data.plain_rows import Names, Told, plain_reader
from engine.data.row import Problem, Row
from engine.data.shapes import Recognised, row_of

PIECE_BYTES: Final = 16 << 20
"""At most: some 12,000 rows, 60 ms; what is known of them then changes hands once."""
_SMALL_PIECE_BYTES: Final = 1 << 20
MAX_LINE_BYTES: Final = 64 << 20
"""The longest line that training reads."""
MAX_CATEGORIES: Final = 10_000
"""Told apart in one piece; a column of identifiers would otherwise fill the memory."""
_SHOWN: Final = 20
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
    names: Names = field(default_factory=lambda: Names((), (), ()))
    """Of its sample."""


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
    hashes: array[int] = field(default_factory=lambda: array("Q"))
    """Per usable row, of its texts: `hash_of`."""
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


def hash_of(text: str) -> int:
    """Return 64 bits that tell texts apart. Python's own hash takes half a microsecond more for a thousand letters."""
    from xxhash import xxh3_64_intdigest

    return xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))


def measure(source: Source, piece: tuple[int, int], sample: int) -> Piece:
    """Return what a piece holds.

    Args:
        source: See there.
        piece: Where it begins and ends, from `cuts`.
        sample: How many of its rows are to be returned.
    """
    import orjson
    from xxhash import xxh3_64_intdigest

    found = Piece()
    # Counted by all that is told of a row at once, and nothing of a row is kept: its memory is then used for the next.
    seen: dict[Told, list[int]] = {}
    plain, loads = plain_reader(source.recognised, source.names), orjson.loads
    add_row, add_hash = found.rows.append, found.hashes.append
    add_characters, add_answer = found.characters.append, found.answers.append
    number = -1
    for number, line in enumerate(lines_of(source, piece)):
        read = plain(line)
        if read is not None:
            text, told, answered = read
            between = len(told[0]) - 1
            add_hash(xxh3_64_intdigest(text.encode()))  # `hash_of`, 0.3 microseconds quicker
        else:
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
            row = row_of(record, source.recognised, source.path, number)
            if isinstance(row, Problem):
                _unusable(found, number, row.reason)
                continue
            text = text_of_row(row)
            add_hash(hash_of(text))
            turns = tuple([message["role"] for message in (*row.prompt, *row.completion)])
            between = max(0, len(turns) + len(row.rejected) - 1)
            answered = sum(len(message["content"]) for message in row.completion)
            told = turns, row.dataset_type, row.category
            if row.label is not None:
                found.labels["true" if row.label else "false"] += 1
            if row.input_ids is not None:
                found.tokens.append(len(row.input_ids))
        times = seen.get(told)
        if times is None:
            times = seen[told] = [0]
        times[0] += 1
        add_row(number)
        add_characters(len(text) - between)
        add_answer(answered)
    found.num_lines = number + 1
    for (turns, dataset_type, category), (rows,) in seen.items():
        for role in turns:
            found.roles[role] += rows
        if dataset_type:
            found.dataset_types[dataset_type] += rows
        if category:
            found.categories[category] += rows
    for counter in (found.categories, found.dataset_types, found.unusable):
        if len(counter) > MAX_CATEGORIES:
            kept = dict(counter.most_common(MAX_CATEGORIES))
            counter.clear()
            counter.update(kept)
    if sample:
        chosen = set(random.Random(piece[0]).sample(found.rows, min(sample, len(found.rows))))
        found.sample = [(number, line) for number, line in enumerate(lines_of(source, piece)) if number in chosen]
    return found


def _unusable(found: Piece, number: int, reason: str) -> None:
    found.unusable[reason] += 1
    if len(found.unusable_lines) < _SHOWN:
        found.unusable_lines.append((number, reason))
