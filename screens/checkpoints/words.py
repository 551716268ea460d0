"""The sentences of the list: how much there is, and what to do where there is nothing."""

from __future__ import annotations

from collections.abc import Sequence

from engine.runs.catalogue import RunEntry
from screens.checkpoints.rows import Row
from tui.display import plain
from tui.widgets.words import number_of, size_text


def tally(runs: Sequence[RunEntry], rows: Sequence[Row] | None = None) -> str:
    """Return how much there is: "14 checkpoints of 3 runs, 4.2 GB, 1 damaged".

    Args:
        runs: All there are.
        rows: Those a filter has left; None without a filter.
    """
    checkpoints = [one for run in runs for one in run.checkpoints]
    if not checkpoints:
        return number_of(len(runs), "run") + ", no checkpoint" if runs else ""
    said = number_of(len(checkpoints), "checkpoint")
    if rows is not None:
        said = f"{sum(row.checkpoint is not None for row in rows):,} of {said}"
    said += f" of {number_of(len(runs), 'run')}, {size_text(sum(one.used_bytes for one in checkpoints))}"
    damaged = sum(one.fault is not None for one in checkpoints)
    return f"{said}, {damaged:,} damaged" if damaged else said


def nothing_yet(folder: str, *, reading: bool) -> list[tuple[str, str]]:
    """Return what an empty list says, as `Emptiness` takes it.

    Args:
        folder: Where runs are kept.
        reading: It is not known yet whether there are any.
    """
    if reading:
        return [("", f"Reading {plain(folder)} ...")]
    return [
        ("", "No runs yet, so no checkpoints."),
        ("n", "Set up a run. It writes a checkpoint with every evaluation; they appear here as they are written."),
        ("$", "ftconsole demo"),
        (" ", "In a shell: two minutes, without the network, and here are three checkpoints, the best of them with "
              "a star."),
        ("?", "Every key and what it does."),
        ("", f"Runs are kept in {plain(folder)}"),
    ]  # fmt: skip


def nothing_found(query: str) -> list[tuple[str, str]]:
    """Return what a list says that a filter has left empty."""
    return [
        ("", f"Nothing matches {plain(query, limit=60)!r}."),
        ("/", "Words of a run or a checkpoint, and also: best, pinned, damaged, whole, resumable; !word leaves out."),
        ("Esc", "Show all again."),
    ]
