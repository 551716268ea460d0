"""What a printed plot shows: each metric folded into as many columns as the picture is wide, never raw points."""

from __future__ import annotations

import contextlib
import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from engine.errors import NotFound, UsageError
from engine.runs.directory import RunDirectory
from engine.runs.history import Column, MetricHistory, RunHistory
from engine.runs.history_index import HistoryIndexFailed, build_index, needs_index, open_history
from engine.runs.segment import Axis
from tui.display import plain
from tui.widgets.chart.smoothing import Average

X_AXES: Mapping[str, Axis] = {"step": "step", "epoch": "epoch", "tokens": "num_tokens", "time": "time"}
"""What `--x` may be."""
X_LABELS: Mapping[Axis, str] = {"step": "step", "epoch": "epoch", "num_tokens": "tokens", "time": "time at work"}


class Asked(NamedTuple):
    """What is to be drawn, as the user said it."""

    metrics: tuple[str, ...] = ()
    """Empty for the losses."""
    x: str = "step"
    smooth: float = 0.0
    """Weight of the past per row, 0 to 0.99. 0 draws no average."""
    log: bool = False


class Part(NamedTuple):
    """What a metric did within one column."""

    x: float
    """Middle of the column."""
    low: float
    high: float
    mean: float
    smoothed: float | None
    """The moving average at its end; None without smoothing."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric."""

    name: str
    """Can be shown as it is."""
    pieces: list[list[Part]]
    """Unbroken runs of columns. Between two of them lie rows without a finite value (with `log`: none above 0)."""

    @property
    def averaged(self) -> bool:
        """Whether there is a moving average of it."""
        return any(part.smoothed is not None for part in self.parts())

    def parts(self) -> Iterator[Part]:
        """Yield all columns that hold a value."""
        for piece in self.pieces:
            yield from piece


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves that share a y axis."""

    title: str
    curves: list[Curve]
    log: bool

    def y_range(self) -> tuple[float, float]:
        """Return the lowest and the highest value; they differ."""
        low = min(part.low for curve in self.curves for part in curve.parts())
        high = max(part.high for curve in self.curves for part in curve.parts())
        if low == high:
            return (low / 2, high * 2) if self.log else (low - max(abs(low), 1.0) / 10, high + max(abs(high), 1.0) / 10)
        return low, high


@dataclass(frozen=True, slots=True)
class Plot:
    """Everything that is drawn."""

    run: str
    axis: Axis
    x0: float
    x1: float
    """Above x0."""
    panels: list[Panel]
    empty: list[str]
    """Metrics asked for that have no value which could be shown."""


def read_history(run: RunDirectory) -> RunHistory:
    """Return the numbers of the run, from its index where that is worth its while."""
    if needs_index(run):
        with contextlib.suppress(HistoryIndexFailed):  # then line by line
            build_index(run)
    opened = open_history(run)
    while True:
        batch = opened.reader.read()
        for record in batch.records:
            opened.history.apply(record.time, record.event)
        if not batch.more:
            return opened.history


def fold(run: RunDirectory, asked: Asked, width: int) -> Plot:
    """Return what a picture of `width` columns shows.

    Raises:
        UsageError: There is no such x axis, or the smoothing is out of range.
        NotFound: The run has no such metric, or no value at all.
    """
    axis = X_AXES.get(asked.x)
    if axis is None:
        raise UsageError(f"There is no x axis {asked.x!r}.", remedy=f"Choose one of {', '.join(X_AXES)}.")
    if not 0 <= asked.smooth <= 0.99:
        raise UsageError(f"--smooth {asked.smooth:g} is not between 0 and 0.99.")
    history = read_history(run)
    sources = _sources(history)
    names = _chosen(run, asked.metrics, sources)
    ranges = [found for name in names if (found := sources[name].x_range(axis)) is not None]
    x0, x1 = min(low for low, _ in ranges), max(high for _, high in ranges)
    if x0 == x1:
        x1 = x0 + 1
    grouped: dict[str, list[Curve]] = {}
    empty = []
    for name in names:
        curve = _curve(name, sources[name], axis, x0, x1, width, asked)
        if curve.pieces:
            grouped.setdefault("loss" if name.endswith("loss") else curve.name, []).append(curve)
        else:
            empty.append(curve.name)
    if not grouped:
        why = "above 0" if asked.log else "finite"
        raise NotFound(f"No value of {', '.join(empty)} in run {run.name} is {why}, so nothing can be drawn.")
    panels = [Panel(title, curves, asked.log) for title, curves in grouped.items()]
    return Plot(run.name, axis, x0, x1, panels, empty)


def _sources(history: RunHistory) -> dict[str, MetricHistory]:
    return {name: part for part in (history.evaluation, history.train) for name in part.metrics}


def _chosen(run: RunDirectory, asked: Sequence[str], sources: Mapping[str, MetricHistory]) -> list[str]:
    if not sources:
        raise NotFound(
            f"Run {run.name} has logged no metric yet.", remedy="Wait for its first step, or look at its log."
        )
    if not asked:
        losses = [name for name in sources if name == "loss"] + [n for n in sources if n.endswith("_loss")]
        return losses or list(sources)[:1]
    for name in asked:
        if name not in sources:
            near = difflib.get_close_matches(name, list(sources), n=1)
            hint = f"Did you mean {plain(near[0], limit=80)}? " if near else ""
            have = ", ".join(plain(known, limit=80) for known in list(sources)[:40])
            raise NotFound(f"Run {run.name} has no metric {name[:80]!r}.", remedy=f"{hint}It has {have}.")
    return list(dict.fromkeys(asked))


def _curve(name: str, source: MetricHistory, axis: Axis, x0: float, x1: float, width: int, asked: Asked) -> Curve:
    # The last row lies on x1, and a range leaves out its end.
    columns = source.columns(name, axis, x0, math.nextafter(x1, math.inf), width)
    average = Average(asked.smooth) if asked.smooth else None
    pieces: list[list[Part]] = [[]]
    for index, column in enumerate(columns):
        if column is None:  # no row falls here: the line goes on
            continue
        if not column.count or (asked.log and column.high <= 0):
            pieces.append([])
            continue
        x = x0 + (x1 - x0) * (index + 0.5) / width
        pieces[-1].append(_part(x, column, average, log=asked.log))
    return Curve(plain(name, limit=60), [piece for piece in pieces if piece])


def _part(x: float, column: Column, average: Average | None, *, log: bool) -> Part:
    low, mean = column.low, column.mean
    smoothed = average.take(column) if average is not None else None
    if log:  # a logarithm shows the part of a column that is above 0
        low = low if low > 0 else column.high
        mean = mean if mean > 0 else column.high
        smoothed = smoothed if smoothed is None or smoothed > 0 else low
    return Part(x, low, column.high, mean, smoothed)
