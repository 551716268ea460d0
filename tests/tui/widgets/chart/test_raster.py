"""Values become dots, dots become cells."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest

from tests.tui.widgets.chart.rows import Cut, curve
from tui.widgets.chart.glyphs import ASCII, BLOCK, BRAILLE, Glyphs
from tui.widgets.chart.raster import Scale, band_masks, broken, cell_column, line_masks, span


def picture(masks: list[int], dots: int) -> list[str]:
    return ["".join("#" if mask >> y & 1 else "." for mask in masks) for y in range(dots)]


def test_a_line_joins_its_values_without_holes() -> None:
    assert picture(line_masks([0.0, None, None, 3.0], (), Scale(0, 3, 4)), 4) == [
        "...#",
        "..#.",
        ".#..",
        "#...",
    ]


def test_every_line_is_one_connected_piece() -> None:
    rolls = random.Random(6)
    for _ in range(200):
        values = [rolls.uniform(0, 1) if rolls.random() < 0.6 else None for _ in range(30)]
        values[0] = values[-1] = 0.5
        masks = line_masks(values, (), Scale(0, 1, 24), thick=rolls.choice([1, 2]))
        for left, right in pairwise(masks):
            assert left
            near = right | right << 1 | right >> 1
            assert left & near


def test_a_break_is_not_crossed() -> None:
    masks = line_masks([1.0, 1.0, None, 1.0], {2}, Scale(0, 2, 3))
    assert picture(masks, 3)[1] == "##.#"


def test_the_band_reaches_from_the_lowest_to_the_highest_value() -> None:
    columns = [Cut(0, 2, 1, 2, 5), Cut(1, 3, 2, 1, 5)]
    assert picture(band_masks(columns, (), Scale(0, 3, 4)), 4) == [".#", "##", "##", "#."]


def test_columns_without_overlap_are_joined() -> None:
    columns = [Cut(0, 0, 0, 0, 1), Cut(5, 5, 5, 5, 1)]
    masks = band_masks(columns, (), Scale(0, 5, 6))
    assert masks[0] | masks[1] == 0b111111
    assert picture(band_masks([columns[0], None, columns[1]], {1}, Scale(0, 5, 6)), 6)[2] == "..."


def test_values_outside_the_limits_draw_nothing_but_what_leads_to_them() -> None:
    scale = Scale(0, 1, 8)
    assert line_masks([5.0, 5.0], (), scale) == [0, 0]
    assert line_masks([-5.0, -5.0], (), scale) == [0, 0]
    assert any(line_masks([0.5, 5.0], (), scale))
    row = scale.rows()
    assert row(1e300) < 0
    assert row(-1e300) >= 8
    assert Scale(0.1, 10, 8, log=True).rows()(0.0) >= 8


def test_a_logarithmic_scale_gives_each_decade_the_same_height() -> None:
    row = Scale(0.001, 1, 31, log=True).rows()
    assert [row(value) for value in (1, 0.1, 0.01, 0.001)] == [0, 10, 20, 30]


def test_going_on_from_known_masks_is_the_same_as_drawing_everything() -> None:
    rolls = random.Random(7)
    scale = Scale(0, 1, 20)
    for _ in range(300):
        values = [rolls.random() if rolls.random() < 0.7 else None for _ in range(24)]
        breaks = {i for i, value in enumerate(values) if value is None and rolls.random() < 0.3}
        keep = rolls.randrange(24)
        changed = [*values[:keep], *(rolls.random() for _ in range(keep, 24))]
        # What is kept ends before the last value that is joined to something new.
        safe = max((i for i in range(keep) if values[i] is not None), default=0)
        known = line_masks(values, breaks, scale, 2)
        assert line_masks(changed, breaks, scale, 2, known, safe) == line_masks(changed, breaks, scale, 2)
        columns = [None if value is None else Cut(value / 2, value, value / 2, value, 3) for value in values]
        new = [None if value is None else Cut(value / 2, value, value / 2, value, 3) for value in changed]
        known = band_masks(columns, breaks, scale)
        assert band_masks(new, breaks, scale, known, safe) == band_masks(new, breaks, scale)


def test_the_first_line_is_whole_and_the_others_are_broken_each_in_its_way() -> None:
    whole = [1] * 36
    rhythms = {"".join(map(str, broken(whole, dash))) for dash in range(4)}
    assert len(rhythms) == 4
    assert broken(whole, 0) == whole


def test_a_span_is_cut_to_the_height() -> None:
    assert span(-3, 1, 4) == 0b11
    assert span(2, 9, 4) == 0b1100
    assert span(4, 9, 4) == span(-9, -1, 4) == 0


@pytest.mark.parametrize(
    ("glyphs", "expected"),
    [
        pytest.param(BRAILLE, "⣇", id="braille"),
        pytest.param(BLOCK, "▙", id="block"),
    ],
)
def test_dots_become_the_glyph_that_has_them(glyphs: Glyphs, expected: str) -> None:
    left = (1 << glyphs.dot_rows) - 1
    right = 1 << glyphs.dot_rows - 1
    painted = cell_column([(left, right, glyphs.dots, "1")], (), (" ", " "), glyphs.dot_rows)
    assert painted == (expected, "1")


def test_ascii_has_two_heights_to_a_row() -> None:
    painted = cell_column([(0b0110, 0, ASCII.dots, "5")], (), ("   ", "   "), 2)
    assert painted == (".' ", "55 ")


def test_a_cell_belongs_whole_to_what_was_painted_last() -> None:
    layers = [(0b1111, 0, BRAILLE.dots, "5"), (0b0001, 0, BRAILLE.dots, "1")]
    assert cell_column(layers, (), (" ", " "), 4) == ("⠁", "1")
    assert cell_column(layers, [(0, "●", "a")], (" ", " "), 4) == ("●", "a")
    assert cell_column([], (), ("┈", "g"), 4) == ("┈", "g")


def test_every_alphabet_has_a_glyph_for_every_combination_of_dots() -> None:
    for glyphs in (BRAILLE, BLOCK, ASCII):
        for table in (glyphs.dots, *glyphs.line_tables):
            assert len(table) == 2 ** (glyphs.dot_columns * glyphs.dot_rows)
    assert all(character.isascii() for character in ASCII.all)
    assert len(set(BRAILLE.dots)) == 256
    assert math.log2(len(set(BLOCK.dots))) == 4


def test_a_curve_helper_counts_its_rows() -> None:
    assert curve([1.0, 3.0]).columns("step", 0, 4, 1) == [Cut(1, 3, 2, 3, 2)]
