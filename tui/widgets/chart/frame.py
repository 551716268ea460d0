"""A finished picture in cells, and the difference of two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import get_character_cell_size

FILLER = "\0"
"""Stands for the second cell of a double-width character, so that index and cell stay the same thing."""

MERGE = 6
"""Unchanged cells between two changed ones that are sent rather than skipped: addressing the cursor and
setting two colours again takes some 50 bytes, a braille cell 3."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Rows of glyphs and, of equal shape, rows of style codes (see `plot.STYLES`)."""

    text: tuple[str, ...]
    styles: tuple[str, ...]

    def runs(self, y: int) -> Iterator[tuple[str, str]]:
        """The pieces of row `y` that share a style: text and style code."""
        text, styles = self.text[y], self.styles[y]
        start = 0
        for end in range(1, len(styles) + 1):
            if end == len(styles) or styles[end] != styles[start]:
                yield text[start:end].replace(FILLER, ""), styles[start]
                start = end

    def plain(self) -> str:
        """Text only, without trailing blanks."""
        return "\n".join(row.replace(FILLER, "").rstrip() for row in self.text)


class Row:
    """A row of cells under construction."""

    def __init__(self, width: int) -> None:
        self.text = [" "] * width
        self.styles = [" "] * width

    def put(self, x: int, text: str, style: str) -> int:
        """Write from cell `x` on, cut at both edges, and return the cell after the text."""
        width = len(self.text)
        if text.isascii() and 0 <= x <= width - len(text):
            end = x + len(text)
            self.text[x:end] = text
            self.styles[x:end] = style * len(text)
            return end
        for character in text:
            size = get_character_cell_size(character)
            if size == 0:
                continue
            if x >= 0 and x + size <= width:
                self.text[x : x + size] = [character, FILLER][:size]
                self.styles[x : x + size] = [style] * size
            x += size
        return x

    def fill(self, x: int, glyph: str, count: int, style: str) -> None:
        """Repeat a glyph of one cell, which has to fit."""
        self.text[x : x + count] = glyph * count
        self.styles[x : x + count] = style * count


def changes(old: Frame, new: Frame) -> list[tuple[int, int, int]]:
    """Runs of cells (x, y, width) in which two frames of one size differ."""
    found = []
    for y, (text, styles) in enumerate(zip(new.text, new.styles, strict=True)):
        old_text, old_styles = old.text[y], old.styles[y]
        if text == old_text and styles == old_styles:
            continue
        start = end = -1
        for x in range(len(text)):
            if text[x] == old_text[x] and styles[x] == old_styles[x]:
                continue
            if start < 0:
                start = x
            elif x - end > MERGE:
                found.append(_whole(start, end, y, old_text, text))
                start = x
            end = x + 1
        found.append(_whole(start, end, y, old_text, text))
    return found


def _whole(start: int, end: int, y: int, *texts: str) -> tuple[int, int, int]:
    # Half a double-width character cannot be drawn.
    while start > 0 and any(text[start] == FILLER for text in texts):
        start -= 1
    while end < len(texts[0]) and any(text[end] == FILLER for text in texts):
        end += 1
    return start, y, end - start
