"""A table as text: columns as wide as what is in them, the last left out where the terminal is too narrow."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence

from tui.cli import output
from tui.display import cell_len, truncate

_GAP = "  "


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()) -> None:
    """Print a table to stdout.

    Args:
        heads: Above the columns.
        rows: Cells, cleaned.
        right: Heads of the columns whose cells stand on the right.
    """
    widths = [max([cell_len(head), *(cell_len(row[n]) for row in rows)]) for n, head in enumerate(heads)]
    room = output.columns() if output.is_terminal(sys.stdout) else None
    while room is not None and len(widths) > 2 and sum(widths) + len(_GAP) * (len(widths) - 1) > room:
        widths.pop()
    for cells, style in [(heads, "bold"), *((row, "") for row in rows)]:
        shown = []
        for head, cell, width in zip(heads, cells, widths, strict=False):
            space = " " * (width - cell_len(cell))
            shown.append(space + cell if head in right else cell + space)
        line = _GAP.join(shown).rstrip()
        output.out(line if room is None else truncate(line, room), style=style)
