"""The form: draws the rows that are on screen, and sends the cells of them that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from screens.configure.draft import Reading
from screens.configure.fields import Field, Heading, Line, Value
from screens.configure.rows import Columns, columns, pieces
from tui.widgets.cells import STYLES, Cells, cut
from tui.widgets.chart.frame import Frame, Row, changes
from tui.widgets.chart.glyphs import GlyphSet

_CURSOR = str.maketrans({**{code: code.upper() for code in STYLES}, " ": "_"})
"""Style codes -> those of the row with the cursor."""
_PLAIN = {**{code.upper(): code for code in STYLES}, "_": " "}
"""And back."""


class FieldTable(ScrollView, can_focus=True, inherit_bindings=False):
    """The rows of the form. `show` is all it needs; nothing here runs by itself."""

    HELP = "Every setting, one to a row. A dot marks what is written here, ! what is wrong."
    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "edit", "Edit", id="configure.edit", tooltip="Write a value, choose one, or fold a section"),
        Binding("space,right,l", "step(1)", "Next value", show=False, id="configure.next-value",
                tooltip="The next of a setting's choices"),
        Binding("left,h", "step(-1)", "Value before", show=False, id="configure.value-before",
                tooltip="The one before"),
        Binding("backspace,delete,x", "unset", "Default", id="configure.unset", key_display="⌫",
                tooltip="Take a setting out of the file: the preset or the default counts again"),
        Binding("down,j", "move(1)", "Down", show=False, id="configure.down"),
        Binding("up,k", "move(-1)", "Up", show=False, id="configure.up"),
        Binding("right_square_bracket", "section(1)", "Next section", show=False, id="configure.next-section"),
        Binding("left_square_bracket", "section(-1)", "Section before", show=False, id="configure.section-before"),
        Binding("ctrl+d", "page(0.5)", "Half a page down", show=False, id="configure.half-down"),
        Binding("ctrl+u", "page(-0.5)", "Half a page up", show=False, id="configure.half-up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="configure.page-down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="configure.page-up"),
        Binding("home,g", "go(0)", "First", show=False, id="configure.first"),
        Binding("end,G", "go(-1)", "Last", show=False, id="configure.last"),
    ]  # fmt: skip
    COMPONENT_CLASSES: ClassVar[set[str]] = {*STYLES.values(), "field-table--cursor"}
    DEFAULT_CSS = (
        Cells.DEFAULT_CSS.replace("Cells {", "FieldTable {", 1).replace("height: 1;", "height: 1fr;", 1)
        + """
    FieldTable {
        padding: 0 1;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        & > .field-table--cursor {
            background: $block-cursor-blurred-background;
            color: $block-cursor-blurred-foreground;
            text-style: $block-cursor-blurred-text-style;
        }
        &:focus > .field-table--cursor {
            background: $block-cursor-background;
            color: $block-cursor-foreground;
            text-style: $block-cursor-text-style;
        }
    }
    """
    )

    class Moved(Message):
        """The cursor is on another row."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, FieldTable.Moved)

    class Asked(Message):
        """Something is to be done with the row under the cursor: "edit", "unset", "next" or "before"."""

        def __init__(self, what: str) -> None:
            self.what = what
            super().__init__()

    glyphs: GlyphSet = "braille"

    def __init__(self) -> None:
        super().__init__(name="the form")
        self.rows: Sequence[Line] = ()
        self.cursor = 0
        self._reading: Reading | None = None
        self._settled: Mapping[str, Value] = {}
        self._others: Mapping[str, Any] | None = None
        self._frame: Frame | None = None
        self._styles: dict[str, Style] = {}
        self._lines: dict[int, tuple[str, str]] = {}
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
        # Setting this lays the list out anew.
        if self.virtual_size.height != len(rows):
            self.virtual_size = Size(0, len(rows))
        self._scroll_to_cursor()
        self.redraw()
        if _name(before) != _name(self.row):
            self.post_message(self.Moved())

    def redraw(self) -> None:
        """Draw anew, and repaint the cells that differ."""
        old = self._frame
        size = self.scrollable_content_region.size
        if old is None or not size:
            return
        new = self._frame = self._drawn(size)
        if len(old.text) != size.height or len(old.text[0]) != size.width:
            self.refresh()
            return
        regions = [Region(x, y, run, 1) for x, y, run in changes(old, new)]
        if regions:
            self.refresh(*regions)

    # Drawing

    def _columns(self, width: int) -> Columns:
        return columns(width, comparing=self._others is not None)

    def _drawn(self, size: Size) -> Frame:
        at = self._columns(size.width)
        if at != self._lines_at:
            self._lines, self._lines_at = {}, at
        first = self.scroll_offset.y
        lines = [self._line(index, at, size.width) for index in range(first, first + size.height)]
        return Frame(tuple(text for text, _ in lines), tuple(styles for _, styles in lines))

    def _line(self, index: int, at: Columns, width: int) -> tuple[str, str]:
        line = self._lines.get(index)
        if line is None:
            row = Row(width)
            x = 0
            if index < len(self.rows) and self._reading is not None:
                found = pieces(
                    self.rows[index], at, self._reading, self._settled, self._others, ascii_only=self.glyphs == "ascii"
                )
                for piece, style in cut(found, width):
                    x = row.put(x, piece, style)
            line = self._lines[index] = "".join(row.text), "".join(row.styles)
        text, styles = line
        return (text, styles.translate(_CURSOR)) if index == self.cursor and self.rows else line

    def render_line(self, y: int) -> Strip:
        size = self.scrollable_content_region.size
        frame = self._frame
        if frame is None or len(frame.text) != size.height or (size.height and len(frame.text[0]) != size.width):
            frame = self._frame = self._drawn(size)
        if y >= len(frame.text):
            return Strip.blank(size.width, self.rich_style)
        return Strip([Segment(text, self._style(code)) for text, code in frame.runs(y)], size.width)

    def _style(self, code: str) -> Style:
        style = self._styles.get(code)
        if style is None:
            part = STYLES.get(_PLAIN.get(code, code))
            style = self.rich_style if part is None else self.get_component_rich_style(part)
            if code in _PLAIN:
                cursor = self.get_component_rich_style("field-table--cursor")
                # A terminal's own 16 colours are only sure to be seen on its own background.
                neutral = _PLAIN[code] in " vmdo" or self.app.current_theme.ansi
                style += Style(
                    color=cursor.color if neutral else None, bgcolor=cursor.bgcolor,
                    reverse=cursor.reverse, underline=cursor.underline,
                )  # fmt: skip
            self._styles[code] = style
        return style

    def notify_style_update(self) -> None:
        self._styles.clear()
        super().notify_style_update()

    def watch_has_focus(self, value: bool) -> None:
        self._styles.clear()
        super().watch_has_focus(value)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        if round(old_value) != round(new_value):
            self._frame = None
        super().watch_scroll_y(old_value, new_value)

    def on_resize(self) -> None:
        self._scroll_to_cursor()

    # Moving

    def _scroll_to_cursor(self) -> None:
        height = self.scrollable_content_region.height
        top = self.scroll_offset.y
        if height <= 0:
            return
        # The heading of a section's first field is seen with it.
        upper = self.cursor - 1 if self.cursor and isinstance(self.rows[self.cursor - 1], Heading) else self.cursor
        if upper < top:
            self.scroll_to(y=upper, animate=False)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False)

    def go_to(self, row: int) -> None:
        """Put the cursor on a row."""
        row = max(0, min(len(self.rows) - 1, row))
        if row == self.cursor or not self.rows:
            return
        self.cursor = row
        self._scroll_to_cursor()
        self.redraw()
        self.post_message(self.Moved())

    def action_move(self, rows: int) -> None:
        """Move the cursor by rows."""
        self.go_to(self.cursor + rows)

    def action_page(self, pages: float) -> None:
        """Move the cursor by pages."""
        self.go_to(self.cursor + int(pages * max(2, self.scrollable_content_region.height)))

    def action_go(self, row: int) -> None:
        """Move the cursor to a row; -1 is the last."""
        self.go_to(row if row >= 0 else len(self.rows) - 1)

    def action_section(self, sections: int) -> None:
        """Move the cursor to the heading of another section."""
        headings = [index for index, row in enumerate(self.rows) if isinstance(row, Heading)]
        beyond = (
            [at for at in headings if at > self.cursor] if sections > 0 else [at for at in headings if at < self.cursor]
        )
        if beyond:
            self.go_to(beyond[0] if sections > 0 else beyond[-1])

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

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        row = self.scroll_offset.y + offset.y if offset is not None else -1
        if offset is None or not 0 <= row < len(self.rows):
            return
        if row == self.cursor and event.chain > 1:
            self.action_edit()
        self.go_to(row)


def _name(row: Line | None) -> str | None:
    return row.key if isinstance(row, Field) else row.section if row is not None else None
