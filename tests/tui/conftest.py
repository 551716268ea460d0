"""A real terminal for tests: a pty, a program in it, and an emulator that shows what a person would see."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pyte
import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60.0
"""How long a condition is waited for; reached only when something is broken."""
KEYS = {
    "enter": "\r",
    "escape": "\x1b",
    "tab": "\t",
    "ctrl+c": "\x03",
    "ctrl+q": "\x11",
    "ctrl+z": "\x1a",
    "f1": "\x1bOP",
}

T = TypeVar("T")


class _Screen(pyte.Screen):
    """Pyte's screen, which does not know two sequences of today's programs."""

    def select_graphic_rendition(self, *attributes: int, **_private: bool) -> None:
        super().select_graphic_rendition(*attributes)

    def report_device_status(self, mode: int, **_private: bool) -> None:
        """Answer nothing: nobody reads it."""


class Pty:
    """A program in a terminal of its own, its session leader as in a login."""

    def __init__(self, command: list[str], environment: dict[str, str], size: tuple[int, int]) -> None:
        self.environment = environment
        self.raw = bytearray()
        """Everything the program has written that was read."""
        self.exit_code: int | None = None
        """As a shell would show it: 128 + n for a program that signal n ended."""
        self._screen = _Screen(*size)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self._reading = threading.Event()
        self._reading.set()
        self._bytes_per_second: int | None = None
        self._closed = False
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            # The size is set by the parent; the program asks for it some 100 ms later.
            os.execve(command[0], command, environment)
        self.resize(*size)
        self.termios_before = termios.tcgetattr(self.master)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._closed:
            self._reading.wait()
            try:
                if not select.select([self.master], [], [], 0.05)[0]:
                    continue
                data = os.read(self.master, 65536 if self._bytes_per_second is None else self._bytes_per_second // 20)
            except (OSError, ValueError):
                return
            if not data:
                return
            with self._lock:
                self.raw += data
                self._stream.feed(data)
            if self._bytes_per_second is not None:
                time.sleep(len(data) / self._bytes_per_second)

    # What the terminal does

    def send(self, *keys: str) -> None:
        """Type: a name of `KEYS`, or the characters themselves."""
        os.write(self.master, "".join(KEYS.get(key, key) for key in keys).encode())

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        with self._lock:
            self._screen.resize(rows, columns)

    def stall(self) -> None:
        """Read nothing more, as a link that hangs."""
        self._reading.clear()

    def drain(self) -> None:
        """Read again."""
        self._reading.set()

    def slow_down(self, bytes_per_second: int) -> None:
        """Be a slow line."""
        self._bytes_per_second = bytes_per_second

    def hang_up(self) -> None:
        """Be closed, as a window or a connection is."""
        self._closed = True
        self._reading.set()
        self._thread.join()
        os.close(self.master)

    # What is seen

    @property
    def display(self) -> str:
        with self._lock:
            return "\n".join(self._screen.display)

    @property
    def modes(self) -> list[Any]:
        """The line discipline's settings."""
        return termios.tcgetattr(self.master)

    def wait(self, condition: Callable[[], T], what: str = "") -> T:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"waited in vain for {what or condition}; on the screen:\n{self.display}\n{self.raw[-2000:]!r}"
                )
            time.sleep(0.01)
        return value

    def wait_for_text(self, text: str) -> None:
        self.wait(lambda: text in self.display, repr(text))

    def wait_for_raw(self, data: bytes, start: int = 0) -> None:
        self.wait(lambda: data in self.raw[start:], repr(data))

    def wait_for_last_words(self, text: str) -> None:
        """Wait for what is said after the console.

        Where it stands is not looked at: a frame may have been cut in the middle, and this emulator has no second
        screen with a cursor of its own.
        """
        self.wait_for_raw(text.encode())

    # How it ends

    def kill(self, number: int) -> None:
        os.kill(self.pid, number)

    def has_ended(self) -> bool:
        if self.exit_code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self.exit_code = code if code >= 0 else 128 - code
        return self.exit_code is not None

    def wait_for_end(self) -> int:
        self.wait(self.has_ended, "the end of the program")
        self.drain()
        assert self.exit_code is not None
        return self.exit_code

    def wait_until_stopped(self) -> None:
        self.wait(lambda: os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)[0], "the program to be suspended")

    def end(self) -> None:
        if not self.has_ended():
            os.kill(self.pid, signal.SIGKILL)
            self.wait(self.has_ended)
        self._closed = True
        self._reading.set()
        self._thread.join()
        with suppress(OSError):  # hung up before
            os.close(self.master)

    def left_properly(self) -> None:
        """Assert that the terminal was given back as it was."""
        self.drain()
        self.wait_for_raw(b"\x1b[?1049l")
        for sequence in (b"\x1b[?25h", b"\x1b[?1000l", b"\x1b[?1003l", b"\x1b[?2004l", b"\x1b[?1004l", b"\x1b[<u"):
            assert sequence in self.raw
        assert self.modes == self.termios_before


Open = Callable[..., Pty]


@pytest.fixture
def open_pty(tmp_path: Path) -> Iterator[Open]:
    """Return a function that starts `tests/tui/programs/console.py` (or another program) in a terminal.

    Its home and state folder are in `tmp_path`; `env` adds variables, or takes them away with None.
    """
    opened: list[Pty] = []

    def open_(
        *arguments: str,
        program: str = "tests/tui/programs/console.py",
        size: tuple[int, int] = (80, 24),
        env: dict[str, str | None] | None = None,
        command: list[str] | None = None,
    ) -> Pty:
        values: dict[str, str | None] = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "XDG_STATE_HOME": str(tmp_path / "state"),
            "XDG_CONFIG_HOME": str(tmp_path / "config"),
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            **(env or {}),
        }
        kept = {name: value for name, value in values.items() if value is not None}
        opened.append(Pty(command or [sys.executable, program, *arguments], kept, size))
        return opened[-1]

    yield open_
    for terminal in opened:
        terminal.end()


_SGR = re.compile(rb"\x1b\[([0-9;:]*)m")


def colours_in(raw: bytes) -> list[bytes]:
    """Return the SGR sequences of `raw` that are about colour, be it the default one."""
    found = []
    for match in _SGR.finditer(raw):
        numbers = [int(number or 0) for number in re.split(rb"[;:]", match[1])]
        if any(30 <= n <= 49 or 90 <= n <= 97 or 100 <= n <= 107 for n in numbers):
            found.append(match[0])
    return found


@pytest.fixture(name="colours_in")
def colours_in_fixture() -> Callable[[bytes], list[bytes]]:
    return colours_in
