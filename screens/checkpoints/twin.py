"""The list as plain text: for a screen reader, a chat window, a bug report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from screens.checkpoints.columns import cells, columns_for, heads
from screens.checkpoints.facts import facts, texts
from screens.checkpoints.words import nothing_found, nothing_yet, tally
from tui.display import plain
from tui.widgets.cells import Piece

if TYPE_CHECKING:
    from screens.checkpoints.screen import CheckpointsScreen

WIDTH = 160
_ROWS = 1_000


def twin(screen: CheckpointsScreen) -> str:
    """Return everything the view knows, in the order in which one would look for it."""
    query, runs, rows, now = screen.filter.strip(), screen.feed.catalogue.runs, screen.rows, screen.clock()
    said = tally(runs, rows if query else None)
    parts = [f"Checkpoints: {said}" + (f", matching {plain(query)!r}" if query else "") if said else ""]
    if rows:
        columns = columns_for(rows, WIDTH)
        shown: list[Sequence[Piece]] = [heads(columns)]
        shown += [cells(row, columns, now, "braille", screen.marks.get(row.key, "")) for row in rows[:_ROWS]]
        if len(rows) > _ROWS:
            shown.append([(f"({len(rows) - _ROWS:,} more)", " ")])
        parts.append(texts(shown))
    else:
        empty = nothing_found(query) if runs else nothing_yet(str(screen.feed.folder), reading=False)
        parts.append("\n".join(f"{key}: {text}" if key else text for key, text in empty))
    if (row := screen.selected) is not None:
        told = facts(row, screen.details_of(row), now, WIDTH, "braille", screen.verified_of(row))
        parts.append(f"{plain(row.spec)}\n{texts(told)}")
    return "\n\n".join(part for part in parts if part.strip()) + "\n"
