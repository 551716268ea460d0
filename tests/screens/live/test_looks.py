"""How the live view looks in each state a run can be in. Look at the picture before accepting it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.screens.live import states
from tests.screens.live.stage import console
from tests.screens.live.states import StillFeed
from tui.terminal.contract import Terminal

Snapshot = Any
SIZES = pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=["small", "large"])
RUNS = (
    pytest.param(states.starting, id="starting"),
    pytest.param(states.training, id="training"),
    pytest.param(states.evaluating, id="evaluating"),
    pytest.param(states.paused, id="paused"),
    pytest.param(states.finished, id="finished"),
    pytest.param(states.stopped, id="stopped"),
    pytest.param(states.failed, id="failed with a remedy"),
    pytest.param(states.died, id="died"),
    pytest.param(states.unknown, id="unknown"),
    pytest.param(states.nan_gap, id="gap"),
    pytest.param(states.empty, id="empty"),
    pytest.param(states.second_stage, id="second stage"),
)


@SIZES
@pytest.mark.parametrize("run", RUNS)
def test_how_it_looks(snap_compare: Snapshot, run: Callable[[], StillFeed], size: tuple[int, int]) -> None:
    assert snap_compare(console(run()), terminal_size=size)


@pytest.mark.parametrize("size", [(120, 40), (60, 15), (40, 10), (80, 4)], ids=["medium", "monitor", "summary", "rows"])
@pytest.mark.parametrize(
    "run", [pytest.param(states.training, id="training"), pytest.param(states.failed, id="failed")]
)
def test_how_it_looks_at_other_sizes(
    snap_compare: Snapshot, run: Callable[[], StillFeed], size: tuple[int, int]
) -> None:
    assert snap_compare(console(run()), terminal_size=size)


@SIZES
@pytest.mark.parametrize(
    ("run", "keys"),
    [
        pytest.param(states.finished, ["]"], id="samples"),
        pytest.param(states.failed, ["]", "]"], id="log"),
        pytest.param(states.second_stage, ["["], id="details of stages"),
        pytest.param(states.training, ["["], id="details"),
    ],
)
def test_how_the_other_views_look(
    snap_compare: Snapshot, run: Callable[[], StillFeed], keys: list[str], size: tuple[int, int]
) -> None:
    assert snap_compare(console(run()), terminal_size=size, press=keys)


@pytest.mark.parametrize(
    ("run", "keys"),
    [
        pytest.param(states.training, ["x", "left", "left"], id="crosshair"),
        pytest.param(states.training, ["f"], id="enlarged"),
        pytest.param(states.training, ["."], id="more charts"),
        pytest.param(states.training, ["m"], id="metrics"),
        pytest.param(states.training, ["S"], id="stop"),
        pytest.param(states.training, ["L", "1", "x", "enter"], id="learning rate"),
        pytest.param(states.training, ["space"], id="frozen"),
        pytest.param(states.indexing, [], id="indexing"),
        pytest.param(states.without_samples, [], id="without samples"),
    ],
)
def test_how_it_looks_after_keys(snap_compare: Snapshot, run: Callable[[], StillFeed], keys: list[str]) -> None:
    assert snap_compare(console(run()), terminal_size=(120, 40), press=keys)


@pytest.mark.parametrize("glyphs", ["block", "ascii"])
def test_how_it_looks_on_lesser_terminals(snap_compare: Snapshot, glyphs: str) -> None:
    terminal = Terminal(glyphs=glyphs, theme="ansi-dark")
    assert snap_compare(console(states.failed(), terminal=terminal), terminal_size=(80, 24))


def test_how_it_looks_in_the_light_theme(snap_compare: Snapshot) -> None:
    app = console(states.training(), terminal=Terminal(theme="ftconsole-light"))
    assert snap_compare(app, terminal_size=(120, 40))


def test_a_silent_run_is_called_so(snap_compare: Snapshot) -> None:
    assert snap_compare(console(states.training(), after=150.0), terminal_size=(80, 24))
