"""The list of runs: draws the rows that are on screen, and sends the cells of them that changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from engine.runs.summary import RunSummary
from screens.runs.columns import Column, cells, columns_for, heads
from tui.widgets.cells import Piece
from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.cursor_view import CursorView, cursor_bindings
from tui.widgets.frame_view import Line


class RunTable(CursorView):
    """The rows of the list. `show` is all it needs; nothing here runs by itself."""

    HELP = "Every run, one to a row."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", id="runs.open", tooltip="Show the run live; its history when it is over"),
        *cursor_bindings("runs"),
    ]

    class Opened(Message):
        """A run was chosen."""

        def __init__(self, run: str) -> None:
            self.run = run
            super().__init__()

    glyphs: GlyphSet = "braille"
    titled = True
    """Whether the first row is the titles of the columns."""
    sorted_by = ""
    """Key of the column that decides the order."""

    def __init__(self) -> None:
        super().__init__(name="the list")
        self.rows: Sequence[RunSummary] = ()
        self._now = 0.0
        self._lines: dict[int, Line] = {}
        """Text and styles of the rows that were drawn since they last changed: moving the cursor draws none anew."""
        self._lines_of: object = None
        self._columns: list[Column] = []
        self._columns_of: tuple[int, int] | None = None

    @property
    def columns(self) -> list[Column]:
        """What there is room for. Worked out when it is drawn: only then the width is known."""
        width = self.scrollable_content_region.width
        if self._columns_of != (id(self.rows), width):
            self._columns_of = (id(self.rows), width)
            self._columns = columns_for(self.rows, width) if width else []
        return self._columns

    @property
    def selected(self) -> RunSummary | None:
        """The run under the cursor; None in an empty list."""
        return self.rows[self.cursor] if self.cursor < len(self.rows) else None

    def show(self, rows: Sequence[RunSummary], now: float, select: str | None = None) -> None:
        """Draw `rows`, and repaint the cells that differ. The cursor stays on its run, or else in its row.

        Args:
            rows: All that are listed.
            now: Unix seconds.
            select: Name of a run to put the cursor on.
        """
        before = self.selected
        name = select or (before.name if before is not None else None)
        self.rows, self._now = rows, now
        self._lines = {}
        at = next((index for index, row in enumerate(rows) if row.name == name), None)
        self.cursor = at if at is not None else max(0, min(self.cursor, len(rows) - 1))
        self.fit()
        self.scroll_to_cursor()
        self.redraw()
        after = self.selected
        if (before and before.name) != (after and after.name):
            self.post_message(self.Moved())

    # Drawing

    @property
    def num_rows(self) -> int:
        return len(self.rows)

    def heads(self, width: int) -> Sequence[Piece] | None:
        if not self.titled:
            return None
        return heads(self.columns, self.sorted_by) if width else ()

    def pieces(self, row: int, width: int) -> Sequence[Piece]:
        del width
        return cells(self.rows[row], self.columns, self._now, self.glyphs)

    def row_line(self, row: int, width: int) -> Line:
        if self._lines_of != (self.columns, width):
            self._lines, self._lines_of = {}, (self.columns, width)
        if row not in self._lines:
            self._lines[row] = super().row_line(row, width)
        return self._lines[row]

    # Opening

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is something to open while something is listed."""
        del parameters
        return action != "open" or bool(self.rows)

    def action_open(self) -> None:
        """Open the run under the cursor."""
        if self.selected is not None:
            self.post_message(self.Opened(self.selected.name))

    def open_row(self) -> None:
        self.action_open()
