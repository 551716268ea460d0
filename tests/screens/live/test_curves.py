"""Which metrics share a chart, and what a chart is told of a history."""

from __future__ import annotations

import math

import pytest

from engine import events
from engine.runs.history import RunHistory
from screens.live.curves import (
    CHARTS_SHOWN,
    FIRST,
    MetricCurve,
    chart_specs,
    checkpoint_marks,
    planned_ends,
    stage_bounds,
)
from tests.screens.live import states
from tests.screens.live.states import Story


def history(train: dict[str, float], evaluation: dict[str, float] | None = None) -> RunHistory:
    made = RunHistory()
    made.train.append(1, 0.1, 10, 0.5, train)
    if evaluation:
        made.evaluation.append(1, 0.1, 10, 0.5, evaluation)
    return made


def test_the_first_page_is_there_before_there_are_values() -> None:
    assert [spec.key for spec in chart_specs(RunHistory())] == list(FIRST)


def test_each_validation_set_has_its_curve_over_the_training_loss() -> None:
    specs = chart_specs(history({"loss": 1.0}, {"eval_retain_loss": 1.0, "eval_unlearn_loss": 1.0, "eval_loss": 1.0}))
    assert [(curve.label, curve.style) for curve in specs[0].curves] == [
        ("train", "line"), ("retain", "points"), ("unlearn", "points"),
    ]  # fmt: skip
    assert [spec.key for spec in specs[4:]] == ["eval_loss"], "their mean has a chart of its own"


def test_a_single_validation_set_is_called_eval() -> None:
    specs = chart_specs(history({"loss": 1.0}, {"eval_loss": 1.0}))
    assert [curve.label for curve in specs[0].curves] == ["train", "eval"]


def test_every_other_metric_has_a_chart_and_machine_figures_come_last() -> None:
    specs = chart_specs(
        history({"entropy": 1.0, "accuracy": 1.0}, {"eval_runtime": 1.0, "eval_accuracy": 1.0, "eval_other": 1.0})
    )
    assert [spec.key for spec in specs[4:]] == ["entropy", "accuracy", "eval_other", "eval_runtime"]
    assert [curve.metric for curve in specs[5].curves] == ["accuracy", "eval_accuracy"]


def test_a_chart_says_where_a_stage_begins_and_shows_first_what_its_method_is_judged_by() -> None:
    state = states.second_stage().state
    assert stage_bounds(state)["step"] == [(150.0, "dpo")]
    assert [x for x, _ in stage_bounds(state)["epoch"]] == [pytest.approx(1.125)]
    specs = chart_specs(state.history, state.current_method, None, 150)
    assert [spec.key for spec in specs[:4]] == ["loss", "rewards/accuracies", "rewards/chosen", "rewards/margins"]
    assert [curve.label for curve in specs[0].curves][-1] == "untrained"  # ln 2, where the stage begins


def test_a_curve_alone_is_called_what_its_chart_is_called() -> None:
    assert chart_specs(history({"grad_norm": 1.0}))[2].curves[0].label == "gradient norm"


def test_a_log_that_names_hundreds_of_metrics_gets_a_bounded_number_of_charts() -> None:
    assert len(chart_specs(history({f"metric_{number}": 1.0 for number in range(300)}))) == CHARTS_SHOWN


def test_rows_without_a_metric_are_no_gap_and_a_value_that_is_not_finite_is() -> None:
    made = RunHistory()
    for step in range(1, 11):
        sparse = {"rare": 1.0} if step % 5 == 0 else {}
        made.train.append(step, step / 10, step, step, {"loss": math.nan if step == 3 else 1.0, **sparse})
    loss, rare = (MetricCurve(made.train, name, name, "line") for name in ("loss", "rare"))
    columns = loss.columns("step", 1, 11, 10)
    assert [column is not None and math.isnan(column.mean) for column in columns] == [n == 2 for n in range(10)]
    assert [column is not None for column in rare.columns("step", 1, 11, 10)] == [n in (4, 9) for n in range(10)]


def test_a_metric_that_is_not_there_has_no_range() -> None:
    curve = MetricCurve(RunHistory().train, "loss", "loss", "line")
    assert curve.x_range("step") is None
    assert list(curve.columns("step", 0, 10, 3)) == [None] * 3


@pytest.mark.parametrize(("axis", "end"), [("step", 400.0), ("epoch", 3.0), ("num_tokens", 400 * 312.0)])
def test_where_the_run_will_end(axis: str, end: float) -> None:
    assert planned_ends(states.training().state)(axis) == pytest.approx(end)


def test_the_time_at_which_it_will_end_is_an_estimate_from_its_pace() -> None:
    end = planned_ends(states.training().state)("seconds")
    assert end is not None
    assert 200 < end < 220


def test_an_end_that_cannot_be_told_is_none() -> None:
    ends = planned_ends(states.starting().state)
    assert [ends(axis) for axis in ("step", "epoch", "num_tokens", "seconds")] == [None] * 4


def test_a_run_that_max_steps_ends_early_has_a_shorter_epoch_axis_that_stays() -> None:
    story = Story(total_steps=400)
    story.say(events.TrainingStarted(400, 1.0, 0, 10, 1, "cpu", "float32"))
    seen = set()
    for step in range(1, 100):
        story.say(events.StepFinished(step, round(step / 5_000, 6), step, 0.5, {"loss": 1.0}), after=0.5)
        seen.add(planned_ends(story.state)("epoch"))
    [end] = seen
    assert end == pytest.approx(0.08)


def test_checkpoints_are_marked_on_every_axis() -> None:
    marks = checkpoint_marks(states.training().state)
    assert marks["step"] == [100.0, 150.0, 200.0]
    assert marks["num_tokens"] == [100 * 312.0, 150 * 312.0, 200 * 312.0]
    assert marks["epoch"] == pytest.approx([0.75, 1.125, 1.5])
    assert len(marks["seconds"]) == 3


def test_chosen_and_rejected_rewards_share_a_chart_and_a_preference_run_begins_with_them() -> None:
    rewards = {"loss": 0.6931, "rewards/chosen": 0.1, "rewards/rejected": -0.1, "rewards/accuracies": 0.0,
               "rewards/margins": 0.2}  # fmt: skip
    specs = chart_specs(history(rewards, {"eval_rewards/chosen": 0.2}), "dpo")
    assert [spec.key for spec in specs[:4]] == ["loss", "rewards/accuracies", "rewards/chosen", "rewards/margins"]
    assert [curve.label for curve in specs[2].curves] == ["chosen", "rejected", "eval chosen"]
    assert "rewards/rejected" not in [spec.key for spec in specs]


def test_where_a_preference_run_begins_is_a_line_as_long_as_its_curve() -> None:
    made = RunHistory()
    for step in range(1, 6):
        made.train.append(step, step / 5, step, step, {"loss": 0.69 - step / 100, "rewards/accuracies": 0.5})
    loss, accuracy, *_ = chart_specs(made, "dpo")
    for spec, level in ((loss, math.log(2)), (accuracy, 0.5)):
        line = spec.curves[-1]
        assert line.label == "untrained"
        columns = line.columns("step", 0.0, 10.0, 10)
        assert [None if column is None else column.mean for column in columns] == [None, *[level] * 4, *[None] * 5]
    assert [curve.label for curve in chart_specs(made)[0].curves] == ["loss"]  # of other methods nobody knows where
    assert chart_specs(RunHistory(), "dpo")[0].curves[-1].label == "loss"  # nor before there is a curve


def test_another_loss_than_that_of_dpo_begins_elsewhere() -> None:
    assert [curve.label for curve in chart_specs(history({"loss": 1.0}), "dpo")[0].curves] == ["loss"]


def test_the_alarm_is_a_line_beside_the_gauge_of_forgetting() -> None:
    made = history({"loss": 1.0}, {"eval_forgetting": 0.05})
    assert [curve.label for curve in chart_specs(made, alarm=0.1)[-1].curves] == ["forgetting", "alarm"]
    assert [curve.label for curve in chart_specs(made)[-1].curves] == ["forgetting"]


def test_both_losses_of_unlearning_are_twins_with_both_sets_over_them() -> None:
    sets = {"eval_retain_loss": 1.0, "eval_unlearn_loss": 2.0, "eval_loss": 1.5}
    specs = chart_specs(history({"loss": 6.9, "unlearn_loss": 0.1, "retain_loss": 0.2}, sets), "npo")
    assert [curve.label for curve in specs[0].curves] == ["unlearn", "retain", "eval unlearn", "eval retain"]
    assert specs[0].title == "unlearn loss and retain"
