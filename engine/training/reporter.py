"""What the worker says: events into the journal, and the stage it is in.

Only one process of a run reports: the first one.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine import events
from engine.errors import EngineError
from engine.events import Event
from engine.journal import Journal

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
    _journal: Journal = field(init=False)

    def __post_init__(self) -> None:
        self._journal = Journal(self.path)

    def say(self, event: Event, *, durable: bool = False) -> None:
        """Append an event.

        Raises:
            WorkspaceError: The journal cannot be written (`DiskFull` when there is no room).
        """
        self._journal.append(events.to_json(event), durable=durable)

    def enter(self, stage: str, detail: str = "") -> None:
        """Say that another part of the work begins; nothing when it is the one we are in."""
        if stage != self.stage or detail:
            self.stage = stage
            self.say(events.StageChanged(stage, detail))

    def warn(self, code: str, message: str, remedy: str = "") -> None:
        """Say something the user should know."""
        self.say(events.Warned(code, redacted(message), redacted(remedy)))

    def end(self, outcome: str, step: int, *, detail: str = "", error: EngineError | None = None) -> None:
        """Say how the run ended. A failure's sentence, code and remedy come from `error`."""
        ended = events.RunEnded(outcome, step, round(time.monotonic() - self.began, 3), redacted(detail))
        if error is not None:
            ended = replace(ended, detail=redacted(error.message), code=error.code, remedy=redacted(error.remedy))
        self.say(ended, durable=True)


def redacted(text: str) -> str:
    """Return `text` without anything that looks like a secret. For errors of libraries, which quote what they got."""
    return _SECRETS.sub(lambda found: f"{found['name'] or ''}[secret]", text)
