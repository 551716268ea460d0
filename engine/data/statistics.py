"""The statistics of data files: lengths, roles, kinds, duplicates, overlap; and how they are asked for.

The counting is done by `statistics_worker`, in a process of its own that says more and more: first what every row can
be asked in seconds, then duplicates that are only nearly equal, then tokens.

    python -P -m engine.data.statistics FILE... [--validation FILE]... [--model FOLDER] [--max-length N]
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from engine.data.data_worker import Cancelled, answer, ask, never

QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long rows are, in characters or tokens."""

    rows: int
    """How many were measured: all, or a sample."""
    total: int
    minimum: int
    maximum: int
    mean: float
    quantiles: dict[str, int]
    """"p5", "p25", "p50", "p75", "p95", "p99"; each is the length of some row."""
    edges: list[int]
    """Of the histogram: bar n holds the rows from edge n on and below edge n + 1. The last bar holds all that are
    longer than 99 % of the rows, and its upper edge too."""
    counts: list[int]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Lengths in tokens, as the model's chat template writes the rows."""

    lengths: Lengths
    sampled: bool
    """Whether `lengths` is of a sample and not of all rows."""
    max_length: int | None
    truncated_share: float | None
    """Of the rows, those that are longer than `max_length`; None without one."""
    refused: int
    """Rows of the sample that the template does not take."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """Rows that say what an earlier row says."""

    rows: int
    """The later ones. A row that stands in a file three times counts two."""
    examined: int
    """Among how many rows they were looked for."""
    first: list[tuple[int, int]]
    """Lines of the first few: the later, the earlier. Of an overlap: in the validation file, in the training file."""


@dataclass(frozen=True, slots=True)
class FileStatistics:
    """What one file holds."""

    path: str
    bytes: int
    shape: str
    """How its rows were recognised, such as "alpaca"; empty when none fits."""
    rows: int
    """Lines that are not blank."""
    usable: int
    """Of them, rows that can be learned from."""
    unusable: dict[str, int]
    """The others, by reason."""
    unusable_lines: list[tuple[int, str]]
    """The first of them: line and reason."""
    characters: Lengths | None
    """Of all the text of a row. None for a tokenised file, and without usable rows."""
    answers: Lengths | None
    """Characters of what is learned: the answers; of preferences the chosen ones."""
    roles: dict[str, int]
    """Messages, by who speaks."""
    dataset_types: dict[str, int]
    """Usable rows, by `metadata.dataset_type`; the others are not in it."""
    categories: dict[str, int]
    """Usable rows, by `metadata.category` or `category`: the most frequent."""
    other_categories: int
    """Rows of categories that are not listed."""
    labels: dict[str, int]
    """Rows of a KTO file, by label: "true", "false"."""
    duplicates: Repeats
    """Rows with the same texts."""
    near: Repeats | None
    """Rows with nearly the same words as an earlier one (80 % of word triples), equal ones left out. None while they
    are looked for."""
    tokens: Tokens | None
    """None without a model, and while they are counted."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Rows of the validation file that are in a training file as well."""

    path: str
    validation: str
    exact: Repeats
    near: Repeats | None
    """None while they are looked for."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What was asked for, as far as it is known."""

    files: list[FileStatistics]
    overlaps: list[Overlap]
    done: bool
    """Whether nothing more will be found out."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to count."""

    files: Sequence[Path]
    validation: Sequence[Path] = ()
    """Counted as well, and compared with each of `files`."""
    model: Path | None = None
    """Folder with the tokenizer. None: no tokens are counted."""
    max_length: int | None = None
    """In tokens; for the share of rows that would be cut."""
    mapping: Mapping[str, str] | None = None
    """Field to column, where the user corrects what was recognised. None: each file is recognised."""

    def arguments(self) -> list[str]:
        """Return the worker's command line."""
        words = [os.fspath(path.absolute()) for path in self.files]
        for path in self.validation:
            words += ["--validation", os.fspath(path.absolute())]
        words += ["--model", os.fspath(self.model.absolute())] if self.model is not None else []
        for field, column in (self.mapping or {}).items():
            words += ["--column", f"{field}={column}"]
        return words + (["--max-length", str(self.max_length)] if self.max_length is not None else [])


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the counting is."""

    stage: str
    """What is being done, in words."""
    done: int
    total: int


def count(
    request: Request, told: Callable[[Progress], None] = lambda _: None, cancelled: Cancelled = never
) -> Generator[Statistics, None, None]:
    """Yield the statistics as they become known; the last one has `done`. Blocks: for a thread.

    Raises:
        NotFound, DataError: A file cannot be read.
        WorkCancelled: `cancelled` returned True.
    """
    for said in ask(__name__, request.arguments(), cancelled):
        if "result" in said:
            yield statistics_of(said["result"])
        else:
            told(Progress(said["stage"], said["done"], said["total"]))


def statistics_of(told: dict[str, Any]) -> Statistics:
    """Return what `dataclasses.asdict` made JSON of."""
    return Statistics(
        [_file(part) for part in told["files"]],
        [
            Overlap(part["path"], part["validation"], _repeats(part["exact"]), part["near"] and _repeats(part["near"]))
            for part in told["overlaps"]
        ],
        told["done"],
    )


def _file(told: dict[str, Any]) -> FileStatistics:
    values = {field.name: told[field.name] for field in fields(FileStatistics)}
    values["unusable_lines"] = [(line, reason) for line, reason in told["unusable_lines"]]
    values["duplicates"] = _repeats(told["duplicates"])
    values["near"] = told["near"] and _repeats(told["near"])
    for name in ("characters", "answers"):
        values[name] = told[name] and Lengths(**told[name])
    if told["tokens"]:
        values["tokens"] = Tokens(**{**told["tokens"], "lengths": Lengths(**told["tokens"]["lengths"])})
    return FileStatistics(**values)


def _repeats(told: dict[str, Any]) -> Repeats:
    return Repeats(told["rows"], told["examined"], [(later, earlier) for later, earlier in told["first"]])


def _work(arguments: list[str], say: Callable[[dict[str, Any]], None]) -> None:
    import argparse

    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--validation", type=Path, action="append", default=[])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--max-length", type=int)
    parser.add_argument("--column", action="append", default=[])
    given = parser.parse_args(arguments)
    from engine.data.statistics_worker import work

    mapping = dict(each.split("=", 1) for each in given.column)
    work(Request(given.files, given.validation, given.model, given.max_length, mapping), say)


if __name__ == "__main__":
    sys.exit(answer(_work))
