"""What is told of a row or of the file: rows of words that scroll, some of which lead somewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from tui.widgets.cells import Piece
from tui.widgets.frame_view import FrameView


@dataclass(frozen=True, slots=True)
class Told:
    """One row."""

    pieces: Sequence[Piece]
    target: int | None = None
    """What Enter leads to: a place in a list of whoever shows it. None: nothing."""


class Pane(FrameView):
    """Scrolls over rows. Where some of them lead somewhere, the cursor goes from one of these to the next."""

    HELP = "The row under the cursor, or the report on the file. [ and ] choose which."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "follow", "Show these rows", id="data.follow",
                tooltip="Mark the rows of the finding under the cursor, and go to the first"),
        Binding("down,j", "move(1)", "Down", show=False, id="data.pane-down"),
        Binding("up,k", "move(-1)", "Up", show=False, id="data.pane-up"),
        Binding("ctrl+d", "page(0.5)", "Half a page down", show=False, id="data.pane-half-down"),
        Binding("ctrl+u", "page(-0.5)", "Half a page up", show=False, id="data.pane-half-up"),
        Binding("pagedown,space", "page(1)", "Page down", show=False, id="data.pane-page-down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="data.pane-page-up"),
        Binding("home,g", "go(0)", "Top", show=False, id="data.pane-top"),
        Binding("end,G", "go(-1)", "End", show=False, id="data.pane-end"),
    ]  # fmt: skip

    class Followed(Message):
        """A row that leads somewhere was chosen."""

        def __init__(self, target: int) -> None:
            self.target = target
            super().__init__()

    def __init__(self) -> None:
        super().__init__(name="what is told")
        self.rows: Sequence[Told] = ()
        self.cursor = 0
        """Place, among the rows that lead somewhere, of the one with the cursor."""
        self._of: object = None

    @property
    def num_rows(self) -> int:
        return len(self.rows)

    @property
    def width(self) -> int:
        """Cells of a row; 0 before there is room."""
        return self.scrollable_content_region.width

    def show(self, rows: Sequence[Told], of: object = None) -> None:
        """Draw rows.

        Args:
            rows: All there are.
            of: What they are about. Another one is shown from its beginning.
        """
        self.rows = rows
        if of != self._of:
            self._of = of
            self.cursor = 0
            self.scroll_to(y=0, animate=False, immediate=True, force=True)
        self.fit()
        self.redraw()

    @property
    def _targets(self) -> list[int]:
        return [index for index, row in enumerate(self.rows) if row.target is not None]

    def pieces(self, row: int, width: int) -> Sequence[Piece]:
        del width
        return self.rows[row].pieces

    def under_cursor(self, row: int) -> bool:
        targets = self._targets
        return bool(targets) and row == targets[min(self.cursor, len(targets) - 1)]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is something to follow where a row leads somewhere."""
        del parameters
        return action != "follow" or any(row.target is not None for row in self.rows)

    def action_move(self, rows: int) -> None:
        """Go to the next row that leads somewhere, or scroll."""
        targets = self._targets
        if not targets:
            self._scroll(self.scroll_offset.y + rows)
            return
        self.cursor = max(0, min(len(targets) - 1, self.cursor + rows))
        at, top, height = targets[self.cursor], self.scroll_offset.y, self.page
        if self.cursor == 0:
            self._scroll(0)
        elif at < top or at >= top + height - 2:
            self._scroll(max(0, at - height // 3))
        self.redraw()

    def action_page(self, pages: float) -> None:
        """Scroll by pages."""
        self._scroll(self.scroll_offset.y + int(pages * max(2, self.page)))

    def action_go(self, row: int) -> None:
        """Scroll to the top, or to the end."""
        targets = self._targets
        self.cursor = 0 if row >= 0 else max(0, len(targets) - 1)
        self._scroll(0 if row >= 0 else self.num_rows)
        self.redraw()

    def _scroll(self, y: int) -> None:
        self.scroll_to(y=max(0, min(y, self.num_rows - self.page)), animate=False, immediate=True, force=True)

    def action_follow(self) -> None:
        """Choose the row under the cursor."""
        targets = self._targets
        if targets:
            target = self.rows[targets[min(self.cursor, len(targets) - 1)]].target
            self.post_message(self.Followed(target if target is not None else 0))

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        targets = self._targets
        at = self.scroll_offset.y + offset.y if offset is not None else -1
        if offset is None or not targets or at < targets[0]:
            return
        self.cursor = max(index for index, row in enumerate(targets) if row <= at)
        self.redraw()
        if event.chain > 1:
            self.action_follow()
