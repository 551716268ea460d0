"""Everything the details of one run say, read at once. For a thread: checkpoints, both ends of the log, its loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.errors import EngineError
from engine.runs.checkpoints import Checkpoint, all_checkpoints, read_checkpoint
from engine.runs.directory import RunDirectory
from engine.runs.follow import head, tail
from engine.runs.liveness import Life, liveness
from engine.runs.summary import RunSummary
from screens.runs.loss_curve import LossCurve, loss_curves
from tui.run_feed import last_lines
from tui.state import CheckpointLine, RunState

_LAST_WORDS = 3
"""Lines of `worker.log` that are shown of a run that failed or died."""


@dataclass(frozen=True, slots=True)
class Details:
    """One run, as far as it is worth a look without opening it."""

    name: str
    state: RunState
    """From the two ends of its log: figures of the middle are missing."""
    best: Checkpoint | None = None
    final: Checkpoint | None = None
    newest: Checkpoint | None = None
    """The newest `checkpoint-N`, whole or not."""
    curves: Sequence[LossCurve] = field(default_factory=list)
    whole: bool = True
    """Whether the curves have every step, or samples."""
    reason: str = ""
    """Why its processes are thought to be what they are."""
    last_words: Sequence[str] = ()
    """The end of `worker.log` of a run that failed or died; foreign."""


def read_details(run: RunDirectory, summary: RunSummary) -> Details:
    """Read the details of a run; what cannot be read is left out, as the list has said why already."""
    state = RunState(run.name)
    try:
        records = [*head(run.events), *tail(run.events)]
        curves, whole = loss_curves(run.events)
    except EngineError:
        return Details(run.name, state)
    seq = 0
    for record in records:
        if record.seq > seq:
            seq = record.seq
            state.apply(record.event, record.time, numbers=False)
    found = liveness(run.path)
    state.life = Life.DEAD if state.lifecycle.over else found.life
    ended_badly = summary.state in ("failed", "died")
    return Details(
        name=run.name,
        state=state,
        best=read_checkpoint(run.best),
        final=read_checkpoint(run.final),
        newest=next(iter(all_checkpoints(run)), None),
        curves=curves,
        whole=whole,
        reason=found.reason,
        last_words=last_lines(run)[-_LAST_WORDS:] if ended_badly else (),
    )


def kept_on_disk(run: RunDirectory, step: int) -> RunState:
    """Return a state that knows the run's step and its checkpoints on disk: what stopping now would lose."""
    state = RunState(run.name, step=step)
    state.checkpoints = [
        CheckpointLine(found.step, f"checkpoints/{found.path.name}", found.used_bytes, "")
        for found in all_checkpoints(run)
    ]
    return state
