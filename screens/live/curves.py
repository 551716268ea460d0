"""The curves of a run: which metrics share a chart, and how a chart asks a history for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from engine.config.methods import FORGETTING
from engine.runs.history import Column, MetricHistory, Row, RunHistory
from engine.runs.segment import Axis
from tui.state import RunState
from tui.widgets.chart.axis import nice_step

_AXES: Final[Mapping[str, Axis]] = {
    "step": "step", "epoch": "epoch", "num_tokens": "num_tokens", "seconds": "time",
}  # fmt: skip
"""A chart's name of an axis -> the history's."""
_TITLES: Final = {
    "learning_rate": "learning rate", "grad_norm": "gradient norm", "tokens_per_second": "tokens/s",
    FORGETTING: "forgetting",
}  # fmt: skip
FIRST: Final = ("loss", "learning_rate", "grad_norm", "tokens_per_second")
"""What the first page shows."""
_FIRST_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "dpo": ("loss", "rewards/accuracies", "rewards/chosen", "rewards/margins"),
    "kto": ("loss", "rewards/chosen", "rewards/margins", "kl"),
    **dict.fromkeys(
        ("gradient_ascent", "grad_diff", "npo", "simnpo"), ("unlearn_loss", "loss", "learning_rate", "grad_norm")
    ),
}
"""What it shows of methods that are judged by other figures."""
_TWINS: Final = {
    "unlearn_loss": "retain_loss", "rewards/chosen": "rewards/rejected", "logps/chosen": "logps/rejected",
    "logits/chosen": "logits/rejected",
}  # fmt: skip
"""Metrics that say something together, in one chart."""
_UNTRAINED: Final[Mapping[str, Mapping[str, float]]] = {"dpo": {"loss": math.log(2), "rewards/accuracies": 0.5}}
"""Where a method begins: model and reference are the same, so that every pair is a toss of a coin."""
_NEAR: Final = 0.05
"""How far from it the first value may be; other losses than DPO's own begin elsewhere."""
_LAST: Final = ("runtime", "samples_per_second", "steps_per_second", "num_tokens")
"""Endings of validation figures that are about the machine: nobody's first question."""
CHARTS_SHOWN: Final = 60
"""Charts at most. A hostile log may name hundreds of metrics."""


@dataclass(frozen=True, slots=True)
class MetricCurve:
    """One metric of one history, as a chart asks for it."""

    history: MetricHistory
    metric: str
    label: str
    """Foreign."""
    style: Literal["line", "points"]

    def x_range(self, axis: str) -> tuple[float, float] | None:
        """Return the first and last x of the history; None when it has no value of this metric."""
        if self.history.last(self.metric) is None:
            return None
        return self.history.x_range(_AXES[axis])

    def columns(self, axis: str, x0: float, x1: float, width: int) -> Sequence[Column | None]:
        """Cut [x0, x1) into columns. Rows without this metric are no gap, rows with a NaN are."""
        columns = self.history.columns(self.metric, _AXES[axis], x0, x1, width)
        return [c if c is not None and (c.count or c.non_finite) else None for c in columns]


@dataclass(frozen=True, slots=True)
class ReferenceLine:
    """A value to compare a metric with, as long as its curve is."""

    history: MetricHistory
    metric: str
    value: float
    label: str = "untrained"
    style: Literal["line", "points"] = "line"
    first_step: int = 0
    """After which it is drawn."""

    def x_range(self, axis: str) -> tuple[float, float] | None:
        """Return where the metric's curve is: a line alone is drawn nowhere."""
        reach = MetricCurve(self.history, self.metric, self.label, self.style).x_range(axis)
        if reach is None or not self.first_step:
            return reach
        row = _row_at(self.history, self.first_step)
        if row is None:
            return None
        begins = {"step": row.step, "epoch": row.epoch, "num_tokens": row.num_tokens, "seconds": row.time}
        return float(begins[axis]), reach[1]

    def columns(self, axis: str, x0: float, x1: float, width: int) -> Sequence[Column | None]:
        """Return the value in every column between the first and the last of the metric."""
        reach = self.x_range(axis)
        if reach is None or x1 <= x0:
            return [None] * width
        level = Column(self.value, self.value, self.value, self.value, 1, 0)
        centres = (x0 + (x1 - x0) * (place + 0.5) / width for place in range(width))
        return [level if reach[0] <= centre <= reach[1] else None for centre in centres]


@dataclass(frozen=True, slots=True)
class ChartSpec:
    """What one chart shows."""

    key: str
    """Name of its first metric: the chart's identity."""
    title: str
    curves: tuple[MetricCurve | ReferenceLine, ...]
    smooth: bool = True
    """Whether a moving average makes sense: not for a schedule."""


def chart_specs(
    history: RunHistory, method: str = "", alarm: float | None = None, first_step: int = 0
) -> list[ChartSpec]:
    """Return a chart for every metric: first the four of the first page, whether there are values yet or not.

    Args:
        history: The figures.
        method: Decides what stands on the first page; one that is not known has that of most.
        alarm: Where the gauge of forgetting raises its alarm; None where it is not read.
        first_step: After which the method is at work: of a stage the steps before it.
    """
    train, evaluation = history.train, history.evaluation
    left = dict.fromkeys(evaluation.metrics)
    specs = []
    first = _FIRST_OF.get(method, FIRST)
    trained = dict.fromkeys([*first, *(name for name in train.metrics if name not in first)])
    while trained:
        metric = next(iter(trained))
        del trained[metric]
        twin = _TWINS.get(metric)
        if twin is not None:
            trained.pop(twin, None)
        points: list[MetricCurve | ReferenceLine] = []
        for name in (metric, twin) if twin is not None else (metric,):
            for partner in _partners(name, list(left)):
                del left[partner]
                points.append(MetricCurve(evaluation, partner, _set_name(partner, name, twin is not None), "points"))
        lines: list[MetricCurve | ReferenceLine] = []
        if twin is not None and (twin in train.metrics or metric in first):
            lines = [MetricCurve(train, name, _short_name(name), "line") for name in (metric, twin)]
        else:
            # The read-out of a crosshair takes the title's place, so a curve alone must name itself.
            lines = [MetricCurve(train, metric, "train" if points else _title(metric), "line")]
        if (reference := _reference(history, metric, method, first_step)) is not None:
            points.append(reference)
        title = _title(metric) if len(lines) == 1 else f"{_title(metric)} and {_short_name(twin or '')}"
        specs.append(ChartSpec(metric, title, (*lines, *points), metric != "learning_rate"))
    others = sorted(left, key=lambda name: name.endswith(_LAST))
    for name in others:
        curves: list[MetricCurve | ReferenceLine] = [MetricCurve(evaluation, name, _title(name), "points")]
        if name == FORGETTING and alarm is not None:
            curves.append(ReferenceLine(evaluation, name, alarm, "alarm"))
        specs.append(ChartSpec(name, _title(name), tuple(curves), smooth=False))
    return specs[:CHARTS_SHOWN]


def _reference(history: RunHistory, metric: str, method: str, first_step: int) -> ReferenceLine | None:
    value = _UNTRAINED.get(method, {}).get(metric)
    if value is None:
        return None
    if metric == "loss":
        found = history.train.x_range("step")
        began = None
        if found is not None and found[1] > first_step:
            began = history.train.value_at(metric, "step", max(found[0], first_step + 1))
        if began is None or abs(began.value - value) > _NEAR:
            return None
    return ReferenceLine(history.train, metric, value, first_step=first_step)


def _set_name(partner: str, metric: str, twin: bool) -> str:
    """Return what a validation metric is called beside the training metric it belongs to."""
    name = partner.removeprefix("eval_").removesuffix(metric).rstrip("_")
    if not twin:
        return name or "eval"
    return f"{name or 'eval'} {_short_name(metric)}"


def _short_name(metric: str) -> str:
    """Return what tells a metric from its twin: "chosen", "retain"."""
    return metric.rpartition("/")[2].removesuffix("_loss")


def _partners(metric: str, evaluated: Sequence[str]) -> list[str]:
    """Return the validation metrics drawn over a training metric.

    With several validation sets there is one loss for each; their mean, `eval_loss`, then says nothing they do not.
    """
    named = [name for name in evaluated if name.startswith("eval_") and name.endswith(f"_{metric}")]
    several = [name for name in named if name != f"eval_{metric}"]
    return several if several else named


def _title(metric: str) -> str:
    return _TITLES.get(metric, metric.replace("_", " "))


def planned_ends(state: RunState) -> Callable[[str], float | None]:
    """Return where the run is expected to end on each axis of a chart; None where that cannot be told."""

    def end(axis: str) -> float | None:
        total, step = state.total_steps, state.step
        if not total:
            return None
        if axis == "step":
            return float(total)
        if axis == "epoch":
            return _planned_epochs(state)
        if not step:
            return None
        if axis == "num_tokens":
            return state.num_tokens / step * total
        seconds = state.seconds_per_step
        return state.history.clock.seconds + (total - step) * seconds if seconds else None

    return end


def _planned_epochs(state: RunState) -> float | None:
    """Return the epochs the run will have done: fewer than `num_train_epochs` where `max_steps` ends it earlier.

    Rounded up, so that the axis does not move with every step.
    """
    planned = state.num_train_epochs
    if not state.step or not state.epoch:
        return planned or None
    estimate = state.epoch / state.step * state.total_steps
    if planned and abs(estimate - planned) <= 0.02 * planned:
        return planned
    unit = nice_step(estimate, 50)
    return math.ceil(estimate / unit - 1e-6) * unit


def checkpoint_marks(state: RunState) -> dict[str, list[float]]:
    """Return where checkpoints were saved, for each axis of a chart."""
    steps = sorted({float(line.step) for line in state.checkpoints if line.path.startswith("checkpoints/")})
    marks: dict[str, list[float]] = {axis: [] for axis in _AXES}
    marks["step"] = steps
    for row in (_row_at(state.history.train, step) for step in steps):
        if row is not None:
            marks["epoch"].append(row.epoch)
            marks["num_tokens"].append(float(row.num_tokens))
            marks["seconds"].append(row.time)
    return marks


def stage_bounds(state: RunState) -> dict[str, list[tuple[float, str]]]:
    """Return where each stage but the first begins, and its name, for each axis of a chart."""
    bounds: dict[str, list[tuple[float, str]]] = {axis: [] for axis in _AXES}
    for stage in state.stages[1:]:
        bounds["step"].append((float(stage.first_step), stage.name))
        row = _row_at(state.history.train, stage.first_step)
        if row is not None:
            bounds["epoch"].append((row.epoch, stage.name))
            bounds["num_tokens"].append((float(row.num_tokens), stage.name))
            bounds["seconds"].append((row.time, stage.name))
    return bounds


def _row_at(history: MetricHistory, step: float) -> Row | None:
    """Return the row of a step, or the nearest to it."""
    metric = next(iter(history.metrics), None)
    found = history.value_at(metric, "step", step) if metric is not None else None
    return next(history.rows(found.row, found.row + 1), None) if found is not None else None
