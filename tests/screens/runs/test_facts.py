"""What is told of the run under the cursor."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from engine.runs.summary import RunSummary
from screens.runs.facts import facts
from screens.runs.reading import Details
from tests.screens.runs.summaries import NOW, a_run, in_every_state, the_details
from tui.display import cell_len
from tui.state import RunState


def text(run: RunSummary, details: Details | None = None, width: int = 120, height: int = 20) -> str:
    rows = facts(run, details, NOW, width, height, "braille")
    return "\n".join("".join(piece for piece, _ in row) for row in rows)


def named(name: str) -> RunSummary:
    return next(run for run in in_every_state() if run.name == name)


def test_a_run_at_work_says_how_far_and_how_fast() -> None:
    said = text(named("sft-tiny-3"), the_details()["sft-tiny-3"])
    assert "● running   step 124 of 200  62%   loss 0.3543   1m10s left   1.1 steps/s" in said
    assert "best step 120, eval_loss 0.5301   checkpoint-120 901.2 kB" in said
    assert "sft on tiny   65.5 k trained (1.9%)   cpu float32   made 1 h ago, 2026-09-21" in said
    assert "/workspace/runs/sft-tiny-3" in said


def test_a_run_that_is_not_training_yet_says_what_it_does() -> None:
    state = RunState("a", stage="loading", stage_detail="the training libraries")
    assert "○ starting   loading the training libraries" in text(
        a_run("a", "starting", total_steps=0), Details("a", state)
    )


def test_a_finished_run_says_what_it_reached() -> None:
    said = text(named("demo-1"), the_details()["demo-1"])
    assert "final step 180, 901.2 kB" in said
    assert "retain answered 98% → 97%   unlearn refused 1% → 99%   retain refused 0% → 1%" in said


def test_a_failure_comes_with_its_remedy_and_what_a_resume_would_repeat() -> None:
    said = text(named("sft-tiny-1"), the_details()["sft-tiny-1"])
    assert "Killed by the system: the host ran out of memory." in said
    assert "│ Killed" in said
    assert "checkpoint-50 901.2 kB  R resumes from it; 5 steps are done again" in said


def test_a_run_without_checkpoints_begins_again() -> None:
    run = a_run("a", "failed", explanation="It failed.")
    assert "nothing was saved; R begins again" in text(run, Details("a", RunState("a")))


@pytest.mark.parametrize("state", ["died", "unknown"])
def test_a_run_that_said_nothing_at_its_end_says_why_it_is_thought_so(state: str) -> None:
    run = a_run("a", state)  # type: ignore[arg-type]
    assert "nobody holds its lock" in text(run, Details("a", RunState("a"), reason="nobody holds its lock"))


def test_a_long_explanation_is_cut_visibly() -> None:
    run = a_run("a", "failed", explanation="no room " * 200)
    rows = text(run, width=40).splitlines()
    assert sum(row.startswith("no room") for row in rows) == 3
    assert rows[3].endswith("…")


def test_foreign_text_is_shown_and_not_obeyed() -> None:
    run = a_run("a", "failed", explanation="\x1b[2J[red]\nx", model="\x1b]52;c;AAAA\x07", path="/w/\x9b31m/a")
    details = replace(the_details()["sft-tiny-1"], last_words=["\x1b[31mred\x1b[0m", "\r\x1b[K"])
    said = text(run, details)
    assert "\x1b" not in said
    assert "\x9b" not in said
    assert r"\x1b[2J[red]⏎x" in said


@pytest.mark.parametrize("width", [1, 2, 7, 12, 20, 40, 80, 200])
@pytest.mark.parametrize("height", [0, 1, 3, 12])
def test_every_run_fits_into_every_pane(width: int, height: int) -> None:
    for run in [*in_every_state(), a_run("b", loss=math.inf, created=0.0, seconds_per_step=1e-9)]:
        for details in (None, the_details().get(run.name)):
            rows = facts(run, details, NOW, width, height, "ascii")
            assert len(rows) <= height
            for row in rows:
                assert cell_len("".join(piece for piece, _ in row)) <= max(width, 8)
