"""One column of the chat: every turn with the answer of one side. Draws the rows on screen, lays out what is new."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message

from engine.chat.asking import Side
from engine.chat.conversation import Turn
from screens.chat.talk import Talk
from screens.chat.turn_rows import ComingRows, answer_rows, first_rows, name_row, question_rows, shown_number, text_of
from tui.widgets.cells import Piece
from tui.widgets.frame_view import FrameView

_AT_FIRST, _MORE = 6, 1
"""Turns laid out before the first drawing, and at a time from then on: Markdown takes 10 ms for a thousand characters,
and two hundred turns of it were 3.4 s without a picture."""
_JUMPS = 3
"""Jumps to a page while an answer comes. At one row a time, 2 x 50 tokens/s sent some 30 kB/s."""


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

        def __init__(self, place: Side) -> None:
            self.place = place
            super().__init__()

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, Column.Scrolled) and message.place == self.place

    def __init__(self, place: Side, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(name=f"the {place} side", id=place)
        self.place = place
        self.clock = clock
        self.beside: Column | None = None
        """The other side, beside which turns are kept."""
        self._placing = False
        """Whether it is scrolled by us, and not by somebody."""
        self.mark = "❯"
        self.at_end = True
        """Nobody has scrolled back."""
        self._talk: Talk | None = None
        self._kept: dict[int, tuple[object, list[list[Piece]]]] = {}
        """Rows of finished turns, with everything they depend on."""
        self._settled: tuple[object, list[list[Piece]]] = (None, [])
        """Rows of all turns before the one that is being answered, with everything they depend on."""
        self._coming: tuple[object, ComingRows] | None = None
        self._tail: list[list[Piece]] = []
        """Rows of the turn that is being answered."""
        self._blank = 0
        """Empty rows below, to be written on: an answer that scrolled with each row would send the pane each time."""
        self._starts: dict[int, int] = {}
        """Turn -> its first row."""
        self._left_out = 0
        """Turns at the beginning that are not laid out yet."""
        self._going_on = False
        """Whether more of them are soon."""

    @property
    def whole(self) -> bool:
        """Whether every turn is laid out. What is above may still come, above what is seen."""
        return not self._left_out

    def show(self, talk: Talk) -> None:
        """Draw what is known now; what has not changed is not sent."""
        self._talk = talk
        width = self.scrollable_content_region.width
        if not width:
            return
        at_end = self.at_end
        top = None if at_end else self.turn_at(round(self.scroll_y))
        before = self._settled[1]
        self._lay_out(talk, width)
        self._blank = self._room_below(talk) if at_end else 0
        self.fit()
        if at_end:
            self._place(self.max_scroll_y)
        elif top is not None and self._settled[1] is not before:
            self._stand_at(*top)
        self.redraw()
        if self._left_out and not self._going_on:
            self._going_on = self.call_after_refresh(self._go_on)

    def _go_on(self) -> None:
        self._going_on = False
        if self._talk is not None:
            self.show(self._talk)

    def _place(self, y: float) -> None:
        if y == self.scroll_y == self.scroll_target_y:
            return
        at_end = self.at_end
        self._placing = True
        self.scroll_to(y=y, animate=False, immediate=True, force=True)
        self._placing, self.at_end = False, at_end

    def _room_below(self, talk: Talk) -> int:
        """Return how many empty rows stand below an answer that grows."""
        over = len(self._settled[1]) + len(self._tail) - self.page
        if over <= 0 or not talk.coming:
            return 0
        jump = max(2, self.page // _JUMPS)
        return -over % jump

    def _lay_out(self, talk: Talk, width: int) -> None:
        thread = talk.thread
        under_way = {coming.turn for coming in talk.coming.values()}
        live = next((at for at, turn in enumerate(thread) if turn.id in under_way), len(thread))
        beside = self._width_beside()
        self._left_out = first = self._first_turn(talk, thread[:live], width)
        # A turn that has changed is another object, so this compares a pointer for each.
        seen = (thread[first:live], talk.view, width, beside, talk.blind, dict(talk.verdicts), dict(talk.names))
        if self._settled[0] != seen:
            rows: list[list[Piece]] = []
            self._starts = {}
            for turn in thread[first:live]:
                self._starts[turn.id] = len(rows)
                rows += self._rows_of(talk, turn, width)
                if self.beside is not None and beside:  # a question stands on one row on both sides
                    end = self._starts[turn.id] + len(self.beside._rows_of(talk, turn, beside))
                    rows += [[] for _ in range(end - len(rows))]
            self._settled = seen, rows
            here = {turn.id for turn in thread}
            self._kept = {turn: kept for turn, kept in self._kept.items() if turn in here}
        self._tail = []
        for turn in thread[live:]:
            self._starts[turn.id] = len(self._settled[1]) + len(self._tail)
            self._tail += self._turn_rows(talk, turn, width)
        if not thread:
            self._tail = first_rows(self.place, width)

    def _first_turn(self, talk: Talk, turns: Sequence[Turn], width: int) -> int:
        """Return the first turn that is laid out now: all that are already, and a few more, the newest first."""
        new = _MORE if self._left_out else _AT_FIRST
        for at in range(len(turns) - 1, -1, -1):
            kept = self._kept.get(turns[at].id)
            if kept is None or kept[0] != self._key(talk, turns[at], width):
                new -= 1
                if new < 0:
                    return at + 1
        return 0

    def _width_beside(self) -> int:
        """Return the width of the other column; 0 where it is not shown."""
        shown = self.beside is not None and self.display and self.beside.display
        return self.beside.scrollable_content_region.width if self.beside is not None and shown else 0

    def _rows_of(self, talk: Talk, turn: Turn, width: int) -> list[list[Piece]]:
        """Return the rows of a finished turn; they are laid out once."""
        key = self._key(talk, turn, width)
        found = self._kept.get(turn.id)
        if found is None or found[0] != key:
            found = self._kept[turn.id] = key, self._turn_rows(talk, turn, width)
        return found[1]

    def _key(self, talk: Talk, turn: Turn, width: int) -> object:
        """Return everything the rows of a turn depend on."""
        return turn, talk.view, width, talk.blind, talk.verdicts.get(turn.id), self._named(talk, turn)

    def _named(self, talk: Talk, turn: Turn) -> bool:
        """Return whether a turn says whose answer it holds: where that is not what the head says."""
        return talk.blind or talk.name_at(self.place, turn) != talk.head_at(self.place)

    def _turn_rows(self, talk: Talk, turn: Turn, width: int) -> list[list[Piece]]:
        side = talk.side_at(self.place, turn.id)
        hidden = not talk.revealed(turn.id)
        rows = [*question_rows(turn, width, self.mark), []]
        if self._named(talk, turn) or turn.id in talk.verdicts:
            rows.append(name_row(talk, turn, self.place, width))
        coming = talk.coming.get(side)
        if coming is not None and coming.turn == turn.id:
            key = (turn.id, side, coming.began, width)
            if self._coming is None or self._coming[0] != key:
                self._coming = key, ComingRows(width)
            rows += self._coming[1].rows(coming, self.clock(), hidden=hidden)
        elif (answer := turn.answer(side)) is not None:
            other = turn.answer("right" if side == "left" else "left")
            rows += answer_rows(answer, other, width, talk.view, hidden=hidden)
            if len(turn.answers[side]) > 1:
                rows.append([(f"answer {shown_number(turn, side)} of {len(turn.answers[side])}: [ and ]", "m")])
        else:
            rows.append([("(not asked: r asks again)", "m")])
        return [*rows, []]

    def turn_at(self, row: int) -> tuple[int, int] | None:
        """Return the turn a row belongs to, and how far below its beginning it is."""
        found = None
        for turn, start in self._starts.items():
            if start <= row:
                found = turn, row - start
        return found

    def text(self) -> str:
        """What the column says, as plain text."""
        return text_of([*self._settled[1], *self._tail])

    # Drawing

    def fit(self) -> None:
        """Make room for the rows there are; what fits into a page needs no new layout with each row."""
        height = max(self.num_rows, self.page)
        if self.virtual_size.height != height:
            self.virtual_size = Size(0, height)

    @property
    def num_rows(self) -> int:
        return len(self._settled[1]) + len(self._tail) + self._blank

    def pieces(self, row: int, width: int) -> Sequence[Piece]:
        del width
        settled = self._settled[1]
        if row < len(settled):
            return settled[row]
        row -= len(settled)
        return self._tail[row] if row < len(self._tail) else ()

    def on_resize(self) -> None:
        if self._talk is not None:
            self.show(self._talk)

    # Scrolling

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if not self._placing and round(old_value) != round(new_value):
            self.at_end = round(new_value) >= self.max_scroll_y
            self.post_message(self.Scrolled(self.place))

    def follow(self, other: Column) -> None:
        """Scroll to the turn that stands at the top of the other column."""
        self.at_end = other.at_end
        found = other.turn_at(round(other.scroll_y))
        if self.at_end or found is None:
            self._place(self.max_scroll_y if self.at_end else 0)
            return
        self._stand_at(*found)

    def _stand_at(self, turn: int, below: int) -> None:
        """Scroll to so many rows below the beginning of a turn, or to its end."""
        start = self._starts.get(turn, 0)
        end = min((row for row in self._starts.values() if row > start), default=self.num_rows)
        self._place(min(start + below, end - 1))

    def action_scroll_rows(self, rows: int) -> None:
        """Scroll by rows."""
        self.scroll_to(y=self.scroll_y + rows, animate=False, immediate=True, force=True)

    def action_scroll_pages(self, pages: int) -> None:
        """Scroll by pages."""
        self.action_scroll_rows(pages * max(1, self.page - 1))

    def action_scroll_edge(self, end: int) -> None:
        """Scroll to the beginning, or to the end and stay there."""
        self.scroll_to(y=self.max_scroll_y if end else 0, animate=False, immediate=True, force=True)
        if end:
            self.at_end = True
