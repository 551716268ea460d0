"""The chart as a widget: keys, messages, and what goes over the wire."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from textual.binding import Binding
from textual.pilot import Pilot

from tests.tui.widgets.chart.rows import Rows, curve, evaluations, noisy_loss, planned
from tests.tui.widgets.chart.stage import Stage, on_terminal
from tui.widgets.chart import Chart, XView

SIZE = (64, 20)


def loss_chart() -> Chart:
    return Chart("loss", [noisy_loss(2600), evaluations(2600, 250)], marks=[1000, 2000], x_planned=planned(5000).get)


def read_out(chart: Chart) -> str:
    return str(chart.render_line(0).text)


async def press(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await pilot.pause()


async def test_plus_zooms_in_on_the_newest_steps_and_0_shows_the_whole_run() -> None:
    chart = loss_chart()
    async with Stage([chart]).run_test(size=SIZE) as pilot:
        await press(pilot, "+")
        assert chart.x.window == pytest.approx((725, 3225))
        assert chart.x.follow
        await press(pilot, "+", "-")
        assert chart.x.window == pytest.approx((725, 3225))
        await press(pilot, "0")
        assert chart.x == XView()


async def test_arrows_and_letters_pan_a_zoomed_chart() -> None:
    chart = loss_chart()
    async with Stage([chart]).run_test(size=SIZE) as pilot:
        await press(pilot, "left")
        assert chart.x == XView()
        await press(pilot, "+", "left")
        assert chart.x.window == pytest.approx((100, 2600))
        await press(pilot, "l")
        assert chart.x.window == pytest.approx((725, 3225))
        await press(pilot, "h", "right")
        assert chart.x.window == pytest.approx((725, 3225))


async def test_a_zoomed_chart_at_the_right_edge_follows_the_run() -> None:
    chart = loss_chart()
    async with Stage([chart]).run_test(size=SIZE) as pilot:
        await press(pilot, "+", "+", "+")
        train = chart.curves[0]
        assert isinstance(train, Rows)
        train.rows += [(float(step), 1.0) for step in range(2601, 3500)]
        chart.redraw()
        drawing = chart._drawing
        assert drawing is not None
        assert drawing.geometry.shown[0] <= 3499 <= drawing.geometry.shown[1]


async def test_the_crosshair_starts_at_the_newest_value_and_moves_value_by_value() -> None:
    train = Rows("train", [(100.0, 4.0), (200.0, 3.0), (900.0, 2.0)])
    chart = Chart("loss", [train], x_planned=planned(1000).get, smoothing=0)
    async with Stage([chart]).run_test(size=SIZE) as pilot:
        assert "loss" in read_out(chart)
        await press(pilot, "x")
        assert "train 2.000" in read_out(chart)
        await press(pilot, "left")
        assert "train 3.000" in read_out(chart)
        await press(pilot, "left", "left", "h")
        assert "train 4.000" in read_out(chart)
        await press(pilot, "right")
        assert "train 3.000" in read_out(chart)
        await press(pilot, "x")
        assert "loss" in read_out(chart)


async def test_the_crosshair_moves_the_window_when_it_reaches_its_edge() -> None:
    chart = loss_chart()
    async with Stage([chart]).run_test(size=SIZE) as pilot:
        await press(pilot, "+", "+", "+")
        start = chart.x.window
        assert start is not None
        chart.x = replace(chart.x, crosshair=start[0] + 1)
        await press(pilot, "left", "left", "left")
        assert chart.x.window is not None
        assert chart.x.window[0] < start[0]
        assert chart.x.crosshair is not None
        assert chart.x.window[0] <= chart.x.crosshair < start[0]


async def test_escape_takes_the_crosshair_away_and_else_belongs_to_the_screen() -> None:
    class Counting(Stage):
        BINDINGS = [Binding("escape", "count")]  # noqa: RUF012
        escapes = 0

        def action_count(self) -> None:
            self.escapes += 1

    app = Counting([loss_chart()])
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "x", "escape")
        assert app.charts[0].x.crosshair is None
        assert app.escapes == 0
        await press(pilot, "escape")
        assert app.escapes == 1


async def test_a_click_puts_the_crosshair_there() -> None:
    chart = loss_chart()
    async with Stage([chart]).run_test(size=SIZE) as pilot:
        await pilot.click(chart, offset=(30, 8))
        await pilot.pause()
        assert chart.x.crosshair == pytest.approx(5000 * 23.5 / 57)
        await pilot.click(chart, offset=(2, 8))
        await pilot.pause()
        assert chart.x.crosshair == pytest.approx(5000 * 23.5 / 57)


async def test_keys_change_scale_smoothing_axis_and_outliers_and_say_so() -> None:
    app = Stage([loss_chart()])
    chart = app.charts[0]
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "y")
        assert chart.log_y
        weights = []
        for _ in range(5):
            await press(pilot, "s")
            weights.append(chart.smoothing)
        assert weights == [0.97, 0.99, 0.0, 0.6, 0.9]
        axes = []
        for _ in range(4):
            await press(pilot, "a")
            axes.append(chart.x.axis)
        assert axes == ["epoch", "num_tokens", "seconds", "step"]
        await press(pilot, "r")
        assert chart.robust
        assert app.seen == [chart] * 11


async def test_a_view_can_be_handed_to_another_chart() -> None:
    app = Stage([loss_chart(), loss_chart()])
    first, second = app.charts
    async with app.run_test(size=(130, 20)) as pilot:
        await press(pilot, "+", "x")
        second.x = first.x
        await pilot.pause()
        assert read_out(second) == read_out(first)


def test_every_key_has_a_name_for_the_keymap_and_a_text_for_the_help() -> None:
    for binding in Chart.BINDINGS:
        assert isinstance(binding, Binding)
        assert binding.id is not None
        assert binding.id.startswith("chart.")
        assert binding.description
        assert binding.tooltip


async def test_nothing_is_sent_when_nothing_is_new() -> None:
    app = Stage([loss_chart()])
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        app.updates.clear()
        for _ in range(3):
            app.charts[0].redraw()
            await pilot.pause()
        assert app.updates == []


async def test_a_step_sends_less_than_a_row() -> None:
    app = Stage([loss_chart()])
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        app.updates.clear()
        train = app.charts[0].curves[0]
        assert isinstance(train, Rows)
        train.rows.append((2601.0, 0.2))
        app.charts[0].redraw()
        await pilot.pause()
        assert 0 < sum(map(len, app.updates)) < 400


async def test_moving_the_focus_repaints_two_titles() -> None:
    app = Stage([loss_chart(), loss_chart()])
    async with app.run_test(size=(130, 20)) as pilot:
        await pilot.pause()
        app.updates.clear()
        await press(pilot, "tab")
        assert app.charts[1].has_focus
        assert 0 < sum(map(len, app.updates)) < 1500


async def test_another_theme_repaints_everything() -> None:
    app = Stage([loss_chart()])
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        app.theme = "textual-light"
        await pilot.pause()
        pieces = on_terminal(SIZE, app.updates)
        whole = app.screen._compositor.render_full_update().render_segments(app.console)
        assert pieces == on_terminal(SIZE, [whole])
        assert app.current_theme.name == "textual-light"


async def test_what_was_sent_piece_by_piece_is_what_a_full_repaint_shows() -> None:
    rolls = random.Random(9)
    train, evaluation = Rows("train"), Rows("eval", style="points")
    app = Stage([Chart("loss", [train, evaluation], x_planned=planned(300).get, marks=[50, 120])])
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        step = 0
        while step < 300:
            for _ in range(rolls.randint(1, 6)):
                step += 1
                value = rolls.choice([rolls.gauss(1, 0.2), rolls.gauss(1, 0.2), rolls.gauss(2, 5), math.nan])
                train.rows.append((float(step), value))
                if step % 40 == 0:
                    evaluation.rows.append((float(step), 1.5))
            app.charts[0].redraw()
            await pilot.pause()
            if rolls.random() < 0.2:
                await press(pilot, rolls.choice(["+", "-", "x", "left", "right", "s", "y", "a", "r", "0"]))
        pieces = on_terminal(SIZE, app.updates)
        whole = app.screen._compositor.render_full_update().render_segments(app.console)
        assert pieces == on_terminal(SIZE, [whole])


async def test_no_size_and_no_data_is_too_much() -> None:
    rolls = random.Random(10)
    train, evaluation = Rows("train"), Rows("eval", style="points")
    app = Stage([Chart("loss", [train, evaluation], x_planned=planned(900).get)])
    async with app.run_test(size=(20, 10)) as pilot:
        step = 0
        # Every size is drawn in test_draw; here Textual is in between.
        for width in (1, 2, 3, 5, 6, 11, 12, 13, 17, 18, 20):
            for height in (1, 2, 3, 4, 5, 7, 10):
                step += rolls.randint(1, 4)
                train.rows.append((float(step), rolls.choice([rolls.gauss(1, 9), math.nan, math.inf, 1e300, 0.0])))
                if rolls.random() < 0.2:
                    evaluation.rows.append((float(step), rolls.gauss(1, 1)))
                await pilot.resize_terminal(width, height)
                app.charts[0].redraw()
                if rolls.random() < 0.3:
                    await pilot.press(rolls.choice(["+", "-", "x", "left", "right", "s", "y", "a", "r", "0"]))
                if (width + height) % 5 == 0:
                    await pilot.pause()
                    app.updates.clear()
                    app.screen.refresh()
                    await pilot.pause()
                    train.rows.append((step + 0.5, rolls.gauss(1, 1)))
                    app.charts[0].redraw()
                    await pilot.pause()
                    pieces = on_terminal((width, height), app.updates)
                    whole = app.screen._compositor.render_full_update().render_segments(app.console)
                    assert pieces == on_terminal((width, height), [whole])


def test_a_chart_without_an_application_has_a_text() -> None:
    text = loss_chart().text(60, 12)
    assert text.startswith("loss  ema 0.9")
    assert len(text.splitlines()) == 12
    assert max(map(len, text.splitlines())) <= 60


async def test_settings_can_be_changed_at_any_time() -> None:
    chart = Chart("loss")
    chart.glyphs = "ascii"
    chart.curves = [curve([2.0, 1.0])]
    async with Stage([chart]).run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert "*" in chart.text(40, 10)
        chart.glyphs = "block"
        chart.marks = {"step": [1]}
        chart.title = "train loss"
        await pilot.pause()
        assert read_out(chart).startswith("train loss")
