"""Ticks and numbers: what stands beside an axis."""

from __future__ import annotations

import math
import random

import pytest

from tui.widgets.chart.axis import (
    duration_step,
    fit_rows,
    format_duration,
    format_value,
    log_ticks,
    multiples,
    nice_step,
    tick_labels,
    ticks,
)


@pytest.mark.parametrize(
    ("span", "count", "step"),
    [
        pytest.param(5000, 5, 1000, id="thousands"),
        pytest.param(0.3, 3, 0.1, id="a hair above a round step"),
        pytest.param(1, 5, 0.2, id="fifths"),
        pytest.param(1, 4, 0.25, id="quarters"),
        pytest.param(246.8, 2, 200, id="never 123.4"),
        pytest.param(2e-4, 2, 1e-4, id="learning rates"),
    ],
)
def test_steps_are_round(span: float, count: int, step: float) -> None:
    assert nice_step(span, count) == pytest.approx(step)


def test_whole_steps_are_never_fractions() -> None:
    assert nice_step(3, 9, whole=True) == 1
    assert nice_step(9, 4, whole=True) == 5
    assert nice_step(9000, 4, whole=True) == 2500


def test_ticks_lie_within_the_axis_and_are_multiples_of_one_step() -> None:
    rolls = random.Random(3)
    for _ in range(500):
        low = rolls.uniform(-1, 1) * 10 ** rolls.randint(-6, 9)
        high = low + 10 ** rolls.uniform(-6, 9)
        count = rolls.randint(1, 12)
        found = ticks(low, high, count)
        assert len(found) <= count + 1
        assert all(low - 1e-6 * (high - low) <= tick <= high + 1e-6 * (high - low) for tick in found)


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        pytest.param(1e-5, 1, 5, [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1], id="decades"),
        pytest.param(1e-9, 1, 3, [1e-9, 1e-6, 1e-3, 1], id="every third decade"),
        pytest.param(0.5, 4, 4, [0.5, 1, 2], id="1 2 5"),
        pytest.param(2.1, 2.9, 4, [2.2, 2.4, 2.6, 2.8], id="within a decade"),
    ],
)
def test_logarithmic_ticks(low: float, high: float, count: int, expected: list[float]) -> None:
    assert log_ticks(low, high, count) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "step", "labels"),
    [
        pytest.param([0, 0.5, 1, 1.5], 0.5, ["0", "0.5", "1.0", "1.5"], id="equal decimals"),
        pytest.param([0, 5e-5, 1e-4, 1.5e-4], 5e-5, ["0", "5e-5", "1e-4", "1.5e-4"], id="learning rates"),
        pytest.param([0, 500, 1000, 2500], 500, ["0", "500", "1k", "2.5k"], id="thousands"),
        pytest.param([12340, 12350], 10, ["12.34k", "12.35k"], id="thousands, zoomed in"),
        pytest.param([0, 5e8, 1e9], 5e8, ["0", "500M", "1B"], id="tokens"),
        pytest.param([-2, -1, 0, 1], 1, ["-2", "-1", "0", "1"], id="negative"),
        pytest.param([1e-4, 0.01, 1, 100, 1e4], None, ["1e-4", "0.01", "1", "100", "10k"], id="logarithmic"),
    ],
)
def test_labels_are_short_and_belong_together(values: list[float], step: float | None, labels: list[str]) -> None:
    assert tick_labels(values, step) == labels


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.23456, "1.235"),
        (0.98765, "0.9877"),
        (12.3456, "12.35"),
        (1234.5, "1.234k"),
        (999.96, "1.000k"),
        (99999, "100.0k"),
        (1.5e9, "1.500B"),
        (1.2345e-4, "1.234e-4"),
        (-3.14159, "-3.142"),
        (0, "0"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_values_have_four_digits(value: float, text: str) -> None:
    assert format_value(value) == text


def test_time_has_the_steps_of_a_clock() -> None:
    assert [duration_step(span, 5) for span in (5, 60, 3600, 4 * 3600, 86400 * 3)] == [1, 15, 900, 3600, 86400]
    assert [format_duration(seconds) for seconds in (0, 45, 90, 600, 5400, 3600, 90061)] == [
        "0", "45s", "1m30s", "10m", "1h30m", "1h", "1d1h",
    ]  # fmt: skip
    assert format_duration(0.25, 0.25) == "0.25s"


def test_ticks_fitted_to_rows_are_equally_far_apart_and_cover_the_range() -> None:
    rolls = random.Random(4)
    fitted = 0
    for _ in range(300):
        low, rows = rolls.uniform(-5, 5), rolls.randint(3, 40)
        high = low + 10 ** rolls.uniform(-2, 2)
        found = fit_rows(low, high, rows)
        if found is None:
            continue
        fitted += 1
        base, step, every = found
        assert base <= low + 1e-6 * step
        assert base + step * (rows - 0.5) / every >= high - 1e-6 * step
        assert (high - low) / (step * (rows - 0.5) / every) >= 0.8
    assert fitted > 150


def test_multiples_survive_the_rounding_of_binary_fractions() -> None:
    assert multiples(0.1, 0.7, 0.1) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
