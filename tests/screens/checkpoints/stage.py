"""The console open on checkpoints, and ways to look at it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from textual.app import ComposeResult
from textual.pilot import Pilot
from textual.widgets import Static

from engine.runs.catalogue import RunEntry
from screens.checkpoints.screen import CheckpointsScreen
from screens.checkpoints.table import CheckpointTable
from tests.screens.checkpoints.shelf import StillFeed
from tests.screens.runs.stage import until
from tests.screens.runs.summaries import NOW
from tui.app import ConsoleApp
from tui.console_screen import ConsoleScreen
from tui.registry import ScreenEntry
from tui.terminal.contract import Terminal


class Opened(ConsoleScreen):
    """What is opened from the list."""

    def __init__(self, workspace: Path, run: str) -> None:
        super().__init__(workspace)
        self.run = run

    def compose_body(self) -> ComposeResult:
        yield Static(f"opened {self.run}", markup=False)


def console(runs: Iterable[RunEntry] = (), *, terminal: Terminal | None = None) -> ConsoleApp:
    """Return the console open on checkpoints that were made by hand."""
    feed = StillFeed(runs)

    def home(workspace: Path) -> CheckpointsScreen:
        return CheckpointsScreen(workspace, feed=feed, clock=lambda: NOW)

    return _app(Path("/workspace"), home, terminal)


def console_on(workspace: Path) -> ConsoleApp:
    """Return the console open on a workspace that is on disk."""
    return _app(workspace, CheckpointsScreen, None)


def _app(workspace: Path, home: object, terminal: Terminal | None) -> ConsoleApp:
    entries = (
        ScreenEntry("runs", "Checkpoints", home, "Every checkpoint"),  # type: ignore[arg-type]
        ScreenEntry("live", "Live", Opened, "One run", shows_run=True),
        ScreenEntry("configure", "Configure", Opened, "Settings", shows_run=True),
    )
    return ConsoleApp(workspace, terminal=terminal, screens=entries)


def shelf(app: ConsoleApp) -> CheckpointsScreen:
    """Return the screen, whatever is above it."""
    return next(screen for screen in app.screen_stack if isinstance(screen, CheckpointsScreen))


def table(app: ConsoleApp) -> CheckpointTable:
    return shelf(app).query_one(CheckpointTable)


def listed(app: ConsoleApp) -> list[str]:
    """Return what is listed, as the command line calls it."""
    return [row.spec for row in table(app).rows]


def selected(app: ConsoleApp) -> str:
    row = table(app).selected
    return row.spec if row is not None else ""


async def settled(pilot: Pilot[None]) -> None:
    """Wait until what is told of the row under the cursor is read and drawn."""
    app = pilot.app
    assert isinstance(app, ConsoleApp)
    screen = shelf(app)

    def quiet() -> bool:
        if not screen.query(CheckpointTable):
            return False  # not composed yet
        row = table(app).selected
        return row is None or row.checkpoint is None or screen.has_class("-line") or row.key in screen.known

    await until(pilot, quiet, "details")
    await pilot.pause()
    await pilot.wait_for_scheduled_animations()
