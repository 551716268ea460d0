"""Curves in one line."""

from __future__ import annotations

import math
import random

import pytest

from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.sparkline import sparkline


@pytest.mark.parametrize(("glyphs", "drawn"), [("braille", "⣿⣷⣤⣀"), ("block", "█▇▃▁"), ("ascii", "##-_")])
def test_a_falling_loss_falls(glyphs: GlyphSet, drawn: str) -> None:
    values = [4.0, 4.0, 4.0, 3.0, 2.0, 2.0, 1.0, 1.0]
    assert sparkline(values, 4, glyphs) == drawn


def test_fewer_values_than_fit_leave_the_rest_blank() -> None:
    assert sparkline([1.0, 2.0], 5, "block") == "▁█   "
    assert sparkline([], 3) == "   "
    assert sparkline([1.0], 0) == ""


def test_a_value_that_is_not_finite_is_marked_and_a_missing_one_is_blank() -> None:
    assert sparkline([1.0, math.nan, None, 2.0], 4, "block") == "▁× █"
    assert sparkline([math.inf], 2, "ascii") == "! "


def test_a_constant_is_drawn_at_half_height() -> None:
    assert sparkline([2.0, 2.0], 1) == "⣤"
    assert sparkline([2.0], 1, "block") == "▄"


@pytest.mark.parametrize("glyphs", ["braille", "block", "ascii"])
def test_it_is_as_wide_as_asked_whatever_comes(glyphs: GlyphSet) -> None:
    rolls = random.Random(11)
    for _ in range(300):
        width = rolls.randint(0, 30)
        values = [rolls.choice([None, math.nan, 1e300, -1e300, rolls.gauss(0, 1)]) for _ in range(rolls.randint(0, 90))]
        assert len(sparkline(values, width, glyphs)) == width
