"""How a run ended: what happened, what is safe, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence

from textual.widgets import Static

from screens.live.controls import newest_checkpoint
from tui.display import plain
from tui.state import RunState
from tui.widgets.cells import Piece
from tui.widgets.text_rows import StyledText, as_content, as_text, cut_row, wrapped
from tui.widgets.words import SIGNS, number_of, size_text, time_spent

_STYLES = {"g": "bold $text-success", "a": "bold $text-primary", "w": "bold $text-warning", "e": "bold $text-error"}
_WIDE = 100
"""Cells from which the remedy has a row of its own."""


def ending_rows(
    state: RunState, reason: str, width: int, height: int = 12, *, ascii_only: bool = False
) -> list[list[StyledText]]:
    """Return the rows of the panel; none while somebody works on the run.

    Args:
        state: Of the run.
        reason: Why its processes are thought to be dead, or neither dead nor alive.
        width: Of a row, in cells.
        height: Rows at most. What is safe is never cut; the whole explanation is in the log as well.
        ascii_only: Draw without signs beyond ASCII.
    """
    if state.active:
        return []
    sign, ascii_sign, style = SIGNS[state.state]
    head: list[StyledText] = [(f"{ascii_sign if ascii_only else sign} {_head(state)}", _STYLES[style])]
    rows = [head]
    texts = [plain(text, limit=600) for text in _explanation(state, reason)]
    if texts and width < _WIDE:
        texts = [" ".join(texts)]
    said = [row for text in texts for row in wrapped([(text, "")], width - 2)]
    safe = [row for paragraph in (_safe(state), _learned(state)) for row in wrapped(paragraph, width - 2) if row]
    room = max(0, height - 1 - len(safe))
    if len(said) > room:
        said = [*said[: room - 1], cut_row([*said[room - 1], (" " * width, "")], width - 2)] if room else []
    return [*rows, *([("  ", ""), *row] for row in (*said, *safe))][:height]


def ending_text(state: RunState, reason: str, width: int) -> str:
    """Return the panel as plain text."""
    return as_text(ending_rows(state, reason, width))


def _head(state: RunState) -> str:
    took = ""
    if state.lifecycle.ended is not None:
        took = f" after {time_spent(state.history.clock.seconds)} of work" if state.history.clock.seconds >= 1 else ""
    if state.state == "finished":
        early = state.step < state.total_steps
        of = f" of {state.total_steps:,}" if early else ""
        return f"Finished: {number_of(state.step, 'step')}{of}{took}"
    if state.state == "unknown":
        return "Nobody can say whether it still runs"
    return f"{state.state.capitalize()} at step {state.step:,} of {state.total_steps:,}{took}" if (
        state.total_steps
    ) else f"{state.state.capitalize()} before the first step"  # fmt: skip


def _explanation(state: RunState, reason: str) -> list[str]:
    ended, exited = state.lifecycle.ended, state.lifecycle.exited
    if state.state == "unknown":
        said = [f"{reason or 'nothing is known of its processes'}. It is left alone: nothing here starts or stops it."]
    elif ended is not None:
        said = [text for text in (ended.detail, ended.remedy) if text]
    elif exited is not None:
        said = [state.explanation, *(["Free memory on that machine before going on."] if exited.out_of_memory else [])]
    else:
        said = [f"It ended without a word: {reason}." if reason else "It ended without a word."]
    return [text[:1].upper() + text[1:] for text in said]


def _safe(state: RunState) -> list[StyledText]:
    """Say what can be relied on, and the key that goes on from it."""
    if state.state == "finished":
        return _result(state)
    if state.state == "unknown":
        return []
    kept = newest_checkpoint(state)
    if kept is None:
        return [("Nothing was saved yet. ", ""), ("R", "bold $footer-key-foreground"), (" begins again.", "")]
    lost = state.step - kept.step
    again = f" and repeats {number_of(lost, 'step')}" if lost > 0 else ""
    return [
        ("Safe: ", "bold $text-success"),
        (f"checkpoint-{kept.step}. ", ""),
        ("R", "bold $footer-key-foreground"),
        (f" resumes from it{again}.", ""),
    ]


def _result(state: RunState) -> list[StyledText]:
    """Name the adapters of a finished run."""
    by_path = {line.path: line for line in state.checkpoints}
    pieces: list[StyledText] = []
    if (final := by_path.get("final")) is not None:
        pieces += [("final/", "bold"), (f" has the adapter ({size_text(final.used_bytes)}). ", "")]
    for line in state.checkpoints:
        if line.reason == "stage" and line.path.startswith("stages/"):
            pieces += [
                (f"{plain(line.path, limit=60)}/", "bold"),
                (f" is step {line.step:,}. ", ""),
            ]
    if (best := by_path.get("best")) is not None:
        pieces += [("best/", "bold"), (f" is step {best.step:,}. ", "")]
    return pieces


def _learned(state: RunState) -> list[StyledText]:
    """Say what became of the behaviour; nothing unless it was measured before and after."""
    before, after = state.behaviour.get("before"), state.behaviour.get("after")
    if before is None or after is None:
        return []
    pieces: list[StyledText] = []
    for name in ("retain_answered", "unlearn_refused"):
        old, new = before.scores.get(name), after.scores.get(name)
        if old is not None and new is not None:
            style = "bold $text-success" if new >= 0.9 else "bold $text-warning"
            pieces += [(f"{name.replace('_', ' ')} {old:.0%} → ", ""), (f"{new:.0%}   ", style)]
    return [("Held-out questions: ", "bold"), *pieces] if pieces else []


def ending_pieces(state: RunState, reason: str) -> list[Piece]:
    """Return what happened and what is safe as one text for `cells`; nothing while somebody works on the run."""
    if state.active:
        return []
    explanation = " ".join(plain(text, limit=600) for text in _explanation(state, reason))
    rest = "".join(text for text, _ in _safe(state))
    return [(text, style) for text, style in ((f"{explanation} ", " "), (rest, "m")) if text.strip()]


class Ending(Static):
    """The panel below the headline, hidden while the run goes on."""

    def __init__(self, *, ascii_only: bool = False) -> None:
        super().__init__()
        self._ascii_only = ascii_only
        self._rows: Sequence[Sequence[StyledText]] = ()

    def show(self, state: RunState, reason: str, height: int, *, known: bool) -> None:
        """Draw what is new in `height` rows at most; nothing before the run is `known`."""
        width = max(20, self.app.size.width - 5)
        rows = ending_rows(state, reason, width, height, ascii_only=self._ascii_only) if known else []
        # An update is a new layout, even of a panel that is hidden: 4 ms.
        if rows == self._rows:
            return
        self._rows = rows
        for name in ("finished", "stopped", "failed", "died", "unknown"):
            self.set_class(bool(rows) and state.state == name, f"-{name}")
        self.set_class(bool(rows), "-shown")
        self.update(as_content(rows))
