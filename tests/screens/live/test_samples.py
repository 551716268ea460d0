"""Answers through time: which words are new, and how much of them fits."""

from __future__ import annotations

import pytest

from engine.events import BehaviourMeasured
from screens.live.samples import behaviour_rows, round_rows
from tests.screens.live.states import REFUSAL, sample_lines
from tui.display import cell_len
from tui.run_samples import Round, SampleBook
from tui.widgets.text_rows import as_text


@pytest.fixture
def rounds() -> list[Round]:
    book = SampleBook(__file__)  # type: ignore[arg-type]
    book.take(sample_lines([0, 50, 200], 400))
    return book.rounds


def test_what_changed_stands_below_what_was_said(rounds: list[Round]) -> None:
    text = as_text(round_rows(rounds[2], rounds[0], 120))
    assert "    0  Jannik Sinner won it in 2024.\n  200  " + REFUSAL in text
    assert text.count("Chinua Achebe wrote Things Fall Apart.") == 1, "what has not changed is said once"


@pytest.mark.parametrize(("height", "rows"), [(30, 13), (12, 10), (9, 8), (5, 4), (1, 4)])
def test_what_does_not_fit_is_told_in_fewer_words(rounds: list[Round], height: int, rows: int) -> None:
    found = round_rows(rounds[2], rounds[0], 60, height)
    assert len([row for row in found if row]) == rows
    assert all(sum(cell_len(text) for text, _ in row) <= 60 for row in found)


def test_a_prompt_that_was_another_one_is_not_compared(rounds: list[Round]) -> None:
    book = SampleBook(__file__)  # type: ignore[arg-type]
    book.take([b'{"step": 0, "index": 2, "set": "", "prompt": "Another?", "answer": "x"}'])
    text = as_text(round_rows(rounds[2], book.rounds[0], 120))
    assert "    0  x" not in text


def test_scores_before_and_after() -> None:
    before = BehaviourMeasured(0, "before", {"retain_answered": 0.98, "unlearn_refused": 0.01}, {"retain": 120}, 1.0)
    after = BehaviourMeasured(9, "after", {"retain_answered": 0.5, "unlearn_refused": 1.0}, {"retain": 120}, 1.0)
    head, retain, unlearn = behaviour_rows({"before": before, "after": after})
    assert as_text([head]).split() == ["held-out", "questions", "before", "after", "of"]
    assert as_text([retain]).split() == ["retain", "answered", "98%", "50%", "120"]
    assert retain[2][1] == "bold $text-error", "it became worse"
    assert unlearn[2][1] == "bold $text-success"
    assert behaviour_rows({}) == []
    assert as_text(behaviour_rows({"before": before})[1:2]).split() == ["retain", "answered", "98%", "-", "120"]
