"""The rows of a data file, one to a line: draws those on screen and asks for those it has not been given yet."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from screens.data.columns import Column, Shown, cells, columns_for, heads
from tui.widgets.cells import Piece
from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.cursor_view import CursorView, cursor_bindings

KEPT = 4_000
"""Rows that are kept once they were read. A row is at most some hundred characters here."""
AHEAD = 2
"""Screenfuls that are asked for before and after the one that is seen."""


class RowTable(CursorView):
    """Any number of rows. `show` says how many there are, `take` hands over those that were asked for."""

    HELP = "The rows of the file, one to a line, as they are read."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "read", "Read", id="data.read", tooltip="Give the whole area to the row under the cursor"),
        *cursor_bindings("data"),
    ]

    class Wanted(Message):
        """Rows are seen that are not known yet. Neighbours in the queue are one."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, RowTable.Wanted)

    class Opened(Message):
        """The row under the cursor is to be read."""

    glyphs: GlyphSet = "braille"
    shape = ""
    """Kind of the rows, which decides the columns."""

    def __init__(self) -> None:
        super().__init__(name="the rows")
        self.num_lines = 0
        """Lines of the file, as far as they are known."""
        self.only: Sequence[int] | None = None
        """Lines that are listed, ascending; None lists all."""
        self.marked: Sequence[int] = ()
        """Lines with a sign, ascending: what a search has found."""
        self._known: dict[int, Shown] = {}
        self._columns: list[Column] = []
        self._columns_of: object = None

    # What is listed

    @property
    def num_rows(self) -> int:
        return self.num_lines if self.only is None else len(self.only)

    def line_at(self, row: int) -> int:
        """Return the line (1 is the first) that stands in a row of the list; 0 when there is none."""
        if not 0 <= row < self.num_rows:
            return 0
        return row + 1 if self.only is None else self.only[row]

    @property
    def line(self) -> int:
        """Line under the cursor; 0 in an empty list."""
        return self.line_at(self.cursor)

    def show(self, num_lines: int, only: Sequence[int] | None = None) -> None:
        """List so many lines, or only some of them. The cursor stays on its line where it can.

        Args:
            num_lines: Of the file, as far as they are known.
            only: Lines to list, ascending; None for all.
        """
        before = self.line
        self.num_lines, self.only = num_lines, only
        self._put_on(before)
        self.fit()
        self.scroll_to_cursor()
        self._ask()
        self.redraw()
        if self.line != before:
            self.post_message(self.Moved())

    def is_marked(self, line: int) -> bool:
        """Return whether a line has a sign."""
        at = bisect_left(self.marked, line)
        return at < len(self.marked) and self.marked[at] == line

    def _put_on(self, line: int) -> None:
        """Put the cursor on a line, or on the next one that is listed."""
        if self.only is None:
            self.cursor = line - 1
        else:
            self.cursor = bisect_left(self.only, line)
        self.cursor = max(0, min(self.cursor, self.num_rows - 1))

    def forget(self) -> None:
        """Forget every row: the file is another, or is read otherwise."""
        self._known.clear()
        self._ask()
        self.redraw()

    def take(self, rows: Sequence[Shown]) -> None:
        """Keep rows that were read, and draw them where they are seen."""
        self._known.update((row.line, row) for row in rows)
        while len(self._known) > KEPT:
            del self._known[next(iter(self._known))]
        self.redraw()

    def known(self, line: int) -> Shown | None:
        """Return what is known of a line; None while it was not read."""
        return self._known.get(line)

    def wanted(self) -> list[int]:
        """Return the lines that are seen, or soon will be, and are not known; those on screen first."""
        page = max(1, self.page)
        first = self.scroll_offset.y
        last = min(self.num_rows, first + page)
        here = self._missing(first, last)
        around = self._missing(max(0, first - AHEAD * page), first) + self._missing(
            last, min(self.num_rows, last + AHEAD * page)
        )
        return here or (around if len(around) > page else [])

    def _missing(self, first: int, last: int) -> list[int]:
        return [line for row in range(first, last) if (line := self.line_at(row)) not in self._known]

    def _ask(self) -> None:
        if self.wanted():
            self.post_message(self.Wanted())

    # Drawing

    def columns(self, width: int) -> list[Column]:
        """Return what there is room for."""
        digits = len(str(max(1, self.num_lines)))
        if self._columns_of != (width, self.shape, digits):
            self._columns_of = (width, self.shape, digits)
            self._columns = columns_for(self.shape, width, digits) if width else []
        return self._columns

    def heads(self, width: int) -> Sequence[Piece] | None:
        return heads(self.columns(width)) if width else ()

    def pieces(self, row: int, width: int) -> Sequence[Piece]:
        line = self.line_at(row)
        shown = self._known.get(line) or Shown(line, (), loading=True)
        return cells(shown, self.columns(width), self.glyphs, marked=self.is_marked(line))

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self._ask()

    def on_resize(self) -> None:
        super().on_resize()
        self._ask()

    # Moving

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is something to read while something is listed."""
        del parameters
        return action != "read" or bool(self.num_rows)

    def move_to_line(self, line: int) -> None:
        """Put the cursor on a line, or on the next one that is listed, with room above it."""
        before = self.cursor
        self._put_on(line)
        if self.cursor == before:
            return
        height, top = self.page, self.scroll_offset.y
        if not top <= self.cursor < top + height:
            self.scroll_to(y=max(0, self.cursor - height // 3), animate=False, immediate=True, force=True)
        self.redraw()
        self.post_message(self.Moved())

    def action_read(self) -> None:
        """Read the row under the cursor."""
        if self.num_rows:
            self.post_message(self.Opened())

    def open_row(self) -> None:
        self.action_read()
