"""The list of runs: draws the rows that are on screen, and sends the cells of them that changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from engine.runs.summary import RunSummary
from screens.runs.columns import Column, cells, columns_for, heads
from tui.widgets.cells import STYLES, Cells
from tui.widgets.chart.frame import Frame, Row, changes
from tui.widgets.chart.glyphs import GlyphSet

_CURSOR = str.maketrans({**{code: code.upper() for code in STYLES}, " ": "_"})
"""Style codes -> those of the row with the cursor."""
_HEAD = str.maketrans({" ": "1", "m": "2", "a": "3"})
"""Style codes -> those of the row of titles."""
_PLAIN = {**{code.upper(): code for code in STYLES}, "_": " ", "1": " ", "2": "m", "3": "a"}
"""And back."""


class RunTable(ScrollView, can_focus=True, inherit_bindings=False):
    """The rows of the list. `show` is all it needs; nothing here runs by itself."""

    HELP = "Every run, one to a row."
    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", id="runs.open", tooltip="Show the run live; its history when it is over"),
        Binding("down,j", "move(1)", "Down", show=False, id="runs.down"),
        Binding("up,k", "move(-1)", "Up", show=False, id="runs.up"),
        Binding("ctrl+d", "page(0.5)", "Half a page down", show=False, id="runs.half-down"),
        Binding("ctrl+u", "page(-0.5)", "Half a page up", show=False, id="runs.half-up"),
        Binding("pagedown,space", "page(1)", "Page down", show=False, id="runs.page-down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="runs.page-up"),
        Binding("home,g", "go(0)", "First", show=False, id="runs.first"),
        Binding("end,G", "go(-1)", "Last", show=False, id="runs.last"),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {*STYLES.values(), "run-table--cursor", "run-table--head"}
    DEFAULT_CSS = (
        Cells.DEFAULT_CSS.replace("Cells {", "RunTable {", 1).replace("height: 1;", "height: 1fr;", 1)
        + """
    RunTable {
        padding: 0 1;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        & > .run-table--head { background: $surface; }
        & > .run-table--cursor {
            background: $block-cursor-blurred-background;
            color: $block-cursor-blurred-foreground;
            text-style: $block-cursor-blurred-text-style;
        }
        &:focus > .run-table--cursor {
            background: $block-cursor-background;
            color: $block-cursor-foreground;
            text-style: $block-cursor-text-style;
        }
    }
    """
    )

    class Moved(Message):
        """The cursor is on another run."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, RunTable.Moved)

    class Opened(Message):
        """A run was chosen."""

        def __init__(self, run: str) -> None:
            self.run = run
            super().__init__()

    glyphs: GlyphSet = "braille"
    headed = True
    """Whether the first row is the titles of the columns."""
    sorted_by = ""
    """Key of the column that decides the order."""

    def __init__(self) -> None:
        super().__init__(name="the list")
        self.rows: Sequence[RunSummary] = ()
        self.cursor = 0
        """Row with the cursor; 0 when there is none."""
        self._now = 0.0
        self._frame: Frame | None = None
        self._styles: dict[str, Style] = {}
        self._lines: dict[int, tuple[str, str]] = {}
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
        # Setting this lays the list out anew.
        if self.virtual_size.height != len(rows) + self.headed:
            self.virtual_size = Size(0, len(rows) + self.headed)
        self._scroll_to_cursor()
        self.redraw()
        after = self.selected
        if (before and before.name) != (after and after.name):
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

    def _drawn(self, size: Size) -> Frame:
        first = self.scroll_offset.y
        columns = self.columns
        if self._lines_of != (columns, size.width):
            self._lines, self._lines_of = {}, (columns, size.width)
        shown = range(first, first + size.height - self.headed)
        lines = [self._title(columns, size.width)] if self.headed and size.height else []
        lines += [self._line(index, columns, size.width) for index in shown]
        return Frame(tuple(text for text, _ in lines), tuple(styles for _, styles in lines))

    def _title(self, columns: list[Column], width: int) -> tuple[str, str]:
        row = Row(width)
        x = 0
        for piece, style in heads(columns, self.sorted_by):
            x = row.put(x, piece, style)
        return "".join(row.text), "".join(row.styles).translate(_HEAD)

    def _line(self, index: int, columns: list[Column], width: int) -> tuple[str, str]:
        line = self._lines.get(index)
        if line is None:
            row = Row(width)
            x = 0
            run = self.rows[index] if index < len(self.rows) else None
            for piece, style in cells(run, columns, self._now, self.glyphs) if run is not None else ():
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
            if code in "123":
                style += Style(bgcolor=self.get_component_rich_style("run-table--head").bgcolor)
            elif code in _PLAIN:
                cursor = self.get_component_rich_style("run-table--cursor")
                # A terminal's own 16 colours are only sure to be seen on its own background.
                neutral = _PLAIN[code] in " vmdo" or self.app.current_theme.ansi
                style += Style(
                    color=cursor.color if neutral else None, bgcolor=cursor.bgcolor, dim=_PLAIN[code] == "o" or None,
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

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is something to open while something is listed."""
        del parameters
        return action != "open" or bool(self.rows)

    @property
    def _page(self) -> int:
        """Runs on screen."""
        return self.scrollable_content_region.height - self.headed

    def _scroll_to_cursor(self) -> None:
        height = self._page
        top = self.scroll_offset.y
        if height <= 0:
            return
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False)

    def _move_to(self, row: int) -> None:
        row = max(0, min(len(self.rows) - 1, row))
        if row == self.cursor or not self.rows:
            return
        self.cursor = row
        self._scroll_to_cursor()
        self.redraw()
        self.post_message(self.Moved())

    def action_move(self, rows: int) -> None:
        """Move the cursor by rows."""
        self._move_to(self.cursor + rows)

    def action_page(self, pages: float) -> None:
        """Move the cursor by pages."""
        self._move_to(self.cursor + int(pages * max(2, self._page)))

    def action_go(self, row: int) -> None:
        """Move the cursor to a row; -1 is the last."""
        self._move_to(row if row >= 0 else len(self.rows) - 1)

    def action_open(self) -> None:
        """Open the run under the cursor."""
        if self.selected is not None:
            self.post_message(self.Opened(self.selected.name))

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        row = self.scroll_offset.y + offset.y - self.headed if offset is not None else -1
        if offset is None or offset.y < self.headed or not 0 <= row < len(self.rows):
            return
        if row == self.cursor and event.chain > 1:
            self.action_open()
        self._move_to(row)
