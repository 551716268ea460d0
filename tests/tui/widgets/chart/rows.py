"""A curve that keeps its rows, cuts them in the plainest way, and so shows what a chart should draw."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

PER_STEP = {"step": 1.0, "epoch": 1 / 1000, "num_tokens": 2048.0, "seconds": 0.4}


class Cut(NamedTuple):
    low: float
    high: float
    mean: float
    last: float
    count: int  # type: ignore[assignment]
    non_finite: int = 0


GAP = Cut(math.nan, math.nan, math.nan, math.nan, 0)


@dataclass
class Rows:
    label: str = "train"
    rows: list[tuple[float, float]] = field(default_factory=list)
    """Step and value, ascending."""
    style: Literal["line", "points"] = "line"

    def x_range(self, axis: str) -> tuple[float, float] | None:
        if not self.rows:
            return None
        return self.rows[0][0] * PER_STEP[axis], self.rows[-1][0] * PER_STEP[axis]

    def columns(self, axis: str, x0: float, x1: float, width: int) -> list[Cut | None]:
        parts: list[list[float]] = [[] for _ in range(width)]
        for step, value in self.rows:
            x = step * PER_STEP[axis]
            if x0 <= x < x1:
                parts[min(width - 1, int((x - x0) / (x1 - x0) * width))].append(value)
        return [self._cut(part) for part in parts]

    @staticmethod
    def _cut(values: list[float]) -> Cut | None:
        if not values:
            return None
        finite = [value for value in values if math.isfinite(value)]
        if not finite:
            return GAP._replace(non_finite=len(values))
        mean = min(max(finite), max(min(finite), math.fsum(value / len(finite) for value in finite)))
        return Cut(min(finite), max(finite), mean, finite[-1], len(finite), len(values) - len(finite))


def curve(values: Iterable[float], label: str = "train", style: Literal["line", "points"] = "line") -> Rows:
    """One value per step, from step 1 on."""
    return Rows(label, [(float(step), value) for step, value in enumerate(values, 1)], style)


def noisy_loss(steps: int, seed: int = 1) -> Rows:
    noise = random.Random(seed)
    return curve(0.9 + 2.2 * math.exp(-step / 900) + 0.2 * noise.gauss(0, 1) for step in range(1, steps + 1))


def evaluations(steps: int, every: int) -> Rows:
    rows = [(float(step), 1.0 + 2.1 * math.exp(-step / 900)) for step in range(every, steps + 1, every)]
    return Rows("eval", rows, "points")


def planned(steps: float) -> dict[str, float]:
    """Where a run of `steps` ends, per axis."""
    return {axis: steps * per_step for axis, per_step in PER_STEP.items()}
