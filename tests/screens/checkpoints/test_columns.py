"""What stands in the columns, and where."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from screens.checkpoints.columns import cells, columns_for, heads, number
from screens.checkpoints.rows import rows
from tests.screens.checkpoints.shelf import a_checkpoint, a_family, an_entry, large, many
from tests.screens.runs.summaries import NOW
from tui.display import cell_len

WIDTHS = [12, 20, 38, 58, 78, 100, 160]


def drawn(width: int, glyphs: str = "braille") -> list[str]:
    listed = rows([*a_family(), large()])
    columns = columns_for(listed, width)
    return [
        "".join(text for text, _ in row)
        for row in (heads(columns), *(cells(row, columns, NOW, glyphs) for row in listed))  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize("width", WIDTHS)
def test_every_row_is_as_wide_as_the_others_and_fits(width: int) -> None:
    assert {cell_len(row) for row in drawn(width)} == {cell_len(drawn(width)[0])}
    assert cell_len(drawn(width)[0]) <= width


def test_the_points_of_a_column_stand_in_a_line() -> None:
    listed = rows([*a_family(), large()])
    columns = columns_for(listed, 160)
    start = 2 + columns[0].width
    for column in columns[1:]:
        start += 2
        if column.key in ("loss", "eval_loss", "epoch"):
            shown = [row[start : start + column.width] for row in drawn(160)[1:]]
            assert len({text.index(".") for text in shown if text.strip(" .0123456789") == "" and "." in text}) == 1
        start += column.width


def test_what_is_damaged_says_why_instead_of_its_figures() -> None:
    row = next(row for row in drawn(160) if "checkpoint-80" in row and "✗" in row)
    assert "adapter_model.safetensors has 812 of 1247120 bytes" in row
    assert "0.5222" not in row


def test_columns_are_the_same_whatever_is_folded() -> None:
    runs = many(3, 4)
    open_, folded = rows(runs, folded={}), rows(runs, folded={run.name: True for run in runs})
    assert columns_for(open_, 100) == columns_for(folded, 100)


def test_losses_stay_where_there_is_little_room() -> None:
    titles = drawn(46)[0]
    assert "valid" in titles
    assert "optim." not in titles


def test_a_folded_run_says_which_is_its_best() -> None:
    listed = rows(a_family(), folded={"voice-1": True})
    text = "".join(text for text, _ in cells(listed[0], columns_for(listed, 160), NOW, "braille"))
    assert "★ 0.5000 at 120" in text
    assert "6 checkpoints" in text
    assert "1 damaged" in text


@pytest.mark.parametrize("glyphs", ["ascii", "block", "braille"])
def test_signs_are_letters_where_nothing_else_can_be_drawn(glyphs: str) -> None:
    assert glyphs != "ascii" or all(row.isascii() for row in (text.replace("…", "") for text in drawn(78, glyphs)))


def test_foreign_text_stays_text() -> None:
    one = a_checkpoint("run-1", "checkpoint-1", fault="\x1b[2J\u202e\x07")
    run = an_entry("run-1", [one], model="\x1b]0;x\x07")
    run = replace(run, base="\x1b[1m")
    listed = rows([run])
    columns = columns_for(listed, 120)
    text = "".join(text for row in listed for text, _ in cells(row, columns, NOW, "braille"))
    assert "\x1b" not in text
    assert "\x07" not in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.5, "0.5000"), (math.nan, "NaN"), (-math.inf, "-inf"), (123456789.0, "1e+08"), (-0.25, "-0.2500")],
)
def test_figures(value: float, shown: str) -> None:
    assert number(value, 4, 7) == shown
