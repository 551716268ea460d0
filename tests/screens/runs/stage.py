"""The console open on the list of runs, and ways to look at it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from textual.app import ComposeResult
from textual.pilot import Pilot
from textual.widgets import Static

from engine.hardware.devices import DeviceReading
from engine.runs.summary import RunSummary
from screens.runs.details import DetailsPane
from screens.runs.devices import Machine, Named
from screens.runs.reading import Details
from screens.runs.screen import RunsScreen
from screens.runs.table import RunTable
from tests.conftest import PATIENCE_SECONDS
from tests.screens.runs.summaries import NOW, StillFeed
from tui.app import ConsoleApp
from tui.console_screen import ConsoleScreen
from tui.registry import ScreenEntry
from tui.terminal.contract import Terminal

GPU = DeviceReading("NVIDIA H200", "cuda", 0, 43_100_000_000, 150_000_000_000, 0.9, 61.0, 412.0)


class StillMachine(Machine):
    """A machine whose figures do not move, and that counts how often it was asked for them."""

    def __init__(self, *readings: DeviceReading) -> None:
        super().__init__()
        self.readings = list(readings or [GPU])
        self.measured = 0

    def measure(self) -> list[DeviceReading]:
        self.measured += 1
        return self.readings

    def names(self) -> list[Named]:
        return [Named("NVIDIA H200", None), Named("CPU, 16 cores", 137_438_953_472)]


class Opened(ConsoleScreen):
    """What is opened from the list."""

    def __init__(self, workspace: Path, run: str) -> None:
        super().__init__(workspace)
        self.run = run

    def compose_body(self) -> ComposeResult:
        yield Static(f"opened {self.run}", markup=False)


def console(
    summaries: Iterable[RunSummary] = (),
    *,
    details: Mapping[str, Details] | None = None,
    machine: Machine | None = None,
    terminal: Terminal | None = None,
) -> ConsoleApp:
    """Return the console open on runs that were made by hand."""
    feed = StillFeed(summaries, known=details)

    def home(workspace: Path) -> RunsScreen:
        return RunsScreen(workspace, feed=feed, machine=machine or StillMachine(), clock=lambda: NOW)

    return _app(Path("/workspace"), home, terminal)


def console_on(workspace: Path, machine: Machine | None = None) -> ConsoleApp:
    """Return the console open on a workspace that is on disk."""
    return _app(workspace, lambda folder: RunsScreen(folder, machine=machine or StillMachine()), None)


def _app(workspace: Path, home: Callable[[Path], RunsScreen], terminal: Terminal | None) -> ConsoleApp:
    entries = (
        ScreenEntry("runs", "Runs", home, "Every run"),
        ScreenEntry("live", "Live", Opened, "One run", shows_run=True),
    )
    return ConsoleApp(workspace, terminal=terminal, screens=entries)


def runs_screen(app: ConsoleApp) -> RunsScreen:
    """Return the list, whatever is above it."""
    return next(screen for screen in app.screen_stack if isinstance(screen, RunsScreen))


def listed(app: ConsoleApp) -> list[str]:
    """Return the names of the runs in the list."""
    return [row.name for row in runs_screen(app).query_one(RunTable).rows]


def seen(app: ConsoleApp) -> str:
    """Return what is on the terminal, row by row."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


def notes(app: ConsoleApp) -> list[str]:
    """Return what the notes on screen say."""
    return [note.message for note in app._notifications]


async def until(pilot: Pilot[None], condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}; on the terminal is\n{seen(pilot.app)}")  # type: ignore[arg-type]
        await pilot.pause()
        await asyncio.sleep(0.02)


async def until_seen(pilot: Pilot[None], text: str) -> None:
    """Wait until a text is on the terminal."""
    await until(pilot, lambda: text in seen(pilot.app), repr(text))  # type: ignore[arg-type]


async def settled(pilot: Pilot[None]) -> None:
    """Wait until devices and details are read and drawn."""
    app = pilot.app
    assert isinstance(app, ConsoleApp)
    screen = runs_screen(app)

    def quiet() -> bool:
        run = screen.query_one(RunTable).selected
        return bool(screen.devices) and (
            run is None or screen.has_class("-line") or run.name in screen.query_one(DetailsPane).known
        )

    await until(pilot, quiet, "details and devices")
    await pilot.pause()
    await pilot.wait_for_scheduled_animations()
