"""What a draft says of itself: settings, problems and lines, whatever was typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from screens.configure.draft import Draft, meant, typed


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-4", 0.0002),
        ("null", None),
        ("true", True),
        ("yes", "yes"),
        ("[a, b]", ["a", "b"]),
        ("[a", "[a"),
        ("a: b", "a: b"),
        ("{a: b}", {"a": "b"}),
        ("  tiny ", "tiny"),
        ("&x *y", "&x *y"),
        ("!!python/none", "!!python/none"),
    ],
)
def test_typed_text_is_a_value_and_never_lost(text: str, value: Any) -> None:
    assert meant(text) == value
    assert meant(typed(value)) == value


@pytest.mark.parametrize("value", ["1", "null", " a ", "", "a\nb", "\x1b[2J", "\u202e", "# x", "[1]", "ä: é"])
def test_a_text_is_shown_so_that_it_is_read_back_and_does_nothing(value: str) -> None:
    assert meant(typed(value)) == value
    assert typed(value).isprintable()


def test_all_problems_are_listed_each_with_its_setting_and_line() -> None:
    text = "data:\n  train: a.jsonl\nlora:\n  r: none\ntraining:\n  learning_rate: 7\n  epochs: 3\n"
    reading = Draft(text, Path("run.yaml")).reading
    assert set(reading.wrong) == {"lora.r", "training.learning_rate", "training.epochs"}
    assert "(run.yaml:4)" in reading.wrong["lora.r"]
    assert "num_train_epochs" in reading.wrong["training.epochs"]
    assert reading.line("lora.r") == 4
    assert [reading.key_at(line) for line in (1, 2, 5, 7)] == [
        None, "data.train", "lora.r", "training.epochs",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["a: [", "\t- x", "- a\n- b", "a: 1\n---\nb: 2", "\x00", "x" * 1_000_001, "a: *b"])
def test_a_text_that_cannot_be_read_is_one_problem_and_is_kept(text: str) -> None:
    draft = Draft(text)
    assert draft.reading.broken
    assert len(draft.reading.problems) == 1
    assert draft.text == text


def test_nothing_written_needs_only_data() -> None:
    assert [problem.partition(" ")[0] for problem in Draft().reading.problems] == ["data.train"]
    assert Draft("# a thought\n").reading.problems == Draft().reading.problems
    assert not Draft().changed
    assert Draft("preset: demo\n").reading.preset == "demo"
    assert Draft("preset: demo\n").reading.problems == ()
