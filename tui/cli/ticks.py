"""Where the axes of a printed plot have their ticks, and what stands beside them."""

from __future__ import annotations

from engine.runs.segment import Axis
from tui.widgets.chart import axis


def y_ticks(low: float, high: float, count: int, *, log: bool) -> tuple[list[float], list[str]]:
    """Return at most `count` + 1 values within [low, high], and their labels."""
    if log:
        values = axis.log_ticks(low, high, max(2, count))
        return values, axis.tick_labels(values)
    step = axis.nice_step(high - low, max(1, count))
    values = axis.multiples(low, high, step)
    return values, axis.tick_labels(values, step)


def x_ticks(of: Axis, low: float, high: float, count: int) -> tuple[list[float], list[str]]:
    """Return ticks of an x axis: durations for time, whole numbers for what is counted."""
    span = high - low
    if of == "time":
        step = axis.duration_step(span, max(1, count))
        values = axis.multiples(low, high, step)
        return values, [axis.format_duration(value, step) for value in values]
    step = axis.nice_step(span, max(1, count), whole=of in ("step", "num_tokens") and span >= 1)
    values = axis.multiples(low, high, step)
    return values, axis.tick_labels(values, step)
