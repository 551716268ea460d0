"""What a few typed letters leave of a list, and in which order: Enter takes the first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def narrowed(items: Iterable[T], query: str, name: Callable[[T], str], about: Callable[[T], str]) -> list[T]:
    """Return the items that have every word of `query` in name or description.

    What is called so comes before what only speaks of it: `d` is the key of one verb and a letter in the
    description of most, `small` the name of one preset and a word in the summaries of three.
    """
    words = query.lower().split()
    if not words:
        return list(items)
    found: list[tuple[int, T]] = []
    for item in items:
        called = name(item)
        lower = called.lower()
        if not all(word in f"{lower} {about(item).lower()}" for word in words):
            continue
        begins = called.startswith(query), lower.startswith(words[0]), all(word in lower for word in words)
        found.append((next((rank for rank, fits in enumerate(begins) if fits), len(begins)), item))
    return [item for _, item in sorted(found, key=lambda one: one[0])]
