"""What fits into a row, and what a row says."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from engine.runs.lifecycle import STATES
from screens.runs.columns import GAP, Column, cells, columns_for, heads, percent, when
from tests.screens.runs.summaries import NOW, a_run, in_every_state
from tui.display import cell_len
from tui.widgets.chart.glyphs import GLYPHS, GlyphSet

NASTY = "\x1b[2J[red]日本\u202e\n\t" * 3


def keys(columns: list[Column]) -> list[str]:
    return [column.key for column in columns]


def used(columns: list[Column]) -> int:
    return sum(column.width for column in columns) + GAP * (len(columns) - 1)


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        pytest.param(158, ["state", "name", "method", "model", "parent", "bar", "percent", "steps", "loss", "curve",
                           "when"], id="everything at 160"),
        pytest.param(118, ["state", "name", "method", "model", "bar", "percent", "steps", "loss", "curve", "when"],
                     id="no parent at 120"),
        pytest.param(78, ["state", "name", "bar", "percent", "loss", "curve", "when"], id="the essential at 80"),
        pytest.param(58, ["state", "name", "percent", "loss", "when"], id="a monitor at 60"),
        pytest.param(40, ["sign", "name", "percent", "when"], id="a summary at 40"),
        pytest.param(12, ["sign", "name"], id="hardly anything"),
    ],
)  # fmt: skip
def test_what_matters_most_stays(width: int, expected: list[str]) -> None:
    assert keys(columns_for(in_every_state(), width)) == expected


def test_a_row_is_never_wider_than_its_room() -> None:
    runs = in_every_state()
    for width in range(1, 260):
        columns = columns_for(runs, width)
        assert columns
        assert used(columns) <= max(width, 4)


def test_there_is_no_column_for_parents_when_no_run_has_one() -> None:
    assert "parent" not in keys(columns_for([a_run()], 200))


@pytest.mark.parametrize("glyphs", GLYPHS)
def test_every_cell_is_as_wide_as_its_column(glyphs: GlyphSet) -> None:
    chance = random.Random(7)
    runs = in_every_state()
    runs += [
        a_run(f"run-{number}", chance.choice(STATES), model=NASTY[number:], method=NASTY[:number],
              parent=chance.choice([None, NASTY]), step=chance.randrange(10**chance.randrange(1, 12)),
              total_steps=chance.randrange(10**chance.randrange(1, 12)),
              loss=chance.choice([None, math.nan, -math.inf, 1e-300, -1.234e-5, 123456.7, 0.0, 1e300]),
              losses=[chance.choice([math.nan, 1.0, 1e300]) for _ in range(number)],
              eta_seconds=chance.choice([None, 0.0, 5e9]), last_said=chance.choice([0.0, NOW, NOW + 9e9]))
        for number in range(40)
    ]  # fmt: skip
    for width in (1, 5, 17, 33, 40, 58, 78, 118, 158, 300):
        columns = columns_for(runs, width)
        for run in runs:
            row = "".join(text for text, _ in cells(run, columns, NOW, glyphs))
            assert cell_len(row) == used(columns), (width, run.name)
            assert row.isprintable()
            if glyphs == "ascii":
                assert all(mark not in row for mark in "●○━─⣀")
        assert cell_len("".join(text for text, _ in heads(columns, "name"))) == used(columns)


def test_numbers_are_never_cut() -> None:
    run = a_run(step=123_456_789, total_steps=999_999_999)
    for width in range(40, 200):
        columns = columns_for([run], width)
        row = "".join(text for text, _ in cells(run, columns, NOW, "braille"))
        if "steps" in keys(columns):
            assert "123,456,789/999,999,999" in row


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        pytest.param({"step": 0, "total_steps": 0}, "", id="unknown"),
        pytest.param({"step": 0, "total_steps": 9}, "0%", id="nothing"),
        pytest.param({"step": 199, "total_steps": 200}, "99%", id="all but one"),
        pytest.param({"step": 200, "total_steps": 200}, "100%", id="all"),
        pytest.param({"step": 300, "total_steps": 200}, "100%", id="more than planned"),
    ],
)
def test_a_hundred_percent_is_all_of_it(changes: dict[str, Any], text: str) -> None:
    assert percent(a_run(**changes)) == text


@pytest.mark.parametrize(
    ("run", "text"),
    [
        pytest.param(a_run(), "1m10s left", id="running"),
        pytest.param(a_run(eta_seconds=None), "", id="running, without a pace"),
        pytest.param(a_run(step=200), "", id="running, at its last step"),
        pytest.param(a_run(state="paused"), "", id="paused"),
        pytest.param(a_run(state="finished", last_said=NOW - 59), "just now", id="a moment ago"),
        pytest.param(a_run(state="finished", last_said=NOW - 3599), "59 min ago", id="an hour ago"),
        pytest.param(a_run(state="died", last_said=NOW + 9), "just now", id="in the future"),
        pytest.param(a_run(state="unknown", last_said=0.0), "", id="never said anything"),
    ],
)
def test_the_time_is_what_is_left_or_how_long_ago_it_was(run: Any, text: str) -> None:
    assert when(run, NOW) == text
