"""A scrolling view of any number of rows that draws those on screen, and sends the cells of them that changed.

Ten million rows cost what a screenful costs: nothing is kept for a row that is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.widgets.cells import STYLES, Cells, Piece
from tui.widgets.chart.frame import Frame, Row, changes

_CURSOR = str.maketrans({**{code: code.upper() for code in STYLES}, " ": "_"})
"""Style codes -> those of the row with the cursor."""
_HEAD = str.maketrans({" ": "1", "m": "2", "a": "3"})
"""Style codes -> those of the row of titles."""
_PLAIN = {**{code.upper(): code for code in STYLES}, "_": " ", "1": " ", "2": "m", "3": "a"}
"""And back."""

Line = tuple[str, str]
"""Cells of one row, and as many style codes."""


class FrameView(ScrollView, can_focus=True, inherit_bindings=False):
    """Draws what `line` returns. `redraw` is all it needs; nothing here runs by itself."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {*STYLES.values(), "frame-view--cursor", "frame-view--head"}
    DEFAULT_CSS = (
        Cells.DEFAULT_CSS.replace("Cells {", "FrameView {", 1).replace("height: 1;", "height: 1fr;", 1)
        + """
    FrameView {
        padding: 0 1;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        & > .frame-view--head { background: $surface; }
        & > .frame-view--cursor {
            background: $block-cursor-blurred-background;
            color: $block-cursor-blurred-foreground;
            text-style: $block-cursor-blurred-text-style;
        }
        &:focus > .frame-view--cursor {
            background: $block-cursor-background;
            color: $block-cursor-foreground;
            text-style: $block-cursor-text-style;
        }
    }
    """
    )

    def __init__(self, *, name: str, id: str | None = None) -> None:
        super().__init__(name=name, id=id)
        self._frame: Frame | None = None
        self._styles: dict[str, Style] = {}

    # What a view overrides

    @property
    def num_rows(self) -> int:
        """Rows there are, without the titles."""
        raise NotImplementedError

    def heads(self, width: int) -> Sequence[Piece] | None:
        """Return the row of titles that does not scroll; None for none."""
        del width
        return None

    def pieces(self, row: int, width: int) -> Sequence[Piece]:
        """Return one row; what is wider than `width` is cut."""
        raise NotImplementedError

    def row_line(self, row: int, width: int) -> Line:
        """Return one row as it is drawn without the cursor. A view whose rows seldom change keeps them."""
        return as_line(self.pieces(row, width) if row < self.num_rows else (), width)

    def under_cursor(self, row: int) -> bool:
        """Return whether a row is the one with the cursor."""
        del row
        return False

    # Drawing

    @property
    def headed(self) -> bool:
        """Whether the first row is titles."""
        return self.heads(0) is not None

    @property
    def page(self) -> int:
        """Rows on screen."""
        return max(0, self.scrollable_content_region.height - self.headed)

    def fit(self) -> None:
        """Make room for the rows there are."""
        height = self.num_rows + self.headed
        if self.virtual_size.height != height:
            self.virtual_size = Size(0, height)  # this lays out anew

    def redraw(self) -> None:
        """Draw anew, and repaint the cells that differ. Does nothing before the first paint."""
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

    def _drawn(self, size: Size) -> Frame:
        first, total = self.scroll_offset.y, self.num_rows
        heads = self.heads(size.width)
        lines = [_styled(as_line(heads, size.width), _HEAD)] if heads is not None and size.height else []
        for row in range(first, first + size.height - len(lines)):
            line = self.row_line(row, size.width)
            lines.append(_styled(line, _CURSOR) if row < total and self.under_cursor(row) else line)
        return Frame(tuple(text for text, _ in lines), tuple(styles for _, styles in lines))

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
                style += Style(bgcolor=self.get_component_rich_style("frame-view--head").bgcolor)
            elif code in _PLAIN:
                cursor = self.get_component_rich_style("frame-view--cursor")
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


def as_line(pieces: Sequence[Piece], width: int) -> Line:
    """Return pieces as exactly `width` cells."""
    row = Row(width)
    x = 0
    for text, style in pieces:
        x = row.put(x, text, style or " ")  # the margins of wrapped words have none
    return "".join(row.text), "".join(row.styles)


def _styled(line: Line, styles: dict[int, str]) -> Line:
    return line[0], line[1].translate(styles)
