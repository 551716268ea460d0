"""Work on data in a process of its own: JSON lines come back, and it ends when it is cancelled.

The console's own process would share its interpreter lock with the work, and must not import numpy or pyarrow.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from engine import child
from engine.child import Cancelled, WorkCancelled, never
from engine.errors import EngineError

__all__ = ["Cancelled", "DataWorkerFailed", "Progress", "WorkCancelled", "answer", "ask", "never", "silent"]

Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is, in bytes or rows; 0 where that is not known."""
# Without threads of OpenBLAS, which would do nothing and take 50 ms to start; the same hashes in every process.
_ENVIRONMENT: Final = {"OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}


class DataWorkerFailed(EngineError):
    """The process that looks through a data file ended before it was done."""

    code = "data-worker"


def silent(done: int, total: int) -> None:
    """Take progress that nobody wants to see."""
    del done, total


def ask(module: str, arguments: Sequence[str], cancelled: Cancelled = never) -> Iterator[dict[str, Any]]:
    """Run `python -P -m module arguments` and yield what it says. Leaving the loop early ends the process.

    Args:
        module: Its `main` is run by `answer`.
        arguments: Of its command line.
        cancelled: See `Cancelled`.

    Raises:
        WorkCancelled: `cancelled` returned True. The process has ended.
        EngineError: What the process raised, with its code, sentence and remedy.
        DataWorkerFailed: It ended in another way.
    """
    return child.ask(module, arguments, ended=_ended, cancelled=cancelled, environment=_ENVIRONMENT)


def answer(work: Callable[[list[str], Callable[[dict[str, Any]], None]], None]) -> int:
    """Be such a process: run `work(arguments, say)` and return the exit status."""
    return child.answer(lambda say: work(sys.argv[1:], say))


def _ended(status: int, last: str) -> DataWorkerFailed:
    return DataWorkerFailed(
        f"The data could not be looked through: {last or f'exit status {status}'}",
        remedy="Try again. The file was not changed.",
    )
