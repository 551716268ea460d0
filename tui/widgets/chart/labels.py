"""What stands around a plot: title and legend, read-out, ticks and their labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

from rich.cells import cell_len

from tui.widgets.chart.axis import (
    decimals_of,
    duration_step,
    fit_rows,
    format_count,
    format_duration,
    format_value,
    log_ticks,
    multiples,
    nice_step,
    tick_labels,
)
from tui.widgets.chart.frame import Row
from tui.widgets.chart.glyphs import Glyphs
from tui.widgets.chart.plot import AXIS_NAMES, Plot
from tui.widgets.chart.raster import Scale
from tui.widgets.chart.traces import Trace, clean
from tui.widgets.chart.view import TIME_AXES, WHOLE_AXES, Geometry, Range


@lru_cache(64)
def y_scale(limits: Range, log: bool, rows: int, dot_rows: int) -> tuple[Scale, Mapping[int, str]]:
    """The scale of the y axis, and its labels: row of cells -> label."""
    dots = rows * dot_rows
    fitted = None
    if not log:
        fitted = fit_rows(*limits, rows)
    elif limits[1] / limits[0] >= 100:
        fitted = fit_rows(math.log10(limits[0]), math.log10(limits[1]), rows, whole=True)
    if fitted is not None:
        base, step, every = fitted
        # A tick is in the middle of its row of cells, so dots lie around it on both sides.
        below = step * (dot_rows - 1) / 2 / (dot_rows * every)
        low, high = base - below, base - below + step * (dots - 1) / (dot_rows * every)
        values = [base + step * index for index in range((rows - 1) // every + 1)]
        labels = tick_labels([10.0**value for value in values]) if log else tick_labels(values, step)
        scale = Scale(10.0**low, 10.0**high, dots, log) if log else Scale(low, high, dots)
        return scale, {rows - 1 - index * every: label for index, label in enumerate(labels)}
    scale = Scale(*limits, dots=dots, log=log)
    count = max(1, min(rows - 1, (rows + 1) // 3))
    if log:
        values = log_ticks(*limits, count)
        labels = tick_labels(values)
    else:
        step = nice_step(limits[1] - limits[0], count)
        values = multiples(*limits, step)
        labels = tick_labels(values, step)
    row = scale.rows()
    found: dict[int, str] = {}
    for value, label in zip(values, labels, strict=True):
        found.setdefault(max(0, min(rows - 1, row(value) // dot_rows)), label)
    return scale, found


@lru_cache(64)
def _x_ticks(axis: str, shown: Range, cells: int) -> list[tuple[float, str]]:
    low, high = shown
    count = max(1, cells // 9)
    if axis in TIME_AXES:
        step = duration_step(high - low, count)
        return [(value, format_duration(value, step)) for value in multiples(low, high, step)]
    step = nice_step(high - low, count, whole=axis in WHOLE_AXES)
    values = multiples(low, high, step)
    return list(zip(values, tick_labels(values, step), strict=True))


def x_rows(
    plot: Plot,
    traces: Sequence[Trace],
    geometry: Geometry,
    crosshair: int | None,
    with_line: bool,
    with_ticks: bool,
    width: int,
    glyphs: Glyphs,
) -> list[Row]:
    """The line below the plot, with checkpoints and gaps on it, and the labels below that line."""
    rows: list[Row] = []
    left = geometry.left
    ticks = [
        (cell, label)
        for value, label in _x_ticks(plot.x.axis, geometry.shown, geometry.cells)
        if (cell := geometry.cell_of(value)) is not None
    ]
    if with_line:
        line = Row(width)
        if left:
            line.fill(left - 1, glyphs.corner, 1, "A")
        line.fill(left, glyphs.horizontal, geometry.cells, "A")
        for cell, _ in ticks if with_ticks else ():
            line.put(left + cell, glyphs.horizontal_tick, "A")
        for x in plot.marks.get(plot.x.axis, ()):
            if (cell := geometry.cell_of(x)) is not None:
                line.put(left + cell, glyphs.mark, "M")
        for trace in traces:
            for i in trace.gaps:
                line.put(left + i // glyphs.dot_columns, glyphs.gap, "G")
        if crosshair is not None:
            line.put(left + crosshair, glyphs.crosshair, "X")
        rows.append(line)
    if with_ticks:
        labels = Row(width)
        name = AXIS_NAMES.get(plot.x.axis, plot.x.axis)
        if len(name) < left:
            labels.put(left - 1 - len(name), name, "i")
        free = left
        for cell, label in ticks:
            x = min(max(left, left + cell - (len(label) - 1) // 2), width - len(label))
            if x >= free:
                free = labels.put(x, label, "L") + 2
        rows.append(labels)
    return rows


def title_row(plot: Plot, traces: Sequence[Trace], widths: dict[int, int], width: int, glyphs: Glyphs) -> Row:
    """The title, and the legend with current values; `widths` keeps the values from shifting the legend."""
    row = Row(width)
    x = row.put(0, clean(plot.title), "T") + (2 if plot.title else 0)
    # Two curves are told apart by their keys; which of more is which, only the labels say.
    shorter = ((True, False), (False, True)) if len(traces) > 2 else ((False, True),)
    for with_label, with_value in ((True, True), *shorter, (False, False)):
        entries = [
            # A lone curve is named by the title.
            _legend(index, trace, with_label and len(traces) > 1, with_value, widths, glyphs)
            for index, trace in enumerate(traces)
        ]
        start = width - sum(cell_len(text) for parts in entries for text, _ in parts) - 2 * (len(entries) - 1)
        if start < x:
            continue
        note = _note(plot, traces)
        if x + len(note) + 2 <= start:
            row.put(x, note, "i")
        for parts in entries:
            for text, style in parts:
                start = row.put(start, text, style)
            start += 2
        break
    return row


def _legend(
    index: int, trace: Trace, with_label: bool, with_value: bool, widths: dict[int, int], glyphs: Glyphs
) -> list[tuple[str, str]]:
    parts = [(trace.key(glyphs), trace.style)]
    if with_label:
        parts.append((" " + trace.label, "L"))
    if with_value:
        value = "-" if trace.now is None else format_value(trace.now)
        widths[index] = max(widths.get(index, 5), len(value))
        parts.append((" " + value.ljust(widths[index]), "V"))
    return parts


def _note(plot: Plot, traces: Sequence[Trace]) -> str:
    notes = ["log"] if plot.log_y else []
    if plot.smoothing > 0 and any(trace.line for trace in traces):
        notes.append(f"ema {plot.smoothing:g}")
    if plot.robust:
        notes.append("1-99 %")
    return " ".join(notes)


def readout_row(axis: str, traces: Sequence[Trace], geometry: Geometry, cell: int, width: int, glyphs: Glyphs) -> Row:
    """x and every curve's value under the crosshair, in place of title and legend."""
    row = Row(width)
    x = row.put(0, _x_text(axis, geometry, cell, glyphs), "X") + 2
    for with_label, with_range in ((True, True), (True, False), (False, False)):
        entries: list[list[tuple[str, str]]] = []
        for trace in traces:
            name = trace.label if with_label else trace.key(glyphs)
            value, style, extra = _value_at(trace, cell, glyphs)
            entries.append([(name + " ", trace.style), (value, style), (extra if with_range else "", "i")])
        size = sum(cell_len(text) for parts in entries for text, _ in parts) + 2 * (len(entries) - 1)
        if x + size <= width:
            break
    for parts in entries:
        for text, style in parts:
            x = row.put(x, text, style)
        x += 2
    return row


def _x_text(axis: str, geometry: Geometry, cell: int, glyphs: Glyphs) -> str:
    low, high = geometry.shown
    width = (high - low) / geometry.cells
    start, middle = low + cell * width, low + (cell + 0.5) * width
    if axis == "step":
        first, last = math.ceil(start - 1e-9), math.ceil(start + width - 1e-9) - 1
        if cell == geometry.cells - 1:
            last = math.floor(high)
        if last <= first:
            return f"step {format_count(min(first, last))}"  # none in a column of half a step: the one before
        return f"step {format_count(first)}{glyphs.to}{format_count(last)}"
    if axis == "num_tokens":
        return f"{format_value(middle)} tokens"
    if axis in TIME_AXES:
        return format_duration(middle, min(1.0, width))
    return f"{AXIS_NAMES.get(axis, axis)} {middle:.{decimals_of(nice_step(width, 1))}f}"


def _value_at(trace: Trace, cell: int, glyphs: Glyphs) -> tuple[str, str, str]:
    """The value in a column of cells, its style, and the range there; muted, what was last known before."""
    wide = glyphs.dot_columns
    if not trace.gaps.isdisjoint(range(cell * wide, (cell + 1) * wide)):
        return "not finite", "G", ""
    here = [column for column in trace.columns[cell * wide : (cell + 1) * wide] if column is not None]
    value = next((value for value in reversed(trace.values[: (cell + 1) * wide]) if value is not None), None)
    if value is None:
        return "-", "L", ""
    if not here:
        return format_value(value), "L", ""
    low, high = min(column.low for column in here), max(column.high for column in here)
    if sum(column.count for column in here) > 1:
        return format_value(value), "V", f" ({format_value(low)}{glyphs.to}{format_value(high)})"
    # One row: its own value, where the smoothed one is another.
    return format_value(value), "V", "" if math.isclose(value, low, rel_tol=1e-4) else f" ({format_value(low)})"
