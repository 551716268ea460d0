"""An application that outlives mistakes and a terminal that does not read.

What a handler, an action, a worker, a thread or a drawing raises is shown on the screen it happened on. Only a start
that fails, and a mistake that happens again and again, end the console: with exit code 1, the terminal given back,
and the traceback in a file.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from textual import on
from textual._context import active_message_pump
from textual.actions import ActionParseResult
from textual.app import App
from textual.dom import DOMNode
from textual.driver import Driver
from textual.message import Message
from textual.message_pump import MessagePump
from textual.screen import Screen
from textual.widget import Widget
from textual.worker import WorkerFailed

from engine.errors import EngineError
from tui.console_screen import ConsoleScreen
from tui.crash import where_it_failed, write_crash
from tui.steady import Steady
from tui.terminal.contract import Terminal
from tui.terminal.driver import ConsoleDriver
from tui.widgets.failure_panel import Failure

MISTAKES_ALLOWED = 20
"""Contained exceptions within `MISTAKES_SECONDS`; one more is a screen that cannot be drawn, and ends the console."""
MISTAKES_SECONDS = 10.0


class ThreadFailed(Message):
    """An exception ended a thread or a callback that nobody waits for."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class SteadyApp(App[None]):
    """The application below the console's own.

    Args:
        terminal: What can be drawn with.
    """

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        super().__init__()
        self.failures: list[Failure] = []
        """What was contained so far. A test that expects none asserts that this is empty."""
        self.crash_file: Path | None = None
        """Where the bug that ended the application is written down."""
        self.refusal: EngineError | None = None
        """Why the application could not start."""
        self.on_leaving: Callable[[int], None] = lambda _exit_code: None
        """Called with the exit code when the end begins, before widgets are asked to close."""
        self._looping = False
        self._mistakes: deque[tuple[float, Exception]] = deque(maxlen=MISTAKES_ALLOWED + 1)
        self._too_many = False
        self._crash_files: dict[str, Path | None] = {}

    def get_driver_class(self) -> type[Driver]:
        chosen = super().get_driver_class()
        from textual.drivers.linux_driver import LinuxDriver

        return ConsoleDriver if chosen is LinuxDriver else chosen

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

    @on(Driver.SignalResume)
    def _draw_after_suspend(self) -> None:
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
        if isinstance(default_namespace, Steady) and not default_namespace.is_mounted:
            return False  # a key that was typed ahead: the screen has no widgets yet
        # An action runs in the widget that got the key: its mistake would end that widget.
        try:
            return await super().run_action(action, default_namespace, namespaces)
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
        if (self._looping or pump not in (None, self)) and self.contain(error, pump):
            return
        self._return_code = 1
        if isinstance(error, EngineError):
            self.refusal = error
        else:
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

    def contain(self, error: BaseException, where: MessagePump | None = None) -> bool:
        """Show `error` on the screen it happened on and go on.

        Returns:
            False when it cannot be contained: there is no screen to show it on, or it happens again and again.
        """
        if isinstance(error, WorkerFailed):
            error = error.error
        if not isinstance(error, Exception):
            return False
        if any(error is known for _, known in self._mistakes):
            # A worker's error arrives twice, and one that was too many on its way through every boundary.
            return not self._too_many
        screen = self._screen_of(where)
        if not self._running or self._exit or screen is None or self._exception is not None:
            return False
        now = time.monotonic()
        self._mistakes.append((now, error))
        if len(self._mistakes) > MISTAKES_ALLOWED and now - self._mistakes[0][0] < MISTAKES_SECONDS:
            self._too_many = True
            return False
        failure = self._in_words(error)
        self.failures.append(failure)
        _hide_what_cannot_be_drawn(error)
        screen.show_failure(failure)
        return True

    def _screen_of(self, where: MessagePump | None) -> ConsoleScreen | None:
        """Return the screen on which what happens in `where` is shown: its own, else the uppermost."""
        shown = [screen for screen in self._screen_stack or () if isinstance(screen, ConsoleScreen)]
        while where is not None:
            if where in shown:
                return shown[shown.index(where)]
            where = where._parent
        return shown[-1] if shown else None

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
