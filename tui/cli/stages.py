"""How far work in several stages is: a line drawn over itself on a terminal, a line for each stage elsewhere."""

from __future__ import annotations

import sys
import time

from engine.export.progress import Progress
from tui.cli import output
from tui.display import cell_len, plain, truncate

_DRAWS_PER_SECOND = 8
_BAR = 24


class Stages:
    """Takes every progress; prints on stderr. To be used in a `with`, which leaves the line empty."""

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent
        self._anew = not silent and output.shows_lines_anew(sys.stderr)
        self._stage = ""
        self._due = 0.0
        self._drawn = False

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._drawn:
            output.write_raw(sys.stderr, "\r\x1b[K")

    def tell(self, progress: Progress) -> None:
        """Show it, unless that was just done."""
        if self._silent:
            return
        stage = plain(progress.stage, limit=200)
        if not self._anew:
            if stage != self._stage:
                output.note(f"{stage[:1].upper()}{stage[1:]}", style="dim")
            self._stage = stage
            return
        now = time.monotonic()
        if stage == self._stage and now < self._due:
            return
        self._stage, self._due, self._drawn = stage, now + 1 / _DRAWS_PER_SECOND, True
        line = line_of(progress, output.columns() - 1)
        output.write_raw(sys.stderr, f"\r{output.printable(line, sys.stderr)}\x1b[K")


def line_of(progress: Progress, width: int) -> str:
    """Return a progress in at most `width` cells."""
    stage = plain(progress.stage, limit=200)
    share = progress.fraction
    if share is None:
        return truncate(f"{stage} ...", width)
    full = round(share * _BAR)
    figures = f"[{'#' * full}{'-' * (_BAR - full)}] {share:.0%}"
    if cell_len(stage) + len(figures) + 2 > width:
        figures = f"{share:.0%}"
    return truncate(f"{stage}  {figures}", width)
