"""The moving average over columns."""

from __future__ import annotations

import pytest

from tests.tui.widgets.chart.rows import GAP, curve, noisy_loss
from tui.widgets.chart.smoothing import Average


def test_it_equals_the_debiased_average_of_adam_row_by_row() -> None:
    values = [3.0, 2.0, 4.0, 1.0]
    columns = curve(values).columns("step", 0.5, 4.5, 4)
    moment, expected = 0.0, []
    for t, value in enumerate(values, 1):
        moment = 0.9 * moment + 0.1 * value
        expected.append(moment / (1 - 0.9**t))
    assert Average(0.9).take_all(columns) == pytest.approx(expected)


def test_it_is_the_same_line_zoomed_out_as_zoomed_in() -> None:
    loss = noisy_loss(4000)
    fine = Average(0.99).take_all(loss.columns("step", 0.5, 4000.5, 4000))
    coarse = Average(0.99).take_all(loss.columns("step", 0.5, 4000.5, 100))
    for column, value in enumerate(coarse):
        # 40 rows in a column: the order of the rows within it is lost, nothing else.
        assert value == pytest.approx(fine[40 * column + 39], abs=0.05)


def test_a_new_row_changes_its_own_column_and_none_before() -> None:
    loss = noisy_loss(1000)
    before = Average(0.9).take_all(loss.columns("step", 0, 2000, 100))
    loss.rows.append((1001.0, 99.0))
    after = Average(0.9).take_all(loss.columns("step", 0, 2000, 100))
    assert [i for i, (old, new) in enumerate(zip(before, after, strict=True)) if old != new] == [50]


def test_it_has_no_value_where_there_is_none_and_goes_on_after_a_gap() -> None:
    columns = [*curve([2.0]).columns("step", 0.5, 2.5, 2), GAP, *curve([4.0]).columns("step", 0.5, 1.5, 1)]
    assert Average(0.5).take_all(columns) == [2.0, None, None, pytest.approx(10 / 3)]


def test_it_begins_anew_where_another_stage_does() -> None:
    columns = curve([9.0, 9.0, 1.0, 1.0]).columns("step", 0.5, 4.5, 4)
    assert Average(0.9).take_all(columns, {2}) == pytest.approx([9.0, 9.0, 1.0, 1.0])
