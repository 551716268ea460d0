"""The line above the columns: which two models, and how both are answered."""

from __future__ import annotations

from engine.chat.asking import Side
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
        self.alone = False
        """Whether there is room for one column only."""

    def show(self, talk: Talk, here: Side | None, *, alone: bool = False) -> None:
        """Draw what is known now."""
        self._talk, self.here, self.alone = talk, here, alone
        self.redraw()

    def pieces(self, width: int, height: int) -> list[list[Piece]]:
        del height
        talk = self._talk
        if talk is None:
            return [[]]
        if self.alone:
            return [self._head(talk, self.here or "left", width)]
        half = width // 2
        left = self._head(talk, "left", half - 1)
        return [[*left, (" " * (half - 1 - length(left)), " "), ("│", "o"), *self._head(talk, "right", width - half)]]

    def _head(self, talk: Talk, place: Side, room: int) -> list[Piece]:
        last = talk.last
        answers = talk.side_at(place, last.id if last is not None else 0) in talk.coming
        mark = "▌" if place == self.here else " "
        name = truncate(plain(talk.head_at(place), limit=200), room - 14, keep="ends")
        there = f"  {'left' if place == 'left' else 'right'}, tab: the other" if self.alone else ""
        return cut([(mark, "a"), (name, "k"), (" …" if answers else "", "m"), (there, "m")], room)


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
