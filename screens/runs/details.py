"""The pane of the run under the cursor: its name and what it can be told, its facts, its loss."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.containers import Container
from textual.message import Message
from textual.widget import Widget

from engine.runs.summary import RunSummary
from screens.runs.controls import Control, controls
from screens.runs.facts import facts
from tui.display import plain, truncate
from tui.widgets.cells import Cells, Piece, length
from tui.widgets.chart.glyphs import GlyphSet

if TYPE_CHECKING:
    from screens.runs.loss_chart import LossChart
    from screens.runs.reading import Details

AGAIN_SECONDS = 5.0
"""Between two readings of the details of a run at work: some 10 ms each."""
KEPT = 32
"""Runs whose details stay in memory, so that moving back and forth reads nothing."""


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
    """Shows one run, and has read what it shows.

    Args:
        read: Returns the details of a run; None when there is none of that name. Called in a thread.
    """

    ALLOW_SELECT: ClassVar[bool] = False
    glyphs: GlyphSet = "braille"
    with_chart = False
    """Whether there is room for one."""

    def __init__(self, read: Callable[[str], Details | None]) -> None:
        super().__init__()
        self.known: dict[str, Details] = {}
        """The run that is shown, and those before it."""
        self._read = read
        self._due = 0.0
        """Monotonic time before which nothing known is read again."""
        self._reading: str | None = None
        """The run whose details are being waited for."""
        self._summary: RunSummary | None = None
        self._chart: LossChart | None = None
        self._facts = Facts()
        self._line = ControlLine()

    def compose(self) -> ComposeResult:
        yield self._line
        with Container(id="inside"):
            yield self._facts

    @work(exclusive=True, group="read-details", description="Reading the details of a run")
    async def read_details(self, name: str, wait_seconds: float) -> None:
        """Read what the details of one run say, a while from now."""
        try:
            await asyncio.sleep(wait_seconds)
            self._due = time.monotonic() + AGAIN_SECONDS
            found = await asyncio.to_thread(self._read, name)
        finally:
            if self._reading == name:
                self._reading = None
        if found is None:
            return
        self.known.pop(name, None)
        self.known[name] = found
        while len(self.known) > KEPT:
            del self.known[next(iter(self.known))]
        self._draw()

    def show(self, summary: RunSummary | None, now: float, *, rest_seconds: float = 0.0) -> None:
        """Draw what differs, and have the details read if they are not known, or old.

        Args:
            summary: The run; None when there is none.
            now: Unix seconds.
            rest_seconds: How long this run must be shown before its details are read.
        """
        self._summary = summary
        self._facts.now, self._facts.glyphs = now, self.glyphs
        self._draw()
        if summary is None or self._reading == summary.name or not self.is_mounted:
            return
        known = self.known.get(summary.name)
        if known is None or known.state.last_said != summary.last_said:
            wait_seconds = rest_seconds if known is None else max(rest_seconds, self._due - time.monotonic())
            self._reading = summary.name
            self.read_details(summary.name, wait_seconds)

    @property
    def shown(self) -> tuple[RunSummary, Details | None] | None:
        """What is shown; None when there is no run."""
        return (self._summary, self.known.get(self._summary.name)) if self._summary is not None else None

    def _draw(self) -> None:
        summary = self._summary
        details = self.known.get(summary.name) if summary is not None else None
        self._line.name_shown = plain(summary.name, limit=80) if summary is not None else ""
        self._line.controls = controls(summary) if summary is not None else ()
        self._line.redraw()
        self._facts.summary, self._facts.details = summary, details
        self._facts.redraw()
        # While details are read, the chart of the run before stays for that moment.
        if self.with_chart and details is not None and self.is_mounted:
            if self._chart is None:
                # After the first paint: 15 ms, and many people's terminals have no room for it.
                from screens.runs.loss_chart import LossChart

                self._chart = LossChart(self.glyphs)
                self.query_one("#inside").mount(self._chart)
            self._chart.show(summary, details)
