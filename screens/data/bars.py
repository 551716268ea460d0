"""The rows above table and pane: what file this is and how it is read, what is going on, which view is on."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.message import Message

from tui.widgets.cells import Cells, Piece, cut, fitted, length, spread

VIEWS = ("messages", "raw", "rendered", "mask", "tokens", "statistics", "doctor")
OF_THE_FILE = ("statistics", "doctor")
"""Views that are about the whole file; the others are about the row under the cursor."""
_SHORT = {"statistics": "stats", "rendered": "text", "messages": "chat"}


class FileBar(Cells):
    """Two rows: how the file is read and how much it holds; what is going on or was found."""

    DEFAULT_CSS = "FileBar { height: 2; padding: 0 1; }"
    groups: Sequence[list[Piece]] = ()
    facts: list[Piece]
    status: Sequence[list[Piece]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.facts = []

    def show(self, groups: Sequence[list[Piece]], facts: list[Piece], status: Sequence[list[Piece]]) -> None:
        """Draw what differs."""
        self.groups, self.facts, self.status = groups, facts, status
        self.redraw()

    def pieces(self, width: int, height: int) -> list[list[Piece]]:
        inner = width
        facts = self.facts if length(self.facts) < inner - 30 else []
        first = fitted(list(self.groups), inner - (length(facts) + 2 if facts else 0), gap=2)
        return [spread(first, facts, inner), cut(fitted(list(self.status), inner, gap=3), inner)][:height]


class Tabs(Cells):
    """The views, and through what the rows are looked at. A click does what the key does."""

    view = VIEWS[0]
    through: list[Piece]
    """Model and length."""
    _targets: Sequence[tuple[int, int, str]] = ()

    class Chosen(Message):
        """A view was clicked."""

        def __init__(self, view: str) -> None:
            self.view = view
            super().__init__()

    def __init__(self) -> None:
        super().__init__()
        self.through = []

    def show(self, view: str, through: list[Piece]) -> None:
        """Draw what differs."""
        self.view, self.through = view, through
        self.redraw()

    def pieces(self, width: int, height: int) -> list[list[Piece]]:
        del height
        names = {view: view.capitalize() for view in VIEWS}
        if sum(len(name) + 2 for name in names.values()) > width:
            names = {view: _SHORT.get(view, view).capitalize() for view in VIEWS}
        if sum(len(name) + 2 for name in names.values()) > width:
            names = {view: name if view == self.view else name[0] for view, name in names.items()}
        row: list[Piece] = []
        targets: list[tuple[int, int, str]] = []
        for view, name in names.items():
            text = f" {name} "
            targets.append((length(row), length(row) + len(text), view))
            row.append((text, "t" if view == self.view else "m"))
        self._targets = targets
        return [spread(row, self.through, width)]

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        for first, end, view in self._targets if offset is not None else ():
            if offset is not None and first <= offset.x < end:
                self.post_message(self.Chosen(view))
