"""The inside of a plot: curves, markers and grid become cells. What did not change is not painted again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tui.widgets.chart.glyphs import Glyphs
from tui.widgets.chart.raster import Scale, band_masks, broken, cell_column, line_masks
from tui.widgets.chart.traces import Trace


@dataclass(frozen=True, slots=True)
class Canvas:
    """Everything but the data that decides how the inside of a plot looks."""

    cells: int
    rows: int
    scale: Scale | None
    """None: there is nothing to draw yet."""
    grid: tuple[int, ...]
    """Rows with a line behind the curves."""
    crosshair: int | None
    glyphs: Glyphs
    smooth: bool
    robust: bool


@dataclass(slots=True)
class _Layer:
    """One curve, or one part of a curve, in one style."""

    masks: Sequence[int]
    table: str
    style: str


Marker = tuple[int, str, str]
"""Row, glyph, style."""


@dataclass(slots=True)
class Painter:
    """Paints a plot, and after that only from the first column on in which the data differs.

    While a run is live that is the column that is still open: a third of the time of a whole plot.
    """

    canvas: Canvas | None = None
    crowded: Sequence[bool] = ()
    traces: Sequence[Trace] = ()
    masks: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    """Dots that were painted, per layer and trace, before lines are broken into dashes."""
    text: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)

    def paint(self, canvas: Canvas, traces: Sequence[Trace]) -> tuple[Sequence[str], Sequence[str]]:
        """Rows of glyphs and of style codes: `canvas.rows` of `canvas.cells` each."""
        wide = canvas.glyphs.dot_columns
        crowded = [_is_crowded(trace, canvas.cells) for trace in traces]
        known = canvas == self.canvas and crowded == self.crowded
        known = known and [(old.line, old.order) for old in self.traces] == [(new.line, new.order) for new in traces]
        if known:
            keep = [_unchanged(old, new) for old, new in zip(self.traces, traces, strict=True)]
            first = min(keep, default=canvas.cells * wide) // wide
        else:
            keep, first = [0] * len(traces), 0
            self.masks, self.text, self.styles = {}, [""] * canvas.rows, [""] * canvas.rows
        self.canvas, self.crowded, self.traces = canvas, crowded, traces
        if first < canvas.cells:
            layers = [] if canvas.scale is None else self._layers(canvas, canvas.scale, keep)
            markers = {} if canvas.scale is None else self._markers(canvas, canvas.scale, first)
            columns = _cells(canvas, layers, markers, first)
            rows = zip(*(column[0] for column in columns), strict=True)
            self.text = [old[:first] + "".join(new) for old, new in zip(self.text, rows, strict=True)]
            rows = zip(*(column[1] for column in columns), strict=True)
            self.styles = [old[:first] + "".join(new) for old, new in zip(self.styles, rows, strict=True)]
        return self.text, self.styles

    def _layers(self, canvas: Canvas, scale: Scale, keep: Sequence[int]) -> list[_Layer]:
        """Painter's order: raw curves, then what joins evaluations, then smoothed lines; the first curve on top."""
        glyphs = canvas.glyphs
        back_to_front = list(reversed(list(enumerate(self.traces))))
        lines = [(i, trace) for i, trace in back_to_front if trace.line]
        layers: list[_Layer] = []
        # Three ghosts over one another hide each other and tell nothing.
        for i, trace in lines if not canvas.smooth or len(lines) <= 2 else ():
            known = self.masks.get(("raw", i), ())
            masks = self.masks["raw", i] = band_masks(trace.columns, trace.gaps, scale, known, keep[i])
            if canvas.smooth:
                layers.append(_Layer(masks, glyphs.dots, "5678"[trace.order % 4]))
            else:
                layers.append(_stroke(masks, trace, glyphs))
        for i, trace in back_to_front:
            # Beside a line, markers stand alone: what would join them hides behind it, but for specks.
            if not trace.line and (not lines or self.crowded[i]):
                masks = self._line(i, trace, scale, 1, keep[i])
                layers.append(_Layer(masks, glyphs.dots, trace.style))
        for i, trace in lines if canvas.smooth else ():
            masks = self._line(i, trace, scale, glyphs.line_thickness, keep[i])
            layers.append(_stroke(masks, trace, glyphs))
        return layers

    def _line(self, i: int, trace: Trace, scale: Scale, thick: int, keep: int) -> list[int]:
        known = self.masks.get(("line", i), ())
        masks = self.masks["line", i] = line_masks(trace.values, trace.gaps, scale, thick, known, keep)
        return masks

    def _markers(self, canvas: Canvas, scale: Scale, first: int) -> dict[int, list[Marker]]:
        """Column of cells, from `first` on -> what to draw over the curves there."""
        glyphs, row, wide = canvas.glyphs, scale.rows(), canvas.glyphs.dot_columns
        found: dict[int, list[Marker]] = {}
        for i, trace in reversed(list(enumerate(self.traces))):
            here = [
                (x, column)
                for x, column in enumerate(trace.columns[first * wide :], first * wide)
                if column is not None
            ]
            if not trace.line:
                for x, column in here[-1:] if self.crowded[i] else here:
                    dot = row(column.last)
                    if 0 <= dot < scale.dots:
                        marker = (dot // glyphs.dot_rows, trace.key(glyphs), trace.style)
                        found.setdefault(x // wide, []).append(marker)
            elif canvas.robust:
                for x, column in here:
                    if column.high > scale.high:
                        found.setdefault(x // wide, []).append((0, glyphs.clipped_above, "C"))
                    if column.low < scale.low:
                        found.setdefault(x // wide, []).append((canvas.rows - 1, glyphs.clipped_below, "C"))
        return found


def _stroke(masks: list[int], trace: Trace, glyphs: Glyphs) -> _Layer:
    """A line that can be told from others without colour: by its glyph, or else by its dashes."""
    if len(glyphs.line_tables) == 1:
        return _Layer(broken(masks, trace.order), glyphs.line_tables[0], trace.style)
    return _Layer(masks, glyphs.line_tables[trace.order % len(glyphs.line_tables)], trace.style)


def _cells(
    canvas: Canvas, layers: Sequence[_Layer], markers: dict[int, list[Marker]], first: int
) -> list[tuple[str, str]]:
    glyphs, rows, wide = canvas.glyphs, canvas.rows, canvas.glyphs.dot_columns
    ground = (
        "".join(glyphs.grid if y in canvas.grid else " " for y in range(rows)),
        "".join("g" if y in canvas.grid else " " for y in range(rows)),
    )
    ruler = (glyphs.crosshair * rows, "X" * rows)
    columns = []
    for x in range(first, canvas.cells):
        left, right = x * wide, x * wide + wide - 1
        strokes = [
            # A cell with one column of dots has no right half.
            (layer.masks[left], layer.masks[right] if wide == 2 else 0, layer.table, layer.style)
            for layer in layers
            if layer.masks[left] or layer.masks[right]
        ]
        here = ruler if x == canvas.crosshair else ground
        columns.append(cell_column(strokes, markers.get(x, ()), here, glyphs.dot_rows))
    return columns


def _unchanged(old: Trace, new: Trace) -> int:
    """How many leading columns look as before: up to the last value before the first difference, which is
    joined to what comes after it."""
    width = len(new.columns)
    same = min(old.gaps ^ new.gaps, default=width)
    for i, (before, after) in enumerate(zip(old.columns, new.columns, strict=True)):
        if i >= same or before != after or old.values[i] != new.values[i]:
            same = i
            break
    else:
        if same == width:
            return width
    while same > 0:
        same -= 1
        if new.columns[same] is not None:
            break
    return same


def _is_crowded(trace: Trace, cells: int) -> bool:
    """Markers side by side are a thick line: a thin one, with a marker at its end, says more."""
    return not trace.line and sum(column is not None for column in trace.columns) > max(3, cells // 2)
