"""The row between headline and body: which view this is, and what the run can be told."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.message import Message

from screens.live.controls import Control
from tui.widgets.cells import Cells, Piece, length

VIEWS = ("plots", "samples", "log", "details")


class ViewBar(Cells):
    """The views at the left, the controls at the right. A click does what the key does."""

    view = VIEWS[0]
    controls: Sequence[Control] = ()
    notes: Sequence[Piece] = ()
    """What holds for the view as a whole: which charts these are, that it is frozen."""
    with_views = True
    """False where there is room for one view only."""
    _targets: Sequence[tuple[int, int, Message]] = ()
    """First cell, cell after the last, and what a click between them means."""

    class Chosen(Message):
        """A view was clicked."""

        def __init__(self, view: str) -> None:
            self.view = view
            super().__init__()

    class Pressed(Message):
        """A control was clicked."""

        def __init__(self, pressed: Control) -> None:
            self.pressed = pressed
            super().__init__()

    def pieces(self, width: int, height: int) -> list[list[Piece]]:
        del height
        row: list[Piece] = []
        targets: list[tuple[int, int, Message]] = []
        for view in VIEWS if self.with_views else ():
            name = f" {view.capitalize()} "
            targets.append((length(row), length(row) + len(name), self.Chosen(view)))
            row.append((name, "t" if view == self.view else "m"))
        notes: list[Piece] = [(f"  {note}", style) for note, style in self.notes]
        room = width - length(row) - 2
        drawn = _fitting(self.controls, room - length(notes))
        if notes and not _labelled(drawn):
            # What can be done matters more than which charts these are, but not than that the view is frozen.
            notes = [note for note in notes if note[1] == "w"]
            drawn = _fitting(self.controls, room - length(notes))
        row += notes
        x = width - 1 - length([piece for pieces in drawn for piece in pieces])
        row.append((" " * (x - length(row)), " "))
        for control, pieces in zip(self.controls, drawn, strict=False):
            targets.append((x, x + length(pieces), self.Pressed(control)))
            x += length(pieces)
            row += pieces
        self._targets = targets
        return [row]

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        for first, end, message in self._targets if offset is not None else ():
            if offset is not None and first <= offset.x < end:
                self.post_message(message)


def _fitting(controls: Sequence[Control], room: int) -> list[list[Piece]]:
    """Return the pieces of each control, in as many words as there is room for."""
    for words in ([one.label for one in controls], [one.short for one in controls], [""] * len(controls)):
        drawn: list[list[Piece]] = []
        for control, word in zip(controls, words, strict=True):
            off = bool(control.refusal)
            label = f" {word}" if word else ""
            drawn.append([("  ", " "), (control.key, "d" if off else "k"), (label, "d" if off else " ")])
        if sum(length(pieces) for pieces in drawn) <= room:
            return drawn
    return []


def _labelled(drawn: Sequence[Sequence[Piece]]) -> bool:
    """Return whether controls say more than their keys."""
    return all(pieces[2][0] for pieces in drawn) if drawn else False
