"""The charts of the live view: four at a time, one x view for all, any of them over the whole area."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual import on
from textual.app import ComposeResult
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from engine.runs.history import RunHistory
from screens.live.curves import ChartSpec, chart_specs, checkpoint_marks, planned_ends, stage_bounds
from tui.state import CheckpointLine, RunState
from tui.widgets.chart import Chart, XView
from tui.widgets.chart.glyphs import GlyphSet

PER_PAGE = 4
_FOCUSED = Style(reverse=True)


class MetricChart(Chart):
    """The chart of one `ChartSpec`."""

    def __init__(self, spec: ChartSpec, glyphs: GlyphSet) -> None:
        super().__init__(spec.title, spec.curves, glyphs=glyphs)
        self.key = spec.key
        self._name = spec.title  # what the help calls it

    def watch_has_focus(self, _has_focus: bool) -> None:
        # Instead of styling 23 parts of two charts anew, 10 ms, for one title.
        self.refresh(Region(0, 0, self.size.width, 1))

    def render_line(self, y: int) -> Strip:
        strip = super().render_line(y)
        if y or not self.has_focus:
            return strip
        title, *rest = list(strip)
        return Strip([Segment(title.text, (title.style or Style()) + _FOCUSED), *rest], strip.cell_length)


class Plots(Widget):
    """Shows one page of charts, or one chart.

    Args:
        glyphs: What to draw with.
    """

    def __init__(self, glyphs: GlyphSet = "braille", *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._glyphs = glyphs
        self.specs: list[ChartSpec] = []
        """Every chart there could be, in order."""
        self.charts: dict[str, MetricChart] = {}
        """Those that were shown, by the key of their spec."""
        self.first = 0
        """Index in `specs` of the first one on screen."""
        self.enlarged = False
        """One chart has the whole area because somebody asked for it."""
        self.one_by_one = False
        """There is room for one chart only."""
        self.owing = False
        """The small charts have not been drawn since the last change."""
        self._state: RunState | None = None
        self._names: tuple[int, int, str, float | None, int, bool] = (0, 0, "", None, 0, False)
        self._marked: Sequence[CheckpointLine] | None = None
        self._marks: dict[str, list[float]] = {}
        self._bounds: dict[str, list[tuple[float, str]]] = {}
        self._x = XView()
        self._smoothing = 0.9
        # The first page is there before the run is read: nothing moves when it is.
        self.specs = chart_specs(RunHistory())
        for spec in self.on_screen:
            self._make(spec).set_class(spec is self.specs[0], "-first")
        self.set_class(True, f"-count-{len(self.on_screen)}")

    def compose(self) -> ComposeResult:
        yield from self.charts.values()

    class PageChanged(Message):
        """Other charts are on screen."""

    @property
    def per_page(self) -> int:
        return 1 if self.enlarged or self.one_by_one else PER_PAGE

    @property
    def on_screen(self) -> list[ChartSpec]:
        """What is on screen, in order."""
        return self.specs[self.first : self.first + self.per_page]

    @property
    def page_note(self) -> str:
        """Which of the charts these are; empty when they are all."""
        last = self.first + len(self.on_screen)
        if len(self.specs) <= self.per_page:
            return ""
        these = f"{self.first + 1}-{last}" if last > self.first + 1 else f"{last}"
        return f"charts {these} of {len(self.specs)}" if self.per_page > 1 else f"chart {these} of {len(self.specs)}"

    # What the screen asks for

    def show(self, state: RunState, empty: str = "no values yet") -> None:
        """Draw what is new of `state`; `empty` stands in the first chart while it has no values."""
        alarm = state.forgetting.alarm if state.forgetting is not None else None
        method, first = state.current_method, state.stages[-1].first_step if state.stages else 0
        figures = len(state.history.train.metrics), len(state.history.evaluation.metrics)
        names = (*figures, method, alarm, first, state.step > first)
        if state is not self._state or names != self._names:
            # The charts of another state or of new metrics: the first step, the first evaluation.
            if state is not self._state:
                self._marked = None
            self._state, self._names = state, names
            self._take_specs(chart_specs(state.history, method, alarm, first))
            self._bounds = stage_bounds(state)
            for chart in self.charts.values():
                chart.bounds = self._bounds
        if state.checkpoints is not self._marked:
            self._marked = state.checkpoints
            self._marks = checkpoint_marks(state)
            for chart in self.charts.values():
                chart.marks = self._marks
        # A chart takes 0.7 ms: the first one moves at every call, the small ones at every other.
        self.owing = state.active and not self.owing
        for place, spec in enumerate(self.on_screen):
            chart = self.charts[spec.key]
            if place == 0 or not self.owing:
                chart.empty = empty if place == 0 else ""
                chart.redraw()

    def turn(self, pages: int) -> bool:
        """Show the next page, or the one before; return whether there is one."""
        first = self.first + pages * self.per_page
        if not 0 <= first < len(self.specs):
            return False
        self.first = first
        self._arrange()
        return True

    def enlarge(self, key: str | None) -> None:
        """Give the whole area to one chart; None gives it back."""
        keys = [spec.key for spec in self.specs]
        self.enlarged = key in keys
        if key in keys:
            self.first = keys.index(key)
        self._arrange()

    def fit(self, *, one_by_one: bool) -> None:
        """Take as many charts as there is room for."""
        if one_by_one != self.one_by_one:
            self.one_by_one = one_by_one
            self._arrange()

    @property
    def focused(self) -> str | None:
        """Key of the chart in focus, else of the first one on screen."""
        for spec in self.on_screen:
            if spec.key in self.charts and self.charts[spec.key].has_focus:
                return spec.key
        return self.on_screen[0].key if self.on_screen else None

    def text(self, width: int, height: int) -> str:
        """The charts on screen as plain text, one below the other."""
        shown = [self.charts[spec.key] for spec in self.on_screen if spec.key in self.charts]
        return "\n\n".join(chart.text(width, height) for chart in shown)

    # Arrangement

    def _take_specs(self, specs: list[ChartSpec]) -> None:
        self.specs = specs
        for spec in specs:
            chart = self.charts.get(spec.key)
            if chart is not None and self._state is not None:
                chart.curves, chart.x_planned = spec.curves, planned_ends(self._state)
        self._arrange()

    def _arrange(self) -> None:
        self.first = min(self.first, max(0, len(self.specs) - 1)) // self.per_page * self.per_page
        shown = self.on_screen
        had_focus = any(chart.has_focus for chart in self.charts.values())
        new = [self._make(spec) for spec in shown if spec.key not in self.charts]
        keys = [spec.key for spec in shown]
        for key, chart in self.charts.items():
            chart.display = key in keys
            chart.set_class(key in keys[:1], "-first")
        # At once: each change of a class styles every chart anew, 1 ms each.
        self.update_classes({f"-count-{count}": count == len(shown) for count in range(1, PER_PAGE + 1)}, animate=False)
        if new:
            self.mount(*new)
        # A page's charts in their order, whatever the order in which they were made.
        places = {self.charts[key]: place for place, key in enumerate(keys)}
        self.sort_children(key=lambda child: places.get(child, len(keys)) if isinstance(child, MetricChart) else 0)
        if had_focus and not any(self.charts[key].has_focus for key in keys):
            self.call_after_refresh(self.charts[keys[0]].focus)
        self.post_message(self.PageChanged())

    def _make(self, spec: ChartSpec) -> MetricChart:
        chart = self.charts[spec.key] = MetricChart(spec, self._glyphs)
        chart.marks, chart.bounds, chart.x = self._marks, self._bounds, self._x
        chart.smoothing = self._smoothing if spec.smooth else 0.0
        if self._state is not None:
            chart.x_planned = planned_ends(self._state)
        return chart

    @on(Chart.ViewChanged)
    def _follow(self, message: Chart.ViewChanged) -> None:
        """Let every chart show the part of the run that one was told to show."""
        message.stop()
        leader = message.chart
        smooth = {spec.key for spec in self.specs if spec.smooth}
        smoothing_changed = leader.smoothing != self._smoothing and isinstance(leader, MetricChart) and (
            leader.key in smooth
        )  # fmt: skip
        self._x = leader.x
        if smoothing_changed:
            self._smoothing = leader.smoothing
        for key, chart in self.charts.items():
            chart.x = self._x
            if smoothing_changed and key in smooth:
                chart.smoothing = self._smoothing
