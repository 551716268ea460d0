"""What a run can be told in each state, and the reason where it cannot."""

from __future__ import annotations

import pytest

from engine.runs.lifecycle import State
from screens.runs.controls import controls, refusal
from tests.screens.runs.summaries import a_run


@pytest.mark.parametrize(
    ("state", "possible"),
    [
        ("starting", {"stop"}),
        ("running", {"pause", "save_now", "stop"}),
        ("paused", {"pause", "save_now", "stop"}),
        ("stopping", {"stop"}),
        ("finished", set()),
        ("stopped", {"resume"}),
        ("failed", {"resume"}),
        ("died", {"resume"}),
        ("unknown", set()),
    ],
)
def test_what_makes_sense_in_each_state(state: State, possible: set[str]) -> None:
    offered = controls(a_run(state=state))
    assert {control.action for control in offered if not control.refusal} == possible
    for control in offered:
        assert not control.refusal or control.refusal.endswith(".")


def test_a_refusal_names_the_run_and_its_state() -> None:
    assert refusal("pause", a_run("sft-1", "died")) == "sft-1 has died: nobody is there to be told."
    assert refusal("resume", a_run("sft-1")) == "sft-1 is running: there is nothing to resume."


def test_what_nobody_can_say_is_left_alone() -> None:
    for action in ("pause", "save_now", "stop", "resume"):
        assert "left alone" in refusal(action, a_run(state="unknown"))


def test_an_empty_list_has_nothing_to_tell() -> None:
    assert all(control.refusal for control in controls(None))


def test_a_paused_run_can_go_on() -> None:
    assert controls(a_run(state="paused"))[0].label == "Go on"
