"""Our side of Textual's driver: writing that never waits, input without a thread, a mouse that reports clicks only.

Textual's own driver writes from a thread behind a queue of 30 items, whose `put` blocks: a terminal that is not read
stopped the event loop after 5 s. Here the terminal is opened a second time, for us alone, so that it can be
non-blocking; what does not fit waits in `backlog`, and screens draw no further frame until it is gone.
Textual reads keys in a thread that wakes up 10 times a second; here the event loop waits for them.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import termios
from codecs import getincrementaldecoder
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, cast

from textual import events
from textual._time import get_time
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.geometry import Size

from tui.terminal.contract import Terminal
from tui.terminal.glyphs import encoder

if TYPE_CHECKING:
    from textual.app import App
    from textual.message import Message

LEAVE = (
    "\x1b[?2026l"  # end of a synchronised update
    "\x1b[0m"
    "\x1b[?2004l"  # bracketed paste
    "\x1b[?7h"  # line wrap
    "\x1b[?2048l"  # resize reports
    "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1016l"  # mouse
    "\x1b[?1004l"  # focus reports
    "\x1b[<u"  # keyboard protocol, before the screen it belongs to
    "\x1b[?1049l\x1b[?25h"  # the other screen, and the cursor
)
"""Puts every mode back that a console may have changed."""
ABORT = "\x18\x1b\\"
"""Ends a sequence or string that was cut in the middle: CAN, then ST for terminals that only obey that."""
SETTLE_SECONDS = 0.5
"""How long leaving waits for a terminal that does not read."""


class TerminalHost(Protocol):
    """What the driver needs of the application."""

    terminal: Terminal

    def terminal_drained(self) -> None:
        """Everything written has left the process; frames that were held back can be drawn."""

    def terminal_lost(self) -> None:
        """Nobody will ever read or type again."""


class ConsoleDriver(LinuxDriver):
    """Textual's Linux driver with another way to read and to write."""

    def __init__(
        self, app: App[Any], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._host = cast(TerminalHost, app)
        self._mouse_mode = self._host.terminal.mouse if mouse else "off"
        self._mouse = self._mouse_mode != "off"
        self._encode = encoder(self._host.terminal.charset, self._host.terminal.glyphs)
        self._output = _opened_again(sys.__stdout__.fileno() if sys.__stdout__ else 1)
        self._backlog = bytearray()
        self._flush_planned = False
        self._held_back = False
        self._active = False
        self._listening = False
        self._escape_timer: asyncio.TimerHandle | None = None

    # Output

    def hold_back(self) -> bool:
        """Return whether a frame must wait because the terminal has not yet taken the last one.

        If it must, the application is told with `terminal_drained` when to draw it.
        """
        self._held_back = bool(self._backlog)
        return self._held_back

    def write(self, data: str) -> None:
        """Hand `data` on, or keep it until the terminal reads. Never waits."""
        if not self._active:
            return
        self._backlog += self._encode(data)
        if not self._flush_planned:
            # The begin, body and end of a frame are three writes; they leave as one.
            self._flush_planned = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write as much as the terminal takes now."""
        self._flush_planned = False
        if not self._backlog or not self._active:
            return
        try:
            written = os.write(self._output, self._backlog)
        except (BlockingIOError, InterruptedError):
            written = 0
        except OSError:
            self._lost()
            return
        del self._backlog[:written]
        if self._backlog:
            self._loop.add_writer(self._output, self.flush)
            return
        self._loop.remove_writer(self._output)
        if self._held_back:
            self._held_back = False
            self._host.terminal_drained()

    def _write_out(self, seconds: float) -> None:
        """Write the backlog, waiting at most `seconds`, and forget what did not fit."""
        deadline = get_time() + seconds
        while self._backlog:
            try:
                del self._backlog[: os.write(self._output, self._backlog)]
            except (BlockingIOError, InterruptedError):
                left = deadline - get_time()
                if left <= 0 or not select.select([], [self._output], [], left)[1]:
                    break
            except OSError:
                break
        self._backlog.clear()

    # Input

    def _run_input_thread(self) -> None:
        """Textual's thread for reading keys: there is nothing for it to do."""

    def _listen(self) -> None:
        self._parser = XTermParser(self._debug)
        self._decode = getincrementaldecoder("utf-8")("replace").decode
        self._loop.add_reader(self.fileno, self._read)
        self._listening = True

    def _read(self) -> None:
        try:
            typed = os.read(self.fileno, 65536)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            typed = b""
        if not typed:
            self._lost()
            return
        if text := self._decode(typed):
            for message in self._parser.feed(text):
                self.process_message(message)
            self._expect_rest_of_escape()

    def _expect_rest_of_escape(self) -> None:
        """Let a lone ESC become a key once nothing has followed it for ESCDELAY."""
        if self._escape_timer is not None:
            self._escape_timer.cancel()
            self._escape_timer = None
        due = self._parser._timeout_time
        if due is not None:
            self._escape_timer = self._loop.call_later(max(0.0, due - get_time()) + 0.001, self._escape_is_over)

    def _escape_is_over(self) -> None:
        for message in self._parser.tick():
            self.process_message(message)
        self._expect_rest_of_escape()

    def process_message(self, message: Message) -> None:
        """Pass a key, click or report on; motion only where it was asked for."""
        if self._mouse_mode != "full" and isinstance(message, events.MouseMove) and not message.button:
            return
        super().process_message(message)

    def disable_input(self) -> None:
        """Stop reading keys."""
        if self._listening:
            self._listening = False
            self._loop.remove_reader(self.fileno)
            if self._escape_timer is not None:
                self._escape_timer.cancel()
            signal.signal(signal.SIGWINCH, signal.SIG_DFL)
            with suppress(termios.error):
                termios.tcflush(self.fileno, termios.TCIFLUSH)

    def _enable_mouse_support(self) -> None:
        if self._mouse_mode == "full":
            super()._enable_mouse_support()
        elif self._mouse_mode == "click":
            # Buttons and wheel, motion only while a button is down, coordinates beyond 223.
            self.write("\x1b[?1000h\x1b[?1002h\x1b[?1006h")

    def _get_terminal_size(self) -> tuple[int, int]:
        try:
            width, height = os.get_terminal_size(self._output)
        except OSError:
            width = height = 0
        return width or 80, height or 24

    # Textual asks for the size in the handler of SIGWINCH, which a second one interrupts: the newer size was then
    # told before the older, and the console stayed at a size the window no longer had.

    def _window_changed(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._tell_size)

    def _tell_size(self) -> None:
        if self._listening and not self._in_band_window_resize:
            size = Size(*self._get_terminal_size())
            self.send_message(events.Resize(size, size))

    # Beginning and leaving

    def start_application_mode(self) -> None:
        """Take the terminal over. Also after a stop that nobody announced (SIGSTOP): then only the modes are set."""
        before = self.attrs_before if self._active else None
        self._active = True
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])
        try:
            super().start_application_mode()  # type: ignore[no-untyped-call]
            signal.signal(signal.SIGWINCH, self._window_changed)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGWINCH])
        if before is not None:
            self.attrs_before = before
        if self._writer_thread is not None:
            self._writer_thread.stop()
            self._writer_thread = None
        if not self._listening:
            self._listen()
        self.flush()

    def stop_application_mode(self) -> None:
        """Give the terminal back as it was, without waiting for one that does not read. Can be called twice.

        Also called from a signal handler, between any two instructions of the main thread.
        """
        if not self._active:
            return
        self._active = False
        self._loop.remove_writer(self._output)
        # Nobody needs what is still on its way to a screen that is about to go. On an 8 kB/s line the 22 kB a
        # pty holds would take 3 s.
        self._backlog.clear()
        with suppress(termios.error):
            termios.tcflush(self._output, termios.TCOFLUSH)
        self._backlog += self._encode(ABORT + LEAVE)
        self.disable_input()
        if self.attrs_before is not None:
            with suppress(termios.error):
                termios.tcsetattr(self.fileno, termios.TCSANOW, self.attrs_before)
        self._write_out(SETTLE_SECONDS)

    def close(self) -> None:
        """Nothing is open that `resume_application_mode` would not need again."""

    # Signals are handled between any two instructions, so perhaps in the middle of a write: not here and now.

    def _sigtstp_application(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(super()._sigtstp_application)

    def _sigcont_application(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(super()._sigcont_application)

    def _lost(self) -> None:
        self._backlog.clear()
        self._loop.remove_writer(self._output)
        self.disable_input()
        self._host.terminal_lost()


def _opened_again(descriptor: int) -> int:
    """Return the terminal of `descriptor` opened for us alone and non-blocking.

    The flag belongs to the open file, which the shell and everything it started share: setting it on theirs would
    make `cat` fail after we left. A terminal that has no name here (another container's) is written to as it is,
    and waited for.
    """
    flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
    names = ["/dev/tty", f"/proc/self/fd/{descriptor}"]
    with suppress(OSError):
        names.insert(0, os.ttyname(descriptor))
    for name in names:
        with suppress(OSError):
            return os.open(name, flags)
    return os.dup(descriptor)
