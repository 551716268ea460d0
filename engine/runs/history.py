"""The numbers of one run, row by row, and what a plot of any width shows of them.

Standard library only, because the console draws with it. Rows from an index (`history_index`) are memory-mapped;
rows appended since are arrays beside it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from engine.events import EvaluationFinished, Event, StepFinished, TrainingStarted
from engine.runs.segment import AXES, MAX_METRICS, Axis, GrowingSegment, Metric, Numbers, Segment

_INT64: Final = 1 << 63
_NUMBERS: Final = frozenset({float, int})


class Column(NamedTuple):
    """What a metric did within one pixel column. All NaN with `count` 0: rows, but no finite value among them."""

    low: float
    high: float
    mean: float
    last: float
    count: int  # type: ignore[assignment]  # a tuple's method of that name is not needed
    """Finite values."""
    non_finite: int = 0
    """Values that were recorded as NaN or infinite."""


_GAP: Final = Column(math.nan, math.nan, math.nan, math.nan, 0)


class Point(NamedTuple):
    """One metric at one row."""

    row: int
    x: float
    value: float
    """NaN where the row has no finite value."""


class Row(NamedTuple):
    """Everything one row holds."""

    step: int
    epoch: float
    num_tokens: int
    time: float
    metrics: dict[str, float]
    """NaN where the row lacks the metric or has no finite value for it. As float32 holds them."""


@dataclass(slots=True)
class _Drawn:
    """Columns that were asked for last time, to be finished when rows were added."""

    x0: float
    x1: float
    rows: int
    """Rows the history had."""
    columns: list[Column | None] = field(default_factory=list)


class MetricHistory:
    """The metrics of one run, row by row. x never decreases from one row to the next, on any axis.

    Args:
        base: Rows that are there already, usually memory-mapped.
    """

    def __init__(self, base: Segment | None = None) -> None:
        self._base = base if base is not None else GrowingSegment()
        self._tail = GrowingSegment()
        self._names: dict[str, None] = dict.fromkeys(self._base.metrics)
        self._drawn: dict[tuple[str, Axis], _Drawn] = {}
        self._newest = self._last_x()

    def __len__(self) -> int:
        return self._base.rows + self._tail.rows

    @property
    def metrics(self) -> list[str]:
        """Names, in the order of their first appearance."""
        return list(self._names)

    def append(self, step: int, epoch: float, num_tokens: int, time: float, metrics: Mapping[str, float]) -> None:
        """Add a row.

        A step below the last one supersedes that one and all above it: the run went back, and the line that
        said so is lost.

        Args:
            step: As recorded.
            epoch: As recorded; one that decreased or is not finite counts as the last row's.
            num_tokens: As recorded, with the same exception.
            time: Seconds at work.
            metrics: Any may be NaN or infinite, both of which are drawn as gaps.
        """
        if self._newest is not None and step < self._newest[0]:
            self.truncate_after(step - 1)
        if self._newest is not None:
            _, last_epoch, last_tokens, last_time = self._newest
            epoch = epoch if last_epoch <= epoch < math.inf else last_epoch
            num_tokens = num_tokens if num_tokens > last_tokens else last_tokens
            time = time if time > last_time else last_time
        elif not math.isfinite(epoch):
            epoch = 0.0
        if not metrics.keys() <= self._tail.metrics.keys():
            self._add_metrics(metrics)
        self._tail.append(step, epoch, num_tokens, time, metrics)
        self._newest = (step, epoch, num_tokens, time)

    def _add_metrics(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self._names or len(self._names) < MAX_METRICS:
                self._names.setdefault(name)
                if name not in self._tail.metrics:
                    self._tail.add_metric(name)

    def truncate_after(self, step: int) -> None:
        """Forget the rows above `step`: a resume supersedes them."""
        rows = self._row_at("step", step + 1)
        if rows == len(self):
            return
        self._drawn.clear()
        self._base.rows = min(rows, self._base.rows)
        self._tail.truncate(rows - self._base.rows)
        self._newest = self._last_x()

    def last(self, metric: str) -> float | None:
        """Return the newest value recorded: NaN if it was not finite, None if there is none."""
        for segment in (self._tail, self._base):
            values = segment.metrics.get(metric)
            if values is None:
                continue
            finite = values.last_finite(0, segment.rows)
            bad = bisect_left(values.non_finite, segment.rows)
            if bad and values.non_finite[bad - 1] > finite:
                return math.nan
            if finite >= 0:
                return values.raw[finite]
        return None

    def non_finite(self, metric: str) -> int:
        """Return how many values were recorded as NaN or infinite."""
        return sum(
            bisect_left(segment.metrics[metric].non_finite, segment.rows)
            for segment in (self._base, self._tail)
            if metric in segment.metrics
        )

    def x_range(self, axis: Axis) -> tuple[float, float] | None:
        """Return the first and the last x, None without rows."""
        return (self._x(axis, 0), self._x(axis, len(self) - 1)) if self else None

    def columns(self, metric: str, axis: Axis, x0: float, x1: float, width: int) -> list[Column | None]:
        """Return what `metric` did in each of `width` equal parts of x from `x0` to `x1` (excluded).

        None where no row falls into the part. Asked again for the same range after rows were added, only the
        parts that changed are folded anew.
        """
        if width <= 0 or not 0 < x1 - x0 < math.inf:
            return [None] * max(0, width)
        drawn = self._drawn.get((metric, axis))
        if drawn is None or (drawn.x0, drawn.x1, len(drawn.columns)) != (x0, x1, width):
            drawn = self._drawn[metric, axis] = _Drawn(x0, x1, 0, [None] * width)
        if drawn.rows < len(self):
            # The first part that the first new row can fall into; one before it, for what rounding may do.
            part = int((self._x(axis, drawn.rows) - x0) / (x1 - x0) * width) - 1
            self._draw(drawn.columns, metric, axis, x0, x1, max(0, part))
            if drawn.rows < self._base.rows:
                self._base.release()
            drawn.rows = len(self)
        return drawn.columns.copy()

    def _draw(self, columns: list[Column | None], metric: str, axis: Axis, x0: float, x1: float, first: int) -> None:
        """Fold the parts from `first` on anew."""
        width = len(columns)
        base, tail = self._base.metrics.get(metric), self._tail.metrics.get(metric)
        middle = self._base.rows
        start = self._row_at(axis, x0 + (x1 - x0) * first / width)
        for part in range(first, width):
            if start == len(self):
                columns[part:] = [None] * (width - part)
                return
            stop = self._row_at(axis, x0 + (x1 - x0) * (part + 1) / width, start)
            if start == stop:
                columns[part] = None
            elif stop <= middle:
                columns[part] = _column(base, start, stop)
            elif start >= middle:
                columns[part] = _column(tail, start - middle, stop - middle)
            else:
                columns[part] = _joined(_column(base, start, middle), _column(tail, 0, stop - middle))
            start = stop

    def value_at(self, metric: str, axis: Axis, x: float) -> Point | None:
        """Return the row nearest to `x`, the newest of several at the same x; None without rows."""
        if not self:
            return None
        row = min(self._row_at(axis, x), len(self) - 1)
        if row and x - self._x(axis, row - 1) < self._x(axis, row) - x:
            row -= 1
        at = self._x(axis, row)
        row = self._row_at(axis, math.nextafter(at, math.inf)) - 1
        segment, inside = self._segment(row)
        values = segment.metrics.get(metric)
        return Point(row, at, values.raw[inside] if values is not None else math.nan)

    def rows(self, start: int, stop: int) -> Iterator[Row]:
        """Yield the rows from `start` to `stop` (excluded) one by one."""
        for row in range(max(0, start), min(stop, len(self))):
            segment, inside = self._segment(row)
            axes = segment.axes
            values = {
                name: segment.metrics[name].raw[inside] if name in segment.metrics else math.nan for name in self._names
            }
            yield Row(
                int(axes["step"][inside]), axes["epoch"][inside], int(axes["num_tokens"][inside]),
                axes["time"][inside], values,
            )  # fmt: skip
        self._base.release()

    def _segment(self, row: int) -> tuple[Segment, int]:
        """Return where a row is, and its number there."""
        base = self._base.rows
        return (self._base, row) if row < base else (self._tail, row - base)

    def _last_x(self) -> tuple[int, float, int, float] | None:
        """Return the last row's x on all axes."""
        if not self:
            return None
        step, epoch, num_tokens, time = (self._x(axis, len(self) - 1) for axis in AXES)
        return int(step), epoch, int(num_tokens), time

    def _x(self, axis: Axis, row: int) -> float:
        segment, inside = self._segment(row)
        return segment.axes[axis][inside]

    def _row_at(self, axis: Axis, x: float, start: int = 0) -> int:
        """Return the first row from `start` on whose x is at least `x`; the number of rows when there is none."""
        base = self._base.rows
        if start < base and self._base.axes[axis][base - 1] >= x:
            return _first_at(self._base.axes[axis], x, start, base)
        return base + _first_at(self._tail.axes[axis], x, max(0, start - base), self._tail.rows)


def _column(metric: Metric | None, start: int, stop: int) -> Column:
    """Return what rows `start` to `stop` (excluded) of a segment's metric are together."""
    if metric is None:
        return _GAP
    low, high, total, num_values = metric.fold(start, stop)
    bad = 0
    if len(metric.non_finite):
        bad = bisect_left(metric.non_finite, stop) - bisect_left(metric.non_finite, start)
    if not num_values:
        return _GAP._replace(non_finite=bad) if bad else _GAP
    return Column(low, high, total / num_values, metric.raw[metric.last_finite(start, stop)], num_values, bad)


def _joined(one: Column, other: Column) -> Column:
    """Return the column of the rows of both."""
    bad = one.non_finite + other.non_finite
    if not one.count or not other.count:
        return (one if one.count else other)._replace(non_finite=bad)
    count = one.count + other.count
    mean = (one.mean * one.count + other.mean * other.count) / count
    return Column(min(one.low, other.low), max(one.high, other.high), mean, other.last, count, bad)


def _first_at(numbers: Numbers, x: float, start: int, stop: int) -> int:
    """`bisect_left`, after one guess that is right where x grows evenly, as steps do."""
    if start >= stop or numbers[start] >= x:
        return start
    low, high = numbers[start], numbers[stop - 1]
    if high < x:
        return stop
    guess = start + math.ceil((x - low) / (high - low) * (stop - 1 - start))
    if start < guess < stop and numbers[guess - 1] < x <= numbers[guess]:
        return guess
    return bisect_left(numbers, x, start, stop)


@dataclass(slots=True)
class WorkClock:
    """Seconds a run was at work, out of times that jump.

    Between one line and the next it advances by the difference of their times: not at all when a clock was set
    back, and not from the end of one attempt to the start of the next. Work that a resume repeats counts twice.
    """

    seconds: float = 0.0
    last: float | None = None
    """Recorded time of the last line; None before the first."""

    def advance(self, time: float) -> float:
        """Take the next line's time and return the seconds."""
        if self.last is not None:
            self.seconds += max(0.0, time - self.last)
        self.last = time
        return self.seconds

    def restart(self, time: float) -> None:
        """Take the time at which an attempt began. What lies before it was no work."""
        self.last = time


@dataclass(slots=True)
class RunHistory:
    """Training and evaluation metrics of one run, fed with its events in the order of `seq`."""

    train: MetricHistory = field(default_factory=MetricHistory)
    evaluation: MetricHistory = field(default_factory=MetricHistory)
    clock: WorkClock = field(default_factory=WorkClock)

    def apply(self, time: float, event: Event) -> bool:
        """Take one event and return whether it changed a number.

        Args:
            time: As recorded with the event, Unix seconds.
            event: Any; those without metrics are ignored. One with values of a wrong type is too.
        """
        if isinstance(event, StepFinished | EvaluationFinished):
            history = self.train if isinstance(event, StepFinished) else self.evaluation
            if not plausible(event):
                return False
            history.append(event.step, event.epoch, event.num_tokens, self.clock.advance(time), event.metrics)
            return True
        if isinstance(event, TrainingStarted) and isinstance(event.resumed_from_step, int):
            self.clock.restart(time)
            self.train.truncate_after(event.resumed_from_step)
            self.evaluation.truncate_after(event.resumed_from_step)
            return True
        return False


def plausible(event: StepFinished | EvaluationFinished) -> bool:
    """Return whether a row can be made of what some file said the event was."""
    return (
        type(event.step) is int
        and type(event.num_tokens) is int
        and 0 <= event.step < _INT64
        and 0 <= event.num_tokens < _INT64
        and (type(event.epoch) is float or (type(event.epoch) is int and abs(event.epoch) < _INT64))
        and isinstance(event.metrics, dict)
        and _NUMBERS.issuperset(map(type, event.metrics.values()))
    )
