"""The chart beside the facts: training and validation loss of the run under the cursor."""

from __future__ import annotations

from textual import events

from engine.runs.summary import RunSummary
from screens.runs.reading import Details
from tui.widgets.chart import Chart
from tui.widgets.chart.draw import Memory
from tui.widgets.chart.glyphs import GlyphSet


class LossChart(Chart, can_focus=False):
    """The loss of one run after another."""

    def __init__(self, glyphs: GlyphSet) -> None:
        super().__init__("loss", glyphs=glyphs, smoothing=0.0)
        self._shown: Details | None = None

    def show(self, summary: RunSummary | None, details: Details) -> None:
        """Draw the curves of a run, and repaint the cells that differ."""
        if details is self._shown:
            return
        if self._shown is None or self._shown.name != details.name:
            self._memory = Memory()  # another run: the axes are fitted anew
        self._shown = details
        total = float(summary.total_steps) if summary is not None and summary.total_steps else None
        self.plot.title = "loss" if details.whole else "loss, sampled"
        self.plot.empty = "no loss yet" if summary is not None and summary.active else "no loss"
        self.plot.x_planned = lambda axis: total if axis == "step" else None
        self.plot.curves = list(details.curves)
        self.marks = [float(details.newest.step)] if details.newest is not None else []
        self.redraw()

    def on_click(self, event: events.Click) -> None:
        """Set no crosshair: without the focus it could not be moved."""
        event.prevent_default()
