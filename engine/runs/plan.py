"""What a verb would do to checkpoints, before it does it: shown, confirmed, carried out. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["pin", "unpin", "delete", "drop-optimizer", "promote", "swap"]


@dataclass(frozen=True, slots=True)
class Action:
    """One folder and what is to happen to it."""

    kind: Kind
    path: Path
    run: str = ""
    """Name of the run it belongs to."""
    run_id: str = ""
    """Which its manifest must name."""
    proof: str = ""
    """SHA-256 of its manifest when the plan was made: only what was confirmed is touched."""
    step: int = 0
    """Of the checkpoint."""
    freed_bytes: int = 0
    needed_bytes: int = 0
    target: Path | None = None
    """Where a copy goes."""
    said: str = ""
    """In a few words, for people: "checkpoint-30, step 30, 12 MB"."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "run": self.run or None,
            "path": str(self.path),
            "target": None if self.target is None else str(self.target),
            "freed_bytes": self.freed_bytes,
            "needed_bytes": self.needed_bytes,
            "said": self.said,
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done. Making one touches nothing."""

    title: str
    """In a few words: "Prune voice-1"."""
    actions: tuple[Action, ...]
    lost: tuple[str, ...] = ()
    """What cannot be had back, a sentence each. Empty: nothing is lost."""
    refused: tuple[str, ...] = ()
    """What will not be touched and why, a sentence each."""
    kept: tuple[Path, ...] = ()
    """Checkpoints that must prove whole, every byte of them, before anything is deleted."""
    notes: tuple[str, ...] = ()
    """What else a person may want to know before saying yes."""

    @property
    def freed_bytes(self) -> int:
        return sum(action.freed_bytes for action in self.actions)

    @property
    def needed_bytes(self) -> int:
        return sum(action.needed_bytes for action in self.actions)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "title": self.title,
            "actions": [action.as_dict() for action in self.actions],
            "freed_bytes": self.freed_bytes,
            "needed_bytes": self.needed_bytes,
            "lost": list(self.lost),
            "refused": list(self.refused),
            "kept": [str(path) for path in self.kept],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Done:
    """What was done of a plan."""

    done: tuple[Action, ...]
    skipped: tuple[tuple[Action, str], ...] = field(default=())
    """What was not, each with the reason in one sentence."""

    @property
    def freed_bytes(self) -> int:
        return sum(action.freed_bytes for action in self.done)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "done": [action.as_dict() for action in self.done],
            "skipped": [{**action.as_dict(), "reason": reason} for action, reason in self.skipped],
            "freed_bytes": self.freed_bytes,
        }


def size_text(number: int) -> str:
    """Return bytes as people read them: "7.2 GB", "310 MB", "12 kB", "515 B"."""
    for unit, name in ((10**9, "GB"), (10**6, "MB")):
        if number >= unit:
            value = number / unit
            return f"{value:,.1f} {name}" if value < 10 else f"{value:,.0f} {name}"
    return f"{number / 1000:,.0f} kB" if number >= 1000 else f"{number} B"
