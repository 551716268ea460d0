"""Counting the statistics of data files on all cores: the process behind `engine.data.statistics`.

The rows are parsed in processes, because parsing holds the interpreter's lock. Numbers come back as arrays and are put
together with numpy, which is imported while the first rows are parsed.
"""

from __future__ import annotations

import gc
import math
import multiprocessing
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from engine.data.files import sample
from engine.data.line_index import open_data
from engine.data.plain_rows import names_of
from engine.data.row import Row
from engine.data.row_copy import numbers_path, text_of
from engine.data.row_measures import (
    Piece,
    Source,
    cuts,
    hash_of,
    lines_of,
    measure,
    row_in,
    separator_of,
    text_of_row,
)
from engine.data.shapes import from_mapping, recognise
from engine.data.statistics import QUANTILES, FileStatistics, Lengths, Overlap, Repeats, Request, Statistics, Tokens

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Say = Callable[[dict[str, Any]], None]
_Line: TypeAlias = tuple[int, bytes]
"""A line's number, and what stands there."""
NEAR_ROWS: Final = 200_000
"""Of each file: 30 microseconds a row. Of a larger file every nth row."""
FIRST_SAMPLE: Final = 5_000
"""Rows whose tokens are counted first: about a second."""
LARGE_SAMPLE: Final = 50_000
_SAMPLE_BYTES: Final = 64 << 20
_BARS: Final = 20
_SHOWN: Final = 20
_COUNTED_BELOW: Final = 1 << 20
"""The longest length up to which each is counted in a table."""
_TOKEN_BATCH: Final = 500
"""Rows tokenised at once: 0.1 s, then progress is told."""
SHAPE_SAMPLE: Final = 500
"""Records a shape is recognised from."""
_SHOWN_CATEGORIES: Final = 50
_MAX_PROCESSES: Final = 8
_SAY_SECONDS: Final = 0.05


@dataclass(slots=True)
class _File:
    """What is known of one file."""

    source: Source
    pieces: list[tuple[int, int]]
    total: Piece = field(default_factory=Piece)
    """All pieces together, but for the three that follow."""
    lines: NDArray[np.int64] | None = None
    """Of each usable row; 1 is the first."""
    starts: list[int] = field(default_factory=list)
    """Lines before each piece."""
    compared: _Signed | None = None
    tokens: list[int] = field(default_factory=list)
    """Lengths of the rows of the sample."""
    refused: int = 0
    known: FileStatistics | None = None

    def lines_in_file(self, lines: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where lines of the text are in the file itself, which is elsewhere only for CSV."""
        import numpy as np

        if self.source.text == self.source.path:
            return lines
        return np.fromfile(numbers_path(self.source.text), np.uint64)[lines - 1].astype(np.int64)

    @property
    def statistics(self) -> FileStatistics:
        assert self.known is not None
        return self.known


class _Signed(NamedTuple):
    """The rows that have a signature."""

    lines: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    signatures: NDArray[np.uint32]


def work(request: Request, say: Say) -> None:
    """Count what is asked for and say it, more and more of it.

    Raises:
        NotFound, DataError: A file cannot be read.
    """
    files = [_opened(path, request.mapping, say) for path in (*request.files, *request.validation)]
    pairs = list(product(files[: len(request.files)], files[len(request.files) :]))
    gc.disable()  # rows make no cycles; looking for them takes a tenth of the time
    context = multiprocessing.get_context("fork" if "fork" in multiprocessing.get_all_start_methods() else None)
    # Unlike multiprocessing's own pool, this one says so when a process of it was killed.
    with ProcessPoolExecutor(min(_MAX_PROCESSES, _cores()), context) as pool:
        for file in files:
            _count(file, pool, LARGE_SAMPLE if request.model is not None else 0, say)
            file.known = _known(file, request.max_length)
        overlaps = [_overlap(*pair) for pair in pairs]
        _tell(files, overlaps, say, done=False)
        for file in files:
            file.compared = _sign(file, pool, say)
            file.known = replace(file.statistics, near=_near_within(file.compared))
        overlaps = [replace(one, near=_near_across(*pair)) for one, pair in zip(overlaps, pairs, strict=True)]
    if request.model is not None:
        _tell(files, overlaps, say, done=False)
        _count_tokens(files, overlaps, request, say)
    _tell(files, overlaps, say, done=True)


def _opened(path: Path, mapping: Mapping[str, str] | None, say: Say) -> _File:
    text = text_of(path, lambda done, total: say({"stage": f"Reading {path.name}", "done": done, "total": total}))
    records = sample(text, SHAPE_SAMPLE)
    recognised = from_mapping(mapping) if mapping else recognise(records)
    with open_data(text) as file:
        separator = separator_of(file.fileno())
        return _File(
            Source(path, text, separator, recognised, names_of(records, recognised)),
            list(cuts(file.fileno(), separator)),
        )


def _count(file: _File, pool: Executor, sampled: int, say: Say) -> None:
    import numpy as np

    each = -(-sampled // max(1, len(file.pieces)))
    total, size, told = file.total, sum(stop - start for start, stop in file.pieces), 0.0
    lines, drawn = [np.empty(0, np.int64)], list[tuple[int, list[_Line]]]()
    found = pool.map(partial(_measure, file.source, each), file.pieces)
    for (_, stop), piece in zip(file.pieces, found, strict=True):
        base = total.num_lines
        file.starts.append(base)
        lines.append(np.frombuffer(piece.rows, np.uint32).astype(np.int64) + (base + 1))
        total.num_lines += piece.num_lines
        for name in ("characters", "answers", "tokens", "hashes"):
            getattr(total, name).extend(getattr(piece, name))
        for name in ("roles", "dataset_types", "categories", "labels", "unusable"):
            getattr(total, name).update(getattr(piece, name))
        total.unusable_lines += [(base + 1 + line, reason) for line, reason in piece.unusable_lines]
        del total.unusable_lines[_SHOWN:]
        sample = _within(piece.sample, _SAMPLE_BYTES // len(file.pieces))
        drawn.append((len(piece.rows), [(base + 1 + line, text) for line, text in sample]))
        if time.monotonic() - told > _SAY_SECONDS:
            told = time.monotonic()
            say({"stage": f"Counting {file.source.path.name}", "done": stop, "total": size})
    total.sample = _evenly(drawn)
    file.lines = file.lines_in_file(np.concatenate(lines))
    where = file.lines_in_file(np.array([line for line, _ in total.unusable_lines], np.int64)).tolist()
    total.unusable_lines = [(line, reason) for line, (_, reason) in zip(where, total.unusable_lines, strict=True)]


def _within(sample: Sequence[_Line], room: int) -> list[_Line]:
    """Return the first of some lines, no more than fill `room` bytes; the one that fills it is the last."""
    kept: list[_Line] = []
    for line in sample:
        if room <= 0:
            break
        kept.append(line)
        room -= len(line[1])
    return kept


def _evenly(drawn: Sequence[tuple[int, list[_Line]]]) -> list[_Line]:
    """Return of each piece the same share of its rows: pieces are equally long, so long rows are few in theirs.

    Args:
        drawn: Of each piece its number of rows, and some of them.
    """
    share = min((len(lines) / rows for rows, lines in drawn if rows), default=0.0)
    chance = random.Random(1)
    # As many as the share says, or one more: in a piece of few rows the fraction of one counts.
    return [
        line
        for rows, lines in drawn
        for line in chance.sample(lines, min(len(lines), int(share * rows + chance.random())))
    ]


def _measure(source: Source, sampled: int, piece: tuple[int, int]) -> Piece:
    return measure(source, piece, sampled)


def _known(file: _File, max_length: int | None) -> FileStatistics:
    total, path = file.total, file.source.path
    listed = total.categories.most_common(_SHOWN_CATEGORIES)
    tokens = lengths_of(total.tokens)
    return FileStatistics(
        path=os.fspath(path),
        bytes=path.stat().st_size,
        shape=file.source.recognised.shape,
        rows=len(total.hashes) + total.unusable.total(),
        usable=len(total.hashes),
        unusable=dict(total.unusable.most_common(_SHOWN)),
        unusable_lines=total.unusable_lines,
        characters=None if tokens else lengths_of(total.characters),
        answers=None if tokens else lengths_of(total.answers),
        roles=dict(total.roles.most_common()),
        dataset_types=dict(total.dataset_types.most_common(_SHOWN_CATEGORIES)),
        categories=dict(listed),
        other_categories=total.categories.total() - sum(number for _, number in listed),
        labels=dict(total.labels.most_common()),
        duplicates=_duplicates(file),
        near=None,
        tokens=None if tokens is None else Tokens(tokens, False, max_length, _share_above(total.tokens, max_length), 0),
    )


def _share_above(lengths: Sequence[int], limit: int | None) -> float | None:
    if limit is None or not len(lengths):
        return None
    return sum(length > limit for length in lengths) / len(lengths)


def lengths_of(values: Sequence[int]) -> Lengths | None:
    """Return quantiles and histogram of lengths; None when there are none."""
    import numpy as np

    if not len(values):
        return None
    numbers = np.asarray(values)
    if numbers.max() < _COUNTED_BELOW:  # 10 times faster than sorting
        counts = np.bincount(numbers)
        lengths = np.flatnonzero(counts)
        counts = counts[lengths]
    else:
        lengths, counts = np.unique(numbers, return_counts=True)
    upto = np.cumsum(counts)
    # The smallest length that so many rows do not exceed: one there is, nothing in between two.
    ranks = [max(1, math.ceil(share * len(numbers))) for share in QUANTILES]
    found = lengths[np.searchsorted(upto, ranks)].tolist()
    quantiles = {f"p{round(100 * share)}": length for share, length in zip(QUANTILES, found, strict=True)}
    width = -(-(quantiles["p99"] + 1) // _BARS)
    edges = [width * bar for bar in range(_BARS + 1)]
    if lengths[-1] >= edges[-1]:
        edges.append(int(lengths[-1]) + 1)
    below = np.concatenate([[0], upto])[np.searchsorted(lengths, edges)]
    total = int(lengths.astype(np.int64) @ counts)
    return Lengths(
        rows=len(numbers),
        total=total,
        minimum=int(lengths[0]),
        maximum=int(lengths[-1]),
        mean=round(total / len(numbers), 2),
        quantiles=quantiles,
        edges=edges,
        counts=np.diff(below).tolist(),
    )


def _hashes(file: _File) -> NDArray[np.uint64]:
    import numpy as np

    return np.frombuffer(file.total.hashes, np.uint64)


def _duplicates(file: _File) -> Repeats:
    import numpy as np

    hashes = _hashes(file)
    ordered = np.sort(hashes)
    several = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    # Only the rows that stand there more than once are put in order: to sort all stably takes 5 times as long.
    inside = np.searchsorted(several, hashes)
    rows = np.flatnonzero(several[np.minimum(inside, len(several) - 1)] == hashes) if len(several) else inside[:0]
    rows = rows[np.argsort(inside[rows], kind="stable")]
    first = np.searchsorted(inside[rows], np.arange(len(several)))
    again = np.ones(len(rows), np.bool_)
    again[first] = False
    return _repeats(file, file, rows[again], rows[first][inside[rows[again]]], len(hashes))


def _repeats(
    later_of: _File, earlier_of: _File, later: NDArray[np.int64], earlier: NDArray[np.int64], examined: int
) -> Repeats:
    import numpy as np

    assert later_of.lines is not None
    assert earlier_of.lines is not None
    shown = np.argsort(later)[:_SHOWN]
    pairs = zip(later_of.lines[later[shown]].tolist(), earlier_of.lines[earlier[shown]].tolist(), strict=True)
    return Repeats(len(later), examined, list(pairs))


def _overlap(file: _File, validation: _File) -> Overlap:
    import numpy as np

    wanted = _hashes(validation)
    hashes, first = np.unique(_hashes(file), return_index=True)
    place = np.minimum(np.searchsorted(hashes, wanted), max(0, len(hashes) - 1))
    equal = np.flatnonzero(hashes[place] == wanted) if len(hashes) else np.empty(0, np.int64)
    exact = _repeats(validation, file, equal, first[place[equal]], len(wanted))
    return Overlap(os.fspath(file.source.path), os.fspath(validation.source.path), exact, None)


def _sign(file: _File, pool: Executor, say: Say) -> _Signed:
    """Give the rows, or every nth of a large file, their signatures."""
    import numpy as np

    from engine.data.near_duplicates import NUMBERS

    step, told = -(-max(1, len(file.total.hashes)) // NEAR_ROWS), 0.0
    parts = [_Signed(np.empty(0, np.int64), np.empty(0, np.uint64), np.empty((0, NUMBERS), np.uint32))]
    found = pool.map(partial(_signatures, file.source, step), file.pieces)
    for number, (start, part) in enumerate(zip(file.starts, found, strict=True), start=1):
        parts.append(part._replace(lines=part.lines + (start + 1)))
        if time.monotonic() - told > _SAY_SECONDS:
            told = time.monotonic()
            say({"stage": f"Comparing {file.source.path.name}", "done": number, "total": len(file.pieces)})
    signed = _Signed(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    return signed._replace(lines=file.lines_in_file(signed.lines))


def _signatures(source: Source, step: int, piece: tuple[int, int]) -> _Signed:
    import numpy as np

    from engine.data.near_duplicates import signatures

    lines, hashes, texts = [], [], []
    for number, line in enumerate(lines_of(source, piece)):
        if number % step:
            continue
        row = row_in(source, number, line)
        if isinstance(row, Row):
            lines.append(number)
            hashes.append(hash_of(text_of_row(row)))
            texts.append(compared_text(row))
    return _Signed(np.array(lines, np.int64), np.array(hashes, np.uint64), signatures(texts))


def compared_text(row: Row) -> str:
    """Return what rows are compared by: all but the system's text, which many rows share."""
    if row.input_ids is not None:
        return " ".join(map(str, row.input_ids))
    messages = (*row.prompt, *row.completion, *row.rejected)
    return "\n".join(message["content"] for message in messages if message["role"] != "system")


def _near_within(rows: _Signed) -> Repeats:
    from engine.data.near_duplicates import pairs_within

    return _near(rows, rows, pairs_within(rows.signatures))


def _near_across(file: _File, validation: _File) -> Repeats:
    from engine.data.near_duplicates import pairs_across

    assert file.compared is not None
    assert validation.compared is not None
    pairs = pairs_across(file.compared.signatures, validation.compared.signatures)
    return _near(validation.compared, file.compared, pairs)


def _near(later_of: _Signed, earlier_of: _Signed, pairs: NDArray[np.int64]) -> Repeats:
    """Return the pairs that are not equal: those are told of as duplicates."""
    pairs = pairs[later_of.hashes[pairs[:, 0]] != earlier_of.hashes[pairs[:, 1]]]
    shown = pairs[:_SHOWN]
    lines = zip(later_of.lines[shown[:, 0]].tolist(), earlier_of.lines[shown[:, 1]].tolist(), strict=True)
    return Repeats(len(pairs), len(later_of.lines), list(lines))


def _count_tokens(files: Sequence[_File], overlaps: list[Overlap], request: Request, say: Say) -> None:
    """Count tokens of a small sample of each file, say it, and go on to a large one."""
    from engine.data.token_lengths import TokenCounter

    assert request.model is not None
    counter = TokenCounter(request.model)
    for file in files:
        random.Random(1).shuffle(file.total.sample)
    for begin, end in ((0, FIRST_SAMPLE), (FIRST_SAMPLE, LARGE_SAMPLE)):
        for file in files:
            if file.total.tokens or len(file.total.sample) <= begin:
                continue
            sampled = file.total.sample[begin:end]
            for start in range(0, len(sampled), _TOKEN_BATCH):
                say({"stage": f"Tokens of {file.source.path.name}", "done": start, "total": len(sampled)})
                rows = [row_in(file.source, *each) for each in sampled[start : start + _TOKEN_BATCH]]
                lengths, refused = counter.count([row for row in rows if isinstance(row, Row)])
                file.tokens += lengths
                file.refused += refused
            file.known = replace(file.statistics, tokens=_sampled_tokens(file, request.max_length))
        _tell(files, overlaps, say, done=False)


def _sampled_tokens(file: _File, max_length: int | None) -> Tokens | None:
    lengths = lengths_of(file.tokens)
    if lengths is None:
        return None
    sampled = len(file.tokens) + file.refused < len(file.total.hashes)
    return Tokens(lengths, sampled, max_length, _share_above(file.tokens, max_length), file.refused)


def _tell(files: Sequence[_File], overlaps: list[Overlap], say: Say, *, done: bool) -> None:
    say({"result": asdict(Statistics([file.statistics for file in files], overlaps, done))})


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
