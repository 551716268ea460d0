"""Numbers, sizes and times as the live view writes them."""

from __future__ import annotations

import math

import pytest

from tui.widgets.words import clock, count, day, number_of, pace, size_text, time_left, time_spent


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (640, "640"), (12_900, "12.9 k"), (3_412_992, "3.41 M"), (7_620_000_000, "7.62 B"), (1e16, "1e+16")],
)
def test_counts(value: float, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.0 kB"), (717_166, "717.2 kB"), (12_345_678, "12.3 MB"), (24e9, "24.0 GB")],
)
def test_sizes(value: int, text: str) -> None:
    assert size_text(value) == text


@pytest.mark.parametrize(("value", "text"), [(6.44, "6.4"), (0.3149, "0.31"), (12_345, "12 k"), (999.9, "1000")])
def test_paces_have_two_digits(value: float, text: str) -> None:
    assert pace(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0"), (3.2, "5s"), (84, "1m25s"), (3_719, "1h2m"), (172_801, "2d")])
def test_what_is_left_is_no_finer_than_it_is_known(seconds: float, text: str) -> None:
    assert time_left(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(59.7, "1m"), (125, "2m5s"), (3_725, "1h2m")])
def test_what_was_spent(seconds: float, text: str) -> None:
    assert time_spent(seconds) == text


def test_a_time_that_no_clock_shows_is_blank() -> None:
    assert (clock(1_790_000_000.0), day(1_790_000_000.0)) == ("14:13:20", "2026-09-21")
    for time in (math.inf, math.nan, 1e300):
        assert clock(time).strip() == day(time) == ""


def test_one_and_many() -> None:
    assert (number_of(1, "step"), number_of(12_000, "step")) == ("1 step", "12,000 steps")
