"""How work with weights is started in a process of its own, tells how far it is, is cancelled, and fails in words.

Who asks calls `run`; the module that does the work calls `answer` from its `main`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from engine import child
from engine.child import Cancelled, WorkCancelled, never
from engine.errors import EngineError, OutOfMemory

__all__ = ["Cancelled", "Progress", "Tell", "WorkCancelled", "WorkFailed", "answer", "never", "run", "silent"]

_ENVIRONMENT: Final = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "true",
    "PYTHONUNBUFFERED": "1",
}


class WorkFailed(EngineError):
    """The process that worked on the weights ended before it was done."""

    code = "work-failed"
    exit_code = 10


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work is."""

    stage: str
    """In words, without a full stop: "loading tiny", "writing". Foreign where it has a name in it."""
    done: float = 0
    total: float = 0
    """0 where it is not known."""
    unit: Literal["", "bytes", "tensors", "prompts", "tokens"] = ""

    @property
    def fraction(self) -> float | None:
        """Done part of this stage, 0 to 1; None where it is not known."""
        return min(1.0, self.done / self.total) if self.total > 0 else None


Tell: TypeAlias = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Take progress that nobody wants to see."""
    del progress


def run(
    module: str,
    request: Mapping[str, Any],
    *,
    what: str,
    tell: Tell = silent,
    cancelled: Cancelled = never,
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> dict[str, Any]:
    """Have `module` do the work and return its result.

    Args:
        module: Such as "engine.export.merge_worker"; its `main` calls `answer`.
        request: What it is to do, as JSON. Reaches it on stdin: the command line shows nothing of it.
        what: The work in words, for an error: "The merge".
        tell: Called with every progress.
        cancelled: Asked twenty times a second; True ends the process and whatever it has started.
        environment: Added to this process's own.
        log: File for what it and its libraries print, of which a copy stays when it fails; None for one that is gone
            afterwards.

    Raises:
        WorkCancelled: `cancelled` returned True.
        OutOfMemory: It was killed, most likely for its memory.
        EngineError: What it raised, with its code.
        WorkFailed: It ended in another way.
    """

    def ended(status: int, last: str) -> EngineError:
        if status == -signal.SIGKILL:
            return OutOfMemory(
                f"{what} was killed by the system, most likely because memory ran out.",
                remedy="Close what else needs memory, or do it on a machine with more.",
            )
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
        return WorkFailed(f"{what} ended {how}: {last or 'it said nothing'}", remedy=_remedy(log))

    result: dict[str, Any] | None = None
    said = child.ask(
        module,
        ended=ended,
        cancelled=cancelled,
        request=request,
        environment={**_ENVIRONMENT, **(environment or {})},
        log=log,
    )
    for one in said:
        if "progress" in one:
            tell(Progress(**one["progress"]))
        elif "result" in one:
            result = one["result"]
    if result is None:
        raise WorkFailed(f"{what} ended without a result.", remedy=_remedy(log))
    return result


def answer(work: Callable[[dict[str, Any], Tell], dict[str, Any]], what: str) -> int:
    """Be the process: read the request, run `work(request, tell)`, send its result; return the exit status.

    Import the libraries inside `work`, not before: until then what they print would be taken for progress.

    Args:
        work: Returns the result as JSON. What it raises reaches who asked, an `EngineError` as it is.
        what: As for `run`.
    """

    def speak(say: child.Say) -> None:
        request: dict[str, Any] = json.loads(sys.stdin.buffer.read())
        say({"result": work(request, lambda progress: say({"progress": asdict(progress)}))})

    return child.answer(speak, lambda error: explained(error, what))


def explained(error: Exception, what: str) -> EngineError:
    """Return the error behind an exception of a library."""
    from engine.training.failures import explained as in_training

    found = in_training(error, "loading")
    if type(found).code not in ("worker-failed", "out-of-memory", "disk-full"):
        return found
    first = (str(error).strip().splitlines() or ["no message"])[0][:300]
    if type(found).code == "worker-failed":
        return WorkFailed(f"{what} failed with {type(error).__name__}: {first}", remedy=_remedy(None))
    remedy = {
        "out-of-memory": "Close what else needs memory, or do it on a machine with more.",
        "disk-full": "Free some space there and start again; nothing was left under the final name.",
    }
    full = "The disk became full" if found.code == "disk-full" else "Memory ran out"
    return type(found)(f"{full}. {what} failed: {first}", remedy=remedy[found.code])


def _remedy(log: Path | None) -> str:
    said = "Nothing was left under the final name."
    return f"What it printed is in {_kept(log)}. {said}" if log is not None else f"Try again. {said}"


def _kept(log: Path) -> Path:
    """Return where a log can be read: the folder it is in goes with what has failed."""
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ftconsole" / "export.log"
    try:
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(log, kept)
    except OSError:
        return log
    return kept
