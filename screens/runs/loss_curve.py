"""The loss over a whole run, from samples of its log: as quick for a million steps as for a thousand."""

from __future__ import annotations

import math
import os
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

from engine.events import EvaluationFinished, StepFinished
from engine.runs.follow import Record, decode_lines

WHOLE_BYTES: Final = 256 << 10
"""A log up to this size is read as a whole: some 600 steps, 3 ms."""
BLOCKS: Final = 64
BLOCK_BYTES: Final = 4 << 10
"""Of a longer log, so many blocks are read, evenly over its length: some 9 steps each."""


@dataclass(frozen=True, slots=True)
class _Column:
    """The samples of one column of dots."""

    low: float
    high: float
    mean: float
    last: float
    count: int
    non_finite: int = 0


@dataclass(frozen=True, slots=True)
class LossCurve:
    """A curve as `tui.widgets.chart` draws it, by step only."""

    label: str
    style: Literal["line", "points"]
    steps: Sequence[float] = field(default_factory=list)
    """Rising."""
    values: Sequence[float] = field(default_factory=list)

    def x_range(self, axis: str) -> tuple[float, float] | None:
        """Return the first and last step; None when there is none."""
        del axis
        return (self.steps[0], self.steps[-1]) if self.steps else None

    def columns(self, axis: str, x0: float, x1: float, width: int) -> list[_Column | None]:
        """Cut the steps in [x0, x1) into columns."""
        del axis
        edges = [bisect_left(self.steps, x0 + (x1 - x0) * column / width) for column in range(width)]
        edges.append(bisect_left(self.steps, x1))
        return [self._column(first, end) for first, end in pairwise(edges)]

    def _column(self, first: int, end: int) -> _Column | None:
        values = self.values[first:end]
        if not values:
            return None
        finite = [value for value in values if math.isfinite(value)]
        bad = len(values) - len(finite)
        if not finite:
            return _Column(math.nan, math.nan, math.nan, math.nan, len(values), bad)
        return _Column(min(finite), max(finite), sum(finite) / len(finite), finite[-1], len(finite), bad)


def loss_curves(log: Path) -> tuple[list[LossCurve], bool]:
    """Return training loss and validation losses, and whether every step is among them.

    Steps that a resume did again count as the resume did them.
    """
    records, whole = _samples(log)
    found: dict[str, dict[int, float]] = {}
    for record in records:
        event = record.event
        if isinstance(event, StepFinished) and "loss" in event.metrics:
            found.setdefault("train", {})[event.step] = event.metrics["loss"]
        elif isinstance(event, EvaluationFinished):
            for name, loss in event.metrics.items():
                if name.startswith("eval_") and name.endswith("_loss"):
                    label = name.removeprefix("eval_").removesuffix("loss").rstrip("_") or "eval"
                    found.setdefault(label, {})[event.step] = loss
    # With several validation sets, their mean says nothing that they do not.
    if len(found) > 2:
        found.pop("eval", None)
    curves = []
    for name, values in found.items():
        steps = sorted(values)
        curves.append(LossCurve(name, "line" if name == "train" else "points", steps, [values[step] for step in steps]))
    return sorted(curves, key=lambda curve: curve.style != "line"), whole


def _samples(log: Path) -> tuple[list[Record], bool]:
    try:
        descriptor = os.open(log, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return [], True
    try:
        size = os.fstat(descriptor).st_size
        whole = size <= WHOLE_BYTES
        starts = [0] if whole else [block * (size - BLOCK_BYTES) // (BLOCKS - 1) for block in range(BLOCKS)]
        pieces = [os.pread(descriptor, WHOLE_BYTES if whole else BLOCK_BYTES, start) for start in starts]
    except OSError:
        return [], True
    finally:
        os.close(descriptor)
    records: list[Record] = []
    for start, piece in zip(starts, pieces, strict=True):
        lines = piece.split(b"\n")[1 if start else 0 : -1]
        records += [record for record in decode_lines(lines) if isinstance(record, Record)]
    return records, whole
