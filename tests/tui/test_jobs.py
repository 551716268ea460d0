"""Work that outlives the screen that began it, and ends with the console."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from engine.errors import UsageError
from tests.conftest import PATIENCE_SECONDS
from tests.screens.runs.stage import notes, until, until_seen
from tui.app import ConsoleApp
from tui.console_screen import ConsoleScreen
from tui.jobs import Tell
from tui.registry import ScreenEntry
from tui.widgets.confirm import Confirm


def console() -> ConsoleApp:
    entries = (
        ScreenEntry("runs", "Runs", ConsoleScreen, "Home"),
        ScreenEntry("other", "Other", ConsoleScreen, "On top"),
    )
    return ConsoleApp(Path("/workspace"), screens=entries)


class Held:
    """Work that goes on until it is let go, or stopped."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.ended = ""

    def __call__(self, tell: Tell, stopped: Callable[[], bool]) -> str:
        tell("half of it", 0.5)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.go.wait(0.01) and time.monotonic() < deadline:
            if stopped():
                self.ended = "stopped"
                raise InterruptedError
        self.ended = "done"
        return "All of it."


async def test_it_goes_on_when_its_screen_is_left_and_says_what_became_of_it() -> None:
    app, work, after = console(), Held(), list[str]()
    async with app.run_test() as pilot:
        app.open_screen("other")
        job = app.jobs.start("Working on [b]it", work, after=lambda: after.append("after"))
        await until(pilot, lambda: job.fraction == 0.5, "progress")
        await pilot.press("q")
        assert app.jobs.running == [job]
        work.go.set()
        await until(pilot, lambda: notes(app) == ["All of it."], "the end")
    assert after == ["after"]
    assert app.jobs.running == []
    assert not app.failures


async def test_what_goes_wrong_is_said_in_the_panel() -> None:
    def fails(tell: Tell, stopped: Callable[[], bool]) -> str:
        raise UsageError("There is no such thing.", remedy="Name another.")

    app = console()
    async with app.run_test() as pilot:
        app.jobs.start("Working", fails)
        await until_seen(pilot, "Working: There is no such thing.")
        await until_seen(pilot, "Name another.")
    assert not app.failures


async def test_one_that_is_stopped_says_so() -> None:
    app, work = console(), Held()
    async with app.run_test() as pilot:
        job = app.jobs.start("Working", work)
        job.stopped.set()
        await until(pilot, lambda: notes(app) == ["It was stopped; nothing is left of it."], "the end")
    assert work.ended == "stopped"
    assert not app.failures


async def test_leaving_the_console_asks_first_and_then_ends_it() -> None:
    app, work = console(), Held()
    async with app.run_test() as pilot:
        job = app.jobs.start("Working", work)
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await pilot.press("n")
        assert app.jobs.running == [job]
        await pilot.press("Q")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await pilot.press("y")
        await until(pilot, lambda: work.ended, "its end")
    assert work.ended == "stopped"
