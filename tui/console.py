"""Running the console: what must be done before Textual is imported, and after it has gone."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from engine.errors import ConfigError
from tui.display import for_terminal
from tui.registry import SCREENS, ScreenEntry
from tui.settings import Settings
from tui.terminal.contract import Terminal, examine, textual_environment


def run_console(
    workspace: Path,
    *,
    run: str | None = None,
    opening: tuple[str, str | None] | None = None,
    settings: Settings,
    screens: Sequence[ScreenEntry] = SCREENS,
) -> int:
    """Show the console until the user leaves it.

    Args:
        workspace: Folder with `datasets/`, `models/` and `runs/`.
        run: Name of the run to open live. None: the list of runs.
        opening: Name of a screen and its subject, to open instead.
        settings: From `load_settings`.
        screens: What can be opened; the first is home.

    Returns:
        The exit code: 0, 1 after a bug, 128 + n after signal n.

    Raises:
        TerminalError: This is no terminal a console could be drawn on.
        ConfigError: The theme is not known.
        EngineError: The first screen could not be made, as for a run that is not there.
    """
    terminal = examine(settings, os.environ, interactive=_is_terminal(0) and _is_terminal(1))
    if terminal.charset != "utf-8":
        _start_again_in_utf8()
    for name, value in textual_environment(terminal).items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    # Nothing becomes garbage while modules are imported; looking for it takes a tenth of the start.
    gc.disable()
    from tui.app import ConsoleApp
    from tui.terminal.leaving import Leaving

    app = ConsoleApp(workspace, opening or run or "runs", settings, terminal, screens)
    _check_theme(settings, list(app.available_themes))
    threading.excepthook = app.thread_failed
    with Leaving(app.give_terminal_back, app.end) as leaving:
        app.on_leaving = leaving.must_end
        try:
            app.run(mouse=terminal.mouse != "off")
        finally:
            app.give_terminal_back()
            gc.enable()
            threading.excepthook = threading.__excepthook__
    if app.refusal is not None:
        raise app.refusal
    _say_goodbye(terminal, app.crash_file, app.alive_runs, app.return_code or 0)
    return app.return_code or 0


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def _start_again_in_utf8() -> None:
    """Replace this process by one in Python's UTF-8 mode, once.

    Without it every file opened without an encoding would be read in the terminal's charset.
    """
    if not sys.flags.utf8_mode and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _check_theme(settings: Settings, known: list[str]) -> None:
    if settings.theme != "auto" and settings.theme not in known:
        from difflib import get_close_matches

        near = get_close_matches(settings.theme, known, 1)
        hint = f"; nearest is {near[0]}" if near else ""
        raise ConfigError(
            [f"theme: there is none called {settings.theme!r}{hint}"], remedy=f"Known: {', '.join(sorted(known))}."
        )


def _say_goodbye(terminal: Terminal, crash_file: Path | None, alive: list[str], exit_code: int) -> None:
    """Say what the shell should know, once the screen is the shell's again."""

    def say(line: str) -> None:
        print(for_terminal(line, encoding=terminal.charset), file=sys.stderr, flush=True)

    if exit_code == 1:
        where = f"The traceback, without values, is in {crash_file}." if crash_file else "It could not be written down."
        say(f"ftconsole stopped because of a mistake in it. Runs go on. {where}")
    elif alive and exit_code == 0:
        shown = ", ".join(alive[:5]) + (f" and {len(alive) - 5} more" if len(alive) > 5 else "")
        say(f"Still running: {shown}. `ftconsole` shows it again." if len(alive) == 1 else f"Still running: {shown}.")
