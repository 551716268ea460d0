"""What the run's device is doing: memory, how busy it is, and where the driver tells, heat and power."""

from __future__ import annotations

from engine.events import DeviceMeasured
from tui.widgets.bar import bar
from tui.widgets.cells import Cells, Piece, fitted
from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.words import size_text

_NEARLY_FULL = 0.92
"""Memory above this part is drawn as a warning."""
_AT_THE_END = "at the end:  "


def gauges(measured: DeviceMeasured | None, width: int, glyphs: GlyphSet, *, over: bool = False) -> list[Piece]:
    """Return one row of gauges, what matters most first.

    Args:
        measured: The newest reading, None before the first.
        width: Of the row, in cells.
        glyphs: What to draw with.
        over: The reading is the last one: nobody works on the run any more.
    """
    if measured is None:
        return [("device not measured" if over else "device not measured yet", "m")]
    bars = max(6, min(24, (width - 56) // 2))
    groups: list[list[Piece]] = []
    used, total = measured.used_bytes, measured.total_bytes
    if used is not None and total:
        style = "w" if used / total > _NEARLY_FULL else "b"
        amount = f" {size_text(used)}"
        groups.append([("memory ", "m"), *bar(used / total, bars, glyphs, style), (amount, "v"),
                       (f" of {size_text(total)}", "m")])  # fmt: skip
    elif used is not None:
        groups.append([("memory ", "m"), (size_text(used), "v")])
    if measured.utilization is not None:
        share = measured.utilization
        groups.append([("busy ", "m"), *bar(share, bars, glyphs), (f" {share:4.0%}", "v")])
    if measured.temperature is not None:
        groups.append([(f"{measured.temperature:.0f}", "v"), (" °C", "m")])
    if measured.power_watts is not None:
        groups.append([(f"{measured.power_watts:.0f}", "v"), (" W", "m")])
    if measured.reserved_bytes is not None:
        groups.append([("torch holds ", "m"), (size_text(measured.reserved_bytes), " ")])
    row = fitted(groups, width - (len(_AT_THE_END) if over else 0))
    return [(_AT_THE_END, "m"), *row] if over else row


class Gauges(Cells):
    """The row of gauges."""

    DEFAULT_CSS = "Gauges { padding: 0 1; }"
    measured: DeviceMeasured | None = None
    glyphs: GlyphSet = "braille"
    over = False

    def pieces(self, width: int, height: int) -> list[list[Piece]]:
        del height
        return [gauges(self.measured, width, self.glyphs, over=self.over)]
