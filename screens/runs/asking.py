"""Telling a run something and waiting for its answer. For a thread."""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.commands import Command
from engine.events import CommandConfirmed
from engine.launch.start import send
from engine.runs.directory import RunDirectory
from engine.runs.follow import tail
from engine.runs.liveness import Life, liveness

ANSWER_SECONDS = 120.0
"""How long an answer is waited for: a step, an evaluation or a save may be under way."""
_LOOK_SECONDS = 0.3


def tell(run: RunDirectory, command: Command, given_up: Callable[[], bool]) -> CommandConfirmed | None:
    """Send a command and return the answer; None when none came while somebody waited.

    Args:
        run: A run that is at work.
        command: What it is told.
        given_up: Whether nobody waits any more.

    Raises:
        NotRunning: Nobody works on it.
        WorkspaceError: Its journal cannot be written.
    """
    command_id = send(run, command)
    deadline = time.monotonic() + ANSWER_SECONDS
    while not given_up() and time.monotonic() < deadline:
        for record in tail(run.events):
            if isinstance(record.event, CommandConfirmed) and record.event.command_id == command_id:
                return record.event
        if liveness(run.path).life is Life.DEAD:
            return None
        time.sleep(_LOOK_SECONDS)
    return None
