"""What DPO's loss does not tell: that the chosen answers are lost, too."""

from __future__ import annotations

import json
import math

from engine.training.collapse import FIGURE, Collapse


def told(*values: float) -> list[tuple[float, float]]:
    watched = Collapse()
    return [found for value in values if (found := watched.seen({FIGURE: value, "loss": 0.1})) is not None]


def test_it_is_told_once_when_the_chosen_answers_are_lost() -> None:
    assert told(*[-4.0] * 10, *[-72.0] * 30) == [(-4.0, -72.0)]


def test_what_falls_little_or_rises_is_not_told() -> None:
    assert told(*[-4.0] * 10, *[-9.0] * 30) == []
    assert told(*[-200.0] * 10, *[-380.0] * 30) == []
    assert told(*[-40.0] * 10, *[-3.0] * 30) == []


def test_a_single_step_or_one_without_the_figure_says_nothing() -> None:
    assert told(*[-4.0] * 10, -90.0, *[-4.0] * 20) == []
    assert told(math.nan, *[-4.0] * 9, -math.inf, -90.0) == []
    assert Collapse().seen({"loss": 0.1}) is None


def test_a_resume_compares_with_where_the_run_began_and_does_not_tell_again() -> None:
    first = Collapse()
    for _ in range(10):
        first.seen({FIGURE: -4.0})
    again = Collapse()
    again.restore(json.loads(json.dumps(first.state())))
    found = [again.seen({FIGURE: -72.0}) for _ in range(12)]
    assert [one for one in found if one is not None] == [(-4.0, -72.0)]
    later = Collapse()
    later.restore(again.state())
    assert all(later.seen({FIGURE: -72.0}) is None for _ in range(12))
    later.restore("nonsense")
