"""One chart as a function of its settings and its data: values in, a frame of cells out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len

from tui.display import plain, truncate
from tui.widgets.chart.frame import Frame, Row
from tui.widgets.chart.glyphs import GLYPHS
from tui.widgets.chart.labels import readout_row, title_row, x_rows, y_scale
from tui.widgets.chart.paint import Canvas, Painter
from tui.widgets.chart.plot import Plot
from tui.widgets.chart.traces import Past, Trace, clean, traces_of, y_range
from tui.widgets.chart.view import EXACT_AXES, Geometry, Range, settle_x, settle_y

_GUTTER = 6
"""Least width of the y labels. The same in all charts, so that plots under one another line up."""


@dataclass
class Memory:
    """What one frame hands to the next, so that nothing moves that need not, or is computed twice."""

    x_limits: dict[str, Range] = field(default_factory=dict)
    y_limits: Range | None = None
    y_of: object = None
    """The view that `y_limits` belong to."""
    gutter: int = 0
    """Widest y label so far."""
    value_widths: dict[int, int] = field(default_factory=dict)
    """Widest value so far, per place in the legend."""
    past: Past = field(default_factory=Past)
    painter: Painter = field(default_factory=Painter)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A frame, and what keys and clicks need to know about it."""

    frame: Frame
    geometry: Geometry
    filled: tuple[int, ...]
    """Columns of cells, counted from the plot's left edge, in which some curve has a value."""


def draw(plot: Plot, memory: Memory, width: int, height: int) -> Drawing:
    """Draw into exactly `width` x `height` cells, at least 1x1.

    What does not fit is left out, in this order: the tick labels of x, its line, the labels of y, the title.
    """
    while True:
        layout = _Layout.of(width, height, memory.gutter)
        drawing = _draw(plot, memory, layout)
        if memory.gutter <= layout.gutter or not layout.gutter:
            return drawing


@dataclass(frozen=True, slots=True)
class _Layout:
    width: int
    height: int
    title: int
    """Rows, 0 or 1, as are the next two."""
    line: int
    ticks: int
    gutter: int
    """Cells for y labels; the axis takes one more. 0: neither."""

    @classmethod
    def of(cls, width: int, height: int, gutter: int) -> _Layout:
        wanted = max(gutter, _GUTTER if width >= 32 else 4)
        return cls(
            width,
            height,
            title=int(height >= 3 and width >= 6),
            line=int(height >= 5 and width >= 12),
            ticks=int(height >= 7 and width >= 12),
            gutter=wanted if width >= 3 * wanted and height >= 3 else 0,
        )

    @property
    def left(self) -> int:
        return self.gutter + 1 if self.gutter else 0

    @property
    def cells(self) -> int:
        return self.width - self.left

    @property
    def rows(self) -> int:
        return self.height - self.title - self.line - self.ticks


def _draw(plot: Plot, memory: Memory, layout: _Layout) -> Drawing:
    glyphs = GLYPHS[plot.glyphs]
    geometry = _geometry(plot, memory, layout)
    traces = traces_of(plot, memory.past, geometry.shown, geometry.data_end, layout.cells * glyphs.dot_columns)
    y_of = (plot.x.axis, plot.x.window, plot.log_y, plot.robust)
    if memory.y_of != y_of:
        memory.y_limits, memory.y_of = None, y_of
    limits = memory.y_limits = settle_y(memory.y_limits, y_range(traces, plot), plot.log_y)

    scale = None
    labels: Mapping[int, str] = {}
    if limits is not None:
        scale, labels = y_scale(limits, plot.log_y, layout.rows, glyphs.dot_rows)
    if layout.gutter:
        memory.gutter = max([memory.gutter, layout.gutter, *map(len, labels.values())])
    else:
        labels = {}
    crosshair = None if plot.x.crosshair is None else geometry.cell_of(plot.x.crosshair)
    canvas = Canvas(
        layout.cells,
        layout.rows,
        scale,
        tuple(labels),
        crosshair,
        glyphs,
        smooth=plot.smoothing > 0,
        robust=plot.robust,
    )
    text, styles = memory.painter.paint(canvas, traces)

    rows: list[Row] = []
    if layout.title and crosshair is None:
        rows.append(title_row(plot, traces, memory.value_widths, layout.width, glyphs))
    elif layout.title and crosshair is not None:
        rows.append(readout_row(plot.x.axis, traces, geometry, crosshair, layout.width, glyphs))
    for y in range(layout.rows):
        row = Row(layout.width)
        if layout.gutter:
            label = labels.get(y, "")
            row.put(layout.gutter - len(label), label, "L")
            row.fill(layout.gutter, glyphs.vertical_tick if label else glyphs.vertical, 1, "A")
        row.text[layout.left :] = text[y]
        row.styles[layout.left :] = styles[y]
        rows.append(row)
    _put_bounds(plot, geometry, rows[layout.title :], layout)
    if scale is None:
        ellipsis = "." if plot.glyphs == "ascii" else "…"
        message = truncate(plain(plot.empty, limit=200), layout.cells, ellipsis=ellipsis)
        x = layout.left + max(0, (layout.cells - cell_len(message)) // 2)
        rows[layout.title + (layout.rows - 1) // 2].put(x, message, "i")
    rows += x_rows(plot, traces, geometry, crosshair, bool(layout.line), bool(layout.ticks), layout.width, glyphs)
    frame = Frame(tuple("".join(row.text) for row in rows), tuple("".join(row.styles) for row in rows))
    return Drawing(frame, geometry, _filled(traces, glyphs.dot_columns))


def _put_bounds(plot: Plot, geometry: Geometry, rows: Sequence[Row], layout: _Layout) -> None:
    """Draw a line up from where a stage begins, behind the curves, with its name at the top where that is free."""
    glyphs = GLYPHS[plot.glyphs]
    for x, name in plot.bounds.get(plot.x.axis, ()):
        cell = geometry.cell_of(x)
        if cell is None:
            continue
        at = layout.left + cell
        for row in rows:
            if row.text[at] in (" ", glyphs.grid):
                row.put(at, glyphs.vertical, "A")
        label = clean(name)
        end = at + 1 + cell_len(label)
        if rows and end <= layout.width and all(one in (" ", glyphs.grid) for one in rows[0].text[at + 1 : end]):
            rows[0].put(at + 1, label, "i")


def _geometry(plot: Plot, memory: Memory, layout: _Layout) -> Geometry:
    axis = plot.x.axis
    ranges = [found for curve in plot.curves if (found := curve.x_range(axis)) is not None]
    reach = (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None
    domain = settle_x(memory.x_limits.get(axis), reach, plot.x_planned(axis), axis in EXACT_AXES)
    memory.x_limits[axis] = domain
    data_end = reach[1] if reach else None
    return Geometry(domain, plot.x.shown(domain, data_end), data_end, layout.left, layout.cells)


def _filled(traces: Sequence[Trace], dot_columns: int) -> tuple[int, ...]:
    with_values = {i for trace in traces for i, column in enumerate(trace.columns) if column is not None}
    return tuple(sorted({i // dot_columns for i in with_values.union(*(trace.gaps for trace in traces))}))
