"""Curves as one plot sees them: cut into its columns, smoothed, and with the range they need."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tui.display import plain, truncate
from tui.widgets.chart.curve import Column, Curve, is_gap
from tui.widgets.chart.glyphs import Glyphs
from tui.widgets.chart.plot import Plot
from tui.widgets.chart.smoothing import Average, rows_that_matter
from tui.widgets.chart.view import TINY, Range

LONGEST_LABEL = 40
"""Cells."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A curve as columns of this plot."""

    label: str
    line: bool
    order: int
    """Position among the curves of its kind."""
    columns: Sequence[Column | None]
    """Those with finite values."""
    gaps: frozenset[int]
    """Indices of columns with a value that was not finite, whether or not there are others."""
    values: Sequence[float | None]
    """Smoothed, or the last value of each column."""
    now: float | None
    """The newest value, smoothed when the line is."""

    @property
    def style(self) -> str:
        return ("1234" if self.line else "abcd")[self.order % 4]

    def key(self, glyphs: Glyphs) -> str:
        return (glyphs.line_keys if self.line else glyphs.markers)[self.order % 4]


def clean(text: str) -> str:
    """Labels come from logs: nothing in them may act on the terminal, or push everything else aside."""
    return truncate(plain(text, limit=200), LONGEST_LABEL)


@dataclass(slots=True)
class Past:
    """What was read of rows that no longer change, because newer ones are there.

    A zoomed chart asks for up to three ranges of one curve in every tick, of which a history keeps the last one
    at hand. Reading all three anew took 2.6 ms of 2.9; a resume that goes back forgets what is here.
    """

    curves: tuple[Curve, ...] = ()
    end: float = -math.inf
    columns: dict[tuple[object, ...], Sequence[Column | None]] = field(default_factory=dict)
    averages: dict[tuple[object, ...], Average] = field(default_factory=dict)

    def check(self, curves: Sequence[Curve], end: float | None) -> None:
        """Forget what does not hold any more. `end` is the newest x."""
        same = len(curves) == len(self.curves) and all(map(operator.is_, curves, self.curves))
        if not same or end is None or end < self.end or len(self.columns) + len(self.averages) > 64:
            self.columns.clear()
            self.averages.clear()
        self.curves, self.end = tuple(curves), -math.inf if end is None else end


def traces_of(plot: Plot, past: Past, shown: Range, data_end: float | None, width: int) -> list[Trace]:
    """Read what a plot of `width` columns of dots shows of its curves."""
    low, high = shown
    # Columns are half open; the last step of a run lies exactly on the end of its axis.
    high += (high - low) * 1e-9
    past.check(plot.curves, data_end)
    # The row on a bound is the last of the stage before.
    restarts = frozenset(
        1 + int((x - low) / (high - low) * width) for x, _ in plot.bounds.get(plot.x.axis, ()) if low <= x < high
    )
    traces: list[Trace] = []
    for index, curve in enumerate(plot.curves):
        line = curve.style == "line"
        found = curve.x_range(plot.x.axis)
        is_past = found is not None and found[1] >= high
        columns = list(_columns(plot, past, index, low, high, width, keep=is_past))
        empty = [i for i, column in enumerate(columns) if column is not None and is_gap(column)]
        gaps = frozenset([*empty, *(i for i, column in enumerate(columns) if column is not None and column.non_finite)])
        for i in empty:
            columns[i] = None
        average = None
        # x per row, for how far back the average sees.
        rows = sum(column.count for column in columns if column is not None)
        spacing = (high - low) / rows if rows else high - low
        if line and plot.smoothing > 0:
            average = _average_at(plot, past, index, low, spacing, width)
        values = _values(columns, average, restarts)
        now = next((value for value in reversed(values) if value is not None), None)
        if found is not None and is_past:
            now = _newest(plot, index, found[1], spacing, width if average else None)
        order = sum(trace.line == line for trace in traces)
        traces.append(Trace(clean(curve.label), line, order, columns, gaps, values, now))
    return traces


def _columns(
    plot: Plot, past: Past, index: int, low: float, high: float, width: int, keep: bool
) -> Sequence[Column | None]:
    if not keep:
        return plot.curves[index].columns(plot.x.axis, low, high, width)
    key = (index, plot.x.axis, low, high, width)
    if key not in past.columns:
        past.columns[key] = plot.curves[index].columns(plot.x.axis, low, high, width)
    return past.columns[key]


def _average_at(plot: Plot, past: Past, index: int, x: float, spacing: float, width: int) -> Average:
    """The average of the rows left of `x`, as far back as it sees. Empty when there are none.

    Without them a zoomed-in average would begin at its left edge, and differ from the zoomed-out one.
    """
    axis, weight = plot.x.axis, plot.smoothing
    start = plot.curves[index].x_range(axis)
    if start is None or start[0] >= x:
        return Average(weight)
    # A power of two, or each new row would move the beginning a little, and the whole line with it.
    reach = 2.0 ** math.ceil(math.log2(rows_that_matter(weight) * spacing))
    bound = _bound_before(plot, x)
    key = (index, axis, x, reach, weight, bound)
    if key not in past.averages:
        before = Average(weight)
        if (begins := max(start[0], x - reach, bound)) < x:
            before.take_all(plot.curves[index].columns(axis, begins, x, width))
        past.averages[key] = before
    return replace(past.averages[key])


def _newest(plot: Plot, index: int, end: float, spacing: float, width: int | None) -> float | None:
    """The newest value of a curve that goes on to the right of the plot; smoothed, unless `width` is None."""
    after = end + abs(end) * 1e-12 + spacing * 1e-9
    reach = spacing if width is None else rows_that_matter(plot.smoothing) * spacing
    begins = max(end - reach, _bound_before(plot, end))
    columns = plot.curves[index].columns(plot.x.axis, begins, after, width or 1)
    values = _values(columns, None if width is None else Average(plot.smoothing))
    return next((value for value in reversed(values) if value is not None), None)


def _bound_before(plot: Plot, x: float) -> float:
    """Return just after where the stage begins that `x` is in: what came before it is not averaged with it."""
    bounds = [bound for bound, _ in plot.bounds.get(plot.x.axis, ()) if bound < x]
    return math.nextafter(max(bounds), math.inf) if bounds else -math.inf


def _values(
    columns: Sequence[Column | None], average: Average | None, restarts: frozenset[int] = frozenset()
) -> list[float | None]:
    if average is not None:
        return average.take_all(columns, restarts)
    return [None if column is None or is_gap(column) else column.last for column in columns]


def y_range(traces: Sequence[Trace], plot: Plot) -> Range | None:
    """Smallest and largest value to show, None without one."""
    lows: list[float] = []
    highs: list[float] = []
    whole_lows: list[float] = []
    whole_highs: list[float] = []
    rows = 0
    for trace in traces:
        outliers = plot.robust and trace.line
        for column in trace.columns:
            if column is not None:
                (lows if outliers else whole_lows).append(column.low)
                (highs if outliers else whole_highs).append(column.high)
                rows += column.count
    if plot.log_y:
        lows, whole_lows = [v for v in lows if v > TINY], [v for v in whole_lows if v > TINY]
        highs, whole_highs = [v for v in highs if v > TINY], [v for v in whole_highs if v > TINY]
        if not (lows or whole_lows) and (highs or whole_highs):
            whole_lows = [min(highs + whole_highs)]
    if len(highs) >= 10:
        lows, highs = _without_outliers(lows, highs, rows)
    lows += whole_lows
    highs += whole_highs
    if not lows or not highs:
        return None
    return min(lows), max(min(lows), *highs)


def _without_outliers(lows: list[float], highs: list[float], rows: int) -> tuple[list[float], list[float]]:
    """Cut 1 % of the rows off both ends, when that gains a third of the height or more.

    A column tells its extremes, not how often they occur, so at most a fifth of the columns are cut: else a
    column of a thousand rows would lose all of its noise. For the same reason a quarter is left around the rest.
    """
    cut = min(math.ceil(rows / 100), len(highs) // 5)
    kept_low, kept_high = sorted(lows)[min(cut, len(lows) - 1)], sorted(highs)[-1 - cut]
    room = (kept_high - kept_low) / 4
    low, high = max(min(lows), kept_low - room), min(max(highs), kept_high + room)
    if high - low > (max(highs) - min(lows)) * 2 / 3:
        return lows, highs
    return [low], [high]
