"""One column of the chat: every turn with the answer of one side. Draws the rows on screen, lays out what is new."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from engine.chat.asking import Side
from engine.chat.conversation import Turn
from screens.chat.talk import Talk
from screens.chat.turn_rows import ComingRows, answer_rows, name_row, question_rows, text_of
from tui.widgets.cells import Piece
from tui.widgets.frame_view import FrameView


class Column(FrameView):
    """A side of the conversation. `show` is all it needs.

    Args:
        place: Where it stands on the screen.
        clock: `time.monotonic`. For tests that show a moment.
    """

    HELP = "One model's answers. It stays at the end unless you scroll back; G returns to the end."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "scroll_rows(1)", "Down", show=False, id="chat.down"),
        Binding("k,up", "scroll_rows(-1)", "Up", show=False, id="chat.up"),
        Binding("ctrl+d,pagedown,space", "scroll_pages(1)", "Page down", show=False, id="chat.page-down"),
        Binding("ctrl+u,pageup", "scroll_pages(-1)", "Page up", show=False, id="chat.page-up"),
        Binding("g,home", "scroll_edge(0)", "Beginning", show=False, id="chat.top"),
        Binding("G,end", "scroll_edge(1)", "End", show=False, id="chat.end"),
    ]

    class Scrolled(Message):
        """Somebody has scrolled it."""

        def __init__(self, place: Side, y: int, *, at_end: bool) -> None:
            self.place, self.y, self.at_end = place, y, at_end
            super().__init__()

    def __init__(self, place: Side, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(name=f"the {place} side", id=place)
        self.place = place
        self.clock = clock
        self.mark = "❯"
        self.at_end = True
        """Nobody has scrolled back."""
        self._talk: Talk | None = None
        self._kept: dict[object, list[list[Piece]]] = {}
        """Rows of finished turns, by everything they depend on."""
        self._coming: tuple[object, ComingRows] | None = None
        self._rows: list[list[Piece]] = []

    def show(self, talk: Talk) -> None:
        """Draw what is known now; what has not changed is not sent."""
        self._talk = talk
        width = self.scrollable_content_region.width
        if not width:
            return
        self._rows = self.rows_at(width)
        at_end = self.at_end
        self.fit()
        if at_end:
            self.scroll_end(animate=False, immediate=True, force=True)
            self.at_end = True
        self.redraw()

    def rows_at(self, width: int) -> list[list[Piece]]:
        """Return all rows at a width."""
        talk = self._talk
        if talk is None:
            return []
        rows: list[list[Piece]] = []
        kept: dict[object, list[list[Piece]]] = {}
        for turn in talk.thread:
            key = self._key(talk, turn, width)
            found = self._kept.get(key)
            if found is None:
                found = self._turn_rows(talk, turn, width)
            if turn.id not in {one.turn for one in talk.coming.values()}:
                kept[key] = found
            rows += found
        self._kept = kept
        return rows

    def _key(self, talk: Talk, turn: Turn, width: int) -> object:
        side = talk.side_at(self.place, turn.id)
        other = turn.answer("right" if side == "left" else "left") if talk.view == "differences" else None
        coming = talk.coming.get(side)
        under_way = coming is not None and coming.turn == turn.id
        return (
            turn.id, side, id(turn.answer(side)), id(other), talk.view, talk.revealed(turn.id), width,
            self.clock() if under_way else None, len(coming.shown) if coming is not None and under_way else 0,
        )  # fmt: skip

    def _turn_rows(self, talk: Talk, turn: Turn, width: int) -> list[list[Piece]]:
        side = talk.side_at(self.place, turn.id)
        rows = [*question_rows(turn, width, self.mark), []]
        if talk.blind:
            rows.append(name_row(talk, turn, self.place, width))
        coming = talk.coming.get(side)
        if coming is not None and coming.turn == turn.id:
            key = (turn.id, side, coming.began, width)
            if self._coming is None or self._coming[0] != key:
                self._coming = key, ComingRows(width)
            rows += self._coming[1].rows(coming, self.clock())
        elif (answer := turn.answer(side)) is not None:
            rows += answer_rows(answer, turn.answer("right" if side == "left" else "left"), width, talk.view)
        else:
            rows.append([("(not asked)", "m")])
        return [*rows, []]

    def text(self) -> str:
        """What the column says, as plain text."""
        return text_of(self.rows_at(100))

    # Drawing

    @property
    def num_rows(self) -> int:
        return len(self._rows)

    def pieces(self, row: int, width: int) -> Sequence[Piece]:
        del width
        return self._rows[row]

    def on_resize(self) -> None:
        if self._talk is not None:
            self.show(self._talk)

    # Scrolling

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self.at_end = round(new_value) >= self.max_scroll_y

    def _go(self, y: float) -> None:
        self.scroll_to(y=y, animate=False, immediate=True, force=True)
        self.post_message(self.Scrolled(self.place, round(self.scroll_y), at_end=self.at_end))

    def action_scroll_rows(self, rows: int) -> None:
        """Scroll by rows."""
        self._go(self.scroll_y + rows)

    def action_scroll_pages(self, pages: int) -> None:
        """Scroll by pages."""
        self._go(self.scroll_y + pages * max(1, self.page - 1))

    def action_scroll_edge(self, end: int) -> None:
        """Scroll to the beginning, or to the end and stay there."""
        self._go(self.max_scroll_y if end else 0)
