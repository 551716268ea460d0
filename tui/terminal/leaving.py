"""How the process ends whatever ends it: the terminal is given back first, and nothing can keep it from ending."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
"""End the console with exit code 128 + n. Textual handles none of them but SIGINT."""
GRACE_SECONDS = 2.0
"""From giving the terminal back to the end of the process. A thread that waits for a dead disk would hold it up."""


class Leaving:
    """Gives the terminal back at the first sign of the end, and sees to it that the end comes.

    Args:
        give_back: Restores the terminal. Called from signal handlers, so between any two instructions.
        end: Asks the event loop to end the application with an exit code. Callable from any thread.
    """

    def __init__(self, give_back: Callable[[], None], end: Callable[[int], None]) -> None:
        self._give_back = give_back
        self._end = end
        self._last_resort: threading.Timer | None = None
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Leaving:
        # `signal.signal` and not the event loop's own: that one would wait for a loop that may be stuck.
        self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        if self._last_resort is not None:
            self._last_resort.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.must_end(128 + number)
        self._give_back()
        self._end(128 + number)

    def must_end(self, exit_code: int) -> None:
        """Begin the grace period, after which the process ends with `exit_code` in any case."""
        if self._last_resort is None:
            self._last_resort = threading.Timer(GRACE_SECONDS, os._exit, [exit_code])
            self._last_resort.daemon = True
            self._last_resort.start()
