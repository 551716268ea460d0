"""What a run takes of a device's memory, as the worker tells it, and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Memory:
    """Predicted memory of a run at its peak, in bytes."""

    components: Mapping[str, int]
    free_bytes: int | None
    kind: str
    """"cuda", "mps" or "cpu"."""
    rows: int
    length: int
    reason: str = ""
    """Where its correction comes from; empty when nothing was measured."""

    @property
    def total_bytes(self) -> int:
        """Of all components."""
        return sum(self.components.values())

    @property
    def fits(self) -> bool | None:
        """Whether it is below what is free; None when that is not known."""
        return None if self.free_bytes is None else self.total_bytes <= self.free_bytes


def gigabytes(count: int) -> str:
    """Return a number of bytes as people read it: "7.2 GB", "310 MB"."""
    if count >= 10 * 10**9:
        return f"{count / 10**9:.0f} GB"
    return f"{count / 10**9:.1f} GB" if count >= 10**9 else f"{max(1, round(count / 10**6))} MB"


def sentence(memory: Memory) -> str:
    """Return what it comes to."""
    where = "device memory" if memory.kind == "cuda" else "memory"
    total = gigabytes(memory.total_bytes)
    if memory.free_bytes is None:
        return f"{total} of {where}"
    verdict = "fits" if memory.fits else "does not fit"
    return f"{verdict}: {total} of {gigabytes(memory.free_bytes)} free {where}"
