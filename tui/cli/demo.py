"""`ftconsole demo`: the built-in model forgets what came after its cutoff, before one's eyes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from engine.config.load import preset
from engine.errors import TerminalError
from engine.events import BehaviourMeasured
from engine.launch import prepare
from engine.runs.directory import RunDirectory, free_name
from engine.workspace import Workspace
from tui.cli import hints, output
from tui.cli.cautions import warn_of_endings
from tui.cli.following import follow, open_run
from tui.settings import Settings, load_settings
from tui.state import RunState

SCORES: Mapping[str, str] = {"retain_answered": "retain answered", "unlearn_refused": "unlearn refused"}
"""The scores of the table, on phrasings that were not trained on, and their names for people."""
PRESET = "demo"
_LABEL = 36
"""Columns of the table's first column."""


def demo(workspace: str | None, given: Mapping[str, str | int | None], *, name: str | None, as_json: bool) -> int:
    """Start the run; show it in the console, or as text where there is no terminal; print before and after.

    Returns:
        0, 10 when the run failed or died, 130 after ctrl+c, which ends the watching only.

    Raises:
        EngineError: The run could not be started, and no run is left behind.
    """
    began = time.monotonic()
    place = Workspace.find(workspace)
    settings = load_settings(given)
    run = prepare.new_run(place, preset(PRESET), name=name or free_name(place.runs, PRESET))
    prepare.start_run(run)
    warn_of_endings(run.path)
    if not as_json and _can_show_console(settings):
        from tui.console import run_console

        code = run_console(place.path, run=run.name, settings=settings)
        _say_after_console(run)
        return code
    from tui.cli import watch

    output.note(f"Fine-tuning the built-in model as {run.name}. Ctrl+c stops watching, not the run.")
    code, state = watch.watch_text(run, lines=sys.stderr if as_json else sys.stdout)
    if code == 0 and as_json:
        output.emit(summary(state, run, time.monotonic() - began))
    elif code == 0:
        print_table(state)
        output.out(f"\n{output.duration(time.monotonic() - began)}. The run is in {run.path}")
    return code


def summary(state: RunState, run: RunDirectory, seconds: float) -> dict[str, Any]:
    """Return the JSON form: fractions, None for what was not measured (a run that was stopped)."""
    return {when: {key: _score(state.behaviour.get(when), key) for key in SCORES} for when in ("before", "after")} | {
        "seconds": round(seconds, 1),
        "run": run.name,
    }


def _score(measured: BehaviourMeasured | None, key: str) -> float | None:
    value = None if measured is None else measured.scores.get(key)
    return value if value is not None and value == value else None  # NaN is no score


def print_table(state: RunState) -> None:
    before, after = state.behaviour.get("before"), state.behaviour.get("after")
    output.out()
    output.out(f"{'On phrasings never trained on':<{_LABEL}}  {'before':>7}  {'after':>7}", style="bold")
    for key, label in SCORES.items():
        cells = [_percent(_score(measured, key)) for measured in (before, after)]
        count = after.counts.get(key) if after is not None else None
        of = f" ({count} questions)" if count else ""
        output.out(f"{label + of:<{_LABEL}}  {cells[0]:>7}  {cells[1]:>7}")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _can_show_console(settings: Settings) -> bool:
    from tui.terminal.contract import examine

    try:
        examine(settings, os.environ, interactive=output.is_terminal(sys.stdin) and output.is_terminal(sys.stdout))
    except TerminalError:
        return False
    return True


def _say_after_console(run: RunDirectory) -> None:
    """Say where the run is, and what it came to if it has ended."""
    followed = open_run(run)
    for _ in follow(followed, to_the_end=False):
        pass
    state = followed.state
    if state.active:
        output.note(f"{run.name} goes on. `{hints.command('watch', run)}` follows it, `{hints.console(run)}` shows it.")
        return
    if "after" in state.behaviour:
        print_table(state)
    output.out(f"{run.name}: {state.state}, in {run.path}")
