"""`ftconsole` without a command: the console."""

from __future__ import annotations

from collections.abc import Mapping

from engine.workspace import Workspace
from tui.settings import load_settings


def open_console(workspace: str | None, run: str | None, given: Mapping[str, str | int | None]) -> int:
    """Show the console until the user leaves it; return its exit code.

    Raises:
        TerminalError: There is no terminal to draw it on.
        ConfigError, NotFound, WorkspaceError: The settings, the run or the workspace are wrong.
    """
    place = Workspace.find(workspace)
    settings = load_settings(given)
    if run is not None:
        from engine.runs.directory import find_run

        run = find_run(place.runs, run).name
    from tui.console import run_console

    return run_console(place.path, run=run, settings=settings)
