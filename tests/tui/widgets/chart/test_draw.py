"""A chart as text: what is where, at any size, with any data."""

from __future__ import annotations

import math
import random

import pytest
from rich.cells import cell_len

from tests.tui.widgets.chart.rows import Rows, curve, evaluations, noisy_loss, planned
from tui.widgets.chart.draw import Drawing, Memory, draw
from tui.widgets.chart.glyphs import GLYPHS, GlyphSet
from tui.widgets.chart.plot import STYLES, Plot
from tui.widgets.chart.view import AXES, XView


def loss_plot(glyphs: GlyphSet = "braille") -> Plot:
    return Plot(
        "loss",
        [noisy_loss(2600), evaluations(2600, 250)],
        marks={"step": [1000, 2000]},
        x_planned=planned(5000).get,
        glyphs=glyphs,
    )


def shown(plot: Plot, width: int = 60, height: int = 18) -> Drawing:
    return draw(plot, Memory(), width, height)


def styled(drawing: Drawing, code: str) -> list[str]:
    """The text in one style, row by row."""
    return [
        "".join(glyph for glyph, style in zip(text, styles, strict=True) if style == code)
        for text, styles in zip(drawing.frame.text, drawing.frame.styles, strict=True)
    ]


def test_the_x_axis_reaches_to_the_planned_end_from_the_first_step_on() -> None:
    plot = Plot("loss", [curve([1.0])], x_planned=planned(5000).get)
    rows = shown(plot).frame.plain().splitlines()
    assert rows[-1].split() == ["step", "0", "1k", "2k", "3k", "4k", "5k"]


def test_the_last_step_of_a_run_is_drawn() -> None:
    plot = Plot("loss", [Rows("train", [(1.0, 1.0), (5000.0, 1.0)])], x_planned=planned(5000).get)
    assert shown(plot).filled == (0, 52)


def test_one_more_step_changes_the_cells_of_its_column_and_the_value() -> None:
    plot = loss_plot()
    memory = Memory()
    before = draw(plot, memory, 60, 18)
    curve = plot.curves[0]
    assert isinstance(curve, Rows)
    curve.rows.append((2601.0, 1.0))
    after = draw(plot, memory, 60, 18)
    changed = {
        x
        for old, new in zip(before.frame.text[1:], after.frame.text[1:], strict=True)
        for x, (a, b) in enumerate(zip(old, new, strict=True))
        if a != b
    }
    newest = after.geometry.left + after.filled[-1]
    assert changed <= {newest - 1, newest}


def test_the_legend_names_curves_with_their_current_values() -> None:
    title = shown(loss_plot()).frame.text[0]
    assert title.startswith("loss  ema 0.9")
    assert "━ train 1.048" in title
    assert "● eval 1.131" in title


def test_a_narrow_legend_keeps_the_values_of_two_and_the_names_of_many() -> None:
    two = shown(loss_plot(), 30).frame.text[0]
    assert "━ 1.058  ● 1.131" in two
    assert "train" not in two
    many = Plot("loss", [curve([1.0], label) for label in ("retain", "unlearn", "base")])
    assert "━ retain  ╍ unlearn  ┅ base" in shown(many, 40).frame.text[0]


def test_curves_are_told_apart_without_colour() -> None:
    for glyphs in GLYPHS.values():
        assert len(set(glyphs.line_keys + glyphs.markers)) == 8


def test_the_smoothed_line_lies_over_the_raw_curve_and_evaluations_over_both() -> None:
    drawing = shown(loss_plot())
    assert sum(map(len, styled(drawing, "1"))) > 20
    assert sum(map(len, styled(drawing, "5"))) > 20
    assert "".join(styled(drawing, "a")[1:]).count("●") == 10


def test_without_smoothing_the_raw_curve_has_the_colour_of_the_line() -> None:
    plot = loss_plot()
    plot.smoothing = 0
    drawing = shown(plot)
    assert not any(styled(drawing, "5"))
    assert sum(map(len, styled(drawing, "1"))) > 40
    assert "ema" not in drawing.frame.text[0]


def test_a_value_that_is_not_finite_breaks_the_line_and_is_marked_on_the_axis() -> None:
    values = [1.0 if step < 400 or step > 600 else math.nan for step in range(1000)]
    plot = Plot("loss", [curve(values)], x_planned=planned(1000).get)
    drawing = shown(plot)
    left, line = drawing.geometry.left, drawing.frame.text[-2]
    gap = [x - left for x, glyph in enumerate(line) if glyph == "×"]
    assert gap == list(range(21, 32))
    inside = [row[left + 22 : left + 31] for row in drawing.frame.text[1:-2]]
    assert all(set(row) <= set(" ┈") for row in inside)


def test_rows_far_apart_are_joined() -> None:
    plot = Plot("loss", [Rows("train", [(0.0, 1.0), (1000.0, 2.0)])], x_planned=planned(1000).get)
    drawing = shown(plot)
    assert drawing.filled == (0, 52)
    for x in range(drawing.geometry.left, 60):
        assert any(styles[x] == "1" for styles in drawing.frame.styles)


def test_checkpoints_are_marked_on_the_axis_of_their_unit_only() -> None:
    plot = loss_plot()
    assert styled(shown(plot), "M")[-2] == "▲▲"
    plot.x = XView(axis="epoch")
    assert styled(shown(plot), "M")[-2] == ""


@pytest.mark.parametrize(
    ("axis", "labels"),
    [
        ("step", "step 0 1k 2k 3k 4k 5k"),
        ("epoch", "epoch 0 1 2 3 4 5"),
        ("num_tokens", "tokens 0 2.5M 5M 7.5M 10M"),
        ("seconds", "time 0 10m 20m 30m"),
    ],
)
def test_x_can_be_counted_in_four_ways(axis: str, labels: str) -> None:
    plot = loss_plot()
    plot.x = XView(axis=axis)
    assert shown(plot).frame.plain().splitlines()[-1].split() == labels.split()


def test_outliers_are_cut_off_and_marked_when_asked_for() -> None:
    values = [1 + 0.1 * math.sin(step) + (50 if step in (300, 700) else 0) for step in range(1000)]
    plot = Plot("grad_norm", [curve(values)], x_planned=planned(1000).get, robust=True)
    drawing = shown(plot)
    assert "".join(styled(drawing, "C")) == "▴▴"
    assert "1-99 %" in drawing.frame.text[0]
    labels = [row.strip() for row in styled(drawing, "L")[1:-1] if row.strip()]
    assert float(labels[0]) < 2
    plot.robust = False
    assert not any(styled(shown(plot), "C"))


def test_a_curve_without_outliers_looks_the_same_when_they_are_cut_off() -> None:
    plot = loss_plot()
    plain = shown(plot)
    plot.robust = True
    assert shown(plot).frame.text[1:] == plain.frame.text[1:]


def test_a_logarithmic_axis_has_decades_and_leaves_out_what_is_not_positive() -> None:
    plot = Plot("loss", [curve([10 ** (1 - step / 200) for step in range(1000)] + [0.0, -1.0])], log_y=True)
    drawing = shown(plot)
    labels = [row.strip() for row in styled(drawing, "L")[1:-1] if row.strip()]
    assert labels == ["1", "0.01", "1e-4"]


def test_a_logarithmic_axis_without_a_positive_value_is_empty() -> None:
    plot = Plot("loss", [curve([0.0, -1.0])], log_y=True, empty="nothing above zero")
    assert "nothing above zero" in shown(plot).frame.plain()


def test_an_empty_chart_says_so_and_shows_its_axes() -> None:
    text = shown(Plot("loss", [Rows("train")], x_planned=planned(5000).get)).frame.plain()
    assert "no values yet" in text
    assert "5k" in text


def test_what_stands_in_an_empty_chart_has_the_whole_width_and_is_cut_with_a_mark() -> None:
    said = "evaluating 450 held-out questions, before training"
    plot = Plot("loss", [Rows("train")], empty=said)
    assert said in shown(plot, 80).frame.plain()
    assert "evaluating 450 held-out …" in shown(plot, 30).frame.plain()


def test_the_crosshair_reads_every_curve() -> None:
    plot = loss_plot()
    plot.x = XView(crosshair=1000)
    assert shown(plot, 70).frame.text[0].startswith("step 953…1,031  train 1.620 (1.207…2.102)  eval 1.691")


def test_a_single_step_under_the_crosshair_is_named_exactly() -> None:
    plot = Plot("loss", [curve([5.0, 4.0, 3.0])], x_planned=planned(10).get, smoothing=0)
    plot.x = XView(crosshair=2.1)
    assert shown(plot).frame.text[0].startswith("step 2  train 4.000")


def test_the_smoothed_line_of_a_zoomed_window_knows_what_was_before_it() -> None:
    plot = loss_plot()
    plot.smoothing = 0.99
    plot.x = XView(window=(1990, 2010), crosshair=2000.1)
    row = shown(plot).frame.text[0]
    assert row.startswith("step 2,000  train ")
    exact, share = 0.0, 0.0
    for column in plot.curves[0].columns("step", 0.5, 2000.5, 2000):
        assert column is not None
        exact, share = 0.99 * exact + 0.01 * column.mean, 0.99 * share + 0.01
    assert float(row.split("train ")[1].split()[0]) == pytest.approx(exact / share, abs=0.005)


def test_a_line_with_its_name_stands_where_a_stage_begins_and_no_average_crosses_it() -> None:
    plot = Plot("loss", [curve([9.0] * 50 + [1.0] * 50)], x_planned=planned(100).get, smoothing=0.99)
    plot.bounds = {"step": [(50.0, "d\x1bpo")]}
    drawing = shown(plot)
    at = drawing.frame.text[1].index("d\\x1bpo") - 1
    assert "\x1b" not in drawing.frame.plain()
    assert "━ 1.000" in drawing.frame.text[0]
    assert [row[at] for row in drawing.frame.text[-7:-2]] == ["│"] * 5  # behind the curve further up
    plot.x = XView(window=(60, 90), crosshair=80.0)
    assert shown(plot).frame.text[0].startswith("step 80  train 1.000")


def test_the_legend_shows_the_newest_value_when_the_window_is_elsewhere() -> None:
    plot = Plot("loss", [curve([9.0] * 500 + [1.0] * 500)], x_planned=planned(1000).get)
    plot.x = XView(window=(100, 200))
    assert "━ 1.000" in shown(plot).frame.text[0]


def test_names_from_a_log_cannot_act() -> None:
    plot = Plot("\x1b[2Jlo\tss\n", [curve([1.0], "tr\u202eain\x07"), curve([2.0], "b\x9b31m")])
    text = shown(plot, 120).frame.plain()
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "\\x1b[2J" in text


def test_a_wide_title_takes_the_cells_it_takes() -> None:
    drawing = shown(Plot("損失関数", [curve([1.0, 2.0])]))
    assert drawing.frame.plain().startswith("損失関数  ema")
    assert cell_len(drawing.frame.text[0].replace("\0", "")) == 60


@pytest.mark.parametrize("glyphs", ["braille", "block", "ascii"])
def test_any_data_can_be_drawn_at_any_size(glyphs: GlyphSet) -> None:
    rolls = random.Random(8)
    strange = [0.0, -0.0, 1.0, 1e-5, 5e-324, 1e300, -1e300, 1.7e308, math.nan, math.inf, -math.inf, -3.0]
    for width in range(1, 21):
        for height in range(1, 11):
            steps = sorted(rolls.sample(range(1, 400), rolls.choice([0, 1, 2, 40])))
            values = [rolls.choice([*strange, rolls.gauss(0, 1), rolls.gauss(5, 0.1)]) for _ in steps]
            rows = [(float(step), value) for step, value in zip(steps, values, strict=True)]
            plot = Plot(
                rolls.choice(["", "loss", "損失"]),
                [Rows("train", rows), Rows("eval", rows[::3], "points"), Rows("more", rows[:1])][: rolls.randint(0, 3)],
                marks={"step": [0, 100, 1e9, -5]},
                x_planned=rolls.choice([planned(400), {}, dict.fromkeys(AXES, math.inf)]).get,
                x=XView(
                    axis=rolls.choice(AXES),
                    window=rolls.choice([None, (10.0, 12.0), (0.0, 1e6)]),
                    crosshair=rolls.choice([None, 0.0, 11.0, 1e9]),
                    follow=rolls.random() < 0.5,
                ),
                smoothing=rolls.choice([0.0, 0.9, 0.99]),
                log_y=rolls.random() < 0.5,
                robust=rolls.random() < 0.5,
                glyphs=glyphs,
            )
            frame = draw(plot, Memory(), width, height).frame
            assert len(frame.text) == len(frame.styles) == height
            for text, styles in zip(frame.text, frame.styles, strict=True):
                assert len(text) == len(styles) == width
                assert cell_len(text.replace("\0", "")) == width
                assert set(styles) <= {" ", *STYLES}
                if glyphs == "ascii":
                    assert all(character.isascii() or character in "損失" for character in text)


@pytest.mark.parametrize(
    ("height", "parts"),
    [
        pytest.param(18, {"title", "line", "labels"}, id="everything"),
        pytest.param(6, {"title", "line"}, id="no labels of x"),
        pytest.param(4, {"title"}, id="no axis of x"),
        pytest.param(2, set(), id="the plot alone"),
    ],
)
def test_what_does_not_fit_is_left_out(height: int, parts: set[str]) -> None:
    text = shown(loss_plot(), 60, height).frame.plain()
    assert ("loss" in text) == ("title" in parts)
    assert ("└" in text) == ("line" in parts)
    assert ("2k" in text) == ("labels" in parts)
    assert any("\u2800" < character <= "\u28ff" for character in text)
