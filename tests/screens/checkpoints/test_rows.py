"""Which runs and checkpoints are listed, and in which order."""

from __future__ import annotations

import math

import pytest

from screens.checkpoints.rows import best_of, judged_best, orders_for, rows
from tests.screens.checkpoints.shelf import a_checkpoint, a_family, an_entry, many


def listed(*args: object, **how: object) -> list[str]:
    return [row.spec for row in rows(a_family(), *args, **how)]  # type: ignore[arg-type]


def test_a_run_stands_below_the_one_it_goes_on_from_and_above_its_checkpoints() -> None:
    found = listed()
    assert found[:3] == ["voice-1", "voice-1@best", "voice-1@final"]
    assert found.index("voice-1@checkpoint-80") < found.index("voice-2-refusals") < found.index("voice-2-dpo")
    assert found[-1] == "llama-1"


def test_the_best_and_the_checkpoint_it_is_a_copy_of_have_the_star() -> None:
    starred = [row.spec for row in rows(a_family()) if row.starred]
    assert starred[:2] == ["voice-1@best", "voice-1@checkpoint-120"]
    assert "voice-2-dpo@final" in starred


def test_a_damaged_checkpoint_is_never_the_best() -> None:
    run = an_entry(
        "run-1", [a_checkpoint("run-1", "best", 120, fault="it is gone"), a_checkpoint("run-1", "final", 200)]
    )
    assert best_of(run) is not None
    assert best_of(run).name == "final"  # type: ignore[union-attr]


def test_learning_by_heart_is_not_being_best() -> None:
    final = next(one for run in a_family() for one in run.checkpoints if one.spec == "voice-1@final")
    assert "loss" in final.best_by
    assert judged_best(final) == ()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("damaged", ["voice-1", "voice-1@checkpoint-80"]),
        ("pinned", ["voice-1", "voice-1@checkpoint-160"]),
        ("dpo 50", ["voice-2-dpo", "voice-2-dpo@checkpoint-50"]),
        ("llama", ["llama-1"]),
        ("llama !meta", []),
        (
            "voice-1 whole !checkpoint",
            [
                "voice-1",
                "voice-1@best",
                "voice-1@final",
                "voice-2-refusals",
                "voice-2-refusals@best",
                "voice-2-dpo",
                "voice-2-dpo@final",
            ],
        ),
        ("best !voice-2", ["voice-1", "voice-1@best", "voice-1@checkpoint-120"]),
        ("nothing like it", []),
    ],
)
def test_a_filter_leaves_what_has_all_its_words(query: str, found: list[str]) -> None:
    assert listed(query) == found


def test_a_large_workspace_opens_with_its_newest_run() -> None:
    shown = rows(many(40, 3))
    assert [row.spec for row in shown if row.checkpoint is not None] == [
        f"run-0@checkpoint-{step}" for step in (30, 20, 10)
    ]
    assert sum(row.folded for row in shown) == 39


def test_who_folds_a_run_is_obeyed_and_a_filter_unfolds() -> None:
    assert "voice-1@best" not in listed(folded={"voice-1": True})
    assert "voice-1@best" in listed("best", folded={"voice-1": True})


def test_all_checkpoints_in_one_order_are_those_with_a_figure_first() -> None:
    found = rows([*a_family(), an_entry("odd", [a_checkpoint("odd", "checkpoint-1", metrics={"eval_loss": math.nan})])],
                 order="valid")  # fmt: skip
    values = [row.checkpoint.metrics.get("eval_loss", math.nan) for row in found if row.checkpoint is not None]
    known = [value for value in values if not math.isnan(value)]
    assert known == sorted(known)
    assert math.isnan(values[-1])
    assert all(row.alone for row in found)


def test_only_orders_that_mean_something_are_offered() -> None:
    assert "unlearn" in orders_for(a_family())
    assert orders_for([an_entry("run-1", [a_checkpoint("run-1", "checkpoint-1", metrics={})])]) == [
        "lineage", "newest", "size",
    ]  # fmt: skip
