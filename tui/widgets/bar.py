"""A bar of cells, filled to a share."""

from __future__ import annotations

from tui.widgets.cells import Piece
from tui.widgets.chart.glyphs import GlyphSet

_BARS = {"braille": ("━", "╸", "─"), "block": ("█", "", "░"), "ascii": ("#", "", ".")}
"""Full, half and rest of a bar."""


def bar(share: float, width: int, glyphs: GlyphSet, style: str = "b") -> list[Piece]:
    """Return a bar of `width` cells of which `share` is filled."""
    full, half, rest = _BARS[glyphs]
    halves = round(min(1.0, max(0.0, share)) * width * 2)
    filled = full * (halves // 2) + (half if halves % 2 else "")
    return [(filled, style), (rest * (width - len(filled)), "o")]
