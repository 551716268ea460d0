"""Rows of words that scroll, below a title that does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.binding import Binding

from tui.widgets.cells import Piece, cut
from tui.widgets.frame_view import FrameView


def scroll_bindings(screen: str) -> list[Binding]:
    """Return the keys that scroll.

    Args:
        screen: First part of their ids, under which a user may choose others.
    """
    return [
        Binding("down,j", "scroll(1)", "Down", show=False, id=f"{screen}.down"),
        Binding("up,k", "scroll(-1)", "Up", show=False, id=f"{screen}.up"),
        Binding("ctrl+d", "page(0.5)", "Half a page down", show=False, id=f"{screen}.half-down"),
        Binding("ctrl+u", "page(-0.5)", "Half a page up", show=False, id=f"{screen}.half-up"),
        Binding("pagedown,space", "page(1)", "Page down", show=False, id=f"{screen}.page-down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id=f"{screen}.page-up"),
        Binding("home,g", "go(0)", "Top", show=False, id=f"{screen}.top"),
        Binding("end,G", "go(-1)", "End", show=False, id=f"{screen}.end"),
    ]


class RowsPane(FrameView):
    """Draws what a function returns for its width. `show` is all it needs."""

    def __init__(self, *, name: str, id: str | None = None) -> None:
        super().__init__(name=name, id=id)
        self.title: Sequence[Piece] | None = None
        """The row above the others; None for none."""
        self._rows: Sequence[Sequence[Piece]] = ()
        self._make: Callable[[int], Sequence[Sequence[Piece]]] = lambda _width: ()
        self._of: object = None

    @property
    def num_rows(self) -> int:
        return len(self._rows)

    def show(self, make: Callable[[int], Sequence[Sequence[Piece]]], of: object = None) -> None:
        """Draw rows.

        Args:
            make: Returns all of them for a width.
            of: What they are about. Another one is shown from its beginning.
        """
        self._make = make
        width = self.scrollable_content_region.width
        self._rows = make(width) if width else ()
        if of != self._of:
            self._of = of
            self.scroll_to(y=0, animate=False, immediate=True, force=True)
        self.fit()
        self.redraw()

    def heads(self, width: int) -> Sequence[Piece] | None:
        return None if self.title is None else cut(list(self.title), width) if width else ()

    def pieces(self, row: int, width: int) -> Sequence[Piece]:
        return cut(list(self._rows[row]), width)

    def on_resize(self) -> None:
        self.show(self._make, self._of)

    def action_scroll(self, rows: int) -> None:
        """Scroll by rows."""
        self._scroll(self.scroll_offset.y + rows)

    def action_page(self, pages: float) -> None:
        """Scroll by pages."""
        self._scroll(self.scroll_offset.y + int(pages * max(2, self.page)))

    def action_go(self, row: int) -> None:
        """Scroll to the top, or to the end."""
        self._scroll(0 if row >= 0 else self.num_rows)

    def _scroll(self, y: int) -> None:
        self.scroll_to(y=max(0, min(y, self.num_rows - self.page)), animate=False, immediate=True, force=True)
