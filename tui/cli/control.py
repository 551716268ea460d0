"""What a living run can be told: pause, save, stop, set-lr and others. Each waits for the run's own confirmation."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from engine import commands
from engine.commands import Command
from engine.errors import EngineError, NotRunning, UsageError
from engine.events import CommandConfirmed, RunEnded, WorkerExited
from engine.launch.start import send, wait_until_dead
from engine.runs.directory import RunDirectory, find_run
from engine.runs.follow import EventReader, Record
from engine.runs.lifecycle import Lifecycle
from engine.runs.liveness import Life, liveness
from engine.workspace import Workspace
from tui.cli import hints, output
from tui.state import sentence

_TAIL_BYTES = 65_536
"""How far back the last newline of a log is looked for; the longest line is some 10 kB."""
_POLL_SECONDS = 0.05
_LIFE_SECONDS = 1.0


class NotConfirmed(EngineError):
    """The run did not answer in time. What it was told stays told."""

    code = "not-confirmed"
    exit_code = 11


class Refused(EngineError):
    """The run answered, and did not do it."""

    code = "refused"
    exit_code = NotRunning.exit_code


class Waiting(NamedTuple):
    """Whether to wait for the run's answer, and how long."""

    wait: bool = True
    timeout_seconds: float = 30.0


def pause(workspace: str | None, name: str, waiting: Waiting, *, as_json: bool) -> int:
    """Tell a run to pause. See `tell` for what all of these raise."""
    return tell(_run(workspace, name), commands.Pause(), waiting, as_json=as_json)


def unpause(workspace: str | None, name: str, waiting: Waiting, *, as_json: bool) -> int:
    """Tell a run to go on after a pause."""
    return tell(_run(workspace, name), commands.Unpause(), waiting, as_json=as_json)


def save(workspace: str | None, name: str, waiting: Waiting, *, as_json: bool) -> int:
    """Tell a run to write a checkpoint."""
    return tell(_run(workspace, name), commands.SaveCheckpoint(), waiting, as_json=as_json)


def set_learning_rate(workspace: str | None, name: str, value: str, waiting: Waiting, *, as_json: bool) -> int:
    """Tell a run its new peak learning rate, as it was written."""
    try:
        rate = float(value)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise UsageError(f"{value!r} is no learning rate.", remedy="Give a number above 0, such as 1e-4.")
    return tell(_run(workspace, name), commands.SetLearningRate(rate), waiting, as_json=as_json)


def set_early_stopping(workspace: str | None, name: str, state: str, waiting: Waiting, *, as_json: bool) -> int:
    """Tell a run whether early stopping may end it: "on" or "off"."""
    if state not in ("on", "off"):
        raise UsageError(f"{state!r} is neither on nor off.", remedy="Say `early-stop RUN on` or `early-stop RUN off`.")
    return tell(_run(workspace, name), commands.SetEarlyStopping(state == "on"), waiting, as_json=as_json)


def stop(workspace: str | None, name: str, waiting: Waiting, *, now: bool, yes: bool, as_json: bool) -> int:
    """Tell a run to end, after saving unless `now`; waits for the end too."""
    run = _run(workspace, name)
    if now and not yes and liveness(run.path).life is not Life.DEAD:
        _ask_before_losing(run)
    return tell(run, commands.Stop(save=not now), waiting, as_json=as_json)


def tell(run: RunDirectory, command: Command, waiting: Waiting, *, as_json: bool) -> int:
    """Tell a run something and print what it answers.

    Raises:
        NotRunning: Nobody works on it, or it ended before it answered.
        NotConfirmed: It has not answered in time.
        Refused: It did not do it, and said why.
        WorkspaceError: Its journals cannot be read or written.
    """
    reader = reader_at_end(run.events)
    command_id = send(run, command)
    said = type(command).__name__
    told: dict[str, Any] = {"run": run.name, "command": said, "command_id": command_id}
    if not waiting.wait:
        if as_json:
            output.emit({**told, "confirmed": False, "accepted": None, "detail": "", "by": None})
        else:
            output.note(f"{said} was told to {run.name}; it is obeyed at its next step.")
        return 0
    try:
        records = _records_until(run, reader, time.monotonic() + waiting.timeout_seconds)
        stopping = isinstance(command, commands.Stop)
        answer = _answer(records, run, command_id, stopping=stopping, seconds=waiting.timeout_seconds)
        if not answer.accepted:
            raise Refused(f"{run.name} did not do it: {answer.detail}.")
        if as_json:
            output.emit({**told, "confirmed": True, "accepted": True, "detail": answer.detail, "by": answer.by})
        else:
            output.out(f"{run.name}: {answer.detail}")
        if stopping:
            _see_to_the_end(records, run, answer)
    except KeyboardInterrupt:
        output.note(f"No longer waiting. {said} stays told to {run.name}.")
        return output.EXIT_INTERRUPTED
    return 0


def reader_at_end(log: Path) -> EventReader:
    """Return a reader of what is appended to a log from now on, beginning at a whole line."""
    try:
        with log.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = max(0, size - _TAIL_BYTES)
            tail = os.pread(file.fileno(), size - start, start)
    except OSError:
        return EventReader(log)
    return EventReader(log, offset=start + tail.rfind(b"\n") + 1)


def _run(workspace: str | None, name: str) -> RunDirectory:
    return find_run(Workspace.find(workspace).runs, name)


def _records_until(run: RunDirectory, reader: EventReader, deadline: float) -> Iterator[Record]:
    """Yield what the run says until the deadline, or until it is dead and has said everything."""
    looked = time.monotonic()
    dead = False
    while True:
        batch = reader.read()
        yield from batch.records
        if batch.records or batch.more:
            continue
        now = time.monotonic()
        if dead or now > deadline:
            return
        if now - looked >= _LIFE_SECONDS:
            looked = now
            dead = liveness(run.path).life is Life.DEAD
        if not dead:
            time.sleep(_POLL_SECONDS)


def _answer(
    records: Iterator[Record], run: RunDirectory, command_id: str, *, stopping: bool, seconds: float
) -> CommandConfirmed:
    for record in records:
        event = record.event
        if isinstance(event, CommandConfirmed) and (
            event.command_id == command_id or (stopping and event.by == "keeper" and event.command == "Stop")
        ):
            return event
        if stopping and isinstance(event, RunEnded | WorkerExited):
            return CommandConfirmed(command_id, "Stop", True, "ended", "keeper")
    if liveness(run.path).life is Life.DEAD:
        raise NotRunning(
            f"Run {run.name} ended before it could answer.",
            remedy=f"`{hints.command('watch', run)}` says how it ended.",
        )
    raise NotConfirmed(
        f"Run {run.name} has not answered within {seconds:g} s.",
        remedy="It stays told: it is obeyed at the next step, once loading, an evaluation or a save is over. "
        f"`{hints.command('watch', run)}` shows when.",
    )


def _see_to_the_end(records: Iterator[Record], run: RunDirectory, answer: CommandConfirmed) -> None:
    """Tell what a stopping run says after its answer, until it has ended or the time is over."""
    lifecycle = Lifecycle()
    lifecycle.apply(answer)
    for record in records:
        lifecycle.apply(record.event)
        said = sentence(record.event, killed=lifecycle.killed)
        if said is not None and not isinstance(record.event, CommandConfirmed):
            output.note(f"{run.name}: {said[1]}")
        if isinstance(record.event, WorkerExited):
            wait_until_dead(run, timeout_seconds=5.0)
            return
    if liveness(run.path).life is not Life.DEAD:
        output.note(f"{run.name} is still ending. `{hints.command('watch', run)}` shows when it has.")


def _ask_before_losing(run: RunDirectory) -> None:
    lost = f"Stopping {run.name} now loses what was not saved."
    if not (output.is_terminal(sys.stdin) and output.is_terminal(sys.stderr)):
        raise UsageError(lost, remedy=f"Say --yes if that is meant; `{hints.command('stop', run)}` saves first.")
    output.note(f"{lost} Do it? [y/N]")
    try:
        answer = sys.stdin.readline().strip().lower()
    except UnicodeDecodeError:
        answer = ""
    if answer not in ("y", "yes"):
        raise UsageError(f"{run.name} goes on: that was no yes.")
