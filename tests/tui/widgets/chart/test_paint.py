"""Painting what changed, and only that."""

from __future__ import annotations

import math
import random

import pytest

from tests.tui.widgets.chart.rows import Rows, planned
from tui.widgets.chart.draw import Memory, draw
from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.chart.plot import Plot
from tui.widgets.chart.view import XView


def random_value(rolls: random.Random) -> float:
    return rolls.choice([
        rolls.gauss(1, 0.3), rolls.gauss(1, 0.3), rolls.gauss(1, 0.3), rolls.gauss(1, 20), 0.0,
        math.nan, math.inf, 1e-30, 1e30,
    ])  # fmt: skip


@pytest.mark.parametrize("glyphs", ["braille", "block", "ascii"])
def test_a_plot_that_grew_row_by_row_looks_like_one_drawn_at_once(glyphs: GlyphSet) -> None:
    for seed in range(25):
        rolls = random.Random(seed)
        train, evaluation = Rows("train"), Rows("eval", style="points")
        plot = Plot(
            "loss",
            [train, evaluation],
            x_planned=planned(200).get,
            smoothing=rolls.choice([0.0, 0.9]),
            log_y=rolls.random() < 0.3,
            robust=rolls.random() < 0.3,
            glyphs=glyphs,
            x=XView(crosshair=rolls.choice([None, 100.0])),
        )
        grown = Memory()
        step = 0
        while step < 200:
            for _ in range(rolls.randint(1, 9)):
                step += rolls.randint(1, 3)
                train.rows.append((float(step), random_value(rolls)))
                if rolls.random() < 0.1:
                    evaluation.rows.append((float(step), random_value(rolls)))
            drawing = draw(plot, grown, 60, 14)
            # The limits are what they have become; everything else comes from the data.
            fresh = Memory(grown.x_limits.copy(), grown.y_limits, grown.y_of, grown.gutter, grown.value_widths.copy())
            assert drawing.frame == draw(plot, fresh, 60, 14).frame


def test_a_history_that_lost_rows_is_drawn_without_them() -> None:
    train = Rows("train", [(float(step), float(step % 7)) for step in range(1, 300)])
    plot = Plot("loss", [train], x_planned=planned(400).get)
    memory = Memory()
    draw(plot, memory, 60, 14)
    # A resume from step 150 supersedes what came after it.
    del train.rows[150:]
    drawing = draw(plot, memory, 60, 14)
    assert drawing.frame == draw(plot, Memory(y_limits=memory.y_limits, y_of=memory.y_of), 60, 14).frame


def test_nothing_new_is_nothing_to_paint() -> None:
    plot = Plot("loss", [Rows("train", [(float(step), 1.0 / step) for step in range(1, 100)])])
    memory = Memory()
    first = draw(plot, memory, 60, 14)
    text = memory.painter.text
    assert draw(plot, memory, 60, 14).frame == first.frame
    assert memory.painter.text is text
