"""Which part of the data a chart shows: zoom, pan, crosshair, and limits that do not jitter."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tui.widgets.chart.axis import nice_step

Range = tuple[float, float]

AXES = ("step", "epoch", "num_tokens", "seconds")
WHOLE_AXES = frozenset({"step", "num_tokens"})
TIME_AXES = frozenset({"seconds", "time"})
EXACT_AXES = frozenset({"step", "epoch"})
"""Axes whose planned end is known; on the others it is an estimate that changes with every step."""

TINY = 1e-290
"""What is smaller counts as 0: the distance of two ticks would underflow."""

HEAD_ROOM = 0.25
"""Part of a following window that is kept free for what comes, so that it moves in jumps: moving it with
every step would change every cell of the plot every time (9 kB/s instead of 0.8 for four plots at 120x40)."""


@dataclass(frozen=True, slots=True)
class XView:
    """The horizontal half of a view. Several charts may share one."""

    axis: str = "step"
    window: Range | None = None
    """The part of the x axis that is shown; None: all of it."""
    follow: bool = False
    """The window moves along when data arrives to the right of it."""
    crosshair: float | None = None
    """x of the crosshair, None when it is off."""

    def shown(self, domain: Range, data_end: float | None = None) -> Range:
        """The part of `domain` to draw."""
        if self.window is None:
            return domain
        low, high = self.window
        if self.follow and data_end is not None and data_end > high:
            span = high - low
            # Whole jumps from where the window was, so that two charts over the same data agree.
            jump = span * (1 - HEAD_ROOM)
            low += jump * math.ceil((data_end - high) / jump)
            high = low + span
        return low, high

    def zoomed(self, factor: float, domain: Range, data_end: float | None) -> XView:
        """Show 1 / `factor` of the span that is shown now.

        The crosshair stays where it is when there is one; else the newest value, when it is visible, so that
        zooming in on a live run follows it; else the middle.
        """
        low, high = self.shown(domain, data_end)
        span = (high - low) / factor
        if span >= (domain[1] - domain[0]) * 0.999:
            return replace(self, window=None, follow=False)
        if span < self._least_span(domain):
            return self
        live = data_end is not None and low <= data_end <= high
        if self.crosshair is not None and low <= self.crosshair <= high:
            anchor, part = self.crosshair, (self.crosshair - low) / (high - low)
        elif data_end is not None and live:
            anchor, part = data_end, 1 - HEAD_ROOM
        else:
            anchor, part = (low + high) / 2, 0.5
        return self._within(anchor - part * span, span, domain, data_end)

    def panned(self, part: float, domain: Range, data_end: float | None) -> XView:
        """Move the window by a part of its span; to the left when negative."""
        if self.window is None:
            return self
        low, high = self.shown(domain, data_end)
        return self._within(low + part * (high - low), high - low, domain, data_end)

    def _within(self, low: float, span: float, domain: Range, data_end: float | None) -> XView:
        low = min(max(low, domain[0]), domain[1] - span)
        follow = data_end is not None and low <= data_end <= low + span
        return replace(self, window=(low, low + span), follow=follow)

    def _least_span(self, domain: Range) -> float:
        return 4.0 if self.axis in WHOLE_AXES else (domain[1] - domain[0]) / 1e5

    def on_axis(self, axis: str) -> XView:
        """The whole of another axis: a window in steps means nothing in tokens."""
        return XView(axis=axis)


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the inside of a plot is, and which x it shows."""

    domain: Range
    """The whole x axis."""
    shown: Range
    """The part of it that the plot shows."""
    data_end: float | None
    """The newest x of all curves."""
    left: int
    """Cells left of the plot."""
    cells: int
    """Width of the plot."""

    def x_of(self, cell: int) -> float:
        """x in the middle of a column of cells."""
        low, high = self.shown
        return low + (cell + 0.5) * (high - low) / self.cells

    def cell_of(self, x: float) -> int | None:
        """The column of cells over `x`, None outside the plot."""
        low, high = self.shown
        return min(self.cells - 1, int((x - low) / (high - low) * self.cells)) if low <= x <= high else None


def settle_x(current: Range | None, data: Range | None, planned: float | None, exact: bool) -> Range:
    """Limits of the whole x axis. They change rarely, because every change redraws every cell.

    Args:
        current: The limits so far.
        data: Smallest and largest x.
        planned: Where the run is expected to end.
        exact: `planned` is a plan and becomes the end as it is; otherwise it is an estimate, and a round
            number above it is kept until the estimate leaves it by a third.
    """
    low, reach = data or (0.0, 0.0)
    if planned is not None and math.isfinite(planned) and planned > 0 and planned >= reach:
        if exact:
            end = planned
        elif current is not None and planned <= current[1] <= planned * 1.34:
            end = current[1]
        else:
            end = _round_up(planned)
    elif current is not None and reach <= current[1]:
        end = current[1]
    else:
        # An unknown end: half as much again, so that the axis moves once per 50 % of growth.
        end = _round_up(reach * 1.5) if reach > 0 else 1.0
    # A run that starts late (a child that continues at step 4,000) does not draw the empty part.
    start = 0.0 if 0 <= low <= end / 3 else _round_down(low, end)
    return (start, end) if end > start else (start, start + 1.0)


def _round_up(value: float) -> float:
    step = nice_step(value, 10)
    return math.ceil(value / step - 1e-9) * step


def _round_down(low: float, end: float) -> float:
    step = nice_step(end - low, 4) if end > low else 1.0
    return math.floor(low / step) * step


def settle_y(current: Range | None, data: Range | None, log: bool = False) -> Range | None:
    """Limits of the y axis that widen in steps and then stay.

    They move only when a value falls outside, with room for a quarter more in that direction, or when the
    data fills less than 40 % of them (after an outlier left the window).

    Args:
        current: The limits so far, None at the start and after a change of view.
        data: Smallest and largest value to show; more than `TINY` when `log`.
        log: Work on decades.

    Returns:
        None while there are neither limits nor data.
    """
    if data is None:
        return current
    if log:
        exponents = None if current is None else (math.log10(current[0]), math.log10(current[1]))
        low, high = _settle(exponents, _spread((math.log10(data[0]), math.log10(data[1])), 0.5))
        return 10.0**low, 10.0**high
    size = max(abs(data[0]), abs(data[1]))
    # A constant, like a learning rate without a schedule, gets the middle; noise below 2 % stays flat.
    constant = data[1] - data[0] <= size * 1e-6
    least = (0.5 if constant else 0.02) * size if size > TINY else 1.0
    settled = _settle(current, _spread(data, least))
    return (0.0, settled[1]) if data[0] >= 0 > settled[0] or 0 < settled[0] < 0.2 * settled[1] else settled


def _spread(data: Range, least: float) -> Range:
    missing = least - (data[1] - data[0])
    return (data[0] - missing / 2, data[1] + missing / 2) if missing > 0 else data


def _settle(current: Range | None, data: Range) -> Range:
    low, high = data
    if current is not None:
        inside = current[0] <= low and high <= current[1]
        full = high - low >= 0.4 * (current[1] - current[0])
        if inside and full:
            return current
        if full:
            room = 0.25 * (high - low)
            # A side that was not asked to move stays where it is.
            low = low - room if low < current[0] else current[0]
            high = high + room if high > current[1] else current[1]
    step = nice_step(high - low, 16)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
