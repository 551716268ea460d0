"""What the pane tells, by view: of the row under the cursor, or of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from screens.data.pane import Told
from screens.data.reports import report_rows, statistics_rows
from screens.data.telling import told
from screens.data.telling_row import examined_rows, row_rows, waiting

if TYPE_CHECKING:
    from screens.data.screen import DataScreen


def told_of(screen: DataScreen, width: int) -> list[Told]:
    """Return the rows of the pane."""
    view, entry = screen.view, screen.entry
    if view == "doctor":
        if screen.report is None:
            return _nothing(screen, "The doctor reads the whole file as the model would be given it.")
        return report_rows(screen.report, width, screen.glyphs)
    if view == "statistics":
        if screen.statistics is None:
            return _nothing(screen, "The statistics are counted over the whole file.")
        length = screen.settled.max_length if screen.settled is not None else None
        return statistics_rows(screen.statistics, width, screen.glyphs, length)
    if entry is None:
        return []
    if view in ("messages", "raw"):
        return row_rows(view, entry, width)
    examined, line = screen.examined, entry.line.number
    if examined is not None and examined[0] == line:
        return examined_rows(view, examined[1], width, screen.glyphs)
    refused = screen.not_examined
    if "microscope" in screen.stopped:
        return _stopped()
    error = refused[1] if refused is not None and refused[0] == line else None
    return waiting(entry, error, screen.settled, width)


def _nothing(screen: DataScreen, about: str) -> list[Told]:
    if screen.view in screen.stopped:
        return _stopped()
    later = "index" in screen.activities
    return told([[(about, "m")], [("It begins when the lines are counted." if later else "Under way ...", "m")]])


def _stopped() -> list[Told]:
    return told([[("Stopped.", "w"), ("  r", "k"), (" begins again", " ")]])
