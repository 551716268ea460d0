"""The list as plain text: for a screen reader, a chat window, a bug report."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from engine.runs.summary import RunSummary
from screens.runs.columns import cells, columns_for, heads
from screens.runs.facts import facts
from screens.runs.reading import Details
from screens.runs.words import nothing_found, nothing_yet, tally
from tui.display import plain
from tui.widgets.cells import Piece

WIDTH = 160
_ROWS = 1_000


def twin(
    summaries: Collection[RunSummary],
    rows: Sequence[RunSummary],
    selected: tuple[RunSummary, Details | None] | None,
    devices: Sequence[Sequence[Piece]],
    now: float,
    *,
    query: str,
    folder: str,
) -> str:
    """Return everything the view knows, in the order in which one would look for it.

    Args:
        summaries: Every run.
        rows: Those that are listed.
        selected: The run under the cursor; None in an empty list.
        devices: The rows of the device strip.
        now: Unix seconds.
        query: The filter; empty when there is none.
        folder: Where runs are kept.
    """
    said = tally(summaries, len(rows) if query else None)
    parts = [f"Runs: {said}" + (f", matching {plain(query)!r}" if query else "") if said else ""]
    if rows:
        columns = columns_for(rows, WIDTH)
        table = [heads(columns), *(cells(row, columns, now, "braille") for row in rows[:_ROWS])]
        left_out = [[(f"({len(rows) - _ROWS:,} more)", " ")]] if len(rows) > _ROWS else []
        parts.append(_text([*table, *left_out]))
    else:
        empty = nothing_found(query) if summaries else nothing_yet(folder, reading=False)
        parts.append("\n".join(f"{key}: {text}" if key else text for key, text in empty))
    if selected is not None:
        summary, details = selected
        parts.append(f"{plain(summary.name)}\n{_text(facts(summary, details, now, WIDTH, 40, 'braille'))}")
    parts.append(_text(devices))
    return "\n\n".join(part for part in parts if part.strip()) + "\n"


def _text(rows: Sequence[Sequence[Piece]]) -> str:
    return "\n".join("".join(text for text, _ in row).rstrip() for row in rows)
