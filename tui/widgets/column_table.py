"""A list in columns, of records that come and go: its cursor stays on its record, and its rows are drawn once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

from tui.widgets.cells import Piece
from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.cursor_view import CursorView
from tui.widgets.frame_view import Line

RecordT = TypeVar("RecordT")
ColumnT = TypeVar("ColumnT")


class ColumnTable(CursorView, Generic[RecordT, ColumnT]):
    """The rows of a list. `show` is all it needs; nothing here runs by itself."""

    glyphs: GlyphSet = "braille"
    titled = True
    """Whether the first row is the titles of the columns."""
    sorted_by = ""
    """Key of the column that decides the order."""

    def __init__(self) -> None:
        super().__init__(name="the list")
        self.rows: Sequence[RecordT] = ()
        self.now = 0.0
        """Unix seconds: what ages are counted to."""
        self._lines: dict[int, Line] = {}
        """Text and styles of the rows that were drawn since they last changed: moving the cursor draws none anew."""
        self._lines_of: object = None
        self._columns: list[ColumnT] = []
        self._columns_of: object = None

    # What a list overrides

    def key_of(self, row: RecordT) -> Hashable:
        """Return what a record is known by while it changes."""
        raise NotImplementedError

    def instead_of(self, key: Hashable) -> int | None:
        """Return the row that stands for a record that is not listed any more; None to leave the cursor in its row."""
        del key
        return None

    def columns_for(self, width: int) -> list[ColumnT]:
        """Return the columns there is room for in `width` cells."""
        raise NotImplementedError

    def titles(self) -> Sequence[Piece]:
        """Return the titles of the columns."""
        raise NotImplementedError

    # The rows

    @property
    def columns(self) -> list[ColumnT]:
        """What there is room for. Worked out when it is drawn: only then the width is known."""
        width = self.scrollable_content_region.width
        if self._columns_of != (id(self.rows), width):
            self._columns_of = (id(self.rows), width)
            self._columns = self.columns_for(width) if width else []
        return self._columns

    @property
    def selected(self) -> RecordT | None:
        """The record under the cursor; None in an empty list."""
        return self.rows[self.cursor] if self.cursor < len(self.rows) else None

    def show(self, rows: Sequence[RecordT], now: float, select: Hashable = None) -> None:
        """Draw `rows`, and repaint the cells that differ. The cursor stays on its record.

        Args:
            rows: All that are listed.
            now: Unix seconds.
            select: Key of a record to put the cursor on; None for the one it is on.
        """
        before = self._selected_key()
        key = before if select is None else select
        if rows is not self.rows:
            self._columns_of = None
        self.rows, self.now = rows, now
        self._lines = {}
        at = next((index for index, row in enumerate(rows) if self.key_of(row) == key), None)
        if at is None and key is not None:
            at = self.instead_of(key)
        self.cursor = at if at is not None else max(0, min(self.cursor, len(rows) - 1))
        self.fit()
        self.scroll_to_cursor()
        self.redraw()
        if before != self._selected_key():
            self.post_message(self.Moved())

    def _selected_key(self) -> Hashable:
        row = self.selected
        return None if row is None else self.key_of(row)

    # Drawing

    @property
    def num_rows(self) -> int:
        return len(self.rows)

    def heads(self, width: int) -> Sequence[Piece] | None:
        if not self.titled:
            return None
        return self.titles() if width else ()

    def row_line(self, row: int, width: int) -> Line:
        if self._lines_of != (self.columns, width):
            self._lines, self._lines_of = {}, (self.columns, width)
        if row not in self._lines:
            self._lines[row] = super().row_line(row, width)
        return self._lines[row]
