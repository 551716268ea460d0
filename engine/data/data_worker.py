"""Work on data in a process of its own: JSON lines come back, and it ends when it is cancelled.

The console's own process would share its interpreter lock with the work, and must not import numpy or pyarrow.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, Final

from engine import errors
from engine.errors import EngineError

Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is, in bytes or rows; 0 where that is not known."""
Cancelled = Callable[[], bool]
"""Asked some twenty times a second; True ends the work."""
_LOOK_SECONDS: Final = 0.05


class WorkCancelled(Exception):
    """Who asked for the work has cancelled it. Not an error: nothing is to be told."""


class DataWorkerFailed(EngineError):
    """The process that looks through a data file ended before it was done."""

    code = "data-worker"


def silent(done: int, total: int) -> None:
    """Take progress that nobody wants to see."""
    del done, total


def never() -> bool:
    """Say that the work is not cancelled."""
    return False


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
    command = [sys.executable, "-P", "-m", module, *arguments]
    # Without threads of OpenBLAS, which would do nothing and take 50 ms to start; the same hashes in every process.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    with tempfile.TemporaryFile() as words:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=words,
                env=environment,
                start_new_session=True,  # so that what it has started ends with it
            )
        except OSError as error:
            raise DataWorkerFailed(f"No process could be started: {error}.", remedy="Try again.") from error
        assert process.stdout is not None
        try:
            for line in _lines(process.stdout, cancelled):
                said = json.loads(line)
                if "error" in said:
                    raise _raised(said["error"])
                yield said
            status = process.wait()
        finally:
            _end(process)
        if status:
            words.seek(max(0, words.tell() - 2000))
            last = words.read().decode(errors="replace").strip().splitlines()
            why = last[-1] if last else f"exit status {status}"
            raise DataWorkerFailed(
                f"The data could not be looked through: {why}", remedy="Try again. The file was not changed."
            )


def answer(work: Callable[[list[str], Callable[[dict[str, Any]], None]], None]) -> int:
    """Be such a process: run `work(arguments, say)` and return the exit status."""
    # A stray print of a library must not break the protocol.
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)

    def say(value: dict[str, Any]) -> None:
        out.write(json.dumps(value, separators=(",", ":")) + "\n")
        out.flush()

    try:
        work(sys.argv[1:], say)
    except EngineError as error:
        say({"error": {**error.as_dict(), "exit_code": error.exit_code}})
    except BrokenPipeError:  # who asked is gone
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return 1
    return 0


def _lines(stream: IO[bytes], cancelled: Cancelled) -> Iterator[bytes]:
    """Yield the lines of a pipe, and look meanwhile whether the work is cancelled."""
    descriptor, rest = stream.fileno(), b""
    while True:
        if cancelled():
            raise WorkCancelled
        if not select.select([descriptor], [], [], _LOOK_SECONDS)[0]:
            continue
        data = os.read(descriptor, 1 << 16)
        if not data:
            return
        *whole, rest = (rest + data).split(b"\n")
        yield from whole


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # it holds nothing that must be put in order
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _raised(told: dict[str, Any]) -> EngineError:
    """Return the error that the process raised, as one of ours with the same code."""
    kinds = [getattr(errors, name) for name in dir(errors) if isinstance(getattr(errors, name), type)]
    plain = [kind for kind in kinds if issubclass(kind, EngineError) and kind.__init__ is EngineError.__init__]
    found = next((kind for kind in plain if kind.code == told["code"]), None)
    error = (found or EngineError)(told["message"], remedy=told["remedy"])
    if found is None:
        error.code, error.exit_code = told["code"], told["exit_code"]  # type: ignore[misc]  # of this one alone
    return error
