"""The three alphabets a chart can be written in: braille, block and ascii."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

GlyphSet = Literal["braille", "block", "ascii"]


def _braille() -> str:
    left, right = (0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80)
    return "".join(
        chr(0x2800 + sum(bit for row, bit in enumerate(left + right) if index >> row & 1)) for index in range(256)
    )


@dataclass(frozen=True)
class Glyphs:
    """Everything a chart draws with. Each glyph is one terminal cell wide.

    A cell holds `dot_columns` x `dot_rows` dots. A table is indexed by the dots that are set: bit 0 is the
    top left dot, bits go down, then to the right column.
    """

    dot_columns: int
    dot_rows: int
    dots: str
    """Table for curves."""
    line_thickness: int
    """Dots that a smoothed line is high, so that it stands out of the raw curve without colour."""
    line_keys: tuple[str, str, str, str]
    """Legend keys of the first four lines."""
    markers: tuple[str, str, str, str]
    """Markers, and legend keys, of the first four point curves."""
    line_tables: tuple[str, ...]
    """Tables for lines. One for all: then lines after the first are broken in the rhythm of their keys."""
    vertical: str
    vertical_tick: str
    horizontal: str
    horizontal_tick: str
    corner: str
    grid: str
    mark: str
    """A checkpoint, on the x axis."""
    gap: str
    """A value that was not finite, on the x axis."""
    clipped_above: str
    clipped_below: str
    crosshair: str
    levels: str
    """Bar heights of a sparkline, lowest first; empty: sparklines are drawn with `dots`."""
    to: str
    """Between the ends of a range."""

    @cached_property
    def all(self) -> frozenset[str]:
        """Every glyph of the alphabet."""
        return frozenset(
            self.dots
            + "".join(self.line_keys + self.markers + self.line_tables)
            + self.vertical + self.vertical_tick + self.horizontal + self.horizontal_tick + self.corner
            + self.grid + self.mark + self.gap + self.clipped_above + self.clipped_below + self.crosshair
            + self.levels + self.to
        )  # fmt: skip


BRAILLE = Glyphs(
    dot_columns=2,
    dot_rows=4,
    dots=_braille(),
    line_thickness=2,
    line_keys=("━", "╍", "┅", "┉"),
    markers=("●", "◆", "▲", "■"),
    line_tables=(_braille(),),
    vertical="│",
    vertical_tick="┤",
    horizontal="─",
    horizontal_tick="┬",
    corner="└",
    grid="┈",
    mark="▲",
    gap="×",
    clipped_above="▴",
    clipped_below="▾",
    crosshair="│",
    levels="",
    to="…",
)
BLOCK = Glyphs(
    dot_columns=2,
    dot_rows=2,
    dots=" ▘▖▌▝▀▞▛▗▚▄▙▐▜▟█",
    line_thickness=1,
    line_keys=BRAILLE.line_keys,
    markers=BRAILLE.markers,
    line_tables=(" ▘▖▌▝▀▞▛▗▚▄▙▐▜▟█",),
    vertical="│",
    vertical_tick="┤",
    horizontal="─",
    horizontal_tick="┬",
    corner="└",
    grid="┈",
    mark="▲",
    gap="×",
    clipped_above="▴",
    clipped_below="▾",
    crosshair="│",
    levels="▁▂▃▄▅▆▇█",
    to="…",
)
ASCII = Glyphs(
    dot_columns=1,
    dot_rows=2,
    dots=" '.:",
    line_thickness=1,
    line_keys=("*", "+", "x", "~"),
    markers=("o", "@", "#", "%"),
    line_tables=(" ***", " +++", " xxx", " ~~~"),
    vertical="|",
    vertical_tick="+",
    horizontal="-",
    horizontal_tick="+",
    corner="+",
    grid=" ",
    mark="^",
    gap="!",
    clipped_above="^",
    clipped_below="v",
    crosshair="|",
    levels="_.-=*#",
    to="..",
)

GLYPHS: dict[GlyphSet, Glyphs] = {"braille": BRAILLE, "block": BLOCK, "ascii": ASCII}
