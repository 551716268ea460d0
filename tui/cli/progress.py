"""One line that says how far a run is: drawn over itself on a terminal, now and then as text elsewhere."""

from __future__ import annotations

import math
import sys
import time
from typing import TextIO

from tui.cli import output
from tui.display import cell_len, plain, truncate
from tui.state import RunState

DRAWS_PER_SECOND = 8
PARTS = 20
"""As text: a line for every twentieth of the run."""
_WIDEST_BAR = 30
_NARROWEST_BAR = 8


class Bar:
    """A progress bar on the terminal that stderr is. Anything printed in between goes through `aside`.

    Args:
        stream: Must be able to draw a line anew.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._drawn = ""
        self._due = 0.0

    def draw(self, state: RunState) -> None:
        """Draw, unless that was just done or nothing has changed."""
        now = time.monotonic()
        if now < self._due:
            return
        line = bar_line(state, output.columns() - 1, ascii_only=output.encoding_of(self._stream) != "utf-8")
        if line != self._drawn:
            output.write_raw(self._stream, f"\r{output.printable(line, self._stream)}\x1b[K")
            self._drawn = line
            self._due = now + 1 / DRAWS_PER_SECOND

    def clear(self) -> None:
        """Leave the line empty, for something else to be printed there."""
        if self._drawn:
            output.write_raw(self._stream, "\r\x1b[K")
            self._drawn, self._due = "", 0.0


class Milestones:
    """Says when a line of text is due: at every twentieth of the steps, whatever time it takes."""

    def __init__(self) -> None:
        self._reached = -1

    def due(self, state: RunState) -> bool:
        """Return whether the newest step is the first of another twentieth."""
        if not state.total_steps or not state.step:
            return False
        reached = state.step * PARTS // state.total_steps
        if reached == self._reached:
            return False
        self._reached = reached
        return True


def text_line(state: RunState) -> str:
    """Return the progress in words, of any length."""
    done = f"Step {state.step} of {state.total_steps}, {state.progress:.0%}"
    return ", ".join([done, *_figures(state, evaluation=False)])  # evaluations have lines of their own


def bar_line(state: RunState, width: int, *, ascii_only: bool = False) -> str:
    """Return the progress in at most `width` cells: what matters less is left out first."""
    if not state.total_steps:
        stage = " ".join(text for text in (state.stage or "starting", plain(state.stage_detail, limit=200)) if text)
        return truncate(stage, width, ellipsis="." if ascii_only else "…")
    head = f"{state.step}/{state.total_steps}"
    if state.state != "running":
        head = f"{state.state} {head}"
    elif state.stage not in ("", "training"):
        head = f"{state.stage} {head}"
    tail = f"{state.progress:.0%}"
    figures = _figures(state)
    while figures and _length(head, tail, figures) + _NARROWEST_BAR + 2 > width:
        figures.pop()
    room = min(_WIDEST_BAR, width - _length(head, tail, figures) - 2)
    drawn = f" {_bar(state.progress, room, ascii_only=ascii_only)}" if room >= _NARROWEST_BAR else ""
    return truncate("  ".join([f"{head}{drawn} {tail}", *figures]), width, ellipsis="." if ascii_only else "…")


def _length(head: str, tail: str, figures: list[str]) -> int:
    return cell_len("  ".join([f"{head} {tail}", *figures]))


def _bar(share: float, width: int, *, ascii_only: bool) -> str:
    if ascii_only:
        inside = width - 2
        full = math.floor(share * inside)
        return "[" + "#" * full + "-" * (inside - full) + "]"
    eighths = math.floor(share * width * 8)
    full, rest = divmod(eighths, 8)
    partial = " ▏▎▍▌▋▊▉"[rest].strip()
    return ("█" * full + partial).ljust(width, "·")


def _figures(state: RunState, *, evaluation: bool = True) -> list[str]:
    """Return the newest figures, what matters most first."""
    figures = []
    if "loss" in state.newest:
        figures.append(f"loss {state.newest['loss']:.4g}")
    left = state.eta_seconds
    if left is not None and state.step < state.total_steps:
        figures.append(f"{output.duration(left)} left")
    for name, value in state.evaluation.items() if evaluation else ():
        if name.endswith("_loss"):
            figures.append(f"{plain(name, limit=40).removesuffix('_loss')} {value:.4g}")
    pace = state.seconds_per_step
    if pace:
        figures.append(f"{1 / pace:.3g} steps/s" if pace < 1 else f"{pace:.3g} s/step")
    if "learning_rate" in state.newest:
        figures.append(f"lr {state.newest['learning_rate']:.3g}")
    return figures
