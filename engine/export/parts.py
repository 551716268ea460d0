"""What a model is made of, as it is told to a process that loads it. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parts:
    """A base, or a whole model, and perhaps an adapter. From `engine.spec.LocalModel`, as JSON between processes."""

    source: str
    """Folder or Hub name of the base, or of a full model."""
    commit: str | None
    """Of a Hub model."""
    adapter: str | None
    trust_remote_code: bool = False
    allow_pickle: bool = False
