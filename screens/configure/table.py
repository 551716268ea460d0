"""The form: draws the rows that are on screen, and sends the cells of them that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message

from screens.configure.draft import Reading
from screens.configure.fields import Field, Heading, Line, Value
from screens.configure.rows import Columns, columns, pieces
from tui.widgets.cells import Piece, cut
from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.cursor_view import CursorView, cursor_bindings
from tui.widgets.frame_view import Line as Drawn


class FieldTable(CursorView):
    """The rows of the form. `show` is all it needs; nothing here runs by itself."""

    HELP = "Every setting, one to a row. A dot marks what is written here, ! what is wrong."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "edit", "Edit", id="configure.edit", tooltip="Write a value, choose one, or fold a section"),
        Binding("space,right,l", "step(1)", "Next value", show=False, id="configure.next-value",
                tooltip="The next of a setting's choices"),
        Binding("left,h", "step(-1)", "Value before", show=False, id="configure.value-before",
                tooltip="The one before"),
        Binding("backspace,delete,x", "unset", "Default", id="configure.unset", key_display="⌫",
                tooltip="Take a setting out of the file: the preset or the default counts again"),
        *cursor_bindings("configure", page_down="pagedown"),
        Binding("right_square_bracket", "section(1)", "Next section", show=False, id="configure.next-section"),
        Binding("left_square_bracket", "section(-1)", "Section before", show=False, id="configure.section-before"),
    ]  # fmt: skip

    class Asked(Message):
        """Something is to be done with the row under the cursor: "edit", "unset", "next" or "before"."""

        def __init__(self, what: str) -> None:
            self.what = what
            super().__init__()

    glyphs: GlyphSet = "braille"

    def __init__(self) -> None:
        super().__init__(name="the form")
        self.rows: Sequence[Line] = ()
        self._reading: Reading | None = None
        self._settled: Mapping[str, Value] = {}
        self._others: Mapping[str, Any] | None = None
        self._lines: dict[int, Drawn] = {}
        """Text and styles of rows drawn since they last changed: moving the cursor draws none anew."""
        self._lines_at: Columns | None = None

    @property
    def selected(self) -> Field | None:
        """The field under the cursor; None on a heading and in an empty form."""
        row = self.row
        return row if isinstance(row, Field) else None

    @property
    def row(self) -> Line | None:
        """What is under the cursor."""
        return self.rows[self.cursor] if self.cursor < len(self.rows) else None

    @property
    def value_region(self) -> Region:
        """Where the value under the cursor is drawn, in cells of the content."""
        at = self._columns(self.scrollable_content_region.width)
        return Region(at.value_at, self.cursor - self.scroll_offset.y, at.value, 1)

    def show(
        self,
        rows: Sequence[Line],
        reading: Reading,
        settled: Mapping[str, Value],
        others: Mapping[str, Any] | None = None,
        select: str | None = None,
    ) -> None:
        """Draw `rows`, and repaint the cells that differ. The cursor stays on its row.

        Args:
            rows: All that are listed.
            reading: The draft.
            settled: As in `fields.value_of`.
            others: Values they are compared with; None without a comparison.
            select: Key of a field, or name of a section, to put the cursor on.
        """
        before = self.row
        name = select if select is not None else _name(before)
        self.rows, self._reading, self._settled, self._others = rows, reading, settled, others
        self._lines = {}
        at = next((index for index, row in enumerate(rows) if _name(row) == name), None)
        self.cursor = at if at is not None else max(0, min(self.cursor, len(rows) - 1))
        self.fit()
        self.scroll_to_cursor()
        self.redraw()
        if _name(before) != _name(self.row):
            self.post_message(self.Moved())

    # Drawing

    def _columns(self, width: int) -> Columns:
        return columns(width, comparing=self._others is not None)

    @property
    def num_rows(self) -> int:
        return len(self.rows)

    def pieces(self, row: int, width: int) -> Sequence[Piece]:
        if self._reading is None:
            return ()
        found = pieces(
            self.rows[row], self._columns(width), self._reading, self._settled, self._others,
            ascii_only=self.glyphs == "ascii",
        )  # fmt: skip
        return cut(found, width)

    def row_line(self, row: int, width: int) -> Drawn:
        if (at := self._columns(width)) != self._lines_at:
            self._lines, self._lines_at = {}, at
        if row not in self._lines:
            self._lines[row] = super().row_line(row, width)
        return self._lines[row]

    def seen_with(self, row: int) -> int:
        """The heading of a section's first field is seen with it."""
        return row - 1 if row and isinstance(self.rows[row - 1], Heading) else row

    # Moving

    def action_section(self, sections: int) -> None:
        """Move the cursor to the heading of another section."""
        headings = [index for index, row in enumerate(self.rows) if isinstance(row, Heading)]
        beyond = (
            [at for at in headings if at > self.cursor] if sections > 0 else [at for at in headings if at < self.cursor]
        )
        if beyond:
            self.move_to(beyond[0] if sections > 0 else beyond[-1])

    # Asking

    def action_edit(self) -> None:
        """Write the value under the cursor."""
        self.post_message(self.Asked("edit"))

    def action_step(self, choices: int) -> None:
        """Take the next choice, or the one before."""
        self.post_message(self.Asked("next" if choices > 0 else "before"))

    def action_unset(self) -> None:
        """Take the setting out."""
        self.post_message(self.Asked("unset"))

    def open_row(self) -> None:
        self.action_edit()


def _name(row: Line | None) -> str | None:
    return row.key if isinstance(row, Field) else row.section if row is not None else None
