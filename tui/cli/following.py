"""A run's log as it grows, up to its end, whatever that end is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from engine.launch.start import wait_until_dead
from engine.runs.directory import RunDirectory
from engine.runs.follow import EventReader, Record
from engine.runs.history_index import HistoryIndexFailed, build_index, needs_index, open_history
from engine.runs.liveness import Life, liveness
from tui.state import RunState

POLL_SECONDS = 0.1
"""Between two looks at the log. One is a `stat`, 2 us."""
LIFE_SECONDS = 1.0
"""Between two looks at the processes while nothing is said, some 0.1 ms each."""
ENDING_SECONDS = 60.0
"""How long a worker that said its last word may take to end."""
LETTING_GO_SECONDS = 5.0
"""How long a keeper may take to let go of the run after its last word; it takes milliseconds."""
WORTH_INDEXING_BYTES = 64 << 20
"""Some 200,000 steps: a second to read line by line, which the index saves."""


@dataclass(slots=True)
class Followed:
    """A run being followed."""

    run: RunDirectory
    state: RunState
    reader: EventReader
    past: list[Record] = field(default_factory=list)
    """What the index knows, to be told first. Steps are left out of it."""
    reason: str = ""
    """Why the processes are thought to be alive, dead or neither."""


def open_run(run: RunDirectory, *, every_event: bool = False) -> Followed:
    """Return the run, to be followed from its beginning.

    Args:
        run: Its log need not exist.
        every_event: Read the log itself from its first line, however long it is.
    """
    state = RunState(run.name)
    if every_event:
        return Followed(run, state, EventReader(run.events))
    if needs_index(run, WORTH_INDEXING_BYTES):
        with contextlib.suppress(HistoryIndexFailed):  # then line by line
            build_index(run)
    opened = open_history(run)
    return Followed(run, state, opened.reader, opened.records)


def follow(followed: Followed, *, to_the_end: bool = True) -> Iterator[Record | None]:
    """Yield what is said, record by record, each once the state has taken it; return when the run is over.

    None stands for "that is all for now": after what was said before, then ten times a second, and before the end.
    A run of which nobody can tell whether it lives is followed on.

    Args:
        followed: From `open_run`.
        to_the_end: False returns once everything said so far was yielded.
    """
    state, reader = followed.state, followed.reader
    yield from _taken(state, followed.past)
    followed.past = []
    looked = -LIFE_SECONDS
    ended: float | None = None
    last_look = False
    while True:
        batch = reader.read()
        state.damaged += batch.damaged
        if batch.records:
            last_look = False
        yield from _taken(state, batch.records)
        if batch.more:
            continue
        now = time.monotonic()
        if state.lifecycle.over:
            wait_until_dead(followed.run, timeout_seconds=LETTING_GO_SECONDS)  # so that a resume finds it free
            state.life = Life.DEAD
            break
        if last_look:  # dead, and looked once more after that was known
            break
        if now - looked >= LIFE_SECONDS:
            looked = now
            found = liveness(followed.run.path)
            state.life, followed.reason = found.life, found.reason
            last_look = found.life is Life.DEAD
            if last_look:
                continue
        if not to_the_end:
            break
        if state.lifecycle.ended is None:
            ended = None
        elif ended is None:
            ended = now
        elif now - ended > ENDING_SECONDS:
            break
        yield None
        time.sleep(POLL_SECONDS)
    yield None


def _taken(state: RunState, records: Iterable[Record]) -> Iterator[Record]:
    for record in records:
        state.apply(record.event, record.time, numbers=False)
        yield record
