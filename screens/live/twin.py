"""The live view as plain text: for a screen reader, a chat window, a bug report."""

from __future__ import annotations

from collections.abc import Sequence

from screens.live.details import details_rows
from screens.live.ending import ending_text
from screens.live.headline import Figures, headline
from tui.display import plain
from tui.widgets.cells import Piece
from tui.widgets.text_rows import as_text

WIDTH = 100
_LOG_LINES = 60


def twin(figures: Figures, reason: str, path: str, samples: str, log: str, charts: str) -> str:
    """Return everything the view knows, in the order in which one would look for it.

    Args:
        figures: Of the run.
        reason: Why its processes are thought to be what they are.
        path: Of its folder.
        samples: The answers, as text.
        log: The log, as text.
        charts: The charts on screen, as text.
    """
    state = figures.state
    head = [f"Run {plain(state.name)}", *(_row(row) for row in headline(figures, WIDTH))]
    parts = ["\n".join(row for row in head if row), ending_text(state, reason, WIDTH), charts]
    if samples:
        parts.append(f"Samples\n{samples}")
    parts.append(as_text(details_rows(state, path)))
    if log:
        said = log.splitlines()
        left_out = [f"({len(said) - _LOG_LINES:,} lines before)"] if len(said) > _LOG_LINES else []
        parts.append("\n".join(["Log", *left_out, *said[-_LOG_LINES:]]))
    return "\n\n".join(part.strip("\n") for part in parts if part.strip()) + "\n"


def _row(pieces: Sequence[Piece]) -> str:
    return "".join(text for text, _ in pieces).rstrip()
