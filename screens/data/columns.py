"""The columns of the table of rows: what each says of a row, and how wide it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tui.display import cell_len, truncate
from tui.widgets.cells import Piece
from tui.widgets.chart.glyphs import GlyphSet

GAP: Final = 2
_TEXT: Final = 12
"""Cells that a column of text has at least; narrower, it is left out."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One line of a file, in as many words as a table has room for."""

    line: int
    """1 is the first."""
    texts: tuple[str, ...]
    """One for each column of text of `TEXTS`, cleaned; the line itself where it is no row."""
    problem: str = ""
    """Why it is no row, cleaned."""
    loading: bool = False
    """It has not been read yet."""
    blank: bool = False
    """There is nothing on it."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column at one width."""

    title: str
    width: int
    text: int | None
    """Place in `Shown.texts`; None for the number of the line."""


TEXTS: Final[Mapping[str, tuple[tuple[str, int], ...]]] = {
    "sft": (("prompt", 5), ("answer", 6), ("type", 0)),
    "preference": (("prompt", 4), ("chosen", 5), ("rejected", 5)),
    "kto": (("prompt", 5), ("answer", 6), ("label", 0)),
    "text": (("text", 1),),
    "tokenised": (("tokens", 3), ("ids", 8)),
}
"""Titles of the columns of each kind of row, and their shares of the width; 0 takes no more than `_NARROW`."""
_NARROW: Final = 9
_SIGN: Final = 2
"""Cells before the number: what a row is marked with."""


def columns_for(kind: str, width: int, digits: int) -> list[Column]:
    """Return the columns for a row of `width` cells.

    Args:
        kind: Of the rows; an unknown one has one column of text.
        width: Of a row.
        digits: Of the highest line number.
    """
    texts = TEXTS.get(kind) or (("line", 1),)
    first = Column("line", max(4, digits), None)
    room = width - _SIGN - first.width - GAP
    kept = list(enumerate(texts))
    while len(kept) > 1 and room < sum((_TEXT if share else _NARROW) + GAP for _, (_, share) in kept) - GAP:
        narrow = [entry for entry in kept if not entry[1][1]]
        kept.remove(narrow[-1] if narrow else kept[-1])
    fixed = sum(_NARROW for _, (_, share) in kept if not share) + GAP * (len(kept) - 1)
    shares = sum(share for _, (_, share) in kept) or 1
    columns, used = [first], 0
    growing = [entry for entry in kept if entry[1][1]]
    for place, (title, share) in kept:
        if not share:
            size = _NARROW
        elif (place, (title, share)) == growing[-1]:
            size = max(1, room - fixed - used)
        else:
            size = max(1, (room - fixed) * share // shares)
            used += size
        columns.append(Column(title, size, place))
    return columns


def heads(columns: Sequence[Column]) -> list[Piece]:
    """Return the row of titles."""
    row: list[Piece] = [(" " * _SIGN, " ")]
    for column in columns:
        if column.text is None:
            row.append((f"{column.title:>{column.width}}", "m"))
        else:
            row += [(" " * GAP, " "), (f"{truncate(column.title, column.width):<{column.width}}", "m")]
    return row


def cells(shown: Shown, columns: Sequence[Column], glyphs: GlyphSet, *, marked: bool = False) -> list[Piece]:
    """Return one row, its columns filled up to their widths.

    Args:
        shown: What is known of it.
        columns: As from `columns_for`.
        glyphs: What can be drawn.
        marked: Whether a search has found it.
    """
    sign, style = _sign(shown, glyphs, marked=marked)
    row: list[Piece] = [(f"{sign:<{_SIGN}}", style)]
    if not columns:
        return row
    number, *texts = columns
    row.append((f"{shown.line:>{number.width}}", "m"))
    if shown.loading or shown.blank:
        return [*row, (" " * GAP, " "), ("..." if shown.loading else "(blank)", "d")]
    if shown.problem:
        room = sum(column.width + GAP for column in texts) - GAP
        told = truncate(shown.problem, room)
        rest = truncate(shown.texts[0] if shown.texts else "", room - cell_len(told) - GAP)
        return [*row, (" " * GAP, " "), (told, "w"), (" " * GAP, " "), (rest, "d")]
    for column in texts:
        text = shown.texts[column.text] if column.text is not None and column.text < len(shown.texts) else ""
        kept = truncate(text, column.width)
        row += [(" " * GAP, " "), (kept, " " if column.text == 0 else "m")]
        row.append((" " * (column.width - cell_len(kept)), " "))
    return row


def _sign(shown: Shown, glyphs: GlyphSet, *, marked: bool) -> Piece:
    if shown.problem:
        return "!", "w"
    if marked:
        return "*" if glyphs == "ascii" else "▸", "a"
    return "", " "
