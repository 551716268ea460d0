"""Work in a process of its own: JSON lines come back, and it ends when it is cancelled. Standard library only.

Used for data and for weights. The console must not import what does the work, and what does the work may be ended at
any moment without the console losing anything. It ends with who asked for it, whatever ended that: a merge that nobody
waits for would hold memory and disk for minutes.
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
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

from engine.errors import EngineError

Cancelled: TypeAlias = Callable[[], bool]
"""Asked some twenty times a second; True ends the work."""
Ended: TypeAlias = Callable[[int, str], EngineError]
"""Returns the error of a process that ended without a word, from its exit status, negative for a signal, and the last
line it printed."""
Say: TypeAlias = Callable[[dict[str, Any]], None]
"""Sends one JSON object to who asked."""
_LOOK_SECONDS: Final = 0.05
_PARENT_SECONDS: Final = 0.5
"""How often the process looks whether who asked is still there. Its end closes the pipe, which is seen at once;
another of its children may hold the other side open."""
_LAST_WORDS_BYTES = 4000


class WorkCancelled(Exception):
    """Who asked for the work has cancelled it. Not an error: nothing is to be told."""


def never() -> bool:
    """Say that the work is not cancelled."""
    return False


def ask(
    module: str,
    arguments: Sequence[str] = (),
    *,
    ended: Ended,
    cancelled: Cancelled = never,
    request: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Iterator[dict[str, Any]]:
    """Run `python -P -m module arguments` and yield what it says. Leaving the loop early ends the process.

    Args:
        module: Its `main` is run by `answer`.
        arguments: Of its command line, which everybody on the machine can read.
        ended: See `Ended`.
        cancelled: See `Cancelled`.
        request: What it finds on its stdin, as one JSON object; None for nothing.
        environment: Added to this process's own.
        log: File for what it and its libraries print; None for one that is gone afterwards.

    Raises:
        WorkCancelled: `cancelled` returned True. The process and what it had started have ended.
        EngineError: What the process raised, with its code, sentence and remedy; or what `ended` returned.
    """
    with contextlib.ExitStack() as files:
        words: IO[bytes] = files.enter_context(tempfile.TemporaryFile() if log is None else log.open("w+b"))  # noqa: SIM115
        # Files, not pipes: what is longer than a pipe takes would wait for a reader who waits for this process.
        told: IO[bytes] | int = subprocess.DEVNULL
        if request is not None:
            told = files.enter_context(tempfile.TemporaryFile())
            told.write(json.dumps(request).encode())
            told.seek(0)
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *arguments],
                stdin=told,
                stdout=subprocess.PIPE,
                stderr=words,
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # so that what it has started ends with it
            )
        except OSError as error:
            raise ended(127, f"no process could be started: {error}") from error
        assert process.stdout is not None
        try:
            for line in _lines(process.stdout, cancelled):
                said = json.loads(line)
                if "error" in said:
                    raise raised(said["error"])
                yield said
            status = process.wait()
        finally:
            _end(process)
        if status:
            words.seek(0, os.SEEK_END)
            words.seek(max(0, words.tell() - _LAST_WORDS_BYTES))
            last = words.read().decode(errors="replace").strip().splitlines()
            raise ended(status, last[-1][:400] if last else "")


def answer(work: Callable[[Say], None], explained: Callable[[Exception], EngineError] | None = None) -> int:
    """Be such a process: run `work(say)` and return the exit status. Ends at once when who asked has ended.

    Args:
        work: What it does. Libraries may print: descriptor 1 leads to stderr meanwhile.
        explained: Returns the error behind an exception of a library, which has printed its traceback to stderr by
            then; None lets it end the process.
    """
    # A stray print of a library must not break the protocol.
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)

    def say(value: dict[str, Any]) -> None:
        out.write(json.dumps(value, separators=(",", ":")) + "\n")
        out.flush()

    done = threading.Event()
    watch = (out.fileno(), os.getppid(), done)
    threading.Thread(target=_end_with_parent, args=watch, name="parent", daemon=True).start()
    try:
        try:
            work(say)
        except EngineError as error:
            say({"error": {**error.as_dict(), "exit_code": error.exit_code}})
        except BrokenPipeError:
            raise
        except Exception as exception:
            if explained is None:
                raise
            import traceback

            traceback.print_exc()
            meant = explained(exception)
            say({"error": {**meant.as_dict(), "exit_code": meant.exit_code}})
    except BrokenPipeError:  # who asked is gone
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return 1
    finally:
        done.set()
    return 0


def raised(told: Mapping[str, Any]) -> EngineError:
    """Return the error that another process raised: of its own class where that is known here, with its code."""
    waiting: list[type[EngineError]] = [EngineError]
    found: type[EngineError] | None = None
    while waiting and found is None:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.code == told["code"] and kind.__init__ is EngineError.__init__:
            found = kind
    error = (found or EngineError)(told["message"], remedy=told["remedy"])
    if found is None:
        error.code, error.exit_code = told["code"], told["exit_code"]  # type: ignore[misc]  # of this one alone
    return error


def _end_with_parent(pipe: int, parent: int, done: threading.Event) -> None:
    """Wait until nobody reads the pipe or the parent has ended; then kill this process and what it has started.

    Not `PR_SET_PDEATHSIG`: that is the end of the parent's thread, and who asks may do so from any.
    """
    poll = select.poll()
    poll.register(pipe, 0)  # its end is told unasked
    while not poll.poll(_PARENT_SECONDS * 1000) and os.getppid() == parent and not done.is_set():
        pass
    if done.is_set():
        return
    if os.getpgrp() == os.getpid():  # as `ask` starts it; started by hand, the group may be somebody's shell
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


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
