"""The console opened on one run, and ways to look at it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from screens.live.screen import LiveScreen
from tests.conftest import PATIENCE_SECONDS
from tests.screens.live.states import StillFeed
from tui.app import ConsoleApp
from tui.console_screen import ConsoleScreen
from tui.registry import ScreenEntry
from tui.terminal.contract import Terminal


class Home(ConsoleScreen):
    """What lies below."""


def console(feed: StillFeed, *, after: float = 0.4, terminal: Terminal | None = None) -> ConsoleApp:
    """Return the console open on a run that was made by hand, `after` seconds after its last word."""

    def live(workspace: Path, run: str) -> LiveScreen:
        return LiveScreen(workspace, run, feed=feed, clock=lambda: feed.state.last_said + after)

    return _app(Path("/workspace"), feed.state.name, live, terminal)


def console_on(workspace: Path, run: str) -> ConsoleApp:
    """Return the console open on a run that is on disk."""
    return _app(workspace, run, LiveScreen, None)


def _app(workspace: Path, run: str, live: Callable[..., ConsoleScreen], terminal: Terminal | None) -> ConsoleApp:
    entries = (
        ScreenEntry("runs", "Runs", Home, "What lies below"),
        ScreenEntry("live", "Live", live, "One run", shows_run=True),
    )
    return ConsoleApp(workspace, run, terminal=terminal, screens=entries)


def live_screen(app: ConsoleApp) -> LiveScreen:
    """Return the live view, whatever dialog is above it."""
    return next(screen for screen in app.screen_stack if isinstance(screen, LiveScreen))


def seen(app: ConsoleApp) -> str:
    """Return what is on the terminal, row by row."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


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
