"""Which of its states a run is in, from what it said and whether anybody works on it."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Literal, get_args

from engine import events
from engine.events import Event
from engine.runs.liveness import Life

State = Literal["starting", "running", "paused", "stopping", "finished", "stopped", "failed", "died", "unknown"]
STATES: tuple[State, ...] = get_args(State)
ACTIVE: frozenset[State] = frozenset({"starting", "running", "paused", "stopping"})
"""States in which a process works on the run."""


@dataclass(slots=True)
class Lifecycle:
    """Folds a run's events, in their order, into what decides its state."""

    attempt: int = 0
    training: bool = False
    paused: bool = False
    stopping: bool = False
    killed: bool = False
    """The keeper ended a worker that did not obey "stop now"."""
    ended: events.RunEnded | None = None
    """How the worker said the newest attempt ended."""
    exited: events.WorkerExited | None = None
    """How the keeper saw the newest attempt's process end."""

    def apply(self, event: Event) -> None:
        """Take one event. Those that say nothing about the state are passed over."""
        if isinstance(event, events.StepFinished):
            # Said by TrainingStarted and RunUnpaused too, but a reader of a log's end may not have seen those.
            self.training, self.paused = True, False
        elif isinstance(event, events.KeeperStarted):
            self.attempt = event.attempt
            self.training = self.paused = self.stopping = self.killed = False
            self.ended = self.exited = None
        elif isinstance(event, events.TrainingStarted):
            self.training = True
        elif isinstance(event, events.RunPaused):
            self.paused = True
        elif isinstance(event, events.RunUnpaused):
            self.paused = False
        elif isinstance(event, events.CommandConfirmed):
            if event.command == "Stop" and event.accepted:
                self.stopping = True
                self.killed |= event.by == "keeper"
        elif isinstance(event, events.RunEnded):
            self.ended = event
        elif isinstance(event, events.WorkerExited):
            self.exited = event

    @property
    def over(self) -> bool:
        """Whether the log itself says that nobody works on the run any more."""
        return self.exited is not None

    def state(self, life: Life) -> State:
        """Return the state.

        Args:
            life: From `liveness`; not looked at when the log says that the worker has exited.
        """
        if self.ended is not None:
            return _outcome(self.ended)
        if self.over:
            return "stopped" if self.killed else "died"  # a worker that obeys says itself how it ended
        if life is Life.UNKNOWN:
            return "unknown"
        if life is Life.DEAD:
            return "died"
        if self.stopping:
            return "stopping"
        if self.paused:
            return "paused"
        return "running" if self.training else "starting"

    def explanation(self) -> str:
        """Return in one sentence how the newest attempt ended; empty while it has not."""
        if self.ended is not None:
            return " ".join(text for text in (self.ended.detail, self.ended.remedy) if text)
        if self.exited is None:
            return ""
        if self.killed:
            return "Stopped at once: it did not end by itself in time and was killed. What was not saved is lost."
        if self.exited.out_of_memory:
            return "Killed by the system: the host ran out of memory."
        if self.exited.signal is not None:
            return f"Killed by signal {self.exited.signal} ({_signal_name(self.exited.signal)}), cause unknown."
        return f"The worker exited with status {self.exited.exit_code}; the end of worker.log says why."


def _outcome(ended: events.RunEnded) -> State:
    if ended.outcome == "finished":
        return "finished"
    return "stopped" if ended.outcome == "stopped" else "failed"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
