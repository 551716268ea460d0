"""The view as plain text: for a screen reader, a chat window, a bug report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from screens.data.columns import Shown, cells, columns_for, heads
from screens.data.words import NO_FILE, reading_pieces, status_pieces
from tui.display import plain
from tui.widgets.cells import Piece

if TYPE_CHECKING:
    from screens.data.screen import DataScreen

WIDTH = 140
_ROWS = 40
"""Rows of the table around the cursor."""


def twin(screen: DataScreen) -> str:
    """Return everything the view knows, in the order in which one would look for it."""
    book, table = screen.book, screen.table
    if book is None:
        return "\n".join(f"{key}: {text}" if key.strip() else text for key, text in NO_FILE) + "\n"
    groups, facts = reading_pieces(book)
    running = [[(f"{activity.said}, {activity.done:,} of {activity.total:,}", " ")] for activity in
               screen.activities.values()]  # fmt: skip
    head = [[(f"Data: {plain(book.name)}", " ")], _joined([*groups, facts]),
            _joined([*running, *status_pieces(book, table, screen.found)])]  # fmt: skip
    columns = columns_for(book.kind, WIDTH, len(str(max(1, table.num_lines))))
    first = max(0, table.cursor - _ROWS // 2)
    listed = [heads(columns)]
    for row in range(first, min(table.num_rows, first + _ROWS)):
        line = table.line_at(row)
        shown = table.known(line) or Shown(line, (), loading=True)
        listed.append(cells(shown, columns, "ascii", marked=table.is_marked(line)))
    about = [row.pieces for row in screen.told(WIDTH)]
    return "\n\n".join(_text(part) for part in (head, listed, [[(screen.view.capitalize(), " ")], *about])) + "\n"


def _joined(groups: Sequence[Sequence[Piece]]) -> list[Piece]:
    return [piece for group in groups for piece in (*group, ("   ", " "))]


def _text(rows: Sequence[Sequence[Piece]]) -> str:
    return "\n".join("".join(text for text, _ in row).rstrip() for row in rows)
