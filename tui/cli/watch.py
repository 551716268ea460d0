"""`ftconsole watch`: what a run says, line by line, until it ends. Leaving it never touches the run."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import TextIO

import orjson

from engine import events
from engine.errors import WorkerFailed
from engine.events import StepFinished
from engine.runs.directory import RunDirectory, find_run
from engine.runs.follow import Record
from engine.runs.liveness import Life
from engine.workspace import Workspace
from tui.cli import hints, output
from tui.cli.following import Followed, follow, open_run
from tui.cli.progress import Bar, Milestones, text_line
from tui.state import Level, RunState, sentence

_LINES_AT_ONCE = 1000
"""JSON lines that are written together while the past is read."""
_STYLES: dict[Level, str] = {"info": "", "good": "good", "warning": "warning", "error": "error"}


def watch(workspace: str | None, name: str, *, tail: int | None, follow_on: bool, as_json: bool) -> int:
    """Print what the run said and says.

    Args:
        workspace: As given before the command.
        name: Of the run.
        tail: Lines of the past that are printed; None for all.
        follow_on: Whether to wait for its end.
        as_json: One JSON object per event instead of sentences.

    Returns:
        0 when the run finished, was stopped, or is still going; 10 when it failed or died; 130 after ctrl+c.
    """
    run = find_run(Workspace.find(workspace).runs, name)
    if as_json:
        return watch_events(run, tail=tail, follow_on=follow_on)
    return watch_text(run, tail=tail, follow_on=follow_on)[0]


def watch_text(
    run: RunDirectory, *, tail: int | None = None, follow_on: bool = True, lines: TextIO | None = None
) -> tuple[int, RunState]:
    """Print sentences, and a progress bar where stderr is a terminal; return the exit code and what is known then.

    Args:
        run: Followed to its end.
        tail: Lines of the past that are printed; None for all.
        follow_on: False prints the past only.
        lines: Where the sentences go; None for stdout.
    """
    teller = Teller(lines if lines is not None else sys.stdout, tail)
    followed = open_run(run)
    try:
        for record in follow(followed, to_the_end=follow_on):
            if record is None:
                teller.idle(followed)
            else:
                teller.tell(record, followed.state)
    except KeyboardInterrupt:
        teller.close()
        return _left(run), followed.state
    teller.close()
    return _verdict(followed), followed.state


def watch_events(run: RunDirectory, *, tail: int | None = None, follow_on: bool = True) -> int:
    """Print one JSON object per event, and return the exit code."""
    followed = open_run(run, every_event=True)
    waiting: deque[Record] = deque(maxlen=tail)
    past = tail is not None
    try:
        for record in follow(followed, to_the_end=follow_on):
            if record is not None:
                waiting.append(record)
                if past or len(waiting) < _LINES_AT_ONCE:
                    continue
            if waiting:
                output.out("\n".join(map(_json_line, waiting)))
            waiting, past = deque(), False
    except KeyboardInterrupt:
        return _left(run)
    return _verdict(followed)


class Teller:
    """Prints records as sentences, around a progress bar where there is one.

    Args:
        lines: Where sentences go.
        tail: Lines of the past that are printed; None for all.
    """

    def __init__(self, lines: TextIO, tail: int | None = None) -> None:
        self._lines = lines
        self._bar = Bar() if output.shows_lines_anew(sys.stderr) else None
        self._milestones = Milestones()
        self._waiting: deque[tuple[Level, str]] = deque(maxlen=tail)
        self._past = True
        self._unsure = False
        self._stuck = False

    def tell(self, record: Record, state: RunState) -> None:
        """Print what there is to say of a record that the state has taken."""
        said = sentence(record.event, killed=state.lifecycle.killed)
        if isinstance(record.event, StepFinished):
            self._stuck = False
            if self._bar is None and self._milestones.due(state):
                said = ("info", text_line(state))
        if said is None:
            return
        level, text = said
        self._waiting.append((level, f"{_clock(record.time)}  {text}"))
        if not self._past:
            self._print()

    def _print(self) -> None:
        if self._waiting and self._bar is not None:
            self._bar.clear()
        for level, text in self._waiting:
            output.write(self._lines, text + "\n", _STYLES[level])
        self._waiting = deque()

    def idle(self, followed: Followed) -> None:
        """Draw the bar, and say once what a watcher should know of a run that says nothing."""
        self._past = False
        self._print()
        state = followed.state
        if state.state == "unknown" and not self._unsure:
            self._aside(f"It cannot be told whether {state.name} is alive: {followed.reason}. It is left alone.")
        self._unsure = state.state == "unknown"
        if not self._stuck and state.life is Life.ALIVE and state.stuck(time.time()):
            self._stuck = True
            self._aside(f"{state.name} has finished no step for {output.duration(state.silent_seconds(time.time()))}.")
        if self._bar is not None and state.active:
            self._bar.draw(state)

    def close(self) -> None:
        """Print what waits to be printed, and take the bar away."""
        self._print()
        if self._bar is not None:
            self._bar.clear()

    def _aside(self, text: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        output.note(text, style="warning")


def _verdict(followed: Followed) -> int:
    state = followed.state
    if state.damaged:
        damaged = f"{state.damaged} line" + ("s" if state.damaged != 1 else "")
        output.note(f"{damaged} of {followed.run.events} could not be read; everything around was.", style="warning")
    if state.state not in ("failed", "died"):
        return 0
    kept = [saved.path for saved in state.checkpoints if saved.path.startswith("checkpoints/")]
    safe = f"Everything up to {kept[-1]} is safe." if kept else "No checkpoint had been saved."
    if state.state == "died" and not state.explanation:
        output.note(f"{state.name} died: nobody works on it any more ({followed.reason}).", style="error")
    resume = hints.command("resume", followed.run)
    output.note(f"{safe} `{resume}` goes on; {followed.run.log} has the worker's last words.")
    return WorkerFailed.exit_code


def _left(run: RunDirectory) -> int:
    watch_again, stop_it = hints.command("watch", run), hints.command("stop", run)
    output.note(f"Stopped watching; {run.name} goes on. `{watch_again}` looks again, `{stop_it}` ends it.")
    return output.EXIT_INTERRUPTED


def _json_line(record: Record) -> str:
    value = {"seq": record.seq, "time": record.time, **events.to_json(record.event)}
    try:
        text = orjson.dumps(value).decode()  # a fifth of the standard library's 25 us; a run may have a million events
    except TypeError:  # half a surrogate pair, a number above 64 bits
        text = ""
    return text if text and text.isascii() and "\x7f" not in text else output.json_text(value, lines=True)


def _clock(when: float) -> str:
    try:
        return time.strftime("%m-%d %H:%M:%S", time.localtime(when))
    except (OverflowError, ValueError, OSError):  # a clock that was far off
        return "??-?? ??:??:??"
