"""From columns of values to masks of dots, and from masks to cells.

A mask is one int per column of dots; bit 0 is the top dot. Python's ints shift and combine a column of any
height in one operation, which is what makes a plot of 60x18 cells take about a millisecond without numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from tui.widgets.chart.curve import Column


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values to rows of dots: `high` is in row 0, `low` in row `dots - 1`."""

    low: float
    high: float
    dots: int
    log: bool = False

    def rows(self) -> Callable[[float], int]:
        """A function from a value to its row. Values outside the limits give rows outside 0..dots - 1."""
        # floor, not int: int rounds towards 0 and would draw a value just above the top edge on it.
        floor, log10, most, least = math.floor, math.log10, 2 * self.dots, -self.dots
        if self.log:
            top = log10(self.high)
            per_row = (self.dots - 1) / (top - log10(self.low))

            def log_row(value: float) -> int:
                return max(least, min(most, floor((top - log10(value)) * per_row + 0.5))) if value > 0 else most

            return log_row
        high, per_row = self.high, (self.dots - 1) / (self.high - self.low)

        def row(value: float) -> int:
            return max(least, min(most, floor((high - value) * per_row + 0.5)))

        return row


def span(first: int, last: int, dots: int) -> int:
    """The mask with rows `first`..`last` set (first <= last), cut to 0..dots - 1."""
    if last < 0 or first >= dots:
        return 0
    return (2 << min(last, dots - 1)) - (1 << max(first, 0))


def connect(masks: list[int], i: int, row_i: int, j: int, row_j: int, dots: int, thick: int = 1) -> None:
    """Draw a straight line from column `i` to column `j`, both included."""
    extra = thick - 1
    if j == i + 1:
        middle = (row_i + row_j) // 2
        if row_i <= row_j:
            masks[i] |= span(row_i, middle + extra, dots)
            masks[j] |= span(min(middle + 1, row_j), row_j + extra, dots)
        else:
            masks[i] |= span(min(middle + 1, row_i), row_i + extra, dots)
            masks[j] |= span(row_j, middle + extra, dots)
        return
    columns, height = j - i, abs(row_j - row_i)
    down = row_j >= row_i
    done = 0  # rows between row_i and where this column begins
    for k in range(columns):
        reach = math.floor(height * (k + 0.5) / columns + 0.5)
        last = max(done, reach - 1)
        first_row, last_row = (row_i + done, row_i + last) if down else (row_i - last, row_i - done)
        masks[i + k] |= span(first_row, last_row + extra, dots)
        done = reach
    masks[j] |= span(*((row_i + done, row_j + extra) if down else (row_j, row_i - done + extra)), dots)


def band_masks(
    columns: Sequence[Column | None],
    breaks: Collection[int],
    scale: Scale,
    known: Sequence[int] = (),
    keep: int = 0,
) -> list[int]:
    """The raw curve: every column from its lowest to its highest value, joined to the next one with values.

    Args:
        columns: Finite ones, or None.
        breaks: Indices over which nothing is joined.
        scale: As high as the masks.
        known: Masks of an earlier call with the same scale.
        keep: How many of the `known` still hold.
    """
    dots, row = scale.dots, scale.rows()
    masks = [*known[:keep], *[0] * (len(columns) - keep)]
    previous = -1
    top = bottom = end = 0  # of the previous column: its range, and the row of its last value
    for i in range(_resume(columns, keep), len(columns)):
        column = columns[i]
        if column is None:
            if i in breaks:
                previous = -1
            continue
        high = row(column.high)
        low = high if column.count == 1 else row(column.low)
        masks[i] |= span(high, low, dots)
        if previous >= 0 and i not in breaks and (i > previous + 1 or high > bottom or low < top):
            connect(masks, previous, end, i, max(high, min(low, end)), dots)
        previous, top, bottom, end = i, high, low, high if high == low else row(column.last)
    return masks


def line_masks(
    values: Sequence[float | None],
    breaks: Collection[int],
    scale: Scale,
    thick: int = 1,
    known: Sequence[int] = (),
    keep: int = 0,
) -> list[int]:
    """A line through one value per column; it crosses a None, unless its index is in `breaks`.

    Args:
        values: Finite ones, or None.
        thick: Height of the line in dots.
        breaks, scale, known, keep: As for `band_masks`.
    """
    dots, row = scale.dots, scale.rows()
    masks = [*known[:keep], *[0] * (len(values) - keep)]
    previous, row_before = -1, 0
    for i in range(_resume(values, keep), len(values)):
        value = values[i]
        if value is None:
            if i in breaks:
                previous = -1
            continue
        row_here = row(value)
        if previous >= 0 and i not in breaks:
            connect(masks, previous, row_before, i, row_here, dots, thick)
        else:
            masks[i] |= span(row_here, row_here + thick - 1, dots)
        previous, row_before = i, row_here
    return masks


def _resume(items: Sequence[object], keep: int) -> int:
    """Where to begin so that column `keep` is joined to what is left of it. Drawing twice changes nothing."""
    for i in range(keep - 1, -1, -1):
        if items[i] is not None:
            return i
    return 0


def broken(masks: Sequence[int], dash: int) -> list[int]:
    """The line with the rhythm of curve number `dash`; 0 is unbroken."""
    if dash % 4 == 0:
        return list(masks)
    on, period = ((6, 9), (3, 6), (1, 3))[dash % 4 - 1]
    return [mask if i % period < on else 0 for i, mask in enumerate(masks)]


CellColumn = tuple[str, str]
"""One column of cells, top to bottom: glyphs and, for each of them, a style."""


def cell_column(
    layers: Sequence[tuple[int, int, str, str]],
    markers: Sequence[tuple[int, str, str]],
    ground: CellColumn,
    dot_rows: int,
) -> CellColumn:
    """Paint one column of cells.

    The painter's order is that of `layers`. A cell belongs to the last one that has a dot in it, whole:
    terminals have one colour per cell, and mixing dots of two curves would give one the other's colour.

    Args:
        layers: Mask of the left and right dots, table, style.
        markers: Row, glyph, style; painted last.
        ground: What shows where nothing is drawn.
        dot_rows: Dots in a cell, vertically.
    """
    glyphs, styles = list(ground[0]), list(ground[1])
    bits = (1 << dot_rows) - 1
    for left, right, table, style in layers:
        y = 0
        while left or right:
            index = (left & bits) | (right & bits) << dot_rows
            if index:
                glyphs[y] = table[index]
                styles[y] = style
            left >>= dot_rows
            right >>= dot_rows
            y += 1
    for y, glyph, style in markers:
        glyphs[y] = glyph
        styles[y] = style
    return "".join(glyphs), "".join(styles)
