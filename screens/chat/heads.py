"""The line above the columns: which two models, and how both are answered."""

from __future__ import annotations

from engine.chat.asking import SIDES, Side
from screens.chat.talk import Talk
from tui.display import plain, truncate
from tui.widgets.cells import Cells, Piece, cut, length


class Heads(Cells):
    """Two names, each above its column."""

    def __init__(self) -> None:
        super().__init__(id="heads")
        self._talk: Talk | None = None
        self.here: Side | None = None
        """The side that has the focus."""

    def show(self, talk: Talk, here: Side | None) -> None:
        """Draw what is known now."""
        self._talk, self.here = talk, here
        self.redraw()

    def pieces(self, width: int, height: int) -> list[list[Piece]]:
        del height
        talk = self._talk
        if talk is None:
            return [[]]
        half = (width - 1) // 2
        row: list[Piece] = []
        for side, room in zip(SIDES, (half, width - half - 1), strict=True):
            last = talk.last
            name = plain(talk.name_at(side, last.id if last is not None else None), limit=200)
            mark = "▌" if side == self.here else " "
            state = " …" if talk.side_at(side, last.id if last is not None else 0) in talk.coming else ""
            head = cut([(mark, "a"), (truncate(name, room - 4, keep="ends"), "k"), (state, "m")], room)
            row += [*head, (" " * (room - length(head) + (side == "left")), " ")]
        return [row]


class PathLine(Cells):
    """How both sides are answered, what is being loaded, or what a vote wants to know."""

    def __init__(self) -> None:
        super().__init__(id="path")
        self._pieces_now: list[Piece] = []

    def show(self, pieces: list[Piece]) -> None:
        """Draw these."""
        self._pieces_now = pieces
        self.redraw()

    def pieces(self, width: int, height: int) -> list[list[Piece]]:
        del height
        return [cut(self._pieces_now, width)]
