"""Words to rows of cells: wrapping with a hanging indent, for what Textual's own wrapping has no indent."""

from __future__ import annotations

import re
from collections.abc import Iterable

from textual.content import Content

from tui.display import cell_len, truncate

StyledText = tuple[str, str]
"""Text, cleaned and one line, and a Textual style."""

_WORDS = re.compile(r"^\s+|\S+\s*")


def wrapped(pieces: Iterable[StyledText], width: int, indent: int = 0) -> list[list[StyledText]]:
    """Return `pieces` in rows of at most `width` cells, broken between words where that is possible.

    Args:
        pieces: One after the other.
        width: At least 1.
        indent: Blanks before every row but the first.
    """
    indent = min(indent, max(0, width - 8))
    rows: list[list[StyledText]] = [[]]
    used = 0
    for text, style in pieces:
        for word in _WORDS.findall(text) or ([text] if text else []):
            for part in _parts(word, width - indent):
                size = cell_len(part.rstrip())
                if used and used + size > width:
                    _strip(rows[-1])
                    rows.append([(" " * indent, "")] if indent else [])
                    used = indent
                rows[-1].append((part, style))
                used += cell_len(part)
    _strip(rows[-1])
    return rows


def _strip(row: list[StyledText]) -> None:
    if row:
        row[-1] = (row[-1][0].rstrip(), row[-1][1])


def cut_row(pieces: Iterable[StyledText], width: int) -> list[StyledText]:
    """Return one row of at most `width` cells, with an ellipsis where something was left out."""
    kept: list[StyledText] = []
    used = 0
    whole = list(pieces)
    room = width if sum(cell_len(text) for text, _ in whole) <= width else width - 1
    for text, style in whole:
        shown = truncate(text, room - used, ellipsis="")
        kept.append((shown, style))
        used += cell_len(shown)
        if shown != text:
            return [*kept, ("…", style)] if width > 0 else []
    return kept


def _parts(word: str, width: int) -> list[str]:
    """Return a word in parts that fit into `width` cells."""
    if cell_len(word.rstrip()) <= width:
        return [word]
    parts, size = [""], 0
    for character in word:
        wide = cell_len(character)
        if parts[-1] and size + wide > width:
            parts.append("")
            size = 0
        parts[-1] += character
        size += wide
    return parts


def as_content(rows: Iterable[Iterable[StyledText]]) -> Content:
    """Return rows as literal content."""
    return Content("\n").join(
        Content.assemble(*(Content.styled(text, style) if style else text for text, style in row)) for row in rows
    )


def as_text(rows: Iterable[Iterable[StyledText]]) -> str:
    """Return rows as plain text."""
    return "\n".join("".join(text for text, _ in row).rstrip() for row in rows)
