"""The loss of a run, from the whole log or from samples of it."""

from __future__ import annotations

import math
from pathlib import Path

from benchmarks.synthetic import write_run
from engine import events
from engine.journal import Journal
from screens.runs.loss_curve import BLOCKS, LossCurve, loss_curves


def write(log: Path, *said: events.Event) -> Path:
    journal = Journal(log)
    for event in said:
        journal.append(events.to_json(event))
    journal.close()
    return log


def step(number: int, loss: float) -> events.StepFinished:
    return events.StepFinished(number, number / 10, number * 100, 0.1, {"loss": loss})


def test_a_short_log_gives_every_step(tmp_path: Path) -> None:
    log = write(tmp_path / "events.jsonl", *(step(number, 1 / number) for number in range(1, 41)))
    [train], whole = loss_curves(log)
    assert whole
    assert list(train.steps) == list(range(1, 41))
    assert list(train.values) == [1 / number for number in range(1, 41)]


def test_a_long_log_gives_samples_over_its_whole_length(tmp_path: Path) -> None:
    curves, whole = loss_curves(write_run(tmp_path / "run", 20_000))
    train = curves[0]
    assert not whole
    assert train.label == "train"
    assert train.steps[0] <= 20
    assert train.steps[-1] == 20_000
    assert len(train.steps) >= BLOCKS
    assert max(b - a for a, b in zip(train.steps, train.steps[1:], strict=False)) < 2 * 20_000 / BLOCKS


def test_steps_done_again_count_as_the_resume_did_them(tmp_path: Path) -> None:
    log = write(tmp_path / "events.jsonl", step(1, 9.0), step(2, 8.0), step(3, 7.0), step(2, 5.0), step(3, 4.0))
    [train], _ = loss_curves(log)
    assert list(zip(train.steps, train.values, strict=True)) == [(1, 9.0), (2, 5.0), (3, 4.0)]


def test_validation_losses_have_curves_of_their_own(tmp_path: Path) -> None:
    checked = {"eval_loss": 1.0, "eval_retain_loss": 0.5, "eval_unlearn_loss": 1.5, "eval_runtime": 3.0}
    evaluated = events.EvaluationFinished(1, 0.1, 100, 1.0, checked)
    curves, _ = loss_curves(write(tmp_path / "events.jsonl", step(1, 2.0), evaluated))
    assert [(curve.label, curve.style, list(curve.values)) for curve in curves] == [
        ("train", "line", [2.0]),
        ("retain", "points", [0.5]),
        ("unlearn", "points", [1.5]),
    ]


def test_a_single_validation_loss_is_called_eval(tmp_path: Path) -> None:
    evaluated = events.EvaluationFinished(1, 0.1, 100, 1.0, {"eval_loss": 1.0})
    curves, _ = loss_curves(write(tmp_path / "events.jsonl", step(1, 2.0), evaluated))
    assert [curve.label for curve in curves] == ["train", "eval"]


def test_a_log_that_is_not_there_or_damaged_gives_no_curve(tmp_path: Path) -> None:
    assert loss_curves(tmp_path / "nothing.jsonl") == ([], True)
    (tmp_path / "garbage.jsonl").write_bytes(b"\0\xff{" * 300_000)
    assert loss_curves(tmp_path / "garbage.jsonl") == ([], False)


def test_columns_hold_extremes_and_gaps() -> None:
    curve = LossCurve("train", "line", [1.0, 2.0, 3.0, 9.0], [5.0, 1.0, 3.0, math.nan])
    first, second, third = curve.columns("step", 0.0, 12.0, 3)
    assert first is not None
    assert (first.low, first.high, first.mean, first.last, first.count) == (1.0, 5.0, 3.0, 3.0, 3)
    assert second is None
    assert third is not None
    assert math.isnan(third.low)
    assert curve.x_range("step") == (1.0, 9.0)
    assert LossCurve("train", "line").x_range("step") is None
