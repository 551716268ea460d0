"""What the worker says: events into the journal, and the stage it is in. A full disk is waited for.

Only one process of a run reports: the first one.
"""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from engine import events
from engine.errors import DiskFull, EngineError
from engine.events import Event
from engine.journal import RESUME, Journal

T = TypeVar("T")
_ROOM_SECONDS = 1.0
"""Between two looks whether there is room again."""
_PROGRESS_SECONDS = 10.0
"""Between two words on how far a part of the work is."""
_SECRETS = re.compile(
    r"(?<![A-Za-z0-9])(?:hf|sk|gh[opsu]|github_pat|glpat|wandb|xox[bap])[-_](?=[A-Za-z_-]*[A-Z0-9])[A-Za-z0-9_-]{12,}"
    r"|(?<=://)[^/\s]+(?=@)|(?<=[Bb]earer )\S{8,}"
    r"|(?P<name>(?i:api_?key|password|secret)[\"']?\s*[:=]\s*[\"']?)[^\s\"',)}\]]{8,}"
)
"""Tokens of the services these libraries talk to, what stands before `@` in addresses, bearer tokens, and values that
are called secret. A token has a digit or a capital: `hf_hub_download` is a function."""


@dataclass(slots=True)
class Reporter:
    """Writes one run's events."""

    path: Path
    """Of `events.jsonl`."""
    stage: str = "starting"
    """The newest stage said."""
    began: float = field(default_factory=time.monotonic)
    """Monotonic time at which this worker began."""
    patience_seconds: float = 0.0
    """How long a full disk is waited for before it ends the run. 0: not at all."""
    while_waiting: Callable[[], None] | None = None
    """Called every second meanwhile; may raise to end the waiting."""
    ended: bool = False
    """Whether the end of the run has been said."""
    _entered: float = 0.0
    """When the stage, or how far it is, was said."""
    _journal: Journal = field(init=False)

    def __post_init__(self) -> None:
        self._journal = Journal(self.path, then=RESUME)

    def say(self, event: Event, *, durable: bool = False) -> None:
        """Append an event.

        Raises:
            WorkspaceError: The journal cannot be written (`DiskFull` when there is no room for longer than we wait).
        """
        record = events.to_json(event)
        self.with_room(lambda: self._journal.append(record, durable=durable))

    def say_at_once(self, event: Event) -> None:
        """Append an event that may be lost: a full disk is not waited for."""
        self._journal.append(events.to_json(event))

    @property
    def unheard(self) -> bool:
        """Whether the log was deleted: nobody can see this run or tell it anything."""
        return self._journal.deleted

    def with_room(self, write: Callable[[], T]) -> T:
        """Return what `write` returns. While it says that the disk is full, wait, and call it again.

        Hours of training are worth more than a file system somebody else has filled for a while. Once the patience has
        run out there is none left: the end must be said at once.

        Raises:
            DiskFull: For longer than `patience_seconds`.
        """
        deadline: float | None = None
        while True:
            try:
                return write()
            except DiskFull as full:
                if deadline is None:
                    deadline = time.monotonic() + self.patience_seconds
                    self._say_waiting(full)
                if time.monotonic() >= deadline:
                    self.patience_seconds = 0.0
                    raise
            try:
                if self.while_waiting is not None:
                    self.while_waiting()
            except BaseException:
                self.patience_seconds = 0.0
                raise
            time.sleep(_ROOM_SECONDS)

    def _say_waiting(self, full: DiskFull) -> None:
        """Say so where there may be room for a line: a checkpoint needs more than an event."""
        if not self.patience_seconds:
            return
        waiting = events.Warned(
            "disk-full",
            f"{full.message} The run waits up to {self.patience_seconds / 60:.0f} minutes for room.",
            "Free some space there: it goes on by itself. `ftconsole stop --now` ends it.",
        )
        with contextlib.suppress(EngineError):
            self.say_at_once(waiting)
        with contextlib.suppress(OSError):  # worker.log is on the same disk
            print(f"{waiting.code}: {waiting.message}", file=sys.stderr, flush=True)

    def enter(self, stage: str, detail: str = "") -> None:
        """Say that another part of the work begins; nothing when it is the one we are in."""
        if stage != self.stage or detail:
            self.stage, self._entered = stage, time.monotonic()
            self.say(events.StageChanged(stage, detail))

    def progress(self, detail: str) -> None:
        """Say how far the part of the work is that we are in, every 10 s at most."""
        now = time.monotonic()
        if now - self._entered >= _PROGRESS_SECONDS:
            self._entered = now
            self.say(events.StageChanged(self.stage, detail))

    def warn(self, code: str, message: str, remedy: str = "") -> None:
        """Say something the user should know."""
        self.say(events.Warned(code, redacted(message), redacted(remedy)))

    def end(self, outcome: str, step: int, *, detail: str = "", error: EngineError | None = None) -> None:
        """Say how the run ended. A failure's sentence, code and remedy come from `error`."""
        ended = events.RunEnded(outcome, step, round(time.monotonic() - self.began, 3), redacted(detail))
        if error is not None:
            ended = replace(ended, detail=redacted(error.message), code=error.code, remedy=redacted(error.remedy))
        self.say(ended, durable=True)
        self.ended = True


class Quiet(Reporter):
    """Says nothing: another process of the run does, or another time."""

    def say(self, event: Event, *, durable: bool = False) -> None:
        """Drop the event."""

    def say_at_once(self, event: Event) -> None:
        """Drop the event."""

    @property
    def unheard(self) -> bool:
        return False


def redacted(text: str) -> str:
    """Return `text` without anything that looks like a secret. For errors of libraries, which quote what they got."""
    return _SECRETS.sub(lambda found: f"{found['name'] or ''}[secret]", text)
