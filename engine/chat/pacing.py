"""What comes a little at a time is taken several at a time: each waking costs more than what there is to read.

Two answers of 50 tokens/s, read as they come, are a hundred wakings a second of socket, parser, queue and screen: 10 %
of a core. While nobody reads, the kernel's buffers hold what comes, and the next reading finds all of it.
"""

from __future__ import annotations

import asyncio
import time

LONGEST_PAUSE = 0.2
"""Below what is seen: the screen draws four times a second."""
_SHARE = 0.02
"""Of the time since the first piece. An answer's speed is thus known to 2 %, and a short answer is not held up."""
_ENOUGH = 100
"""Pieces of one reading from which on there is no pause: what sends over 1,000 a second is not slowed down."""


class Pace:
    """One reader's. Call `await waits()` after each piece but before the next is waited for."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._same_turn = False
        self._began: float | None = None
        self._together = 0

    def _turned(self) -> None:
        self._same_turn = False

    def reads(self) -> None:
        """Note that the next piece is about to be waited for."""
        if not self._same_turn:
            self._same_turn = True
            self._loop.call_soon(self._turned)

    async def waits(self) -> None:
        """Let more come, if the piece that came had been waited for; those that came with it are taken at once."""
        self._together += 1
        if self._same_turn:
            return
        together, self._together = self._together, 0
        now = time.perf_counter()
        if self._began is None:
            self._began = now
        pause = min(LONGEST_PAUSE, _SHARE * (now - self._began))
        if together < _ENOUGH and pause > 0.001:
            await asyncio.sleep(pause)
