"""The sentences of the list."""

from __future__ import annotations

from itertools import product

import pytest

from engine.runs.summary import RunSummary
from screens.runs.words import in_a_line, nothing_found, nothing_yet, tally
from tests.screens.runs.summaries import NOW, a_run, in_every_state
from tui.display import cell_len


@pytest.mark.parametrize(
    ("runs", "listed", "text"),
    [
        pytest.param([], None, "", id="none"),
        pytest.param([a_run(state="finished")], None, "1 run", id="one"),
        pytest.param([a_run(), a_run("b"), a_run("c", "died")], None, "2 running, 3 runs", id="some at work"),
        pytest.param(in_every_state(), 4, "1 starting, 2 running, 1 paused, 1 stopping, 4 of 11 runs", id="filtered"),
    ],
)
def test_runs_are_counted_by_what_they_do(runs: list[RunSummary], listed: int | None, text: str) -> None:
    assert tally(runs, listed) == text


@pytest.mark.parametrize(
    ("runs", "width", "height", "expected"),
    [
        pytest.param([], 40, 10, ["no runs yet  d starts the demo"], id="none"),
        pytest.param([a_run()], 60, 10, ["1 at work  ● sft-tiny-3 62%  1m10s left  loss 0.354"], id="one row"),
        pytest.param([a_run()], 40, 10, ["1 at work", "● sft-tiny-3 62%  1m10s left  loss 0.354"], id="two rows"),
        pytest.param([a_run()], 40, 1, ["1 at work  ● sft-tiny-3 62%  1m10s left"], id="a single row"),
        pytest.param([a_run("a", "died", last_said=NOW - 7200)], 60, 3,
                     ["1 run, none at work  ✗ a 62%  2 h ago  loss 0.354"], id="none at work"),
    ],
)  # fmt: skip
def test_the_whole_workspace_fits_into_a_line(
    runs: list[RunSummary], width: int, height: int, expected: list[str]
) -> None:
    rows = in_a_line(runs, NOW, width, height, "braille")
    assert ["".join(text for text, _ in row) for row in rows] == expected


def test_the_line_is_never_too_wide() -> None:
    for width, height, runs in product(range(1, 90), (1, 2, 10), ([], [a_run()], in_every_state())):
        for row in in_a_line(runs, NOW, width, height, "ascii"):
            assert cell_len("".join(text for text, _ in row)) <= width


def test_an_empty_list_says_what_to_do_first() -> None:
    said = dict(nothing_yet("/home/a[b]/runs", reading=False))
    assert "demo" in said["d"]
    assert said["$"] == "ftconsole train RUN.yaml"
    assert said[""] == "Runs are kept in /home/a[b]/runs"


def test_nothing_is_promised_before_the_folder_is_read() -> None:
    assert nothing_yet("/w\x1b[2J/runs", reading=True) == [("", "Reading /w\\x1b[2J/runs ...")]


def test_a_filter_without_a_match_says_how_to_leave_it() -> None:
    assert nothing_found("\x1b[31m") == [("", r"No run matches '\\x1b[31m'."), ("Esc", "Show all again.")]
