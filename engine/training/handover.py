"""What the processes of a run leave for the one that started them: which stage is next, and why one failed.

In the folder `processes/` of the run, a small file for each. Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.child import raised
from engine.errors import EngineError
from engine.renaming import replace_file
from engine.runs.directory import RunDirectory

FOLDER = "processes"
_NEXT, _ENDED = "next.json", "ended"
_PR_SET_PDEATHSIG = 1
_CONSEQUENCES = (
    "connection closed by peer",
    "connection reset by peer",
    "connection refused",
    "socket timeout",
    "read error",
    "ncclremoteerror",
    "remote process exited",
    "nccl communicator was aborted",
    "store is not available",
    "broken pipe",
)
"""What gloo, NCCL and their store say of a process when it is another one that has died."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How one process failed."""

    rank: int
    at: float
    """Seconds since the epoch."""
    consequence: bool
    """Whether it failed because another had."""
    code: str
    message: str
    remedy: str
    part: str
    """Of the work it was in: "training"."""
    step: int
    stage: str
    """Of a run in several."""
    commands_from: int
    """Byte up to which commands were heard."""

    @classmethod
    def of(
        cls, failure: EngineError, error: BaseException, rank: int, part: str, step: int, stage: str, control: Any
    ) -> Failure:
        """Return what there is to tell of an error of this process."""
        said = str(error).lower()
        consequence = type(error).__name__ == "AnotherFailed" or any(text in said for text in _CONSEQUENCES)
        about = failure.as_dict()
        return cls(rank, time.time(), consequence, part=part, step=step, stage=stage,
                   commands_from=control.reader.offset, **about)  # fmt: skip

    def error(self) -> EngineError:
        """Return it as the error it was, by its code."""
        return raised({"code": self.code, "message": self.message, "remedy": self.remedy, "exit_code": 1})


@dataclass(frozen=True, slots=True)
class Next:
    """The stage that the run goes on with."""

    stage: str
    commands_from: int


def end_with_launcher() -> None:
    """Have this process killed when the one that started it dies: without it nobody would know of this one.

    The launcher holds the run's lock and its children do not. Linux alone can do this; elsewhere there is no launcher.
    """
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent or parent == 1:  # it died before
            os._exit(1)


def begin(run: RunDirectory, *, anew: bool) -> None:
    """Make the folder; the first machine clears it of an earlier start."""
    folder = run.path / FOLDER
    if anew:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def tell_next(run: RunDirectory, rank: int, stage: str, commands_from: int) -> None:
    """Leave word of the stage to go on with; the first process does."""
    if not rank:
        replace_file(run.path / FOLDER / _NEXT, json.dumps({"stage": stage, "commands_from": commands_from}))


def tell_ended(run: RunDirectory) -> None:
    """Leave word that the run's end is in its log."""
    with contextlib.suppress(OSError):
        (run.path / FOLDER / _ENDED).touch(0o600)


def tell_failure(run: RunDirectory, failure: Failure) -> None:
    """Leave word of an error. On a full disk there is only the exit code."""
    with contextlib.suppress(OSError):
        replace_file(run.path / FOLDER / f"failure-{failure.rank}.json", json.dumps(asdict(failure)))


def following(run: RunDirectory) -> Next | None:
    """Return the stage to go on with; None when there is none."""
    record = _read(run.path / FOLDER / _NEXT)
    return Next(str(record["stage"]), int(record["commands_from"])) if record else None


def ended(run: RunDirectory) -> bool:
    """Return whether the first process has said how the run ended."""
    return (run.path / FOLDER / _ENDED).exists()


def failures(run: RunDirectory) -> list[Failure]:
    """Return how processes failed: first those that failed of themselves, the earliest first."""
    found = []
    for path in (run.path / FOLDER).glob("failure-*.json"):
        with contextlib.suppress(TypeError):
            found.append(Failure(**_read(path)))
    return sorted(found, key=lambda failure: (failure.consequence, failure.at))


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
