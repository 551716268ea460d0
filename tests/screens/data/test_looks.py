"""How the inspection of data looks. Look at the picture before accepting it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.screens.data.files import preferences, questions, wrong
from tests.screens.data.stage import console, data_screen, settled
from tests.screens.runs.stage import until
from tui.app import ConsoleApp
from tui.terminal.contract import Terminal

Snapshot = Any
SIZES = pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=["small", "large"])


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose path, which is on screen, is the same in every test."""
    monkeypatch.chdir(tmp_path)
    return Path("workspace")


def after(*keys: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    """Press keys, each once everything that the one before led to is there."""

    async def act(pilot: Pilot[None]) -> None:
        app = pilot.app
        assert isinstance(app, ConsoleApp)
        await settled(pilot)
        for key in keys:
            await pilot.press(key)
            await settled(pilot)
        screen = data_screen(app)
        if screen.view == "statistics":
            await until(pilot, lambda: screen.statistics is not None and screen.statistics.done, "statistics")
        await settled(pilot)

    return act


@SIZES
@pytest.mark.parametrize(
    ("make", "keys"),
    [
        pytest.param(questions, ["j"], id="messages"),
        pytest.param(questions, ["j", "x"], id="mask"),
        pytest.param(preferences, ["j"], id="preferences"),
        pytest.param(wrong, ["d", "tab", "j", "enter"], id="doctor"),
        pytest.param(questions, ["s"], id="statistics"),
    ],
)
def test_how_it_looks(
    snap_compare: Snapshot, workspace: Path, make: Callable[[Path], Path], keys: Sequence[str], size: tuple[int, int]
) -> None:
    assert snap_compare(console(workspace, make(workspace)), terminal_size=size, run_before=after(*keys))


@pytest.mark.parametrize("size", [(60, 15), (40, 10)], ids=["monitor", "summary"])
@pytest.mark.parametrize("keys", [["j"], ["x"]], ids=["rows", "mask"])
def test_how_it_looks_where_there_is_little_room(
    snap_compare: Snapshot, workspace: Path, keys: Sequence[str], size: tuple[int, int]
) -> None:
    app = console(workspace, questions(workspace))
    assert snap_compare(app, terminal_size=size, run_before=after(*keys))


def test_how_a_mask_looks_without_colours(snap_compare: Snapshot, workspace: Path) -> None:
    app = console(workspace, questions(workspace), Terminal(theme="ftconsole-plain", colour="none"))
    assert snap_compare(app, terminal_size=(80, 24), run_before=after("x"))


def test_how_a_mask_looks_in_ascii(snap_compare: Snapshot, workspace: Path) -> None:
    app = console(workspace, questions(workspace), Terminal(glyphs="ascii", theme="ansi-dark"))
    assert snap_compare(app, terminal_size=(80, 24), run_before=after("x"))


def test_how_the_choice_of_a_file_looks(snap_compare: Snapshot, workspace: Path) -> None:
    questions(workspace)
    preferences(workspace)

    async def act(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(pilot.app.screen_stack) > 1, "the list of files")
        await pilot.pause()

    assert snap_compare(console(workspace, None), terminal_size=(80, 24), run_before=act)


def test_how_the_rows_of_a_search_look(snap_compare: Snapshot, workspace: Path) -> None:
    app = console(workspace, questions(workspace))
    run_before = after("slash", *"Tintin", "enter", "n", "f")
    assert snap_compare(app, terminal_size=(80, 24), run_before=run_before)
