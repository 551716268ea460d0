"""The progress bar and the lines that stand in for it."""

from __future__ import annotations

import io

import pytest

from engine import events
from engine.events import Event
from engine.runs.liveness import Life
from tui.cli.progress import Bar, Milestones, bar_line, text_line
from tui.state import RunState


def state(*said: Event) -> RunState:
    made = RunState("run-1")
    for event in said:
        made.apply(event, 1.0, numbers=False)
    made.life = Life.ALIVE
    return made


STARTED = events.TrainingStarted(200, 1.0, 0, 1, 1, "cpu", "float32")


def step(number: int, **metrics: float) -> events.StepFinished:
    return events.StepFinished(number, 0.0, 0, 0.25, {"loss": 1.2345678, "learning_rate": 1e-4, **metrics})


def test_a_wide_line_says_everything() -> None:
    scored = events.EvaluationFinished(100, 0.0, 0, 0.1, {"eval_retain_loss": 0.5, "eval_runtime": 3.0})
    line = bar_line(state(STARTED, step(100), scored), 200)
    assert line.startswith("100/200 " + "█" * 15 + "·" * 15 + " 50%  loss 1.235  25 s left  eval_retain 0.5")
    assert line.endswith("4 steps/s  lr 0.0001")
    assert "runtime" not in line


@pytest.mark.parametrize("width", range(121))
def test_every_width_is_kept(width: int) -> None:
    assert len(bar_line(state(STARTED, step(100)), width)) <= width
    assert len(bar_line(state(STARTED, step(100)), width, ascii_only=True)) <= width


def test_what_matters_least_goes_first() -> None:
    narrow = bar_line(state(STARTED, step(100)), 40)
    assert "loss 1.235" in narrow
    assert "lr" not in narrow


def test_ascii_only() -> None:
    line = bar_line(state(STARTED, step(100)), 100, ascii_only=True)
    assert line.isascii()
    assert "[" + "#" * 14 + "-" * 14 + "]" in line


def test_before_training_the_stage_is_said() -> None:
    assert bar_line(state(events.StageChanged("loading", "tiny\x1b[2J")), 80) == "loading tiny\\x1b[2J"
    assert bar_line(state(), 80) == "starting"


def test_a_paused_run_says_so() -> None:
    assert bar_line(state(STARTED, step(100), events.RunPaused(100)), 80).startswith("paused 100/200")


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 0.0, 1e-300])
def test_any_loss_can_be_shown(loss: float) -> None:
    assert "loss" in bar_line(state(STARTED, step(100, loss=loss)), 80)


def test_a_line_of_text_has_the_figures_and_leaves_evaluations_to_their_own_lines() -> None:
    scored = events.EvaluationFinished(100, 0.0, 0, 0.1, {"eval_loss": 0.5})
    text = text_line(state(STARTED, step(100), scored))
    assert text == "Step 100 of 200, 50%, loss 1.235, 25 s left, 4 steps/s, lr 0.0001"


def test_lines_are_due_at_every_twentieth_and_once_each() -> None:
    milestones = Milestones()
    followed = state(STARTED)
    due = []
    for number in range(1, 201):
        followed.apply(step(number), 1.0, numbers=False)
        if milestones.due(followed):
            due.append(number)
    assert due == [1, *range(10, 201, 10)]


def test_a_bar_draws_over_itself_and_leaves_the_line_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    bar = Bar(stream)
    bar.draw(state(STARTED, step(100)))
    drawn = stream.getvalue()
    assert drawn.startswith("\r100/200")
    assert drawn.endswith("\x1b[K")
    bar.draw(state(STARTED, step(100)))  # nothing new
    assert stream.getvalue() == drawn
    bar.clear()
    bar.clear()
    assert stream.getvalue() == drawn + "\r\x1b[K"
