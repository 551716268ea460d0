"""What a chart reads of its curves, and how often."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.tui.widgets.chart.rows import Cut, Rows, planned
from tui.widgets.chart.draw import Memory, draw
from tui.widgets.chart.plot import Plot
from tui.widgets.chart.view import XView


@dataclass
class Asked(Rows):
    """Rows that remember what they were asked for."""

    asked: list[tuple[float, float]] = field(default_factory=list)

    def columns(self, axis: str, x0: float, x1: float, width: int) -> list[Cut | None]:
        self.asked.append((x0, x1))
        return super().columns(axis, x0, x1, width)


def zoomed(start: float, end: float) -> tuple[Plot, Asked]:
    train = Asked("train", [(float(step), float(step)) for step in range(1, 3001)])
    plot = Plot("loss", [train], x_planned=planned(5000).get, x=XView(window=(start, end)), smoothing=0.97)
    return plot, train


def test_a_window_in_the_past_is_read_once_and_the_newest_value_in_every_tick() -> None:
    plot, train = zoomed(1000, 2000)
    memory = Memory()
    draw(plot, memory, 60, 12)
    train.asked.clear()
    for step in range(3001, 3011):
        train.rows.append((float(step), 7.0))
        drawing = draw(plot, memory, 60, 12)
    assert len(train.asked) == 10
    assert all(start > 2000 for start, _ in train.asked)
    newest = float(drawing.frame.text[0].split()[-1].rstrip("k"))
    assert newest * 1000 < 3000


def test_a_live_window_reads_what_is_before_it_once() -> None:
    plot, train = zoomed(2500, 3500)
    memory = Memory()
    draw(plot, memory, 60, 12)
    train.asked.clear()
    for step in range(3001, 3011):
        train.rows.append((float(step), 7.0))
        draw(plot, memory, 60, 12)
    assert {start for start, _ in train.asked} == {2500}
    assert len(train.asked) == 10


def test_rows_that_a_resume_superseded_are_forgotten() -> None:
    plot, train = zoomed(1000, 2000)
    memory = Memory()
    draw(plot, memory, 60, 12)
    # Back to step 1,500, and on with other values.
    train.rows[1500:] = [(float(step), 0.0) for step in range(1501, 2900)]
    drawing = draw(plot, memory, 60, 12)
    fresh = Memory(memory.x_limits, memory.y_limits, memory.y_of, memory.gutter, memory.value_widths)
    assert drawing.frame == draw(plot, fresh, 60, 12).frame


def test_other_curves_are_read_anew() -> None:
    plot, _ = zoomed(1000, 2000)
    memory = Memory()
    before = draw(plot, memory, 60, 12)
    plot.curves = [Rows("train", [(float(step), 1.0) for step in range(1, 3001)])]
    after = draw(plot, memory, 60, 12)
    assert after.frame != before.frame
    assert "1.000" in after.frame.text[0]
