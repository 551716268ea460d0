"""The whole console: from the list of runs to one run and back, in a test's terminal and in a real one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import events
from engine.journal import Journal
from engine.runs.directory import RunDirectory, create_run
from screens.live.screen import LiveScreen
from screens.runs.screen import RunsScreen
from tests.screens.runs.stage import seen, until, until_seen
from tui.app import ConsoleApp

Open = Callable[..., Any]
"""See `open_pty` in conftest.py."""
SIZE = (100, 30)


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("TMUX", raising=False)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with a run that finished and one that died."""
    for name, ended in (("run-1", True), ("run-2", False)):
        run = make(tmp_path / "runs", name)
        journal = Journal(run.events)
        journal.append(events.to_json(events.KeeperStarted(1, 1, None)))
        journal.append(events.to_json(events.TrainingStarted(40, 1.0, 0, 1000, 10, "cpu", "float32")))
        for step in range(1, 41):
            loss = {"loss": 2.0 / step, "learning_rate": 1e-3}
            journal.append(events.to_json(events.StepFinished(step, step / 40, 50 * step, 0.1, loss)))
        if ended:
            journal.append(events.to_json(events.RunEnded("finished", 40, 4.0)))
        exit_code, signal = (0, None) if ended else (None, 9)
        journal.append(events.to_json(events.WorkerExited(exit_code, signal, False, 0)))
        journal.close()
    return tmp_path


def make(folder: Path, name: str) -> RunDirectory:
    created = events.RunCreated(name=name, method="sft", model="tiny", parent=None)
    return create_run(folder, name, created=created, files={"run.yaml": "{}\n", "provenance.json": "{}\n"})


async def test_from_the_list_to_a_run_and_back(workspace: Path) -> None:
    app = ConsoleApp(workspace)
    async with app.run_test(size=SIZE) as pilot:
        assert isinstance(app.screen, RunsScreen)
        await until_seen(pilot, "run-2")
        await pilot.press("slash", *"finished", "enter", "enter")
        await until(pilot, lambda: isinstance(app.screen, LiveScreen), "the run")
        await until_seen(pilot, "Finished: 40 steps")
        assert app.screen.sub_title == "run-1"
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen), "the list")
        assert "1 of 2 runs" in seen(app)
        await pilot.press("escape", "q")
        await pilot.pause()
    assert app.failures == []
    assert app.return_code == 0


async def test_from_a_run_to_the_list(workspace: Path) -> None:
    app = ConsoleApp(workspace, "run-2")
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "Died at step 40")
        await pilot.press("q")
        await until_seen(pilot, "2 runs")
        await pilot.press("G", "enter")
        await until(pilot, lambda: isinstance(app.screen, LiveScreen), "a run")
    assert app.failures == []


def test_the_whole_way_in_a_real_terminal(workspace: Path, open_pty: Open) -> None:
    command = [sys.executable, "-P", "-m", "tui.cli.main", "-w", str(workspace)]
    terminal = open_pty(command=command, size=SIZE)
    terminal.wait_for_text("run-2")
    terminal.wait_for_text("Killed by signal 9")
    terminal.send("j", "enter")
    terminal.wait_for_text("Finished: 40 steps")
    terminal.send("q")
    terminal.wait_for_text("2 runs")
    terminal.send("?")
    terminal.wait_for_text("Take no further step")
    terminal.send("escape")
    terminal.wait(lambda: "Take no further step" not in terminal.display, "the help to close")
    terminal.send("q")
    assert terminal.wait_for_end() == 0
    terminal.left_properly()


def test_an_empty_workspace_says_what_to_do_in_a_real_terminal(tmp_path: Path, open_pty: Open) -> None:
    command = [sys.executable, "-P", "-m", "tui.cli.main", "-w", str(tmp_path)]
    terminal = open_pty(command=command, size=(40, 10))
    terminal.wait_for_text("Start the demo")
    terminal.resize(80, 24)
    terminal.wait_for_text("ftconsole train RUN.yaml")
    terminal.send("q")
    assert terminal.wait_for_end() == 0
    terminal.left_properly()
