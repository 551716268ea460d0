"""A program in a pseudo-terminal, watched from outside: paint, latency, bytes, processor time, wake-ups, memory.

Answers the questions a terminal is asked, so that a program behaves as in a real one. Works for any program.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import statistics
import struct
import termios
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyte

_ANSWERS = [
    (re.compile(rb"\x1b\[\?2026\$p"), b"\x1b[?2026;2$y"),
    (re.compile(rb"\x1b\[\?2048\$p"), b"\x1b[?2048;0$y"),
    (re.compile(rb"\x1b\[\?2027\$p"), b"\x1b[?2027;0$y"),
    (re.compile(rb"\x1b\]11;\?(?:\x07|\x1b\\)"), b"\x1b]11;rgb:0000/0000/0000\x1b\\"),
    (re.compile(rb"\x1b\]10;\?(?:\x07|\x1b\\)"), b"\x1b]10;rgb:ffff/ffff/ffff\x1b\\"),
    (re.compile(rb"\x1b\[\?u"), b"\x1b[?0u"),
    (re.compile(rb"\x1b\[0?c"), b"\x1b[?62;22c"),
    (re.compile(rb"\x1b\[6n"), b"\x1b[1;1R"),
    (re.compile(rb"\x1b\[16t"), b"\x1b[6;20;10t"),
]
# What pyte does not know and would print.
_UNKNOWN = re.compile(rb"\x1b\[[<>=][0-9;]*[a-zA-Z]|\x1b\[\?[0-9;]*\$p|\x1b[P_][^\x1b]*\x1b\\|\x1b\[[0-9;:]*:[0-9;:]*m")
_PAINTED_CELLS = 20
_TICKS = os.sysconf("SC_CLK_TCK")


class _Screen(pyte.Screen):  # type: ignore[misc]
    def select_graphic_rendition(self, *attributes: int, **named: Any) -> None:
        named.pop("private", None)
        with contextlib.suppress(Exception):  # pyte fails on codes newer than itself
            super().select_graphic_rendition(*attributes)

    def set_margins(self, *arguments: Any, **_: Any) -> None:
        with contextlib.suppress(Exception):
            super().set_margins(*arguments)


@dataclass(slots=True)
class Usage:
    """What a program cost over some seconds, its children included."""

    cpu_percent: float
    """Of one core."""
    bytes_per_second: float
    wakeups_per_second: float


@dataclass
class Session:
    """A running program.

    Args:
        command: What to run.
        size: Columns and rows.
        environment: Added to ours; None removes a variable.
        bytes_per_second: How fast we read. None: as fast as it writes.
    """

    command: Sequence[str]
    size: tuple[int, int] = (120, 40)
    environment: dict[str, str | None] = field(default_factory=dict)
    bytes_per_second: int | None = None
    pid: int = 0
    started: float = 0.0
    first_paint: float | None = None
    """Seconds from the start to the first twenty characters on the screen."""
    ended: bool = False

    def __post_init__(self) -> None:
        columns, rows = self.size
        self._chunks: list[tuple[float, int]] = []
        self._lock = threading.Lock()
        self._screen = _Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        for name in ("TMUX", "COLUMNS", "LINES", "NO_COLOR", "SSH_CONNECTION", "CI"):
            environment.pop(name, None)
        for name, value in self.environment.items():
            if value is None:
                environment.pop(name, None)
            else:
                environment[name] = value
        ready, go = os.pipe()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.read(ready, 1)
            os.execvpe(self.command[0], list(self.command), environment)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, columns * 10, rows * 20))
        self.started = time.monotonic()
        os.write(go, b"1")
        os.close(ready)
        os.close(go)
        self.asked_for_motion = False
        """Whether the program wants to hear of a mouse that only moves (mode 1003)."""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in reversed(_tree(self.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self._reader.join(timeout=2)
        with contextlib.suppress(OSError):
            os.close(self.fd)

    def _read(self) -> None:
        portion = 65536 if self.bytes_per_second is None else max(1, self.bytes_per_second // 20)
        while True:
            try:
                if not select.select([self.fd], [], [], 0.5)[0]:
                    continue
                data = os.read(self.fd, portion)
            except OSError:
                break
            if not data:
                break
            now = time.monotonic()
            if b"\x1b[?1003h" in data:
                self.asked_for_motion = True
            with self._lock:
                self._chunks.append((now, len(data)))
            for question, answer in _ANSWERS:
                for _ in question.finditer(data):
                    with contextlib.suppress(OSError):
                        os.write(self.fd, answer)
            with self._lock:
                with contextlib.suppress(Exception):  # half a sequence: the next chunk goes on
                    self._stream.feed(_UNKNOWN.sub(b"", data))
                if self.first_paint is None and self._cells() >= _PAINTED_CELLS:
                    self.first_paint = now - self.started
            if self.bytes_per_second is not None:
                time.sleep(len(data) / self.bytes_per_second)
        self.ended = True

    def _cells(self) -> int:
        return sum(1 for row in self._screen.buffer.values() for cell in row.values() if cell.data not in ("", " "))

    @property
    def text(self) -> str:
        """What is on the screen now."""
        with self._lock:
            return "\n".join(self._screen.display)

    def wait_for_text(self, pattern: str, timeout_seconds: float = 60.0) -> float:
        """Wait until a regular expression is on the screen and return the seconds since the start."""
        expression = re.compile(pattern)
        deadline = time.monotonic() + timeout_seconds
        looked_at = -1
        while True:
            # Looking costs 3 ms of a core that the program may want: only after something was written.
            if len(self._chunks) != looked_at:
                looked_at = len(self._chunks)
                if expression.search(self.text):
                    return self._last() - self.started
            elif time.monotonic() > deadline or self.ended:
                raise TimeoutError(f"no {pattern!r} on the screen:\n{self.text}")
            time.sleep(0.005)

    def wait_until_quiet(self, seconds: float, timeout_seconds: float = 60.0) -> float:
        """Wait until nothing was written for so long; return the seconds from the start to the last byte."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline and not self.ended:
            last = self._last()
            if self.first_paint is not None and time.monotonic() - last > seconds:
                break
            time.sleep(0.01)
        return self._last() - self.started

    def send(self, keys: str) -> None:
        """Type."""
        with contextlib.suppress(OSError):
            os.write(self.fd, keys.encode())

    def usage(self, seconds: float) -> Usage:
        """Watch for so long."""
        began, cpu, wakeups = time.monotonic(), self._cpu(), self._wakeups()
        time.sleep(seconds)
        passed = time.monotonic() - began
        return Usage(
            100 * (self._cpu() - cpu) / passed, self.bytes_since(began) / passed, (self._wakeups() - wakeups) / passed
        )

    def latencies(self, keys: Sequence[str], count: int, gap_seconds: float = 0.15) -> list[float]:
        """Press keys one after the other and return the milliseconds to the first byte after each, sorted.

        A key that is answered by nothing within a second counts as a second.
        """
        found = []
        for number in range(count):
            quiet = time.monotonic() + 1.0
            while time.monotonic() < quiet and time.monotonic() - self._last() < 0.06:
                time.sleep(0.002)
            pressed = time.monotonic()
            self.send(keys[number % len(keys)])
            answered = None
            while answered is None and time.monotonic() - pressed < 1.0:
                with self._lock:
                    answered = next((at for at, _ in reversed(self._chunks[-8:]) if at >= pressed), None)
                    if answered is not None:
                        answered = next(at for at, _ in self._chunks[-64:] if at >= pressed)
                time.sleep(0.0003)
            found.append(1000 * ((answered or pressed + 1.0) - pressed))
            time.sleep(gap_seconds)
        return sorted(found)

    def memory_bytes(self) -> int:
        """Resident memory of the program and its children."""
        total = 0
        for pid in _tree(self.pid):
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Rss:"):
                        total += int(line.split()[1]) * 1024
        return total

    def bytes_since(self, moment: float) -> int:
        """Bytes written since a monotonic time."""
        with self._lock:
            return sum(size for at, size in self._chunks if at >= moment)

    def _last(self) -> float:
        with self._lock:
            return self._chunks[-1][0] if self._chunks else self.started

    def _cpu(self) -> float:
        ticks = 0
        for pid in _tree(self.pid):
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += sum(int(value) for value in fields[11:15])
        return ticks / _TICKS

    def _wakeups(self) -> int:
        count = 0
        for pid in _tree(self.pid):
            with contextlib.suppress(OSError):
                for thread in os.listdir(f"/proc/{pid}/task"):
                    for line in Path(f"/proc/{pid}/task/{thread}/status").read_text().splitlines():
                        if line.startswith("voluntary_ctxt"):
                            count += int(line.split()[1])
        return count


def percentile(values: Sequence[float], fraction: float) -> float:
    """Return a value of a sorted list: 0.5 the median, 0.95 that which 95 % do not exceed."""
    if fraction == 0.5:
        return statistics.median(values)
    return values[min(len(values) - 1, max(0, int(len(values) * fraction) - 1))]


def _tree(pid: int) -> list[int]:
    found = [pid]
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split():
                found += _tree(int(child))
    return found
