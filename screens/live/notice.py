"""The line above the keys: what was asked for and what became of it, else a warning, else the last thing said."""

from __future__ import annotations

from collections.abc import Sequence

from screens.live.controls import Asked, in_words, newest_checkpoint
from tui.display import plain
from tui.state import RunState
from tui.widgets.cells import Cells, Piece, cut
from tui.widgets.words import time_spent, value

LOG_STYLES = {"time": "m", "info": " ", "good": "g", "warning": "w", "error": "e"}
"""Part of the log -> style code."""


def news(state: RunState, asked: Sequence[Asked], now: float, *, ascii_only: bool = False) -> list[Piece]:
    """Return what somebody waits for or should know now; nothing most of the time.

    Args:
        state: Of the run.
        asked: Commands that still concern somebody, oldest first.
        now: Unix seconds.
        ascii_only: Draw without signs beyond ASCII.
    """
    waiting = [one for one in asked if one.answer is None]
    if waiting:
        one = waiting[-1]
        seconds = max(0.0, now - one.time)
        since = f" {time_spent(seconds)} ago" if seconds >= 2 else ""
        return [(f"{in_words(one.command)} asked{since}", "w"), (". The run hears it at its next step.", "m")]
    if asked:
        one = asked[-1]
        assert one.answer is not None
        detail = plain(one.answer.detail, limit=400)
        if one.answer.accepted:
            sign = "v" if ascii_only else "✓"
            return [(f"{sign} {in_words(one.command)}", "g"), (f": {detail}", " ")]
        return [(f"! {in_words(one.command)} refused", "w"), (f": {detail}", " ")]
    if state.stuck(now):
        silent = time_spent(state.silent_seconds(now) // 5 * 5)
        return [(f"! No step for {silent}.", "w"), (" It may hang, or a step takes long. Nothing is ended.", " ")]
    return []


def standing(state: RunState) -> list[Piece]:
    """Return the newest validation losses, and what is saved."""
    row: list[Piece] = []
    losses = {name: number for name, number in state.evaluation.items() if name.endswith("_loss")}
    for name, number in losses.items():
        row += [(f"{plain(name, limit=40)} ", "m"), (f"{value(number)}   ", "v")]
    best = next((line.step for line in state.checkpoints if line.path == "best"), None)
    if best is not None:
        row += [("best at step ", "m"), (f"{best:,}   ", "v")]
    kept = newest_checkpoint(state)
    if kept is not None and state.active:
        row += [("saved at step ", "m"), (f"{kept.step:,}", "v")]
    return row


class Notice(Cells):
    """One row."""

    DEFAULT_CSS = "Notice { padding: 0 1; }"
    line: Sequence[Piece] = ()

    def pieces(self, width: int, height: int) -> list[list[Piece]]:
        del height
        return [cut(list(self.line), width)]
