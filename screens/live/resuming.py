"""Going on with a run that is over: from where, what has changed since, what was passed over. For a thread.

Imported when somebody wants to resume: settings and provenance are 0.2 s that a view does not need.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import EngineError
from engine.launch.prepare import Resumed, resume_run
from engine.runs import provenance
from engine.runs.checkpoints import all_checkpoints
from engine.runs.directory import RunDirectory
from tui.widgets.words import number_of


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a resume would mean, as far as it can be told before the checkpoints are read."""

    checkpoint: str | None
    """The newest one, whole or not; None when there is none."""
    repeated_steps: int
    changes: list[str]
    """What is not what it was when the run was made."""


def prospect(run: RunDirectory, step: int) -> Prospect:
    """Look at a run that is over.

    Args:
        run: The run.
        step: The newest of its log.
    """
    # As a resume chooses: a run that was resumed from an earlier one may have left one of a higher step behind.
    newest = max(all_checkpoints(run), key=lambda checkpoint: checkpoint.age_key, default=None)
    repeated = step - (newest.step if newest is not None else 0)
    try:
        changes = provenance.changes_since(run)
    except EngineError:
        changes = []  # resuming will say so, with its remedy
    return Prospect(newest.path.name if newest is not None else None, max(0, repeated), changes)


def consequence(found: Prospect) -> str:
    """Return what the user should know before saying yes."""
    said = f"It goes on from {found.checkpoint}." if found.checkpoint else "It has no checkpoint and begins again."
    if found.repeated_steps:
        said += f" {number_of(found.repeated_steps, 'step')} after that are done again."
    if found.changes:
        said += f" It will not go on exactly: {'; '.join(found.changes)}."
    return said


def resume(run: RunDirectory, accept_changes: bool) -> Resumed:
    """Go on with the run. Raises what `resume_run` does."""
    return resume_run(run, accept_changes=accept_changes)


def said(resumed: Resumed) -> str:
    """Return from where it went on, and what was passed over."""
    start = f"It goes on from {resumed.checkpoint.path.name}." if resumed.checkpoint else "It begins again."
    passed = [f"{checkpoint.path.name} was passed over: {reason}." for checkpoint, reason in resumed.skipped]
    inexact = [f"Not exact to the last digit: {sentence}." for sentence in resumed.inexact]
    return "\n".join([start, *passed, *inexact])
