"""The list of runs and checkpoints, each checkpoint below its run."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from screens.checkpoints.columns import Column, Extents, cells, columns_for, heads
from screens.checkpoints.rows import Row
from tui.widgets.cells import Piece
from tui.widgets.column_table import ColumnTable
from tui.widgets.cursor_view import cursor_bindings


class CheckpointTable(ColumnTable[Row, Column]):
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

    def __init__(self) -> None:
        super().__init__()
        self.marks: Mapping[tuple[str, str], str] = {}
        """Letters of the rows that are marked, by their keys."""
        self._extents = Extents()

    def key_of(self, row: Row) -> tuple[str, str]:
        return row.key

    def instead_of(self, key: Hashable) -> int | None:
        # Folded away: the run stands for it. One that was deleted leaves the cursor where it is.
        return next((at for at, row in enumerate(self.rows) if row.folded and _is_run_of(row, key)), None)

    def columns_for(self, width: int) -> list[Column]:
        return columns_for(self.rows, width, self._extents)

    def titles(self) -> Sequence[Piece]:
        return heads(self.columns, self.sorted_by)

    def pieces(self, row: int, width: int) -> Sequence[Piece]:
        del width
        shown = self.rows[row]
        return cells(shown, self.columns, self.now, self.glyphs, self.marks.get(shown.key, ""))

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


def _is_run_of(row: Row, key: Hashable) -> bool:
    return isinstance(key, tuple) and row.key == (key[0], "")
