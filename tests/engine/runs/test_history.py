from __future__ import annotations

import math
import random
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from engine.events import EvaluationFinished, RunPaused, StepFinished, TrainingStarted
from engine.runs.history import Column, MetricHistory, Point, Row, RunHistory, WorkClock
from engine.runs.segment import AXES, MAX_METRICS, Axis


def float32(value: float) -> float:
    number = array("f", [value])[0]
    return number if math.isfinite(number) else math.nan


@dataclass
class Plain:
    """The same rows in plain lists: what a history is compared with."""

    rows: list[tuple[dict[Axis, float], dict[str, float]]] = field(default_factory=list)

    def append(self, step: int, epoch: float, num_tokens: int, time: float, metrics: Mapping[str, float]) -> None:
        x: dict[Axis, float] = {"step": step, "epoch": epoch, "num_tokens": num_tokens, "time": time}
        if self.rows:
            x = {axis: max(value, self.rows[-1][0][axis]) for axis, value in x.items()}
        self.rows.append((x, {name: float32(value) for name, value in metrics.items()}))

    def truncate_after(self, step: int) -> None:
        self.rows = [row for row in self.rows if row[0]["step"] <= step]

    def columns(self, metric: str, axis: Axis, x0: float, x1: float, width: int) -> list[Column | None]:
        edges = [x0 + (x1 - x0) * part / width for part in range(width + 1)]
        columns: list[Column | None] = []
        for low, high in pairwise(edges):
            inside = [values.get(metric, math.nan) for x, values in self.rows if low <= x[axis] < high]
            finite = [value for value in inside if value == value]
            if finite:
                mean = math.fsum(finite) / len(finite)
                columns.append(Column(min(finite), max(finite), mean, finite[-1], len(finite)))
            else:
                columns.append(Column(math.nan, math.nan, math.nan, math.nan, 0) if inside else None)
        return columns


def assert_same(ours: Sequence[Column | None], plain: Sequence[Column | None]) -> None:
    assert [column is None for column in ours] == [column is None for column in plain]
    for one, other in zip(ours, plain, strict=True):
        if one is None or other is None:
            continue
        assert one.count == other.count
        if other.count:
            assert (one.low, one.high, one.last) == (other.low, other.high, other.last)
            assert one.mean == pytest.approx(other.mean, abs=1e-12 * max(abs(one.low), abs(one.high)))
        else:
            assert all(math.isnan(number) for number in one[:4])


def fill(chance: random.Random, rows: int, *histories: MetricHistory | Plain, first_step: int = 1) -> int:
    """Append the same random rows to all; return the last step."""
    step, epoch, tokens, time = first_step - 1, first_step / 50, first_step * 90, float(first_step)
    for _ in range(rows):
        step += chance.choice([1, 1, 1, 1, 5])
        epoch += chance.choice([0.0, 0.02])
        tokens += chance.randrange(0, 300)
        time += chance.random() * chance.choice([1.0, 1.0, 40.0])
        metrics = {"loss": chance.gauss(2, 1)}
        if chance.random() < 0.01:
            metrics["loss"] = chance.choice([math.nan, math.inf, -math.inf, 1e30, -1e30, 1e300])
        if chance.random() < 0.3:
            metrics["grad_norm"] = chance.random()
        for history in histories:
            history.append(step, epoch, tokens, time, metrics)
    return step


def ask(chance: random.Random, history: MetricHistory, plain: Plain) -> None:
    """Compare columns of some ranges, widths and axes."""
    for axis in AXES:
        found = history.x_range(axis)
        assert found is not None
        low, high = found
        assert (low, high) == (plain.rows[0][0][axis], plain.rows[-1][0][axis])
        for _ in range(3):
            x0 = chance.choice([low, low - 3, chance.uniform(low, high), math.floor(chance.uniform(low, high))])
            x1 = chance.choice([high + 1, high, 2 * high, x0 + chance.random() * (high - low) + 1e-3])
            width = chance.choice([1, 2, 7, 60, 240])
            for metric in ("loss", "grad_norm", "unheard_of"):
                assert_same(history.columns(metric, axis, x0, x1, width), plain.columns(metric, axis, x0, x1, width))


@pytest.mark.parametrize("seed", range(6))
def test_columns_are_what_a_search_through_all_rows_finds(seed: int) -> None:
    chance = random.Random(seed)
    history, plain = MetricHistory(), Plain()
    fill(chance, chance.choice([1, 5, 33, 1100, 4000]), history, plain)

    ask(chance, history, plain)


@pytest.mark.parametrize("seed", range(4))
def test_columns_follow_a_run_that_grows_and_goes_back(seed: int) -> None:
    chance = random.Random(100 + seed)
    history, plain = MetricHistory(), Plain()
    last = 0
    for _ in range(3):
        last = fill(chance, chance.randrange(1, 300), history, plain, first_step=last + 1)
        ask(chance, history, plain)
        if chance.random() < 0.5:
            last -= chance.randrange(0, min(last, 200))
            history.truncate_after(last)
            plain.truncate_after(last)


def test_a_range_that_is_asked_again_shows_the_rows_added_since() -> None:
    chance = random.Random(7)
    history, plain = MetricHistory(), Plain()
    last = 0
    for _ in range(40):
        last = fill(chance, chance.randrange(0, 60), history, plain, first_step=last + 1)
        for axis in AXES:
            assert_same(history.columns("loss", axis, 0, 3000, 113), plain.columns("loss", axis, 0, 3000, 113))


@pytest.mark.parametrize("row", [0, 1, 31, 32, 4095, 7777, 9999])
def test_one_spike_among_ten_thousand_steps_is_never_lost(row: int) -> None:
    history = MetricHistory()
    for step in range(10_000):
        history.append(step, step / 100, step, step, {"loss": 1e6 if step == row else 1.0, "dip": -1e6 * (step == row)})
    for width in (1, 3, 80, 240):
        columns = history.columns("loss", "step", 0, 10_000, width)
        dips = history.columns("dip", "step", 0, 10_000, width)
        spiked = [number for number, column in enumerate(columns) if column and column.high == 1e6]
        dipped = [number for number, column in enumerate(dips) if column and column.low == -1e6]

        assert spiked == dipped == [row * width // 10_000]


def test_what_is_not_finite_is_a_gap_and_counted() -> None:
    history = MetricHistory()
    for step, loss in enumerate([1.0, math.nan, math.inf, -math.inf, 1e39, 3.0, math.nan]):
        history.append(step, 0.0, 0, 0.0, {"loss": loss})
    history.append(7, 0.0, 0, 0.0, {"grad_norm": 1.0})
    columns = history.columns("loss", "step", 0, 8, 8)

    assert [column.count for column in columns if column] == [1, 0, 0, 0, 0, 1, 0, 0]
    assert history.non_finite("loss") == 5
    assert history.non_finite("grad_norm") == 0
    assert math.isnan(history.last("loss") or 0.0)
    assert history.last("grad_norm") == 1.0
    assert history.last("unheard_of") is None
    history.truncate_after(5)
    assert (history.last("loss"), history.non_finite("loss"), history.last("grad_norm")) == (3.0, 4, None)


def test_the_last_value_is_the_last_that_was_recorded() -> None:
    history = MetricHistory()
    history.append(1, 0.0, 0, 0.0, {"loss": 4.0, "grad_norm": 0.5})
    history.append(2, 0.0, 0, 0.0, {"loss": 3.0})

    assert (history.last("loss"), history.last("grad_norm")) == (3.0, 0.5)
    assert history.metrics == ["loss", "grad_norm"]


def test_an_empty_history_answers_everything() -> None:
    history = MetricHistory()

    assert (len(history), history.metrics, history.x_range("time")) == (0, [], None)
    assert history.columns("loss", "step", 0, 10, 3) == [None, None, None]
    assert history.columns("loss", "step", 5, 5, 3) == [None, None, None]
    assert history.columns("loss", "step", 0, 10, 0) == []
    assert history.value_at("loss", "step", 3) is None
    assert list(history.rows(0, 10)) == []
    history.truncate_after(0)


def test_a_step_that_goes_back_supersedes_what_followed() -> None:
    history = MetricHistory()
    for step in (1, 2, 3, 4, 2, 3):
        history.append(step, float(step), 10 * step, 0.0, {"loss": 1.0})

    assert [row.step for row in history.rows(0, 10)] == [1, 2, 3]


def test_x_never_decreases() -> None:
    history = MetricHistory()
    history.append(1, math.nan, 50, 3.0, {"loss": 1.0})
    history.append(2, 0.5, 40, 2.0, {"loss": 1.0})
    history.append(3, 0.25, 60, 4.0, {"loss": 1.0})
    history.append(4, math.inf, 60, 4.0, {"loss": 1.0})

    assert [(row.epoch, row.num_tokens, row.time) for row in history.rows(0, 4)] == [
        (0.0, 50, 3.0),
        (0.5, 50, 3.0),
        (0.5, 60, 4.0),
        (0.5, 60, 4.0),
    ]


def test_the_crosshair_finds_the_nearest_row() -> None:
    history = MetricHistory()
    for step, loss in ((10, 1.0), (20, 2.0), (30, math.nan)):
        history.append(step, 0.0, 0, 0.0, {"loss": loss})

    assert history.value_at("loss", "step", -5) == Point(0, 10, 1.0)
    assert history.value_at("loss", "step", 14.9) == Point(0, 10, 1.0)
    assert history.value_at("loss", "step", 15.1) == Point(1, 20, 2.0)
    newest = history.value_at("loss", "epoch", 0.0)
    assert newest is not None
    assert (newest.row, math.isnan(newest.value)) == (2, True)
    unheard = history.value_at("unheard_of", "step", 99)
    assert unheard is not None
    assert (unheard.row, math.isnan(unheard.value)) == (2, True)


def test_rows_come_back_as_float32_holds_them() -> None:
    history = MetricHistory()
    history.append(1, 0.5, 7, 2.0, {"loss": 0.1})
    history.append(2, 1.5, 8, 3.0, {"grad_norm": 2.0})
    first, second = history.rows(-3, 99)

    assert first[:4] == (1, 0.5, 7, 2.0)
    assert first.metrics["loss"] == float32(0.1)
    assert math.isnan(first.metrics["grad_norm"])
    assert isinstance(second, Row)
    assert math.isnan(second.metrics["loss"])


def test_a_log_that_invents_names_cannot_fill_the_memory() -> None:
    history = MetricHistory()
    for step in range(2 * MAX_METRICS):
        history.append(step, 0.0, 0, 0.0, {f"metric {step}": 1.0, "metric 0": 2.0})

    assert len(history.metrics) == MAX_METRICS
    assert len(history) == 2 * MAX_METRICS
    assert history.last("metric 0") == 2.0


def test_time_at_work_never_goes_back_and_leaves_out_the_time_between_attempts() -> None:
    clock = WorkClock()

    assert [clock.advance(time) for time in (1000.0, 1010.0, 700.0, 705.0)] == [0.0, 10.0, 10.0, 15.0]
    clock.restart(90_000.0)
    assert clock.advance(90_002.0) == 17.0


def started(resumed_from_step: int) -> TrainingStarted:
    return TrainingStarted(100, 1.0, resumed_from_step, 10, 5, "cpu", "float32")


def step(number: int, **metrics: float) -> StepFinished:
    return StepFinished(number, number / 10, number * 100, 0.5, metrics)


def test_a_resume_supersedes_later_steps_and_evaluations() -> None:
    run = RunHistory()
    assert run.apply(0.0, started(0))
    for number in range(1, 8):
        assert run.apply(float(number), step(number, loss=float(number)))
    for number in (3, 6):
        assert run.apply(7.5, EvaluationFinished(number, 0.1, 5, 1.0, {"eval_loss": float(number)}))
    assert not run.apply(7.6, RunPaused(7))
    assert run.apply(5000.0, started(4))
    assert run.apply(5001.0, step(5, loss=50.0))

    assert [row.step for row in run.train.rows(0, 99)] == [1, 2, 3, 4, 5]
    assert run.train.last("loss") == 50.0
    assert [row.step for row in run.evaluation.rows(0, 99)] == [3]
    assert [row.time for row in run.train.rows(3, 5)] == [4.0, 8.5]


@pytest.mark.parametrize(
    "event",
    [
        StepFinished("7", 0.1, 5, 1.0, {"loss": 1.0}),  # type: ignore[arg-type]
        StepFinished(7, "x", 5, 1.0, {"loss": 1.0}),  # type: ignore[arg-type]
        StepFinished(7, 0.1, None, 1.0, {"loss": 1.0}),  # type: ignore[arg-type]
        StepFinished(7, 0.1, 5, 1.0, {"loss": [1.0]}),  # type: ignore[dict-item]
        StepFinished(7, 0.1, 5, 1.0, 3),  # type: ignore[arg-type]
        StepFinished(1 << 70, 0.1, 5, 1.0, {"loss": 1.0}),
        StepFinished(-1, 0.1, 5, 1.0, {"loss": 1.0}),
        TrainingStarted(100, 1.0, "4", 10, 5, "cpu", "float32"),  # type: ignore[arg-type]
    ],
    ids=["step", "epoch", "tokens", "value", "metrics", "huge", "negative", "resume"],
)
def test_an_event_with_values_of_a_wrong_type_changes_nothing(event: StepFinished | TrainingStarted) -> None:
    run = RunHistory()

    assert not run.apply(1.0, event)
    assert len(run.train) == 0


def test_a_column_counts_what_was_not_finite_beside_what_was() -> None:
    history = MetricHistory()
    for step in range(1, 41):
        history.append(step, step / 10, step, float(step), {"loss": math.nan if step in (5, 25, 26) else float(step)})
    first, second, third, fourth = history.columns("loss", "step", 1, 41, 4)
    assert first is not None
    assert second is not None
    assert third is not None
    assert fourth is not None
    assert [c.non_finite for c in (first, second, third, fourth)] == [1, 0, 2, 0]
    assert (first.low, first.high, first.count) == (1.0, 10.0, 9)
    (whole,) = history.columns("loss", "step", 1, 41, 1)
    assert whole is not None
    assert (whole.count, whole.non_finite) == (37, 3)
