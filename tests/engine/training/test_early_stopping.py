"""When a run may end early, by values."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest

from engine.config.model import EarlyStoppingSection
from engine.training.early_stopping import EarlyStopping, drop_over, ends_a_cycle


def stopping(metric: str = "eval_loss", **settings: Any) -> EarlyStopping:
    section = EarlyStoppingSection.model_validate({"armed": True, "metric": metric, "window": 5, **settings})
    return EarlyStopping.watching(section, validation=True)


def observed(watch: EarlyStopping, values: list[float], exposure: float = 1.0) -> list[bool]:
    """Return at which of the observations, `exposure` passes apart, it would stop."""
    return [watch.observe(value, exposure * number).stop for number, value in enumerate(values, 1)]


def test_a_straight_fall_is_all_drop_and_no_noise() -> None:
    found = drop_over([1.0, 0.9, 0.8, 0.7, 0.6])
    assert found.drop == pytest.approx(0.4)
    assert found.share == pytest.approx(0.4)
    assert found.noise == pytest.approx(0.0, abs=1e-12)


def test_the_noise_is_twice_the_standard_error_of_the_drop() -> None:
    values = [1.0, 0.8, 0.9, 0.6, 0.7]
    # By hand: slope -0.08, intercept 0.96 at the first; residuals 0.04, -0.08, 0.10, -0.12, 0.06.
    residual = math.sqrt((0.04**2 + 0.08**2 + 0.10**2 + 0.12**2 + 0.06**2) / 3)
    found = drop_over(values)
    assert found.drop == pytest.approx(0.32)
    assert found.share == pytest.approx(0.32 / 0.96)
    assert found.noise == pytest.approx(2 * residual / math.sqrt(10) * 4)


@pytest.mark.parametrize(
    ("values", "stops"),
    [
        pytest.param([1.0, 0.8, 0.6, 0.4, 0.2], False, id="falls"),
        pytest.param([1.0, 0.999, 0.998, 0.997, 0.996], False, id="falls little, but steadily"),
        pytest.param([0.5, 0.503, 0.498, 0.501, 0.499], True, id="only noise is left"),
        pytest.param([0.5, 0.5, 0.5, 0.5, 0.5], True, id="stands still"),
        pytest.param([0.5, 0.52, 0.55, 0.6, 0.7], True, id="rises"),
        pytest.param([0.9, 0.5, 0.8, 0.4, 0.6], False, id="jumps, and falls"),
    ],
)
def test_a_window_ends_a_run_when_it_fell_too_little_and_not_out_of_its_noise(values: list[float], stops: bool) -> None:
    assert observed(stopping(), values) == [False, False, False, False, stops]


def test_the_window_is_the_newest_observations() -> None:
    watch = stopping()
    assert observed(watch, [2.0, 1.5, 1.0, 0.7, 0.5]) == [False] * 5
    assert observed(watch, [0.5, 0.5, 0.5])[-1] is False  # 0.7 is still in the window
    assert watch.observe(0.5, 4.0).stop


def test_nothing_ends_before_each_row_was_seen_often_enough() -> None:
    watch = stopping(minimum_exposure=2.0)
    judged = [watch.observe(0.5, 0.25 * number) for number in range(1, 9)]
    assert [one.stop for one in judged] == [False] * 7 + [True]
    assert [one.stops_in for one in judged[4:]] == [3, 2, 1, 0]


def test_it_says_in_how_many_observations_it_would_stop() -> None:
    watch = stopping()
    assert [watch.observe(0.5, number).stops_in for number in (1.0, 2.0, 3.0, 4.0, 5.0)] == [4, 3, 2, 1, 0]
    assert stopping().observe(0.5, 0.1).stops_in == 9  # the exposure takes longer than the window


def test_no_end_is_in_sight_while_it_falls() -> None:
    watch = stopping()
    observed(watch, [1.0, 0.9, 0.8, 0.7])
    assert watch.observe(0.6, 5.0).stops_in is None


def test_an_accuracy_is_watched_the_other_way_round() -> None:
    watch = stopping("eval_rewards/accuracies")
    assert watch.higher_is_better
    assert observed(watch, [0.5, 0.6, 0.7, 0.8, 0.9]) == [False] * 5
    assert observed(watch, [0.9, 0.9, 0.9, 0.9, 0.9])[-1]


def test_patience_counts_what_does_not_improve_on_the_best() -> None:
    watch = stopping(criterion="patience", patience=2, min_drop=0.1)
    assert observed(watch, [1.0, 0.8, 0.75, 0.7, 0.71, 0.6]) == [False, False, False, False, False, False]
    # 0.75 is no improvement by a tenth on 0.8, 0.7 is, 0.71 is not.
    assert watch.since_best == 0
    assert observed(watch, [0.6, 0.6]) == [False, True]


@pytest.mark.parametrize(("metric", "threshold", "values"), [
    ("eval_loss", 0.3, [0.5, 0.31, 0.3]), ("eval_rewards/accuracies", 0.8, [0.5, 0.79, 0.8]),
])  # fmt: skip
def test_a_threshold_is_reached_from_the_worse_side(metric: str, threshold: float, values: list[float]) -> None:
    assert observed(stopping(metric, criterion="threshold", threshold=threshold), values) == [False, False, True]


def test_what_is_not_finite_is_no_observation() -> None:
    watch = stopping()
    assert not watch.observe(math.nan, 1.0).stop
    assert not watch.observations


def test_a_state_that_was_written_down_goes_on_as_if_it_had_not_been() -> None:
    values = [0.9, 0.7, 0.66, 0.65, 0.651, 0.65, 0.652]
    one = stopping()
    observed(one, values[:4])
    other = stopping()
    other.restore(json.loads(json.dumps(one.state())))
    assert [one.observe(v, 9.0) for v in values[4:]] == [other.observe(v, 9.0) for v in values[4:]]
    assert one.state() == other.state()


@pytest.mark.parametrize("state", [
    {}, {"metric": "loss", "observations": [1.0]}, {"metric": "eval_loss", "observations": ["x"]},
    {"metric": "eval_loss", "observations": [1.0], "exposures": [], "best": None, "since_best": 0, "armed": True},
])  # fmt: skip
def test_a_state_that_is_none_or_of_another_metric_is_not_taken(state: dict[str, Any]) -> None:
    watch = stopping()
    watch.restore(state)
    assert not watch.observations


def test_a_noisy_loss_that_still_falls_is_hardly_ever_stopped() -> None:
    stopped = 0
    for seed in range(200):
        noise = random.Random(seed)
        watch = stopping(window=8)
        stopped += any(observed(watch, [1.0 - 0.03 * n + noise.gauss(0, 0.01) for n in range(20)]))
    assert stopped <= 2


def test_without_a_validation_set_the_loss_of_training_is_watched_epoch_by_epoch() -> None:
    watch = EarlyStopping.watching(EarlyStoppingSection(), validation=False)
    assert (watch.metric, watch.at, watch.armed) == ("loss", "epoch", False)


@pytest.mark.parametrize(
    ("every", "counted"),
    [
        pytest.param(10, [40, 70, 100], id="the last before the restart, or at it"),
        pytest.param(15, [30, 60, 90], id="between the ends"),
        pytest.param(50, [50, 100], id="longer than a cycle"),
    ],
)
def test_with_warm_restarts_the_last_observation_of_a_cycle_counts(every: int, counted: list[int]) -> None:
    # Warm-up to 10, cycles from there to 40, 70 and 100.
    steps = range(every, 101, every)
    found = [one for one in steps if ends_a_cycle(one, one + every, total=100, warmup=10, cycles=3)]
    assert found == counted


def test_the_end_of_a_cycle_is_where_the_library_restarts() -> None:
    from transformers.optimization import _get_cosine_with_hard_restarts_schedule_with_warmup_lr_lambda as scale

    rates = [scale(step, num_warmup_steps=7, num_training_steps=97, num_cycles=4) for step in range(98)]
    restarts = [step for step in range(8, 97) if rates[step] > rates[step - 1]]
    ends = [one for one in range(8, 97) if ends_a_cycle(one, one + 1, total=97, warmup=7, cycles=4)]
    assert ends == restarts
