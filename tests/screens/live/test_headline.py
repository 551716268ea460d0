"""What the eye needs first, at every width."""

from __future__ import annotations

import pytest

from engine import events
from screens.live.headline import Figures, headline, seconds_at_work, summary
from tests.screens.live import states
from tests.screens.live.states import BEGAN, Story
from tui.widgets.cells import length


def rows(figures: Figures, width: int) -> list[str]:
    return ["".join(text for text, _ in row).rstrip() for row in headline(figures, width)]


def at(feed: states.StillFeed, after: float = 0.0) -> Figures:
    return Figures(feed.state, feed.state.last_said + after, "braille")


def test_a_running_run() -> None:
    first, second, third = rows(at(states.training()), 118)
    assert first.startswith("● running   sft on tiny   65.5 k of 3.41 M trained (1.9%)")
    assert first.endswith("cpu · float32")
    assert second.endswith("57%  step 230 / 400  epoch 1.72 / 3")
    assert third == "left 1m25s   elapsed 1m59s   2 steps/s   620 tokens/s   71.8 k tokens"


@pytest.mark.parametrize(
    ("armed", "stops_in", "said"),
    [
        (True, 2, "would stop in 2 evaluations · exposure 61%"),
        (True, 1, "would stop in 1 evaluation · exposure 61%"),
        (True, None, "no early stop in sight · exposure 61%"),
        (True, 0, "stops early · exposure 61%"),
        (False, 2, ""),
    ],
)
def test_early_stopping_says_when_it_would_end_the_run(armed: bool, stops_in: int | None, said: str) -> None:
    story = Story().begin().train(100)
    judged = events.EarlyStoppingJudged(100, armed, "eval_loss", 0.5, 0.61, 1.0, stops_in, "evaluation", "")
    story.say(judged)
    third = rows(Figures(story.state, story.now, "braille"), 118)[2]
    assert said in third
    assert ("exposure" in third) == armed


@pytest.mark.parametrize(
    ("change", "said"), [(0.02, "forgetting +0.020   "), (0.12, "forgetting +0.120, alarm 0.1   ")]
)
def test_the_gauge_of_forgetting_is_there_where_it_is_read(change: float, said: str) -> None:
    story = Story().begin().train(100)
    story.say(events.ForgettingMeasured(100, change, 3 + change, 3.0, 0.1, change >= 0.1, 0.5))
    assert said in rows(Figures(story.state, story.now, "braille"), 118)[2]


def test_what_it_does_besides_training_is_said() -> None:
    assert "evaluating" in rows(at(states.evaluating()), 118)[0]
    assert "preparing 1,488 rows" in rows(at(states.starting()), 118)[0]


def test_a_silent_run_says_for_how_long() -> None:
    assert "no step for 2m30s" in rows(at(states.training(), 150), 118)[0]
    assert "no step" not in rows(at(states.paused(), 150), 118)[0]


def test_time_stands_still_when_the_run_is_over() -> None:
    state = states.finished().state
    assert seconds_at_work(state, BEGAN + 1e6) == seconds_at_work(state, BEGAN + 2e6)


def test_time_between_two_starts_is_no_work() -> None:
    story = Story().begin().train(100)
    before = seconds_at_work(story.state, story.now)
    story.say(events.KeeperStarted(2, 9, "checkpoints/checkpoint-100"), after=10_000)
    assert before is not None
    assert seconds_at_work(story.state, story.now + 2) == pytest.approx(before + 2, abs=1)


@pytest.mark.parametrize("width", [1, 2, 5, 10, 20, 39, 40, 60, 79, 80, 120, 300])
def test_no_row_is_wider_than_the_terminal(width: int) -> None:
    for make in (states.empty, states.starting, states.training, states.failed):
        figures = at(make())
        for row in headline(figures, width):
            assert length(row) <= width
        for height in (1, 2, 3, 10):
            said = [("what happened " * 20, " ")]
            found = summary(figures, "a-name" * 5, width, height, [1.0, 2.0], said)
            assert len(found) <= height
            assert all(length(row) <= width for row in found)


def test_one_row_says_the_most() -> None:
    [row] = summary(at(states.training()), "sft-tiny-3", 80, 1)
    text = "".join(text for text, _ in row)
    assert text.startswith("● running   57%  left 1m25s  sft-tiny-3")
