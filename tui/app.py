"""The application: opens screens, and keeps the console alive whatever a screen does.

A screen handles its own messages; what is here concerns all of them.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual._context import active_message_pump
from textual.actions import ActionParseResult, SkipAction
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.css.stylesheet import Stylesheet
from textual.dom import DOMNode
from textual.driver import Driver
from textual.message import Message
from textual.message_pump import MessagePump
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.widget import Widget
from textual.worker import WorkerFailed

from engine.errors import EngineError, NotFound
from tui.clipboard import copy
from tui.console_screen import ConsoleScreen
from tui.crash import where_it_failed, write_crash
from tui.display import plain
from tui.messages import CopyText, OpenScreen, RunsKnown
from tui.settings import Settings
from tui.terminal.contract import Terminal
from tui.terminal.driver import ConsoleDriver
from tui.theme import THEMES, curve_defaults
from tui.widgets.failure_panel import Failure

MISTAKES_ALLOWED = 20
"""Contained exceptions within `MISTAKES_SECONDS`; one more is a screen that cannot be drawn, and ends the console."""
MISTAKES_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ScreenEntry:
    """A screen the console can open."""

    name: str
    title: str
    target: str | Callable[..., ConsoleScreen]
    """ "module:Class", imported when it is first opened; or the class. Called as `target(workspace[, run])`."""
    explanation: str
    shows_run: bool = False
    """Whether it shows one run, whose name it is then given."""


SCREENS = (
    ScreenEntry("runs", "Runs", "screens.runs.screen:RunsScreen", "Every run of the workspace"),
    ScreenEntry("live", "Live", "screens.live.screen:LiveScreen", "One run, as it happens", shows_run=True),
)
"""The first is home: leaving it leaves the console."""


class ThreadFailed(Message):
    """An exception ended a thread or a callback that nobody waits for."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class ConsoleApp(App[None]):
    """The console.

    Args:
        workspace: Folder with `datasets/`, `models/` and `runs/`.
        opening: "runs", or the name of the run to open live.
        settings: What the user chose.
        terminal: What can be drawn with, from `tui.terminal.contract.examine`.
        screens: What can be opened; the first is home.
    """

    TITLE = "ftconsole"
    ENABLE_COMMAND_PALETTE = True
    COMMANDS: ClassVar[set[Any]] = set()
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark,f1", "help", "Help", id="app.help", key_display="?", tooltip="This list"),
        Binding(
            "ctrl+p", "command_palette", "Commands", show=False, priority=True, id="app.palette",
            tooltip="Go to a screen or run, or do anything by name",
        ),
        Binding(
            "colon", "command_palette", "Commands", show=False, id="app.palette-colon",
            tooltip="Go to a screen or run, or do anything by name",
        ),
        Binding(
            "ctrl+z", "suspend_process", "Suspend", show=False, id="app.suspend",
            tooltip="Back to the shell; fg returns",
        ),
        Binding(
            "ctrl+l", "repaint", "Draw again", show=False, id="app.repaint",
            tooltip="Draw the whole screen again",
        ),
        Binding("ctrl+c", "help_quit", show=False, system=True),
        Binding("Q", "quit", "Quit", show=False, id="app.quit", tooltip="Leave the console. Runs go on"),
        Binding(
            "ctrl+q", "quit", "Quit", show=False, priority=True, id="app.quit-always",
            tooltip="Leave the console. Runs go on",
        ),
    ]  # fmt: skip

    def __init__(
        self,
        workspace: Path,
        opening: str = "runs",
        settings: Settings | None = None,
        terminal: Terminal | None = None,
        screens: Sequence[ScreenEntry] = SCREENS,
    ) -> None:
        self.workspace = workspace
        self.settings = settings or Settings()
        self.terminal = terminal or Terminal()
        self.screen_entries = tuple(screens)
        self._opening = opening
        super().__init__()
        self.animation_level = "none"
        for theme in THEMES:
            self.register_theme(theme)
        if self.terminal.theme in self.available_themes:
            self.set_reactive(ConsoleApp.theme, self.terminal.theme)
        self._use_theme()
        self.known_runs: list[str] = []
        """Names for the command palette, newest first."""
        self.alive_runs: list[str] = []
        """What goes on when the console ends."""
        self.failures: list[Failure] = []
        """What was contained so far. A test that expects none asserts that this is empty."""
        self.crash_file: Path | None = None
        self._looping = False
        self._mistakes: deque[tuple[float, BaseException]] = deque(maxlen=MISTAKES_ALLOWED + 1)
        self._crash_files: dict[str, Path | None] = {}
        self.on_leaving: Callable[[int], None] = lambda _exit_code: None
        """Called with the exit code when the end begins, before widgets are asked to close."""

    def _use_theme(self) -> None:
        # What `App.__init__` did for its default theme. Nothing is parsed yet, so this costs one palette and not
        # the parsing of every style sheet.
        self.stylesheet = Stylesheet(variables=self.get_css_variables())
        self._refresh_truecolor_filter(self.ansi_theme)
        self.set_class(self.current_theme.dark, "-dark-mode", update=False)
        self.set_class(not self.current_theme.dark, "-light-mode", update=False)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return curve_defaults(self.current_theme)

    def get_driver_class(self) -> type[Driver]:
        chosen = super().get_driver_class()
        from textual.drivers.linux_driver import LinuxDriver

        return ConsoleDriver if chosen is LinuxDriver else chosen

    # Opening screens

    def get_default_screen(self) -> Screen[Any]:
        home = self.screen_entries[0]
        if self._opening == home.name:
            screen = self._make(home, None)
        else:
            screen = self._make(self._entry("live"), self._opening)
        # Textual reads the sheets of pushed screens only.
        for path in screen.css_path:
            self.stylesheet.read(path)
        return screen

    def _entry(self, name: str) -> ScreenEntry:
        for entry in self.screen_entries:
            if entry.name == name:
                return entry
        raise NotFound(f"There is no screen called {name!r}.")

    def _make(self, entry: ScreenEntry, run: str | None) -> ConsoleScreen:
        target = entry.target
        if isinstance(target, str):
            module, _, name = target.partition(":")
            target = getattr(import_module(module), name)
        screen: ConsoleScreen = target(self.workspace, run) if entry.shows_run else target(self.workspace)
        screen.set_reactive(Screen.title, screen.title or entry.title)
        screen.opened_as = (entry.name, run)
        return screen

    @on(OpenScreen)
    def _open(self, message: OpenScreen) -> None:
        message.stop()
        self.open_screen(message.name, message.run)

    def open_screen(self, name: str, run: str | None = None) -> None:
        """Go back to a screen that is open, or open it on top."""
        for depth, screen in enumerate(self.screen_stack):
            if isinstance(screen, ConsoleScreen) and screen.opened_as == (name, run):
                for _ in self.screen_stack[depth + 1 :]:
                    self.pop_screen()
                return
        self.push_screen(self._make(self._entry(name), run))

    def action_leave(self) -> None:
        """Leave the screen on top; the last one is left for home, and home for the shell."""
        if len(self.screen_stack) > 1:
            self.pop_screen()
        elif isinstance(self.screen, ConsoleScreen) and self.screen.opened_as != (self.screen_entries[0].name, None):
            self.switch_screen(self._make(self.screen_entries[0], None))
        else:
            self.exit()

    @on(RunsKnown)
    def _know_runs(self, message: RunsKnown) -> None:
        self.known_runs, self.alive_runs = message.names, message.alive

    # Keys that work everywhere

    def action_help(self) -> None:
        """Show what can be done here."""
        from tui.widgets.help import Help, help_groups

        if not isinstance(self.screen, Help):
            self.push_screen(Help(help_groups(self.screen)))

    def action_command_palette(self) -> None:
        """Open the palette over the screen."""
        from tui.palette import ConsoleCommands, ConsolePalette

        if not isinstance(self.screen, ConsolePalette):
            self.push_screen(ConsolePalette([ConsoleCommands], placeholder="A screen, a run or an action"))

    def search_themes(self) -> None:
        from textual.theme import ThemeProvider

        from tui.palette import ConsolePalette

        if self.terminal.colour == "none":
            self.notify("Without colours there is one theme.")
        else:
            self.push_screen(ConsolePalette([ThemeProvider], placeholder="A theme"))

    def get_system_commands(self, screen: Screen[object]) -> Sequence[SystemCommand]:  # noqa: ARG002
        return ()

    def action_repaint(self) -> None:
        """Draw everything again, for a terminal that something else has written on."""
        self.screen.refresh(layout=True)

    def action_help_quit(self) -> None:
        """Say how to leave. ctrl+c copies what is selected; with nothing selected somebody wants out."""
        self.notify("Q leaves the console, q this screen. Runs go on either way.", title="Nothing is selected")

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Show a note. Literal unless `markup` is asked for, the other way round than Textual's."""
        if not markup:
            message, title = plain(message, lines=12), plain(title)
        super().notify(message, title=title, severity=severity, timeout=timeout, markup=markup)

    # Copying

    @on(CopyText)
    def _copy(self, message: CopyText) -> None:
        self._clipboard = message.text
        self.run_worker(
            self._copy_and_say(message.text), group="copy", description=f"Copying {message.what}", exclusive=True
        )

    def copy_to_clipboard(self, text: str) -> None:
        self.post_message(CopyText(text, "the selection"))

    async def _copy_and_say(self, text: str) -> None:
        self.notify(str(await copy(text, self._send)))

    def _send(self, sequence: str) -> None:
        if self._driver is not None:
            self._driver.write(sequence)

    # A slow terminal

    def hold_frame(self) -> bool:
        """Whether frames must wait: the terminal has not taken the last one yet."""
        return isinstance(self._driver, ConsoleDriver) and self._driver.hold_back()

    def terminal_drained(self) -> None:
        """Draw what was held back."""
        if self._running and not self._exit and self.screen_stack:
            self.screen._compositor_refresh()

    def terminal_lost(self) -> None:
        """End: the terminal is gone."""
        self.end(128 + 1)

    def end(self, exit_code: int) -> None:
        """End the application from any thread or signal handler."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(partial(self.exit, return_code=exit_code))

    def give_terminal_back(self) -> None:
        """Restore the terminal at once. From a signal handler, too."""
        if isinstance(self._driver, ConsoleDriver):
            self._driver.stop_application_mode()

    def _resume_signal(self) -> None:
        super()._resume_signal()
        # Textual draws nothing after `fg`: the size is what it was.
        self.screen.refresh(layout=True)

    # Mistakes

    async def _dispatch_message(self, message: Message) -> None:
        try:
            await super()._dispatch_message(message)
        except Exception as error:
            # The boundary for handlers of the application itself.
            if not self._looping or not self.contain(error):
                raise

    async def run_action(
        self,
        action: str | ActionParseResult,
        default_namespace: DOMNode | None = None,
        namespaces: Any = None,
    ) -> bool:
        # An action runs in the widget that got the key: its mistake would end that widget.
        try:
            return await super().run_action(action, default_namespace, namespaces)
        except SkipAction:
            raise
        except Exception as error:
            # The boundary for actions.
            if not self.contain(error, default_namespace):
                raise
            return True

    async def _process_messages_loop(self) -> None:
        self._looping = True
        try:
            await super()._process_messages_loop()
        finally:
            self._looping = False

    def _handle_exception(self, error: Exception) -> None:
        # Textual calls this from the message loop that `error` has just ended. A widget's end is contained: Textual
        # takes it off the screen. The application's own end, or a start that failed, is one.
        pump = active_message_pump.get(None)
        if (self._looping or pump not in (None, self)) and self.contain(error):
            return
        self._return_code = 1
        self.crash_file = self._logged(error)
        if self._exception is None:
            self._exception = error
            self._exception_event.set()
        self._close_messages_no_wait()

    def panic(self, *_renderables: Any) -> None:
        """End without printing: what Textual prints has the values of variables in it."""
        self._return_code = 1
        self._close_messages_no_wait()

    def _print_error_renderables(self) -> None:
        self._exit_renderables.clear()

    def contain(self, error: BaseException, where: MessagePump | None = None) -> bool:  # noqa: ARG002
        """Show `error` on the screen it happened on and go on.

        Returns:
            False when it cannot be contained: there is no screen to show it on, or it happens again and again.
        """
        if isinstance(error, WorkerFailed):
            error = error.error
        if not isinstance(error, Exception):
            return False
        if any(error is known for _, known in self._mistakes):
            return True  # a worker's error arrives twice
        screen = next((entry for entry in reversed(self._screen_stack or ()) if isinstance(entry, ConsoleScreen)), None)
        if not self._running or self._exit or screen is None or self._exception is not None:
            return False
        now = time.monotonic()
        self._mistakes.append((now, error))
        if len(self._mistakes) > MISTAKES_ALLOWED and now - self._mistakes[0][0] < MISTAKES_SECONDS:
            return False
        failure = self._in_words(error)
        self.failures.append(failure)
        _hide_what_cannot_be_drawn(error)
        screen.show_failure(failure)
        return True

    def _in_words(self, error: Exception) -> Failure:
        if isinstance(error, EngineError):
            return Failure(error.code, error.message, error.remedy)
        path = self._logged(error)
        remedy = "Runs go on, and so does the rest of the console."
        if path is not None:
            remedy += f" Please report what is in {path}."
        return Failure("bug", f"A part of this screen failed: {where_it_failed(error)}.", remedy)

    def _logged(self, error: BaseException) -> Path | None:
        """Write `error` down once, however often it happens."""
        where = where_it_failed(error)
        if where not in self._crash_files:
            self._crash_files[where] = write_crash(error)
        return self._crash_files[where]

    @on(ThreadFailed)
    def _thread_failed(self, message: ThreadFailed) -> None:
        raise message.error

    def _on_load(self) -> None:
        self.set_keymap(dict(self.settings.keys))
        asyncio.get_running_loop().set_exception_handler(self._loop_failed)

    def _loop_failed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if (error := context.get("exception")) is not None:
            self.post_message(ThreadFailed(error))

    def thread_failed(self, arguments: threading.ExceptHookArgs) -> None:
        """Be `threading.excepthook`."""
        if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
            self.post_message(ThreadFailed(arguments.exc_value))

    def _on_ready(self) -> None:
        if not gc.isenabled():
            # What start-up made lives until the end; the collector need not look at it again.
            gc.freeze()
            gc.enable()

    async def _shutdown(self) -> None:
        self.on_leaving(self.return_code or 0)
        await super()._shutdown()


def _hide_what_cannot_be_drawn(error: BaseException) -> None:
    """Take the widget whose drawing or layout raised `error` off the screen, which could not be drawn with it."""
    culprit: Widget | None = None
    drawing = False
    frame = error.__traceback__
    while frame is not None:
        owner = frame.tb_frame.f_locals.get("self")
        drawing = drawing or frame.tb_frame.f_code.co_name in ("_compositor_refresh", "_refresh_layout")
        if isinstance(owner, Widget) and not isinstance(owner, Screen):
            culprit = owner
        frame = frame.tb_next
    if drawing and culprit is not None:
        culprit.display = False
