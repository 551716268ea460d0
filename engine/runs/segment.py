"""Rows of metrics, with blocks that make any range of them cheap to sum up.

Every metric keeps, beside its raw values, blocks of 16, 256, 4,096, 65,536 and 1,048,576 rows with their lowest,
highest, sum and count. A range is folded from whole blocks and at most 30 raw values, and loses no spike. Standard
library only: the console draws with it. What an index holds is memory-mapped into a `Segment`; what is appended
grows a `GrowingSegment`.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias, get_args, overload

Axis: TypeAlias = Literal["step", "epoch", "num_tokens", "time"]
"""What x can be. `time` is seconds the run was at work: see `WorkClock`."""
AXES: Final[tuple[Axis, ...]] = get_args(Axis)
AXIS_TYPES: Final[Mapping[Axis, str]] = {"step": "q", "epoch": "d", "num_tokens": "q", "time": "d"}
"""Type codes of `array`: 64-bit integers and floats."""

FACTOR: Final = 16
"""Rows per block, and blocks per block of the next level. Drawing 240 columns of a million rows takes 2.0 ms with
16, 2.6 ms with 32, 3.6 ms with 64; the blocks are half, a quarter, an eighth as large as the raw values."""
LEVELS: Final = 5
BLOCK: Final = 4
"""Doubles per block: lowest, highest, sum, count of its finite values; inf, -inf, 0, 0 when it has none."""
EMPTY_BLOCK: Final = (math.inf, -math.inf, 0.0, 0.0)
MAX_METRICS: Final = 512
"""Names per history. A log that names more (a hostile one, or one that counts in its names) loses the others."""
FLOAT32_LIMIT: Final = 3.4028235677973366e38
"""The smallest value that float32 rounds to infinity."""


class Numbers(Protocol):
    """What `array` and a cast `memoryview` have in common."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: int, /) -> float: ...
    @overload
    def __getitem__(self, index: slice, /) -> Numbers: ...
    def tolist(self) -> Any:
        """Return the numbers as a list; a slice's `tolist` is four times faster than iterating it."""


class Fold(NamedTuple):
    """What a range of rows adds up to: a block of any length."""

    low: float
    high: float
    total: float
    num_values: int
    """Finite values."""


NO_ROWS: Final = Fold(math.inf, -math.inf, 0.0, 0)


@dataclass(slots=True)
class Metric:
    """One metric's numbers in one segment. Infinity is stored as NaN: both are gaps."""

    raw: Numbers
    """float32, one per row."""
    levels: Sequence[Numbers]
    """Doubles, `BLOCK` per block. Level k has one block for every whole `FACTOR ** (k + 1)` rows."""
    non_finite: Numbers
    """Rows, ascending, whose recorded value was NaN or infinite."""

    def fold(self, start: int, stop: int) -> Fold:
        """Return what rows `start` to `stop` (excluded) add up to."""
        first, last = -(-start // FACTOR), stop // FACTOR
        if first < last:
            values = self.raw[start : first * FACTOR].tolist()
            values += self.raw[last * FACTOR : stop].tolist()
            blocks = self._blocks(first, last)
        else:
            values = self.raw[start:stop].tolist()
            blocks = []
        total = sum(values)
        if total != total:  # NaN: what min and max of a list return depends on where it stands
            values = [value for value in values if value == value]
            total = sum(values)
        num_values = len(values)
        lows, highs = blocks[0::BLOCK], blocks[1::BLOCK]
        if num_values:
            lows.append(min(values))
            highs.append(max(values))
        if not lows:
            return NO_ROWS
        return Fold(min(lows), max(highs), total + sum(blocks[2::BLOCK]), num_values + int(sum(blocks[3::BLOCK])))

    def _blocks(self, first: int, last: int) -> list[float]:
        """Return blocks that together are the blocks `first` to `last` (excluded) of the lowest level."""
        found: list[float] = []
        for level in self.levels[:-1]:
            inner_first, inner_last = -(-first // FACTOR), last // FACTOR
            if inner_first >= inner_last:
                found += level[first * BLOCK : last * BLOCK].tolist()
                return found
            if first < inner_first * FACTOR:
                found += level[first * BLOCK : inner_first * FACTOR * BLOCK].tolist()
            if inner_last * FACTOR < last:
                found += level[inner_last * FACTOR * BLOCK : last * BLOCK].tolist()
            first, last = inner_first, inner_last
        found += self.levels[-1][first * BLOCK : last * BLOCK].tolist()
        return found

    def last_finite(self, start: int, stop: int) -> int:
        """Return the last row from `start` to `stop` (excluded) with a finite value, -1 when there is none."""
        while stop > start:
            value = self.raw[stop - 1]
            if value == value:
                return stop - 1
            step = 1
            # The largest empty block that ends here: a metric may have ended a million rows ago.
            for level, blocks in enumerate(self.levels):
                rows = FACTOR ** (level + 1)
                if stop % rows or stop - rows < start or blocks[(stop // rows - 1) * BLOCK + 3]:
                    break
                step = rows
            stop -= step
        return -1


class Segment:
    """Some rows in a row: x columns and metrics of equal length."""

    def __init__(
        self,
        rows: int,
        axes: Mapping[Axis, Numbers],
        metrics: dict[str, Metric],
        release: Callable[[], object] = lambda: None,
    ) -> None:
        self.rows = rows
        """Rows that count. A truncated memory-mapped segment has more in its arrays."""
        self.axes = axes
        self.metrics = metrics
        self.release = release
        """Gives back the memory of pages that were looked at; they are in the system's cache, not lost."""


class _GrowingMetric(Metric):
    """A metric whose rows are still coming."""

    raw: array[float]
    levels: list[array[float]]
    non_finite: array[int]

    def __init__(self, missing: int) -> None:
        """Start a metric that the first `missing` rows did not have."""
        super().__init__(
            array("f", [math.nan]) * missing,
            [array("d", EMPTY_BLOCK) * (missing // FACTOR ** (level + 1)) for level in range(LEVELS)],
            array("q"),
        )

    def close_blocks(self) -> None:
        """Add the blocks that end with the last row; there are some when its number is a multiple of `FACTOR`."""
        values = [value for value in self.raw[-FACTOR:].tolist() if value == value]
        self.levels[0].extend((min(values), max(values), sum(values), len(values)) if values else EMPTY_BLOCK)
        for level, above in zip(self.levels, self.levels[1:], strict=False):
            if len(level) % (FACTOR * BLOCK):
                break
            below = level[-FACTOR * BLOCK :].tolist()
            above.extend((min(below[0::BLOCK]), max(below[1::BLOCK]), sum(below[2::BLOCK]), sum(below[3::BLOCK])))

    def truncate(self, rows: int) -> None:
        del self.raw[rows:]
        for number, level in enumerate(self.levels):
            del level[rows // FACTOR ** (number + 1) * BLOCK :]
        del self.non_finite[bisect_left(self.non_finite, rows) :]


class GrowingSegment(Segment):
    axes: dict[Axis, array[float]]
    metrics: dict[str, _GrowingMetric]  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__(0, {axis: array(AXIS_TYPES[axis]) for axis in AXES}, {})
        self._step, self._epoch, self._num_tokens, self._time = self.axes.values()

    def add_metric(self, name: str) -> None:
        """Begin a metric that the rows so far do not have."""
        self.metrics[name] = _GrowingMetric(self.rows)

    def append(self, step: int, epoch: float, num_tokens: int, time: float, metrics: Mapping[str, float]) -> None:
        """Add a row. Metrics that were never added are not kept."""
        self._step.append(step)
        self._epoch.append(epoch)
        self._num_tokens.append(num_tokens)
        self._time.append(time)
        for name, metric in self.metrics.items():
            value = metrics.get(name, math.nan)
            if -FLOAT32_LIMIT < value < FLOAT32_LIMIT:
                metric.raw.append(value)
            else:
                metric.raw.append(math.nan)
                if name in metrics:
                    metric.non_finite.append(self.rows)
        self.rows += 1
        if self.rows % FACTOR == 0:
            for metric in self.metrics.values():
                metric.close_blocks()

    def truncate(self, rows: int) -> None:
        for numbers in self.axes.values():
            del numbers[rows:]
        for metric in self.metrics.values():
            metric.truncate(rows)
        self.rows = rows
