"""How a run ended: what happened, what is safe, what to do next. What is safe is never cut."""

from __future__ import annotations

import pytest

from engine import events
from engine.runs.liveness import Life
from screens.live.ending import ending_pieces, ending_rows
from tests.screens.live import states
from tests.screens.live.states import StillFeed, Story
from tui.widgets.text_rows import as_text


def text(feed: StillFeed, width: int = 116, height: int = 8) -> str:
    return as_text(ending_rows(feed.state, feed.reason, width, height))


@pytest.mark.parametrize("make", [states.empty, states.starting, states.training, states.paused])
def test_a_run_at_work_has_not_ended(make: type[StillFeed]) -> None:
    feed = make()  # type: ignore[call-arg]
    assert ending_rows(feed.state, feed.reason, 80) == []
    assert ending_pieces(feed.state, feed.reason) == []


def test_a_failure_says_what_happened_what_is_safe_and_what_to_do() -> None:
    assert text(states.failed()).splitlines() == [
        "✗ Failed at step 212 of 400 after 1m50s of work",
        "  Step 213 was not taken: loss nan, gradient norm nan, learning rate 0.00094.",
        "  Lower training.learning_rate or lengthen training.warmup_steps, then resume from checkpoint-200.",
        "  Safe: checkpoint-200. R resumes from it and repeats 12 steps.",
    ]


@pytest.mark.parametrize("height", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("width", [58, 80, 116])
def test_what_is_safe_is_never_cut(width: int, height: int) -> None:
    said = text(states.failed(), width, height)
    assert len(said.splitlines()) <= height
    assert "Safe: checkpoint-200" in said


def test_a_finished_run_names_its_adapters_and_what_it_learned() -> None:
    assert text(states.finished()).splitlines()[1:] == [
        "  final/ has the adapter (314.6 kB). best/ is step 400.",
        "  Held-out questions: retain answered 98% → 98%   unlearn refused 1% → 100%",
    ]


def test_the_end_of_a_killed_run_has_a_cause() -> None:
    assert "Killed by the system: the host ran out of memory." in text(states.died())
    assert "Free memory on that machine" in text(states.died())


def test_a_run_that_ended_without_a_word() -> None:
    story = Story().begin().train(20)
    story.state.life = Life.DEAD
    said = text(story.feed(reason="process 4711 is gone"))
    assert "It ended without a word: process 4711 is gone." in said
    assert "Nothing was saved yet. R begins again." in said


def test_a_run_that_nobody_knows_of_is_left_alone() -> None:
    said = text(states.unknown())
    assert "Nobody can say whether it still runs" in said
    assert "It was started on gpu-box-7. It is left alone" in said
    assert "R resumes" not in said


def test_an_end_before_the_first_step() -> None:
    story = Story().prepare()
    story.say(events.RunEnded("failed", 0, 1.0, "There is no such file.", "not-found"))
    assert text(story.feed()).splitlines()[0].startswith("✗ Failed before the first step")
