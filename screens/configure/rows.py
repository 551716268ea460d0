"""One row of the form as pieces of text: a setting's sign, name, value, and where the value comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.config.declaration import TRAINER
from screens.configure.draft import Reading
from screens.configure.fields import Field, Heading, Line, Value, in_a_word, value_of
from tui.display import cell_len, plain, truncate
from tui.widgets.cells import Piece

NAME = 27
"""Cells of the longest names: `per_device_train_batch_size`."""
_LEAST_NAME = 16
_SOURCE = 10
_WITH_SOURCE = 64
"""Width from which there is room for where a value comes from."""
_SHOWN = 400
"""Characters of a value that are looked at."""
GAP = 2
SOURCE_STYLES: Mapping[str, str] = {"given": "v", "preset": "a", "automatic": "g", "default": "m"}


@dataclass(frozen=True, slots=True)
class Columns:
    """Where the parts of a row stand, in cells."""

    name: int
    value: int
    """Width of the value."""
    other: int
    """Width of the value it is compared with; 0 without one."""
    source: int
    """0: there is no room for it."""

    @property
    def value_at(self) -> int:
        """First cell of the value."""
        return 2 + self.name + GAP


def columns(width: int, *, comparing: bool = False) -> Columns:
    """Return the columns of a row of `width` cells."""
    source = _SOURCE if width >= _WITH_SOURCE and not comparing else 0
    room = max(0, width - 2 - GAP - (source + GAP if source else 0))
    name = min(NAME, max(_LEAST_NAME, room // 2))
    name = min(name, room)
    value = room - name
    other = (value - GAP) // 2 if comparing and value > 12 else 0
    return Columns(name, value - (other + GAP if other else 0), other, source)


def pieces(
    line: Line,
    at: Columns,
    reading: Reading,
    settled: Mapping[str, Value],
    others: Mapping[str, Any] | None,
    *,
    ascii_only: bool = False,
) -> list[Piece]:
    """Return one row.

    Args:
        line: What it shows.
        at: Where its parts stand.
        reading: The draft.
        settled: As in `fields.value_of`.
        others: Values by key that these are compared with; None without a comparison.
        ascii_only: Nothing else can be drawn.
    """
    if isinstance(line, Heading):
        return _heading(line, at, ascii_only=ascii_only)
    wrong = line.key in reading.wrong
    shown = value_of(line, reading, settled)
    sign = ("! ", "e") if wrong else (("* " if ascii_only else "• "), "a") if shown.kind == "given" else ("  ", " ")
    name_style = "e" if wrong else " " if shown.kind != "default" or line.section != TRAINER else "m"
    row: list[Piece] = [
        sign,
        *_padded(truncate(line.name, at.name, keep="ends"), at.name, name_style),
        (" " * GAP, " "),
    ]
    style = "e" if wrong else "v" if shown.kind == "given" else "m" if shown.kind == "default" else " "
    row += _padded(_cut(shown.value, at.value), at.value, style)
    if at.other and others is not None:
        row += [(" " * GAP, " "), *_padded(_cut(others.get(line.key, line.default), at.other), at.other, "b")]
    if at.source:
        row += [(" " * GAP, " "), (truncate(shown.kind, at.source), SOURCE_STYLES[shown.kind])]
    return row


def _heading(line: Heading, at: Columns, *, ascii_only: bool) -> list[Piece]:
    width = at.value_at + at.value + (at.other + GAP if at.other else 0) + (at.source + GAP if at.source else 0)
    mark = ("+ " if ascii_only else "▸ ") if line.folded else "- " if ascii_only else "▾ "
    more = f"{line.folded} more" if line.folded else ""
    room = width - 2 - len(line.section) - GAP - (len(more) + GAP if more else 0)
    row: list[Piece] = [(mark, "m"), (line.section, "a"), (" " * GAP, " ")]
    row += _padded(truncate(line.about.split(". ")[0], room), room, "m")
    return [*row, (" " * GAP, " "), (more, "m")] if more else row


def _cut(value: Any, width: int) -> str:
    text = in_a_word(value)
    # The end of a path says which file it is.
    return truncate(plain(text, limit=_SHOWN), width, keep="end" if "/" in text and "," not in text else "start")


def _padded(text: str, width: int, style: str) -> list[Piece]:
    return [(text, style), (" " * max(0, width - cell_len(text)), " ")]


def facts(
    field: Field, reading: Reading, settled: Mapping[str, Value], others: Mapping[str, Any] | None, other_name: str = ""
) -> list[tuple[str, list[Piece]]]:
    """Return what there is to say about a field: ("", a paragraph), or a label and what stands behind it."""
    from screens.configure.fields import about

    shown = value_of(field, reading, settled)
    told: list[tuple[str, list[Piece]]] = []
    problem = reading.wrong.get(field.key)
    if problem:
        told.append(("", [("! ", "e"), (plain(problem, limit=_SHOWN), "e")]))
    more = about(field, shown.value)
    told.append(("", [(plain(field.description), " ")]))
    if more:
        told.append(("", [(plain(more), "v")]))
    if others is not None:
        there = in_a_word(others.get(field.key, field.default))
        told.append(("theirs", [(plain(there, limit=_SHOWN), "b"), (f"  in {other_name}", "m")]))
    told.append(("accepts", [(plain(field.accepts), "m")]))
    if field.default is not None or "null" in field.accepts:
        told.append(("default", [(plain(in_a_word(field.default)), "m")]))
    return told


def origin(field: Field, reading: Reading, settled: Mapping[str, Value]) -> list[Piece]:
    """Return where a field's value comes from, with the reason."""
    shown = value_of(field, reading, settled)
    reason = plain(shown.reason, limit=_SHOWN)
    if shown.kind == "automatic" and not reason:
        reason = "decided from rows, model and machine"
    separator = " " if shown.kind == "preset" else ": "
    return [(shown.kind, SOURCE_STYLES[shown.kind]), (f"{separator}{reason}" if reason else "", "m")]
