"""What a run can be told in each of its states, and what stopping would cost."""

from __future__ import annotations

import pytest

from engine import events
from engine.commands import Command, Pause, SaveCheckpoint, SetEarlyStopping, SetLearningRate, Stop, Unpause
from engine.runs.liveness import Life
from screens.live.controls import (
    SHOWN_SECONDS,
    Asked,
    Control,
    control_for,
    controls,
    in_words,
    newest_checkpoint,
    still_of_interest,
    what_stopping_now_loses,
)
from tests.screens.live import states
from tests.screens.live.states import Story
from tui.state import RunState, sentence


@pytest.mark.parametrize(
    ("state", "offered", "possible"),
    [
        pytest.param(states.starting().state, "pwSL", "S", id="starting"),
        pytest.param(states.training().state, "pwSL", "pwSL", id="running"),
        pytest.param(states.paused().state, "pwSL", "pwSL", id="paused"),
        pytest.param(states.finished().state, "R", "", id="finished"),
        pytest.param(states.stopped().state, "R", "R", id="stopped"),
        pytest.param(states.failed().state, "R", "R", id="failed"),
        pytest.param(states.died().state, "R", "R", id="died"),
        pytest.param(states.unknown().state, "R", "", id="unknown"),
    ],
)
def test_what_is_offered_and_what_is_possible(state: RunState, offered: str, possible: str) -> None:
    found = controls(state)
    assert "".join(control.key for control in found) == offered
    assert "".join(control.key for control in found if not control.refusal) == possible
    for control in found:
        assert control_for(control.action, state) == control


def test_early_stopping_is_offered_once_it_was_armed_and_told_the_other_way_round() -> None:
    story = Story().begin().train(10)
    assert control_for("early_stop", story.state) == Control("E", "early_stop", "Stop early", "Early")
    for armed, label in ((True, "Never early"), (False, "Stop early")):
        story.say(events.EarlyStoppingJudged(10, armed, "eval_loss", 0.5, 0.61, 1.0, 2, "evaluation", "fell 0.1%"))
        assert [control.key for control in controls(story.state)] == ["p", "w", "S", "L", "E"]
        assert control_for("early_stop", story.state).label == label
    assert "nobody is there" in control_for("early_stop", states.died().state).refusal
    assert in_words(SetEarlyStopping(True)) == "Early stopping on"


def test_a_stopping_run_can_still_be_ended_at_once() -> None:
    story = Story().begin().train(10)
    story.say(events.CommandConfirmed("1", "Stop", True, "stopping after step 10", "worker"))
    assert [control.action for control in controls(story.state) if not control.refusal] == ["stop"]


def test_what_is_not_offered_has_a_reason_too() -> None:
    assert "nobody is there" in control_for("pause", states.died().state).refusal
    assert "nothing to resume" in control_for("resume", states.training().state).refusal


@pytest.mark.parametrize(
    ("until", "loss"),
    [
        pytest.param(0, "Nothing is lost: no step was taken yet.", id="before the first step"),
        pytest.param(49, "There is no checkpoint yet: all 49 steps are lost.", id="before the first checkpoint"),
        pytest.param(50, "Nothing is lost: step 50 is saved.", id="just saved"),
        pytest.param(51, "1 step since checkpoint-50 would be lost.", id="one step later"),
    ],
)
def test_stopping_now_says_what_is_lost(until: int, loss: str) -> None:
    assert what_stopping_now_loses(Story().begin().train(until).state) == loss


def test_best_and_final_are_none_to_resume_from() -> None:
    state = states.finished().state
    newest = newest_checkpoint(state)
    assert newest is not None
    assert newest.path == "checkpoints/checkpoint-400"


def test_an_answer_stays_for_a_while_and_a_command_until_it_is_answered() -> None:
    story = Story().begin().train(10)
    asked = [Asked("1", Pause(), story.now)]
    assert still_of_interest(asked, story.state, story.now + 500) == asked
    assert asked[0].answer is None
    story.say(events.CommandConfirmed("1", "Pause", True, "pausing after step 10", "worker"), after=600)
    later = story.now + 1
    assert still_of_interest(asked, story.state, later) == asked
    assert asked[0].answer is not None
    assert still_of_interest(asked, story.state, later + SHOWN_SECONDS) == []


@pytest.mark.parametrize("command", [Pause(), Unpause(), SaveCheckpoint()])
def test_the_log_calls_a_command_what_its_key_is_called(command: Command) -> None:
    name = type(command).__name__
    said = sentence(events.CommandConfirmed("1", name, True, "at step 10", "worker"))
    assert said == ("info", f"{in_words(command)}: at step 10")
    said = sentence(events.CommandConfirmed("1", name, False, "it is over", "worker"))
    assert said == ("warning", f"{in_words(command)} refused: it is over")


def test_a_command_that_the_run_did_not_live_to_answer_is_forgotten() -> None:
    story = Story().begin().train(10)
    asked = [Asked("1", Pause(), story.now)]
    story.state.life = Life.DEAD
    assert still_of_interest(asked, story.state, story.now) == []


def test_a_new_start_of_the_run_has_nothing_to_do_with_older_commands() -> None:
    story = Story().begin().train(10)
    asked = [Asked("1", Stop(), story.now)]
    story.say(events.CommandConfirmed("1", "Stop", True, "stopping", "worker"))
    story.say(events.KeeperStarted(2, 5, "checkpoints/checkpoint-10"), after=1)
    assert still_of_interest(asked, story.state, story.now) == []


def test_every_command_has_words() -> None:
    said = [in_words(c) for c in (Pause(), Unpause(), SaveCheckpoint(), Stop(), Stop(False), SetLearningRate(2e-4))]
    assert said == ["Pause", "Go on", "Save now", "Stop and save", "Stop now", "learning_rate 0.0002"]
