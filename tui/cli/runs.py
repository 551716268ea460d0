"""`ftconsole runs`: every run of the workspace, as a table or as JSON.

Imported without typer and before anything else, so it imports as little as a list of runs needs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.workspace import Workspace
from tui.cli import output
from tui.display import plain

if TYPE_CHECKING:
    from engine.runs.summary import RunSummary

_HEADS = ("NAME", "STATE", "STEP", "DONE", "LOSS", "LEFT", "CREATED", "METHOD", "MODEL", "PARENT")
_RIGHT = frozenset({"STEP", "DONE", "LOSS", "LEFT", "CREATED"})
_STYLES = {"running": "good", "failed": "error", "died": "error", "unknown": "warning", "paused": "warning"}
_GAP = "  "


def show(workspace: str | None, *, as_json: bool) -> int:
    """Print the list. Not a workspace yet, or no run in it, is an empty list and no error.

    Raises:
        NotFound, WorkspaceError: The folder is missing or cannot be read.
    """
    from engine.runs.summary import summarise_all  # after `Workspace.find`: a wrong folder is told at once

    place = Workspace.find(workspace)
    summaries = summarise_all(place.runs)
    if as_json:
        output.emit([summary.as_dict() for summary in summaries])
    elif summaries:
        _print_table(summaries)
    else:
        output.note(f"There are no runs in {place.runs}. `ftconsole demo` makes the first one.")
    return 0


def _print_table(summaries: Sequence[RunSummary]) -> None:
    rows = [_cells(summary) for summary in summaries]
    heads = list(_HEADS)
    if not any(summary.parent for summary in summaries):
        heads.pop()  # PARENT
    room = output.columns() if output.is_terminal(sys.stdout) else None
    widths = _widths(heads, rows, room)
    heads = heads[: len(widths)]
    output.out(_line(heads, heads, widths), style="bold")
    for summary, row in zip(summaries, rows, strict=True):
        output.out(_line(heads, row, widths), style=_STYLES.get(summary.state, ""))


def _cells(summary: RunSummary) -> list[str]:
    from engine.runs.summary import age_text

    total = str(summary.total_steps) if summary.total_steps else "?"
    started = bool(summary.total_steps)
    return [
        plain(summary.name),
        summary.state,
        f"{summary.step}/{total}" if started else "-",
        f"{summary.progress:.0%}" if started else "-",
        "-" if summary.loss is None else f"{summary.loss:.4g}",
        "-" if summary.eta_seconds is None else output.duration(summary.eta_seconds),
        f"{age_text(summary.created)} ago" if summary.created else "-",
        plain(summary.method, limit=20) or "-",
        plain(summary.model, limit=60) or "-",
        plain(summary.parent or "-", limit=64),
    ]


def _widths(heads: Sequence[str], rows: Sequence[Sequence[str]], room: int | None) -> list[int]:
    """Return how wide each column is. On a narrow terminal the last columns are left out, never the first two."""
    from tui.display import cell_len

    widths = [max(len(head), *(cell_len(row[n]) for row in rows)) for n, head in enumerate(heads)]
    while room is not None and len(widths) > 2 and sum(widths) + len(_GAP) * (len(widths) - 1) > room:
        widths.pop()
    return widths


def _line(heads: Sequence[str], cells: Sequence[str], widths: Sequence[int]) -> str:
    from tui.display import cell_len

    shown = []
    for head, cell, width in zip(heads, cells, widths, strict=False):
        space = " " * (width - cell_len(cell))
        shown.append(space + cell if head in _RIGHT else cell + space)
    return _GAP.join(shown).rstrip()
