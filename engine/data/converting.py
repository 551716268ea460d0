"""One form of rows from any: messages, prompt and completion, or preference pairs, as JSON lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from engine.data.files import counts_lines, shown
from engine.data.row import KINDS, Message, Problem, Row
from engine.data.rows import read_rows, recognise_file
from engine.data.shapes import Recognised
from engine.data.writing import as_line, check_writable, whole_file
from engine.errors import DataError

Form: TypeAlias = Literal["messages", "prompt-completion", "preference"]
FORMS: tuple[Form, ...] = ("messages", "prompt-completion", "preference")


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of the rows. `rows_in` is `rows_written` and those left out."""

    read_as: dict[Path, Recognised]
    """What each file was taken for."""
    rows_in: int
    rows_written: int
    left_out: list[Problem]


def convert(
    sources: Sequence[Path],
    out: Path,
    form: Form,
    *,
    mapping: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Converted:
    """Write the rows of the sources, one after the other, in one form.

    Of preference pairs, the chosen answers make messages and completions; of marked answers, the good ones.
    `metadata` is kept. Rows that cannot be read or have no such form are left out and listed.

    Raises:
        UsageError: `out` must not be written.
        NotFound, DataError: A source cannot be read, or no row has that form; then nothing is written.
        DiskFull, WorkspaceError: `out` cannot be written.
    """
    check_writable(out, sources, overwrite=overwrite)
    read_as = {source: recognise_file(source, mapping) for source in sources}
    written, left_out = 0, list[Problem]()
    with whole_file(out) as file:
        for source in sources:
            for item in read_rows(source, mapping=mapping):
                record = item if isinstance(item, Problem) else in_form(item, form)
                if isinstance(record, Problem):
                    left_out.append(record)
                else:
                    file.write(as_line(record) + b"\n")
                    written += 1
        if not written:
            first = left_out[0] if left_out else None
            unit = "line" if first is not None and counts_lines(first.path) else "row"
            why = f": {first.reason} ({unit} {first.line})" if first is not None else ""
            raise DataError(
                f"No row of {', '.join(shown(source.name) for source in sources)} can be written as {form}{why}.",
                remedy="Choose another form with --to, or say with --map what the columns hold. Nothing was written.",
            )
    return Converted(read_as, written + len(left_out), written, left_out)


def in_form(row: Row, form: Form) -> dict[str, Any] | Problem:
    """Return a row in one form, or why it has none."""
    record: dict[str, Any]
    reason = _why_not(row, form)
    if reason:
        return Problem(row.path, row.line, reason, malformed=False)
    if form == "messages":
        record = {"messages": _both(row)}
    elif form == "prompt-completion":
        record = {"prompt": row.prompt, "completion": row.completion}
    else:
        record = {"prompt": row.prompt, "chosen": row.completion, "rejected": row.rejected}
    return {**record, "metadata": row.metadata} if row.metadata else record


def _why_not(row: Row, form: Form) -> str:
    if form == "preference":
        return "" if row.kind == "preference" else f"{KINDS[row.kind]} have no worse answer to compare with"
    if row.kind in ("text", "tokenised"):
        return f"{KINDS[row.kind]} cannot be told apart into question and answer"
    return "its answer is marked as bad" if row.kind == "kto" and not row.label else ""


def _both(row: Row) -> list[Message]:
    return [*row.prompt, *row.completion]
