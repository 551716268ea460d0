"""Work that is ended from outside leaves its place in order."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """Have SIGTERM and SIGHUP undo what was begun, as ctrl+c does; then they end the process, as they would have.

    A login that drops would leave gigabytes in a hidden folder otherwise. What is ignored, as after `nohup`, stays so.
    """
    ended_by: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        ended_by.append(number)
        if len(ended_by) == 1:  # a second one must not break off the tidying
            raise KeyboardInterrupt

    taken = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
        if ended_by:
            os.kill(os.getpid(), ended_by[0])
