"""How the list of runs looks. Look at the picture before accepting it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.runs.summary import RunSummary
from tests.screens.runs.stage import GPU, StillMachine, console, settled
from tests.screens.runs.summaries import NOW, a_run, in_every_state, the_details
from tui.app import ConsoleApp
from tui.terminal.contract import Terminal

Snapshot = Any
SIZES = pytest.mark.parametrize(
    "size", [(80, 24), (160, 45), (60, 15), (40, 10)], ids=["small", "large", "monitor", "summary"]
)


def after(*keys: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    """Press keys once everything is there, and wait for what they lead to."""

    async def act(pilot: Pilot[None]) -> None:
        await settled(pilot)
        await pilot.press(*keys)
        await settled(pilot)

    return act


def many(**how: Any) -> ConsoleApp:
    return console(in_every_state(), details=the_details(), **how)


def resting() -> list[RunSummary]:
    return [run for run in in_every_state() if not run.active]


@SIZES
@pytest.mark.parametrize(
    ("runs", "keys"),
    [
        pytest.param([], [], id="empty"),
        pytest.param([a_run()], [], id="one"),
        pytest.param(in_every_state(), ["j", "j"], id="every state"),
        pytest.param(in_every_state(), ["G", "k"], id="died"),
        pytest.param(resting(), [], id="none at work"),
        pytest.param(in_every_state(), ["slash", *"tiny"], id="filter"),
        pytest.param(in_every_state(), ["slash", *"llama 3.3"], id="filter without a match"),
    ],
)
def test_how_it_looks(
    snap_compare: Snapshot, runs: Sequence[RunSummary], keys: Sequence[str], size: tuple[int, int]
) -> None:
    keys = [{" ": "space", ".": "full_stop"}.get(key, key) for key in keys]
    app = console(runs, details=the_details())
    assert snap_compare(app, terminal_size=size, run_before=after(*keys))


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param(["j", "j"], id="running"),
        pytest.param(["j"] * 5, id="finished"),
        pytest.param(["j"] * 8, id="failed"),
        pytest.param(["o", "o"], id="by name"),
        pytest.param(["question_mark"], id="help"),
    ],
)
def test_how_it_looks_on_a_common_terminal(snap_compare: Snapshot, keys: Sequence[str]) -> None:
    assert snap_compare(many(), terminal_size=(120, 40), run_before=after(*keys))


def test_how_many_runs_look(snap_compare: Snapshot) -> None:
    runs = [a_run(f"run-{number}", "finished", created=NOW - number, step=200) for number in range(1_000)]
    assert snap_compare(console(runs), terminal_size=(80, 24), run_before=after("ctrl+d", "ctrl+d", "ctrl+d"))


def test_how_eight_devices_look(snap_compare: Snapshot) -> None:
    machine = StillMachine(*(replace(GPU, index=index, utilization=index / 8) for index in range(8)))
    assert snap_compare(many(machine=machine), terminal_size=(120, 40), run_before=after())


def test_how_a_processor_looks(snap_compare: Snapshot) -> None:
    machine = StillMachine(replace(GPU, kind="cpu", name="CPU, 16 cores", temperature=None, power_watts=None))
    assert snap_compare(many(machine=machine), terminal_size=(80, 24), run_before=after())


@pytest.mark.parametrize("glyphs", ["block", "ascii"])
def test_how_it_looks_on_lesser_terminals(snap_compare: Snapshot, glyphs: str) -> None:
    app = many(terminal=Terminal(glyphs=glyphs, theme="ansi-dark"))
    assert snap_compare(app, terminal_size=(80, 24), run_before=after("j", "j"))


def test_how_it_looks_without_colours(snap_compare: Snapshot) -> None:
    app = many(terminal=Terminal(theme="ftconsole-plain", colour="none"))
    assert snap_compare(app, terminal_size=(80, 24), run_before=after("j", "j"))


def test_how_it_looks_in_the_light_theme(snap_compare: Snapshot) -> None:
    app = many(terminal=Terminal(theme="ftconsole-light"))
    assert snap_compare(app, terminal_size=(120, 40), run_before=after("j", "j"))


def test_foreign_text_stays_text(snap_compare: Snapshot) -> None:
    nasty = "\x1b[2J[@click=app.quit]x[/] \u202e\x07日本"
    run = a_run("run-1", "failed", model=nasty, method=nasty, parent=nasty, explanation=nasty, path=nasty)
    assert snap_compare(console([run]), terminal_size=(160, 45), run_before=after())
