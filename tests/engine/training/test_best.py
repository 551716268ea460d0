"""Which weights are the best, and what an epoch comes to."""

from __future__ import annotations

import json
import math
from pathlib import Path

from engine import events
from engine.training.best import Best
from engine.training.epochs import EpochMeans, forget_epochs_after, log_epoch


def test_the_lowest_loss_and_the_highest_accuracy_are_best() -> None:
    low, high = Best("eval_loss"), Best("eval_rewards/accuracies", greater_is_better=True)
    assert [low.improves({"eval_loss": value}) for value in (0.5, 0.6, 0.4, 0.4, math.nan)] == [
        True, False, True, False, False,
    ]  # fmt: skip
    assert [high.improves({"eval_rewards/accuracies": value}) for value in (0.5, 0.4, 0.6)] == [True, False, True]
    assert not low.improves({"another": 0.0})
    assert not Best(None).improves({"eval_loss": 0.0})


def test_the_best_value_survives_a_checkpoint_unless_another_metric_decides() -> None:
    best = Best("loss")
    best.improves({"loss": 0.25})
    kept = json.loads(json.dumps(best.state()))
    again, other = Best("loss"), Best("eval_loss")
    again.restore(kept)
    other.restore(kept)
    assert again.value == 0.25
    assert other.value is None


def test_a_checkpoint_of_an_earlier_version_names_no_metric() -> None:
    best = Best("eval_loss")
    best.restore({"best_value": "Infinity"})
    assert best.value is None
    best.restore({"best_value": 0.5})
    assert best.value == 0.5


def test_an_epoch_is_the_mean_over_its_steps_and_goes_on_after_a_resume() -> None:
    means = EpochMeans()
    means.add({"loss": 1.0, "learning_rate": 5.0}, 1, 2.0)
    means.add({"loss": 0.25}, 3, 1.0)
    other = EpochMeans()
    other.restore(json.loads(json.dumps(means.state())))
    assert other.take() == means.take() == ({"loss": (1.0 + 0.75) / 4}, 5.0)
    assert means.take() == ({}, 0.0)


def finished(epoch: int, step: int, loss: float) -> events.EpochFinished:
    return events.EpochFinished(epoch, step, 10, 1.0, {"loss": loss, "rewards/accuracies": 0.75})


def test_the_log_has_a_line_for_each_epoch_and_a_resume_takes_back_what_it_repeats(tmp_path: Path) -> None:
    path = tmp_path / "training_log.jsonl"
    for epoch in (1, 2, 3):
        log_epoch(path, finished(epoch, 5 * epoch, 1 / epoch))
    with path.open("a") as file:
        file.write('{"epoch": 4, "st')  # torn by a kill
    forget_epochs_after(path, 10)
    log_epoch(path, finished(3, 15, 0.5))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["epoch"], line["step"], line["avg_loss"], line["avg_accuracy"]) for line in lines] == [
        (1, 5, 1.0, 0.75), (2, 10, 0.5, 0.75), (3, 15, 0.5, 0.75),
    ]  # fmt: skip
