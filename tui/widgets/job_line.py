"""A row that says what is under way, and how far it is."""

from __future__ import annotations

from collections.abc import Sequence

from tui.display import plain
from tui.jobs import Job
from tui.widgets.bar import bar
from tui.widgets.cells import Cells, Piece, cut, length, spread
from tui.widgets.chart.glyphs import GlyphSet

_BAR = 16


class JobLine(Cells):
    """Draws the newest job."""

    DEFAULT_CSS = "JobLine { height: 1; padding: 0 1; background: $panel; }"
    jobs: Sequence[Job] = ()
    glyphs: GlyphSet = "braille"
    key = ""
    """What stops it."""

    def pieces(self, width: int, height: int) -> list[list[Piece]]:
        del height
        if not self.jobs:
            return []
        job = self.jobs[-1]
        row: list[Piece] = [(plain(job.title, limit=120), "v")]
        if job.fraction is not None and width > 50:
            row += [("  ", " "), *bar(job.fraction, _BAR, self.glyphs), (f" {job.fraction:4.0%}", " ")]
        if job.doing:
            row += [("  ", " "), (plain(job.doing, limit=200), "m")]
        more = len(self.jobs) - 1
        end: list[Piece] = [(f"and {more} more  ", "m")] if more else []
        end += [(self.key, "k"), (" stops it", "m")] if self.key and job.can_stop else []
        return [spread(cut(row, width - length(end) - 2), end, width)]
