"""The pane of the run under the cursor: its name and what it can be told, its facts, its loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Container
from textual.message import Message
from textual.widget import Widget

from engine.runs.summary import RunSummary
from screens.live.cells import Cells, Piece, length
from screens.runs.controls import Control, controls
from screens.runs.facts import facts
from tui.display import plain, truncate
from tui.widgets.chart.glyphs import GlyphSet

if TYPE_CHECKING:
    from screens.runs.loss_chart import LossChart
    from screens.runs.reading import Details


class ControlLine(Cells):
    """The name of the run at the left, its controls at the right. A click does what the key does."""

    DEFAULT_CSS = "ControlLine { padding: 0 1; }"
    name_shown = ""
    """Cleaned."""
    controls: Sequence[Control] = ()
    _targets: Sequence[tuple[int, int, Control]] = ()

    class Pressed(Message):
        """A control was clicked."""

        def __init__(self, pressed: Control) -> None:
            self.pressed = pressed
            super().__init__()

    def pieces(self, width: int, height: int) -> list[list[Piece]]:
        del height
        drawn = _fitting(self.controls, max(0, width - min(len(self.name_shown), 24)))
        room = width - sum(length(pieces) for pieces in drawn)
        name = truncate(self.name_shown, room)
        row: list[Piece] = [(name, "a"), (" " * (room - length([(name, "a")])), " ")]
        targets = []
        x = room
        for control, pieces in zip(self.controls, drawn, strict=False):
            targets.append((x, x + length(pieces), control))
            x += length(pieces)
            row += pieces
        self._targets = targets
        return [row]

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        for first, end, control in self._targets if offset is not None else ():
            if offset is not None and first <= offset.x < end:
                self.post_message(self.Pressed(control))


def _fitting(offered: Sequence[Control], room: int) -> list[list[Piece]]:
    """Return the pieces of each control, in as many words as there is room for."""
    for with_label in (True, False):
        drawn: list[list[Piece]] = []
        for control in offered:
            off = bool(control.refusal)
            label = f" {control.label}" if with_label else ""
            drawn.append([("  ", " "), (control.key, "d" if off else "k"), (label, "d" if off else " ")])
        if sum(length(pieces) for pieces in drawn) <= room:
            return drawn
    return []


class Facts(Cells):
    """The rows of facts."""

    DEFAULT_CSS = "Facts { height: 1fr; padding: 0 1; }"
    summary: RunSummary | None = None
    details: Details | None = None
    now = 0.0
    glyphs: GlyphSet = "braille"

    def pieces(self, width: int, height: int) -> list[list[Piece]]:
        if self.summary is None:
            return []
        return facts(self.summary, self.details, self.now, width, height, self.glyphs)


class DetailsPane(Widget):
    """Shows one run."""

    ALLOW_SELECT: ClassVar[bool] = False

    glyphs: GlyphSet = "braille"

    def __init__(self) -> None:
        super().__init__()
        self._chart: LossChart | None = None
        self._facts = Facts()
        self._line = ControlLine()

    def compose(self) -> ComposeResult:
        yield self._line
        with Container(id="inside"):
            yield self._facts

    def show(self, summary: RunSummary | None, details: Details | None, now: float, *, with_chart: bool) -> None:
        """Draw what differs.

        Args:
            summary: The run; None when there is none.
            details: Of this run; None while they are being read: then the old chart stays for that moment.
            now: Unix seconds.
            with_chart: Whether there is room for one.
        """
        self._line.name_shown = plain(summary.name, limit=80) if summary is not None else ""
        self._line.controls = controls(summary) if summary is not None else ()
        self._line.redraw()
        self._facts.summary, self._facts.details, self._facts.now = summary, details, now
        self._facts.glyphs = self.glyphs
        self._facts.redraw()
        if with_chart and details is not None and self.is_mounted:
            if self._chart is None:
                # After the first paint: 15 ms, and many people's terminals have no room for it.
                from screens.runs.loss_chart import LossChart

                self._chart = LossChart(self.glyphs)
                self.query_one("#inside").mount(self._chart)
            self._chart.show(summary, details)
