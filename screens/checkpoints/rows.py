"""What is listed: runs in their lineage with their checkpoints below, or all checkpoints in one order."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from engine.runs.catalogue import RunEntry
from engine.runs.entries import CheckpointEntry

UNFOLDED_ROWS: Final = 30
"""A workspace that takes no more rows than this is shown unfolded: one sees all of it."""


class Row(NamedTuple):
    """One row of the list."""

    run: RunEntry
    checkpoint: CheckpointEntry | None = None
    """None: the row of the run."""
    folded: bool = False
    """Of a run: whether its checkpoints are hidden."""
    alone: bool = False
    """Of a checkpoint: it stands without its run above it, and says whose it is."""
    starred: bool = False
    """Of a checkpoint: it is the best of its run."""

    @property
    def key(self) -> tuple[str, str]:
        """By which it is found again after the runs have been read anew."""
        return self.run.name, self.checkpoint.name if self.checkpoint is not None else ""

    @property
    def spec(self) -> str:
        """What the command line calls it: `voice-1`, `voice-1@checkpoint-120`."""
        return self.checkpoint.spec if self.checkpoint is not None else self.run.name


class Order(NamedTuple):
    """A way to list checkpoints."""

    explanation: str
    column: str
    """Key of the column that decides; empty when none does."""
    key: Callable[[CheckpointEntry], tuple[bool, float]] | None
    """None is the tree."""


def figure(checkpoint: CheckpointEntry, *names: str) -> float | None:
    """Return the first of some figures that the checkpoint has."""
    return next((checkpoint.metrics[name] for name in names if name in checkpoint.metrics), None)


def _lowest(name: str) -> Callable[[CheckpointEntry], tuple[bool, float]]:
    def key(checkpoint: CheckpointEntry) -> tuple[bool, float]:
        found = checkpoint.metrics.get(name, math.nan)
        return (False, found) if math.isfinite(found) else (True, 0.0)

    return key


def _highest(name: str) -> Callable[[CheckpointEntry], tuple[bool, float]]:
    def key(checkpoint: CheckpointEntry) -> tuple[bool, float]:
        found = checkpoint.metrics.get(name, math.nan)
        return (False, -found) if math.isfinite(found) else (True, 0.0)

    return key


ORDERS: Final[Mapping[str, Order]] = {
    "lineage": Order("runs below those they go on from, the newest first", "", None),
    "valid": Order("every checkpoint, the lowest validation loss first", "eval_loss", _lowest("eval_loss")),
    "retain": Order("every checkpoint, the lowest loss on retained data first", "eval_retain_loss",
                    _lowest("eval_retain_loss")),
    "unlearn": Order("every checkpoint, the lowest loss on unlearned data first", "eval_unlearn_loss",
                     _lowest("eval_unlearn_loss")),
    "temporal": Order("every checkpoint, the most questions of the temporal suite right first", "temporal",
                      _highest("temporal/accuracy")),
    "train": Order("every checkpoint, the lowest training loss first", "loss", _lowest("loss")),
    "newest": Order("every checkpoint, the newest first", "age", lambda one: (False, -one.created)),
    "size": Order("every checkpoint, the largest first", "adapter", lambda one: (False, -float(one.used_bytes))),
}  # fmt: skip


def orders_for(runs: Sequence[RunEntry]) -> list[str]:
    """Return the names of the orders that mean something for these runs."""
    known = {name for run in runs for checkpoint in run.checkpoints for name in checkpoint.metrics}
    missing = {order.column for order in ORDERS.values() if "loss" in order.column} - known
    if "temporal/accuracy" not in known:
        missing.add("temporal")
    return [name for name, order in ORDERS.items() if order.column not in missing]


def best_of(run: RunEntry) -> CheckpointEntry | None:
    """Return the checkpoint that `best` stands for, or else the one with the lowest validation loss."""
    kept = next((one for one in run.checkpoints if one.name == "best" and one.fault is None), None)
    return kept or next((one for one in run.checkpoints if "eval_loss" in one.best_by and one.fault is None), None)


def stands_for(run: RunEntry) -> CheckpointEntry | None:
    """Return the checkpoint that a run is meant by: its best, else the newest whole one."""
    return best_of(run) or next((one for one in run.checkpoints if one.fault is None), None)


def judged_best(checkpoint: CheckpointEntry) -> tuple[str, ...]:
    """Return the figures by which it is the best of its run: of validation, where there was any.

    The training loss falls on when a model begins to learn by heart.
    """
    validated = any(name.startswith("eval_") for name in checkpoint.metrics)
    return tuple(name for name in checkpoint.best_by if name.startswith("eval_") or not validated)


def rows(
    runs: Sequence[RunEntry], query: str = "", order: str = "lineage", folded: Mapping[str, bool] | None = None
) -> list[Row]:
    """Return the rows that match a filter, in one of `ORDERS`.

    Args:
        runs: In the order of the catalogue: a run stands below the one it goes on from.
        query: Every word of it must be in a row, or in its run's; a word after `!` must not.
        order: A name of `ORDERS`.
        folded: Names of runs and whether they are folded, where somebody has chosen so.
    """
    words = query.lower().split()
    found: list[tuple[RunEntry, list[CheckpointEntry]]] = []
    for run in runs:
        left = _left(words, _text_of_run(run))
        if left is None:
            continue
        matching = [one for one in run.checkpoints if not left or _wanted(_left(left, _text_of(one))) == []]
        if matching or not _wanted(left):
            found.append((run, matching))
    key = ORDERS[order].key
    if key is not None:
        pairs = [(run, one) for run, matching in found for one in matching]
        pairs.sort(key=lambda pair: key(pair[1]))
        stars = {run.name: _starred(run) for run, _ in found}
        return [Row(run, one, alone=True, starred=one.name in stars[run.name]) for run, one in pairs]
    return _tree(found, folded or {}, all_open=bool(words))


def _tree(
    found: Sequence[tuple[RunEntry, list[CheckpointEntry]]], chosen: Mapping[str, bool], *, all_open: bool
) -> list[Row]:
    few = len(found) + sum(len(matching) for _, matching in found) <= UNFOLDED_ROWS
    newest = max(found, key=lambda pair: pair[0].summary.created, default=None)
    listed: list[Row] = []
    for run, matching in found:
        open_by_itself = few or run.summary.active or (newest is not None and run is newest[0])
        folded = bool(matching) and not all_open and chosen.get(run.name, not open_by_itself)
        listed.append(Row(run, folded=folded))
        if not folded:
            stars = _starred(run)
            listed += [Row(run, one, starred=one.name in stars) for one in matching]
    return listed


def _starred(run: RunEntry) -> set[str]:
    """Return the names of the best checkpoint: `best` is a copy of one that may still be there."""
    best = best_of(run)
    if best is None:
        return set()
    return {
        best.name,
        *(one.name for one in run.checkpoints if one.step == best.step and judged_best(one) and not one.fault),
    }


def _left(words: Sequence[str], text: str) -> list[str] | None:
    """Return the words a text does not answer for; None when it has one that must not be there."""
    if any(word[1:] in text for word in words if word.startswith("!") and len(word) > 1):
        return None
    return [word for word in words if word.startswith("!") or word not in text]


def _wanted(words: Sequence[str] | None) -> list[str] | None:
    return None if words is None else [word for word in words if not word.startswith("!")]


def _text_of_run(run: RunEntry) -> str:
    summary = run.summary
    return "\n".join((summary.name, summary.model, summary.method, summary.state, run.parent or "", run.base)).lower()


def _text_of(one: CheckpointEntry) -> str:
    return _text(one.name, one.reason, one.stage, judged_best(one), not one.fault, one.pinned, one.resumable, one.ours)


@lru_cache(20_000)
def _text(
    name: str, reason: str, stage: str | None, best_by: tuple[str, ...], whole: bool, pinned: bool, resumable: bool,
    ours: bool,
) -> str:  # fmt: skip
    """Return what is known of a checkpoint as the words of a filter. Ten thousand at every letter: 60 ms, else 10."""
    words = [name, reason, stage or "", *best_by, "whole" if whole else "damaged"]
    words += ["pinned"] * pinned + ["best"] * bool(best_by) + ["resumable"] * resumable + ["foreign"] * (not ours)
    return "\n".join(words).lower()
