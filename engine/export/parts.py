"""What a model is made of, as it is told to a process that loads it. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import CheckpointError


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


def stored_quantised(base: str) -> CheckpointError:
    """Return the error of a base that nothing can be merged into."""
    return CheckpointError(
        f"The base {base} is stored quantised, so there is no full precision to merge into.",
        remedy="Name the model it was quantised from with --base.",
    )
