"""The list of runs and checkpoints: draws the rows that are on screen, and sends the cells of them that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from screens.checkpoints.columns import Column, Extents, cells, columns_for, heads
from screens.checkpoints.rows import Row
from tui.widgets.cells import Piece
from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.cursor_view import CursorView, cursor_bindings
from tui.widgets.frame_view import Line


class CheckpointTable(CursorView):
    """The rows of the list. `show` is all it needs; nothing here runs by itself."""

    HELP = (
        "Runs, each below the one it goes on from, and their checkpoints. A star is the best of its run, a cross one "
        "that is damaged; a figure in green is the best of its run."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Do", id="checkpoints.open",
                tooltip="Everything that can be done with the checkpoint; folds or unfolds a run"),
        Binding("left,h", "fold(True)", "Fold", show=False, id="checkpoints.fold",
                tooltip="Hide the checkpoints of the run"),
        Binding("right,l", "fold(False)", "Unfold", show=False, id="checkpoints.unfold",
                tooltip="Show the checkpoints of the run"),
        *cursor_bindings("checkpoints", page_down="pagedown"),
    ]  # fmt: skip

    class Opened(Message):
        """A row was chosen."""

    class Folded(Message):
        """A run is to be folded, or unfolded."""

        def __init__(self, run: str, folded: bool) -> None:
            self.run, self.folded = run, folded
            super().__init__()

    glyphs: GlyphSet = "braille"
    titled = True
    """Whether the first row is the titles of the columns."""
    sorted_by = ""
    """Key of the column that decides the order."""

    def __init__(self) -> None:
        super().__init__(name="the list")
        self.rows: Sequence[Row] = ()
        self.marks: Mapping[tuple[str, str], str] = {}
        """Letters of the rows that are marked, by their keys."""
        self._now = 0.0
        self._lines: dict[int, Line] = {}
        """Text and styles of the rows that were drawn since they last changed: moving the cursor draws none anew."""
        self._lines_of: object = None
        self._extents = Extents()
        self._columns: list[Column] = []
        self._columns_of: tuple[int, int] | None = None

    @property
    def columns(self) -> list[Column]:
        """What there is room for. Worked out when it is drawn: only then the width is known."""
        width = self.scrollable_content_region.width
        if self._columns_of != (id(self.rows), width):
            self._columns_of = (id(self.rows), width)
            self._columns = columns_for(self.rows, width, self._extents) if width else []
        return self._columns

    @property
    def selected(self) -> Row | None:
        """The row under the cursor; None in an empty list."""
        return self.rows[self.cursor] if self.cursor < len(self.rows) else None

    def show(
        self,
        rows: Sequence[Row],
        now: float,
        marks: Mapping[tuple[str, str], str],
        select: tuple[str, str] | None = None,
    ) -> None:
        """Draw `rows`, and repaint the cells that differ. The cursor stays on its row, or on the run it was in.

        Args:
            rows: All that are listed.
            now: Unix seconds.
            marks: Letters of the rows that are marked, by their keys.
            select: Key of a row to put the cursor on.
        """
        before = self.selected
        key = select or (before.key if before is not None else None)
        if rows is not self.rows:
            self._columns_of = None
        self.rows, self._now, self.marks = rows, now, marks
        self._lines = {}
        at = next((index for index, row in enumerate(rows) if row.key == key), None)
        if at is None and key is not None:
            # Folded away: the run stands for it. One that was deleted leaves the cursor where it is.
            at = next((index for index, row in enumerate(rows) if row.key == (key[0], "") and row.folded), None)
        self.cursor = at if at is not None else max(0, min(self.cursor, len(rows) - 1))
        self.fit()
        self.scroll_to_cursor()
        self.redraw()
        after = self.selected
        if (before and before.key) != (after and after.key):
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
        shown = self.rows[row]
        return cells(shown, self.columns, self._now, self.glyphs, self.marks.get(shown.key, ""))

    def row_line(self, row: int, width: int) -> Line:
        if self._lines_of != (self.columns, width):
            self._lines, self._lines_of = {}, (self.columns, width)
        if row not in self._lines:
            self._lines[row] = super().row_line(row, width)
        return self._lines[row]

    def seen_with(self, row: int) -> int:
        # The first checkpoint is seen with its run.
        return row - 1 if 0 < row < len(self.rows) and self.rows[row - 1].checkpoint is None else row

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is something to open while something is listed."""
        del parameters
        return action not in ("open", "fold") or bool(self.rows)

    def action_fold(self, folded: bool) -> None:
        """Fold or unfold the run under the cursor; in a run that is folded, or on a checkpoint, go to the run first."""
        row = self.selected
        if row is None:
            return
        if folded and row.checkpoint is not None:
            above = [at for at in range(self.cursor) if self.rows[at].key == (row.run.name, "")]
            self.move_to(above[-1] if above else self.cursor)
        elif row.checkpoint is None and row.run.checkpoints and row.folded != folded:
            self.post_message(self.Folded(row.run.name, folded))
        elif not folded and row.checkpoint is None and row.run.checkpoints:
            self.move_to(self.cursor + 1)

    def action_open(self) -> None:
        """Open the row under the cursor."""
        row = self.selected
        if row is None:
            return
        if row.checkpoint is None and row.run.checkpoints:
            self.post_message(self.Folded(row.run.name, not row.folded))
        else:
            self.post_message(self.Opened())

    def open_row(self) -> None:
        self.action_open()
