"""A widget of a few rows of cells that sends only the cells that differ from what is on the terminal.

Textual sends a dirty widget as a whole. Two rows of numbers at 2 Hz are 700 B/s then, and 60 so.
"""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tui.display import cell_len, truncate
from tui.widgets.chart.frame import Frame, Row, changes

STYLES = {
    "m": "cells--muted",
    "v": "cells--value",
    "a": "cells--accent",
    "g": "cells--good",
    "w": "cells--warning",
    "e": "cells--error",
    "k": "cells--key",
    "d": "cells--off",
    "b": "cells--bar",
    "o": "cells--rest",
    "t": "cells--here",
}
"""Style code in a `Frame` -> component class. The space is the widget's own style."""

Piece = tuple[str, str]
"""Text, one line and cleaned, and its style code."""


class Cells(Widget):
    """Draws what `pieces` returns, one list for each row."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = set(STYLES.values())
    DEFAULT_CSS = """
    Cells {
        height: 1;
        & > .cells--muted { color: $text-muted; }
        & > .cells--value { color: $text; text-style: bold; }
        & > .cells--accent { color: $text-primary; text-style: bold; }
        & > .cells--good { color: $text-success; text-style: bold; }
        & > .cells--warning { color: $text-warning; text-style: bold; }
        & > .cells--error { color: $text-error; text-style: bold; }
        & > .cells--key { color: $footer-key-foreground; text-style: bold; }
        & > .cells--off { color: $text-disabled; }
        & > .cells--bar { color: $primary; }
        & > .cells--rest { color: $foreground 25%; }
        & > .cells--here { color: $text; text-style: bold reverse; }
        &:ansi > .cells--muted, &:ansi > .cells--off, &:ansi > .cells--rest { text-style: dim; }
    }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._frame: Frame | None = None
        self._pieces: list[list[Piece]] = []
        self._styles: dict[str, Style] = {}

    def pieces(self, width: int, height: int) -> list[list[Piece]]:
        """Return the rows to draw, at most `height`; what is wider than `width` is cut."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Draw anew, and repaint the cells that differ. Does nothing before the first paint."""
        old = self._frame
        width, height = self.size
        if old is None or not width or not height:
            return
        pieces = self.pieces(width, height)
        if pieces == self._pieces and (len(old.text), len(old.text[0])) == (height, width):
            return
        new = self._frame = self._drawn(width, height, pieces)
        if len(old.text) != height or len(old.text[0]) != width:
            self.refresh()
            return
        regions = [Region(x, y, run, 1) for x, y, run in changes(old, new)]
        if regions:
            self.refresh(*regions)

    def text(self, width: int, height: int) -> str:
        """What is drawn, as plain text."""
        width, height = max(1, width), max(1, height)
        return _frame(width, height, self.pieces(width, height)).plain()

    def render_line(self, y: int) -> Strip:
        width, height = self.size
        frame = self._frame
        if frame is None or len(frame.text) != height or (height and len(frame.text[0]) != width):
            frame = self._frame = self._drawn(width, height, self.pieces(width, height))
        if y >= len(frame.text):
            return Strip.blank(width, self.rich_style)
        return Strip([Segment(text, self._style(code)) for text, code in frame.runs(y)], width)

    def _drawn(self, width: int, height: int, pieces: list[list[Piece]]) -> Frame:
        self._pieces = pieces
        return _frame(width, height, pieces)

    def _style(self, code: str) -> Style:
        style = self._styles.get(code)
        if style is None:
            part = STYLES.get(code)
            style = self._styles[code] = self.rich_style if part is None else self.get_component_rich_style(part)
        return style

    def notify_style_update(self) -> None:
        self._styles.clear()
        super().notify_style_update()


def _frame(width: int, height: int, pieces: list[list[Piece]]) -> Frame:
    rows = [Row(width) for _ in range(height)]
    for row, found in zip(rows, pieces, strict=False):
        x = 0
        for text, style in found:
            x = row.put(x, text, style)
    return Frame(tuple("".join(row.text) for row in rows), tuple("".join(row.styles) for row in rows))


def length(pieces: list[Piece]) -> int:
    """Return the cells that `pieces` take."""
    return sum(cell_len(text) for text, _ in pieces)


def fitted(groups: list[list[Piece]], width: int, gap: int = 3) -> list[Piece]:
    """Return as many of `groups`, first things first, as fit into `width` with `gap` cells between them.

    The first one is cut where it does not fit alone.
    """
    row: list[Piece] = []
    for group in groups:
        room = width - length(row) - (gap if row else 0)
        if length(group) > room:
            if row:
                break
            return cut(group, width)
        row += [(" " * gap, " "), *group] if row else group
    return row


def cut(pieces: list[Piece], width: int) -> list[Piece]:
    """Return `pieces` in at most `width` cells, with an ellipsis where something was left out."""
    kept: list[Piece] = []
    for text, style in pieces:
        room = width - length(kept)
        if room <= 0:
            break
        kept.append((truncate(text, room), style))
    return kept


def spread(left: list[Piece], right: list[Piece], width: int) -> list[Piece]:
    """Return `left` and, where there is room for it, `right` at the right edge."""
    gap = width - length(left) - length(right)
    return [*left, (" " * gap, " "), *right] if right and gap >= 2 else left
