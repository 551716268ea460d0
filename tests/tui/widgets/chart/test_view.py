"""Zoom, pan and limits that do not jitter."""

from __future__ import annotations

import random

import pytest

from tui.widgets.chart.view import Geometry, Range, XView, settle_x, settle_y

WHOLE = (0.0, 5000.0)


def test_zooming_in_on_a_live_run_keeps_its_newest_value_in_view_with_room_for_more() -> None:
    view = XView().zoomed(2, WHOLE, 3000)
    assert view.window == (1125, 3625)
    assert view.follow


def test_a_following_window_jumps_when_the_data_leaves_it_and_stands_still_until_then() -> None:
    view = XView(window=(1000, 2000), follow=True)
    assert {view.shown(WHOLE, end) for end in (1500, 1999, 2000)} == {(1000, 2000)}
    assert {view.shown(WHOLE, end) for end in (2001, 2400, 2750)} == {(1750, 2750)}
    assert view.shown(WHOLE, 4000) == (3250, 4250)


def test_a_window_that_does_not_follow_stays() -> None:
    assert XView(window=(1000, 2000)).shown(WHOLE, 4000) == (1000, 2000)


def test_the_crosshair_stays_where_it_is_while_zooming() -> None:
    view = XView(crosshair=1000).zoomed(2, WHOLE, 3000)
    assert view.window == (500, 3000)


def test_zooming_out_ends_at_the_whole_run_and_zooming_in_before_it_shows_nothing() -> None:
    view = XView()
    for _ in range(60):
        view = view.zoomed(2, WHOLE, 3000)
    assert view.window is not None
    assert view.window[1] - view.window[0] >= 4
    for _ in range(60):
        view = view.zoomed(0.5, WHOLE, 3000)
    assert view == XView()


def test_panning_stays_within_the_run_and_finds_the_newest_value_again() -> None:
    view = XView(window=(2000, 3000), follow=True)
    left = view.panned(-0.25, WHOLE, 2990)
    assert left.window == (1750, 2750)
    assert not left.follow
    assert left.panned(0.25, WHOLE, 2990).follow
    assert view.panned(-9, WHOLE, 2990).window == (0, 1000)
    assert view.panned(9, WHOLE, 2990).window == (4000, 5000)
    assert XView().panned(0.25, WHOLE, 2990) == XView()


@pytest.mark.parametrize(
    ("data", "planned", "exact", "limits"),
    [
        pytest.param((1, 10), 5000, True, (0, 5000), id="a plan is the end"),
        pytest.param((0.4, 90), 933.3, False, (0, 1000), id="an estimate is rounded up"),
        pytest.param((1, 6000), 5000, True, (0, 9000), id="beyond the plan"),
        pytest.param((1, 800), None, True, (0, 1200), id="no plan"),
        pytest.param((4001, 4100), 5000, True, (4000, 5000), id="a child run"),
        pytest.param(None, None, True, (0, 1), id="nothing yet"),
        pytest.param(None, float("nan"), False, (0, 1), id="no sensible estimate"),
    ],
)
def test_limits_of_the_whole_x_axis(
    data: tuple[float, float] | None, planned: float | None, exact: bool, limits: tuple[float, float]
) -> None:
    assert settle_x(None, data, planned, exact) == pytest.approx(limits)


def test_an_estimate_moves_the_x_axis_only_when_it_leaves_it_by_far() -> None:
    limits = settle_x(None, (0, 10), 950, exact=False)
    for planned in (930, 999, 760, 850):
        assert settle_x(limits, (0, 100), planned, exact=False) == limits
    assert settle_x(limits, (0, 100), 1001, exact=False) != limits
    assert settle_x(limits, (0, 100), 500, exact=False) != limits


def test_the_y_axis_takes_few_steps_while_a_loss_falls() -> None:
    noise = random.Random(5)
    limits: Range | None = None
    seen: list[Range] = []
    low, high = 3.0, 3.0
    for step in range(1, 3000):
        value = 0.5 + 2.5 * 0.998**step + 0.05 * noise.gauss(0, 1)
        low, high = min(low, value), max(high, value)
        limits = settle_y(limits, (low, high))
        assert limits is not None
        assert limits[0] <= low
        assert high <= limits[1]
        if not seen or seen[-1] != limits:
            seen.append(limits)
    assert len(seen) < 20


def test_the_y_axis_shrinks_only_when_most_of_it_is_empty() -> None:
    assert settle_y((0, 10), (0.1, 5)) == (0, 10)
    assert settle_y((0, 10), (0.1, 1)) != (0, 10)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param((0.0, 0.0), id="zero"),
        pytest.param((2e-4, 2e-4), id="constant"),
        pytest.param((-5.0, -5.0), id="negative constant"),
        pytest.param((5e-324, 5e-324), id="denormal"),
        pytest.param((-9e299, 9e299), id="huge"),
        pytest.param((1.0, 1.0 + 1e-12), id="noise of rounding"),
    ],
)
def test_limits_are_never_empty(data: tuple[float, float]) -> None:
    limits = settle_y(None, data)
    assert limits is not None
    assert limits[0] <= data[0]
    assert data[1] <= limits[1]
    assert limits[0] < limits[1]


def test_positive_values_near_zero_get_an_axis_from_zero() -> None:
    limits = settle_y(None, (0.2, 3.1))
    assert limits is not None
    assert limits[0] == 0


def test_logarithmic_limits_are_positive() -> None:
    limits = settle_y(None, (3e-4, 2.0), log=True)
    assert limits is not None
    assert 0 < limits[0] <= 3e-4
    assert limits[1] >= 2


def test_cells_and_x_are_inverse() -> None:
    geometry = Geometry((0, 100), (20, 70), 60, left=7, cells=33)
    assert [geometry.cell_of(geometry.x_of(cell)) for cell in range(33)] == list(range(33))
    assert geometry.cell_of(19.9) is None
    assert geometry.cell_of(70) == 32
