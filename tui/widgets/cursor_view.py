"""A list with a cursor on one of its rows, moved by keys and clicks."""

from __future__ import annotations

from textual import events
from textual.binding import Binding
from textual.message import Message

from tui.widgets.frame_view import FrameView


def cursor_bindings(screen: str, *, page_down: str = "pagedown,space") -> list[Binding]:
    """Return the keys that move the cursor.

    Args:
        screen: First part of their ids, under which a user may choose others.
        page_down: Keys for a page down; where space does something else, "pagedown".
    """
    return [
        Binding("down,j", "move(1)", "Down", show=False, id=f"{screen}.down"),
        Binding("up,k", "move(-1)", "Up", show=False, id=f"{screen}.up"),
        Binding("ctrl+d", "page(0.5)", "Half a page down", show=False, id=f"{screen}.half-down"),
        Binding("ctrl+u", "page(-0.5)", "Half a page up", show=False, id=f"{screen}.half-up"),
        Binding(page_down, "page(1)", "Page down", show=False, id=f"{screen}.page-down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id=f"{screen}.page-up"),
        Binding("home,g", "go(0)", "First", show=False, id=f"{screen}.first"),
        Binding("end,G", "go(-1)", "Last", show=False, id=f"{screen}.last"),
    ]


class CursorView(FrameView):
    """A `FrameView` whose rows are gone through one by one."""

    class Moved(Message):
        """The cursor is on another row."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, CursorView.Moved)

    cursor = 0
    """Row with the cursor; 0 when there is none."""

    # What a list overrides

    def open_row(self) -> None:
        """Do what enter does with the row under the cursor."""

    def seen_with(self, row: int) -> int:
        """Return the first row that is to be on screen with this one."""
        return row

    # Moving

    def under_cursor(self, row: int) -> bool:
        return row == self.cursor

    def scroll_to_cursor(self) -> None:
        """Scroll as little as it takes to see the row under the cursor."""
        height, top = self.page, self.scroll_offset.y
        if height <= 0:
            return
        if (first := self.seen_with(self.cursor)) < top:
            self.scroll_to(y=first, animate=False, immediate=True, force=True)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False, immediate=True, force=True)

    def move_to(self, row: int) -> None:
        """Put the cursor on a row, or on the nearest there is."""
        row = max(0, min(self.num_rows - 1, row))
        if row == self.cursor or not self.num_rows:
            return
        self.cursor = row
        self.scroll_to_cursor()
        self.redraw()
        self.post_message(self.Moved())

    def action_move(self, rows: int) -> None:
        """Move the cursor by rows."""
        self.move_to(self.cursor + rows)

    def action_page(self, pages: float) -> None:
        """Move the cursor by pages."""
        self.move_to(self.cursor + int(pages * max(2, self.page)))

    def action_go(self, row: int) -> None:
        """Move the cursor to a row; -1 is the last that is known."""
        self.move_to(row if row >= 0 else self.num_rows - 1)

    def on_resize(self) -> None:
        self.scroll_to_cursor()

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        row = self.scroll_offset.y + offset.y - self.headed if offset is not None else -1
        if offset is None or offset.y < self.headed or not 0 <= row < self.num_rows:
            return
        if row == self.cursor and event.chain > 1:
            self.open_row()
        self.move_to(row)
