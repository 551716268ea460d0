"""Which runs are listed, and in which order."""

from __future__ import annotations

import math

import pytest

from screens.runs.choosing import ORDERS, chosen, matches
from tests.screens.runs.summaries import NOW, a_run, in_every_state


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("", True, id="nothing asked"),
        pytest.param("TINY", True, id="case does not matter"),
        pytest.param("qwen instruct", True, id="words of the model"),
        pytest.param("sft run", True, id="method and state"),
        pytest.param("base-1", True, id="parent"),
        pytest.param("tiny llama", False, id="every word counts"),
        pytest.param("!tiny", False, id="a word that must not be there"),
        pytest.param("tiny !llama", True, id="both kinds"),
        pytest.param("!", True, id="a lone mark asks nothing"),
        pytest.param("tiny-3sft", False, id="not across two texts"),
    ],
)
def test_words_are_looked_for_in_what_the_list_shows(query: str, expected: bool) -> None:
    assert matches(a_run("tiny-3", model="Qwen/Qwen2.5-0.5B-Instruct", parent="base-1"), query) is expected


def test_names_sort_as_people_count() -> None:
    runs = [a_run(name) for name in ("sft-10", "sft-2", "dpo-1", "sft-2-b", "Sft-1")]
    assert [run.name for run in chosen(runs, order="name")] == ["dpo-1", "Sft-1", "sft-2", "sft-2-b", "sft-10"]


def test_a_loss_that_is_no_number_comes_last() -> None:
    runs = [a_run("a", loss=math.nan), a_run("b", loss=None), a_run("c", loss=2.0), a_run("d", loss=-math.inf),
            a_run("e", loss=0.5)]  # fmt: skip
    assert [run.name for run in chosen(runs, order="loss")] == ["e", "c", "a", "b", "d"]


def test_the_last_to_speak_comes_first() -> None:
    runs = [a_run("a", last_said=NOW - 9), a_run("b", last_said=NOW - 1)]
    assert [run.name for run in chosen(runs, order="activity")] == ["b", "a"]


@pytest.mark.parametrize("order", ORDERS)
def test_no_order_loses_a_run(order: str) -> None:
    runs = in_every_state()
    assert sorted(run.name for run in chosen(runs, order=order)) == sorted(run.name for run in runs)
