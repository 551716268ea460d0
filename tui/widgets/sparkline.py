"""A curve in one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tui.widgets.chart.glyphs import GLYPHS, GlyphSet


def sparkline(values: Sequence[float | None], width: int, glyphs: GlyphSet = "braille") -> str:
    """Draw `values` as bars from their smallest to their largest, in exactly `width` cells.

    Args:
        values: Left to right; None where there is nothing. More than fit are averaged, fewer leave the rest
            blank. A NaN or infinity shows as a mark of its own.
        width: At least 0.
        glyphs: Braille has two bars to a cell, the others one.
    """
    alphabet = GLYPHS[glyphs]
    bars = width if alphabet.levels else width * alphabet.dot_columns
    means = _resampled(values, bars)
    finite = [mean for mean in means if mean is not None and math.isfinite(mean)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    heights = len(alphabet.levels) or alphabet.dot_rows

    def height(mean: float) -> int:
        # A constant is drawn at half height: neither zero nor full.
        part = (mean - low) / (high - low) if high > low else 0.49
        return min(heights, 1 + int(part * heights))

    cells = []
    for start in range(0, bars, bars // width if width else 1):
        here = means[start : start + bars // width]
        if any(mean is not None and not math.isfinite(mean) for mean in here):
            cells.append(alphabet.gap)
        elif alphabet.levels:
            cells.append(" " if here[0] is None else alphabet.levels[height(here[0]) - 1])
        else:
            dots = 0
            for column, mean in enumerate(here):
                if mean is not None:
                    filled = (1 << alphabet.dot_rows) - (1 << alphabet.dot_rows - height(mean))
                    dots |= filled << column * alphabet.dot_rows
            cells.append(alphabet.dots[dots] if dots else " ")
    return "".join(cells)


def _resampled(values: Sequence[float | None], bars: int) -> list[float | None]:
    if len(values) <= bars:
        return [*values, *[None] * (bars - len(values))]
    means: list[float | None] = []
    for bar in range(bars):
        first, last = bar * len(values) // bars, (bar + 1) * len(values) // bars
        here = [value for value in values[first:last] if value is not None]
        means.append(sum(here) / len(here) if here else None)
    return means
