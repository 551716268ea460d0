"""Which runs are listed, and in which order."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from engine.runs.lifecycle import STATES
from engine.runs.summary import RunSummary

_DIGITS = re.compile(r"(\d+)")


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """Return a key that puts `sft-2` before `sft-10`."""
    return tuple((int(part), "") if part.isdigit() else (0, part.lower()) for part in _DIGITS.split(name))


def _by_loss(summary: RunSummary) -> tuple[bool, float]:
    loss = summary.loss
    known = loss is not None and math.isfinite(loss)
    return (not known, loss if known and loss is not None else 0.0)


class Order(NamedTuple):
    """A way to sort the list."""

    explanation: str
    column: str
    """Key of the column that shows it; empty when none does."""
    key: Callable[[RunSummary], Any] | None
    """None is the order in which the runs come."""


ORDERS: Final[Mapping[str, Order]] = {
    "newest": Order("those at work first, then the newest", "", None),
    "activity": Order("the last to speak first", "when", lambda summary: -summary.last_said),
    "name": Order("by name", "name", lambda summary: _natural(summary.name)),
    "loss": Order("the lowest loss first", "loss", _by_loss),
    "state": Order("by state", "state", lambda summary: STATES.index(summary.state)),
}


def chosen(summaries: Iterable[RunSummary], query: str = "", order: str = "newest") -> list[RunSummary]:
    """Return the runs that match `query`, in one of `ORDERS`.

    Args:
        summaries: In the order of `engine.runs.summary.in_order`.
        query: See `matches`.
        order: A name of `ORDERS`.
    """
    words = query.lower().split()
    found = [summary for summary in summaries if _matches(summary, words)]
    key = ORDERS[order].key
    return found if key is None else sorted(found, key=key)


def matches(summary: RunSummary, query: str) -> bool:
    """Return whether every word of `query` is in the run's name, model, state, method or parent.

    A word after `!` must not be. Case does not matter.
    """
    return _matches(summary, query.lower().split())


def _matches(summary: RunSummary, words: Sequence[str]) -> bool:
    if not words:
        return True
    parts = (summary.name, summary.model, summary.state, summary.method, summary.parent or "")
    text = "\n".join(parts).lower()
    return all((word[1:] not in text or word == "!") if word.startswith("!") else word in text for word in words)
