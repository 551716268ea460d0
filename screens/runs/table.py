"""The list of runs, one to a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from engine.runs.summary import RunSummary
from screens.runs.columns import Column, cells, columns_for, heads
from tui.widgets.cells import Piece
from tui.widgets.column_table import ColumnTable
from tui.widgets.cursor_view import cursor_bindings


class RunTable(ColumnTable[RunSummary, Column]):
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

    def key_of(self, row: RunSummary) -> str:
        return row.name

    def columns_for(self, width: int) -> list[Column]:
        return columns_for(self.rows, width)

    def titles(self) -> Sequence[Piece]:
        return heads(self.columns, self.sorted_by)

    def pieces(self, row: int, width: int) -> Sequence[Piece]:
        del width
        return cells(self.rows[row], self.columns, self.now, self.glyphs)

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
