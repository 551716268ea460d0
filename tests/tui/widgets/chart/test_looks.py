"""How a chart looks in its typical states. Look at the picture before accepting it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.tui.widgets.chart.rows import Rows, curve, evaluations, noisy_loss, planned
from tests.tui.widgets.chart.stage import Stage
from tui.widgets.chart import Chart, XView

Snapshot = Any


def empty() -> Chart:
    return Chart("loss", [Rows("train")], x_planned=planned(5000).get, empty="the first step is on its way")


def few_points() -> Chart:
    evaluation = Rows("eval", [(4.0, 2.8), (8.0, 2.5)], "points")
    values = [3.0, 2.95, 2.8, 2.7, 2.75, 2.6, 2.5, 2.4]
    return Chart("loss", [curve(values), evaluation], x_planned=planned(20).get)


def long_loss() -> Chart:
    return Chart("loss", [noisy_loss(2600), evaluations(2600, 250)], marks=[1000, 2000], x_planned=planned(5000).get)


def gap() -> Chart:
    loss = noisy_loss(3200)
    loss.rows = [(step, math.nan if 1800 < step < 2100 else value) for step, value in loss.rows]
    return Chart("loss", [loss], x_planned=planned(5000).get)


def log_y() -> Chart:
    noise = random.Random(2)
    values = [10 ** (1 - 4 * step / 4000) * math.exp(0.4 * noise.gauss(0, 1)) for step in range(4000)]
    return Chart("loss", [curve(values)], x_planned=planned(5000).get, log_y=True)


def crosshair() -> Chart:
    chart = long_loss()
    chart.x = XView(crosshair=1250)
    return chart


def ascii_only() -> Chart:
    chart = long_loss()
    chart.glyphs = "ascii"
    return chart


def blocks() -> Chart:
    chart = long_loss()
    chart.glyphs = "block"
    return chart


def two_losses() -> Chart:
    def falling(label: str, height: float, pace: float) -> list[Rows]:
        noise = random.Random(label)
        values = [0.2 + height * math.exp(-step / pace) + 0.05 * noise.gauss(0, 1) for step in range(3000)]
        points = [(float(step), 0.3 + height * math.exp(-step / pace)) for step in range(250, 3000, 250)]
        return [curve(values, label), Rows(f"{label} eval", points, "points")]

    retain, unlearn = falling("retain", 0.8, 600), falling("unlearn", 3.2, 500)
    return Chart("loss", [retain[0], unlearn[0], retain[1], unlearn[1]], x_planned=planned(5000).get)


def outliers() -> Chart:
    noise = random.Random(3)
    values = [abs(1.2 + 0.4 * noise.gauss(0, 1) + (6 if step % 450 == 60 else 0)) for step in range(2600)]
    return Chart("grad_norm", [curve(values)], x_planned=planned(5000).get, robust=True)


STATES: list[Callable[[], Chart]] = [
    empty, few_points, long_loss, gap, log_y, crosshair, ascii_only, blocks, two_losses, outliers,
]  # fmt: skip


@pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=["small", "large"])
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_how_it_looks(snap_compare: Snapshot, state: Callable[[], Chart], size: tuple[int, int]) -> None:
    assert snap_compare(Stage([state()]), terminal_size=size)


@pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=["small", "large"])
@pytest.mark.parametrize("theme", ["ftconsole-dark", "ansi-dark"])
def test_how_four_look_together(snap_compare: Snapshot, theme: str, size: tuple[int, int]) -> None:
    charts = [long_loss(), outliers(), few_points(), gap()]
    assert snap_compare(Stage(charts, theme), terminal_size=size)
