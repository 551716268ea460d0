"""Start a run, go on with it, and tell it something. Standard library only."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from engine.commands import Command
from engine.errors import EngineError, NotRunning, RunBusy, WorkerFailed
from engine.runs.checkpoints import Checkpoint
from engine.runs.directory import RunDirectory
from engine.runs.liveness import Life, Liveness, liveness

_LAUNCH_TIMEOUT_SECONDS = 120.0
"""The keeper answers in 0.1 s; a machine deep in swap may need a minute."""


def start(
    run: RunDirectory, *, resume: Checkpoint | None = None, grace_seconds: float = 10.0, worker: str = "engine.training"
) -> None:
    """Start keeper and worker, and return once both exist. Neither is a child of the caller.

    Args:
        run: A new run, or one whose processes are dead.
        resume: Where to go on; None starts from the beginning.
        grace_seconds: After "stop now", before the worker is killed.
        worker: Module that the worker process runs.

    Raises:
        RunBusy: The run is alive or cannot be proven dead.
        WorkerFailed: The keeper could not be started.
        WorkspaceError: The run's folder cannot be written.
    """
    command = [sys.executable, "-P", "-m", "engine.launch.keeper", str(run.path)]
    command += [f"--grace-seconds={grace_seconds:g}", f"--worker={worker}"]
    if resume is not None:
        command.append(f"--resume={resume.path.relative_to(run.path)}")
    try:
        reply = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,  # one line: the detached keeper points its own at a file
            start_new_session=True,
            cwd="/",
            timeout=_LAUNCH_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise WorkerFailed(f"The keeper of run {run.name} could not be started: {error}.") from error
    if reply.returncode == 0:
        return
    raise _refusal(run, reply.stderr)


def send(run: RunDirectory, command: Command) -> str:
    """Tell a living run something and return the command's id.

    Raises:
        NotRunning: Nobody works on it.
        WorkspaceError: The journal cannot be written.
    """
    found = liveness(run.path)
    if found.life is Life.DEAD:
        raise NotRunning(
            f"Run {run.name} is not running: {found.reason}.", remedy=f"Go on with `ftconsole resume {run.name}`."
        )
    return run.tell(command)


def wait_until_dead(run: RunDirectory, *, timeout_seconds: float) -> Liveness:
    """Wait for the run's processes to end and return what can be said of them then."""
    deadline = time.monotonic() + timeout_seconds
    for pause in _pauses():
        found = liveness(run.path)
        if found.life is Life.DEAD or time.monotonic() > deadline:
            return found
        time.sleep(pause)
    raise AssertionError("the pauses never end")


def _pauses() -> Iterator[float]:
    pause = 0.02
    while True:
        yield pause
        pause = min(pause * 1.5, 0.5)


def _refusal(run: RunDirectory, stderr: bytes) -> EngineError:
    last = stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    try:
        said = json.loads(last)
        kind = RunBusy if said["code"] == RunBusy.code else WorkerFailed
        return kind(said["message"], remedy=said["remedy"])
    except (ValueError, KeyError, TypeError):
        return WorkerFailed(
            f"The keeper of run {run.name} ended before it could start the worker.",
            remedy=f"The last lines of {_newest_log(run)} say why.",
        )


def _newest_log(run: RunDirectory) -> Path:
    return run.path / "keeper.log"
