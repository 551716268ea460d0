"""What takes long on this screen: how far it is, and how it is told to stop."""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from tui.widgets.bar import bar
from tui.widgets.cells import Piece
from tui.widgets.chart.glyphs import GlyphSet


@dataclass(slots=True)
class Activity:
    """One thing that is being done. Written by its thread, read by the screen."""

    said: str
    """What is being done: "counting lines"."""
    done: int = 0
    total: int = 0
    """0 while nobody knows how much there is."""
    stopped: threading.Event = field(default_factory=threading.Event)
    _told: int = -1

    def report(self, done: int, total: int) -> bool:
        """Take how far it is; return whether that looks different."""
        self.done, self.total = done, total
        now = done * 100 // total if total else done // 1_000
        changed, self._told = now != self._told, now
        return changed

    def pieces(self, glyphs: GlyphSet) -> list[Piece]:
        """Return how far it is, and how it is stopped."""
        row: list[Piece] = [(f"{self.said} ", "a")]
        if self.total:
            share = min(1.0, self.done / self.total)
            row += [*bar(share, 12, glyphs, "b"), (f" {share:.0%}", "v")]
        elif self.done:
            row.append((f"{self.done:,}", "v"))
        return [*row, ("  Esc", "k"), (" stops it", "m")]


@dataclass(slots=True)
class Found:
    """Lines that a search or a finding of the doctor has marked."""

    title: str
    """What they have in common, cleaned."""
    lines: array[int] = field(default_factory=lambda: array("Q"))
    """Ascending. Ten million are 80 MB; as a list they were 360."""
    complete: bool = False
    """Whether these are all of them."""

    def after(self, line: int) -> int:
        """Return the first of them behind a line, or the very first."""
        at = bisect_right(self.lines, line)
        return self.lines[at if at < len(self.lines) else 0]

    def before(self, line: int) -> int:
        """Return the last of them before a line, or the very last."""
        return self.lines[bisect_left(self.lines, line) - 1]

    def place(self, line: int) -> int:
        """Return which of them a line is, 1 being the first; 0 when it is none."""
        at = bisect_left(self.lines, line)
        return at + 1 if at < len(self.lines) and self.lines[at] == line else 0

    def pieces(self, line: int) -> list[Piece]:
        """Return how many there are, and which one this is."""
        if not self.lines:
            return [(f"no row has {self.title}" if self.complete else f"looking for {self.title}", "w")]
        rows = f"{len(self.lines):,}{'' if self.complete else '+'} row{'s' if len(self.lines) != 1 else ''}"
        place = self.place(line)
        at = f", this is number {place:,}" if place else ""
        return [(self.title, "a"), (f": {rows}{at}", " ")]
