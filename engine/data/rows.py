"""Rows of a data file, of any format and shape, each with the line it stands on.

One representation for training, inspection and evaluation. What the columns mean is recognised from a sample of the
file (`engine.data.shapes`), or said by the user (`data.mapping`). Rows in = rows kept + problems, always.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from engine.data import jsonl
from engine.data.files import Record, counts_lines, read_record, records, sample, shown
from engine.data.row import KINDS, Kind, Message, Problem, Row
from engine.data.shapes import SHAPES, Recognised, from_mapping, recognise, row_of
from engine.errors import DataError

__all__ = ["Message", "Problem", "Row", "check_file", "parse_row", "read_rows", "recognise_file", "row_at"]

_LEARNED: tuple[Kind, ...] = ("sft", "text")
"""What supervised fine-tuning learns from."""
_SHOWN_PROBLEMS = 5
_SAMPLED_ROWS = 200
_CONVERT = "`ftconsole data convert FILE -o OUT --to prompt-completion` writes them."
_REMEDIES: Mapping[Kind, str] = {
    "preference": f"To learn the chosen answers, {_CONVERT}",
    "kto": f"To learn the good answers, {_CONVERT}",
    "tokenised": "Name the file the token ids were made from.",
    "text": "Write questions and answers, one example per row.",
    "sft": "Write the better and the worse answer to each question.",
}


def recognise_file(path: Path, mapping: Mapping[str, str] | None = None) -> Recognised:
    """Return what a file holds, told from a sample spread over it, or what the user says it holds.

    Args:
        path: The file.
        mapping: Field to column, as in `data.mapping`; empty or None recognises.

    Raises:
        NotFound, DataError: It cannot be read, or the mapping makes no rows.
    """
    if mapping:
        try:
            return from_mapping(mapping)
        except ValueError as error:
            raise DataError(f"data.mapping: {error}.", remedy="Correct data.mapping.") from None
    return recognise(sample(path, _SAMPLED_ROWS))


def read_rows(
    path: Path, *, limit: int | None = None, mapping: Mapping[str, str] | None = None
) -> Iterator[Row | Problem]:
    """Yield every row of `path`, or why there is none; blank lines are not counted as either.

    Args:
        path: JSON lines, JSON, CSV, TSV, Parquet or Arrow; the text formats also with gzip or zstd.
        limit: Stop after so many lines that are not blank.
        mapping: Field to column where the user says so; empty or None recognises.

    Raises:
        NotFound: There is no such file.
        DataError: It cannot be read.
    """
    recognised = recognise_file(path, mapping)
    for item in records(path, limit=limit):
        yield row_of(item.value, recognised, path, item.line) if isinstance(item, Record) else item


def parse_row(path: Path, number: int, line: bytes) -> Row | Problem:
    """Return the row a line of JSON lines holds by itself, or why it holds none."""
    try:
        record = jsonl.parse_line(line)
    except jsonl.LineProblem as problem:
        return Problem(path, number, problem.reason, malformed=True)
    return row_of(record, recognise([record]), path, number)


def row_at(path: Path, line: int, *, mapping: Mapping[str, str] | None = None) -> Row | Problem:
    """Return the row at a line, as `Row.line` counts, or why there is none.

    Raises:
        NotFound: There is nothing at this line, or no such file.
        DataError: The file cannot be read.
    """
    record = read_record(path, line)
    return record if isinstance(record, Problem) else row_of(record, recognise_file(path, mapping), path, line)


def check_file(
    path: Path, mapping: Mapping[str, str] | None = None, *, kinds: Collection[Kind] = _LEARNED
) -> tuple[int, list[Problem]]:
    """Read a whole file and return how many usable rows it has and what is wrong with the others.

    Args:
        path: The file.
        mapping: As in `read_rows`.
        kinds: The rows the method can learn from.

    Raises:
        NotFound: There is no such file.
        DataError: It is empty, holds rows of another kind, or some of it cannot be read: a damaged file is not
            trained on in part.
    """
    recognised = recognise_file(path, mapping)
    if recognised.kind not in kinds and recognised.shape != "unknown":
        columns = ", ".join(recognised.columns.values())
        raise DataError(
            f"{shown(path)} holds {KINDS[recognised.kind]} (columns {columns[:120]}); this method learns from "
            f"{' or '.join(KINDS[kind] for kind in kinds)}.",
            remedy=_REMEDIES[recognised.kind],
        )
    rows, problems = 0, list[Problem]()
    for item in read_rows(path, mapping=mapping):
        if isinstance(item, Row):
            rows += 1
        else:
            problems.append(item)
    unit = "line" if counts_lines(path) else "row"
    malformed = [problem for problem in problems if problem.malformed]
    if malformed:
        told = "; ".join(f"{unit} {p.line}: {p.reason}" for p in malformed[:_SHOWN_PROBLEMS])
        more = f" and {len(malformed) - _SHOWN_PROBLEMS} more" if len(malformed) > _SHOWN_PROBLEMS else ""
        what = (
            f"1 {unit} that cannot be read" if len(malformed) == 1 else f"{len(malformed)} {unit}s that cannot be read"
        )
        remedy = f"Correct or delete those {unit}s; `ftconsole data convert FILE -o OUT --to messages` leaves them out."
        if any("not UTF-8" in problem.reason for problem in malformed):
            remedy = "Convert the file, for example with `iconv -f WINDOWS-1252 -t UTF-8`, where it is of that kind."
        raise DataError(f"{shown(path)} has {what} ({told}{more}).", remedy=f"{remedy} Nothing was started.")
    if not rows:
        why = f": {problems[0].reason} ({unit} {problems[0].line})" if problems else ""
        raise DataError(
            f"{shown(path)} has no row to learn from{why}.",
            remedy=f"A row is a JSON object on one line, such as {SHAPES['alpaca'].example}, or a line of a table.",
        )
    return rows, problems
