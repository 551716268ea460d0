"""The live chart: draws a `Plot`, sends only the cells that changed, and answers to keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Generic, Self, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tui.widgets.chart.curve import Curve
from tui.widgets.chart.draw import Drawing, Memory, draw
from tui.widgets.chart.frame import changes
from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.chart.plot import STYLES, Plot
from tui.widgets.chart.smoothing import SMOOTHINGS
from tui.widgets.chart.view import AXES, XView

T = TypeVar("T")

_ZOOM = Binding.Group("Zoom", compact=True)
_MOVE = Binding.Group("Pan or move the crosshair", compact=True)


class _OfPlot(Generic[T]):
    """An attribute of the chart that lives in its plot; setting it redraws."""

    def __set_name__(self, owner: type[Chart], name: str) -> None:
        self.name = name

    def __get__(self, chart: Chart, owner: type[Chart]) -> T:
        value: T = getattr(chart.plot, self.name)
        return value

    def __set__(self, chart: Chart, value: T) -> None:
        if value != getattr(chart.plot, self.name):
            setattr(chart.plot, self.name, value)
            chart.redraw()


class Chart(Widget, can_focus=True):
    """Curves over one x axis.

    There is no timer in here: whoever feeds the curves calls `redraw` when there may be something new, once per
    tick for all charts. It costs nothing on the wire when nothing changed, and a few cells when one step arrived.
    """

    HELP = "A chart. Zoom with + and -, move with the arrow keys, read values with x."
    ALLOW_SELECT = False

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "plus,equals_sign", "zoom(2.0)", "Zoom in", key_display="+", id="chart.zoom-in", group=_ZOOM,
            tooltip="Show half as much: around the crosshair, or the newest values, which it then follows",
        ),
        Binding(
            "minus", "zoom(0.5)", "Zoom out", key_display="-", id="chart.zoom-out", group=_ZOOM,
            tooltip="Show twice as much",
        ),
        Binding("0", "reset", "Whole run", id="chart.reset", group=_ZOOM, tooltip="Show the whole run again"),
        Binding(
            "left,h", "move(-1)", "Left", show=False, id="chart.left", group=_MOVE,
            tooltip="Pan to the left; with the crosshair on, move it to the value before",
        ),
        Binding(
            "right,l", "move(1)", "Right", show=False, id="chart.right", group=_MOVE,
            tooltip="Pan to the right; with the crosshair on, move it to the next value",
        ),
        Binding("x", "crosshair", "Crosshair", id="chart.crosshair",
                tooltip="Read the values at one x, curve by curve"),
        Binding("escape", "crosshair_off", "Crosshair off", show=False, id="chart.crosshair-off",
                tooltip="Take the crosshair away"),
        Binding("y", "log", "Log y", id="chart.log", tooltip="Logarithmic y axis, and back"),
        Binding("s", "smooth", "Smoothing", id="chart.smooth",
                tooltip="Weight of the moving average: 0, 0.6, 0.9, 0.97, 0.99. The raw curve stays, dim"),
        Binding("a", "axis", "X axis", id="chart.axis", tooltip="x by step, epoch, tokens or time"),
        Binding("r", "robust", "Clip outliers", show=False, id="chart.robust",
                tooltip="Fit the y axis to all but the outermost 1 % of the values, and back"),
    ]  # fmt: skip

    COMPONENT_CLASSES: ClassVar[set[str]] = set(STYLES.values())
    """Parts that a style sheet can name; `plot.STYLES` says which is which."""

    DEFAULT_CSS = """
    Chart {
        width: 1fr;
        height: 1fr;

        & > .chart--title { color: $text; text-style: bold; }
        &:focus > .chart--title { text-style: bold reverse; }
        & > .chart--note { color: $text-muted; }
        & > .chart--label { color: $text-muted; }
        & > .chart--value { color: $text; text-style: bold; }
        & > .chart--axis { color: $foreground 35%; }
        & > .chart--grid { color: $foreground 12%; }
        & > .chart--mark { color: $success; }
        & > .chart--gap { color: $error; text-style: bold; }
        & > .chart--clipped { color: $warning; }
        & > .chart--crosshair { color: $text; text-style: bold; }

        & > .chart--train { color: $curve-1; text-style: bold; }
        & > .chart--line-2 { color: $curve-3; text-style: bold; }
        & > .chart--line-3 { color: $curve-4; text-style: bold; }
        & > .chart--line-4 { color: $curve-6; text-style: bold; }
        & > .chart--band { color: $curve-1 45%; }
        & > .chart--band-2 { color: $curve-3 45%; }
        & > .chart--band-3 { color: $curve-4 45%; }
        & > .chart--band-4 { color: $curve-6 45%; }
        & > .chart--eval { color: $curve-2; }
        & > .chart--points-2 { color: $curve-5; }
        & > .chart--points-3 { color: $curve-6; }
        & > .chart--points-4 { color: $curve-4; }

        /* A terminal's own 16 colours cannot be mixed: what is behind is dim instead. */
        &:ansi > .chart--band, &:ansi > .chart--band-2, &:ansi > .chart--band-3, &:ansi > .chart--band-4 {
            text-style: dim;
        }
        &:ansi > .chart--note, &:ansi > .chart--label, &:ansi > .chart--axis { text-style: dim; }
        &:ansi > .chart--grid { color: ansi_bright_black; text-style: dim; }
    }
    """

    class ViewChanged(Message):
        """A key changed what is shown; charts beside this one may want to follow.

        Attributes:
            chart: The chart with the new `x`, `smoothing`, `log_y` or `robust`.
        """

        def __init__(self, chart: Chart) -> None:
            self.chart = chart
            super().__init__()

        @property
        def control(self) -> Chart:
            """What `@on(Chart.ViewChanged, "#selector")` looks at."""
            return self.chart

    curves = _OfPlot[Sequence[Curve]]()
    title = _OfPlot[str]()
    x_planned = _OfPlot[Callable[[str], float | None]]()
    x = _OfPlot[XView]()
    smoothing = _OfPlot[float]()
    log_y = _OfPlot[bool]()
    robust = _OfPlot[bool]()
    glyphs = _OfPlot[GlyphSet]()
    empty = _OfPlot[str]()

    def __init__(
        self,
        title: str = "",
        curves: Sequence[Curve] = (),
        *,
        marks: Sequence[float] | Mapping[str, Sequence[float]] = (),
        x_planned: Callable[[str], float | None] | None = None,
        smoothing: float = 0.9,
        log_y: bool = False,
        robust: bool = False,
        glyphs: GlyphSet = "braille",
        axes: Sequence[str] = AXES,
        empty: str = "no values yet",
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        """See `Plot` for what is not here.

        Args:
            title: Foreign text, as are the curves' labels.
            curves: May be replaced, or grow, at any time.
            marks: Steps at which a checkpoint was saved, or such a list per axis.
            x_planned: Where the run will end on an axis; None when unknown.
            axes: What the x axis can be switched to.
        """
        super().__init__(id=id, classes=classes)
        self.plot = Plot(title, curves, smoothing=smoothing, log_y=log_y, robust=robust, glyphs=glyphs, empty=empty)
        self.plot.x = XView(axis=axes[0])
        if x_planned is not None:
            self.plot.x_planned = x_planned
        self.axes = axes
        self.marks = marks
        self._memory = Memory()
        self._drawing: Drawing | None = None
        self._strips: dict[int, Strip] = {}
        self._styles_by_code: dict[str, Style] = {}
        self._rules: dict[str, object] = {}
        """The style rules of the last repaint: when they differ, borders or the background may."""

    @property
    def marks(self) -> Mapping[str, Sequence[float]]:
        """Per axis, where checkpoints were saved. A plain list stands for steps."""
        return self.plot.marks

    @marks.setter
    def marks(self, marks: Sequence[float] | Mapping[str, Sequence[float]]) -> None:
        self.plot.marks = marks if isinstance(marks, Mapping) else {"step": marks}

    @property
    def bounds(self) -> Mapping[str, Sequence[tuple[float, str]]]:
        """Per axis, where another stage of the run begins, and its name."""
        return self.plot.bounds

    @bounds.setter
    def bounds(self, bounds: Mapping[str, Sequence[tuple[float, str]]]) -> None:
        self.plot.bounds = bounds

    def redraw(self) -> None:
        """Draw what is new, and repaint the cells that differ. Does nothing before the first paint."""
        old = self._drawing
        width, height = self.size
        if old is None or not width or not height:
            return
        new = draw(self.plot, self._memory, width, height)
        self._drawing = new
        if len(old.frame.text) != height or len(old.frame.text[0]) != width:
            self._strips.clear()
            super().refresh()
            return
        regions = [Region(x, y, run, 1) for x, y, run in changes(old.frame, new.frame)]
        for region in regions:
            self._strips.pop(region.y, None)
        if regions:
            self.refresh(*regions)

    def text(self, width: int, height: int) -> str:
        """What the chart shows, as plain text of at most `width` x `height` cells."""
        return draw(self.plot, Memory(), max(1, width), max(1, height)).frame.plain()

    def render_line(self, y: int) -> Strip:
        width, height = self.size
        drawing = self._drawing
        if drawing is None or len(drawing.frame.text) != height or len(drawing.frame.text[0]) != width:
            if not width or not height:
                return Strip.blank(width)
            drawing = self._drawing = draw(self.plot, self._memory, width, height)
            self._rules = dict(self.styles.get_rules())
            self._strips.clear()
        strip = self._strips.get(y)
        if strip is None:
            segments = [Segment(text, self._style(code)) for text, code in drawing.frame.runs(y)]
            strip = self._strips[y] = Strip(segments, width)
        return strip

    def _style(self, code: str) -> Style:
        style = self._styles_by_code.get(code)
        if style is None:
            style = self._styles_by_code[code] = self._current_style(code)
        return style

    def _current_style(self, code: str) -> Style:
        part = STYLES.get(code)
        return self.rich_style if part is None else self.get_component_rich_style(part)

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """Repaint `regions`, or the rows in which a style has changed.

        Textual calls this without regions when the focus comes or goes. That changes one title, and would
        repaint the whole of two charts: 16 kB.
        """
        if not regions and repaint and not layout and not recompose and self._drawing is not None:
            rules = dict(self.styles.get_rules())
            self._rich_style_cache.clear()
            styles = {code: self._current_style(code) for code in self._styles_by_code}
            changed = {code for code, style in styles.items() if style != self._styles_by_code[code]}
            same_box, self._rules = rules == self._rules, rules
            self._styles_by_code = styles
            if same_box:
                rows = [y for y, codes in enumerate(self._drawing.frame.styles) if not changed.isdisjoint(codes)]
                regions = tuple(Region(0, y, self.size.width, 1) for y in rows)
                for y in rows:
                    self._strips.pop(y, None)
                return super().refresh(*regions) if regions else self
            self._strips.clear()
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def check_action(self, action: str, _parameters: tuple[object, ...]) -> bool | None:
        """Escape is ours only while there is something to leave."""
        if action == "crosshair_off":
            return self.x.crosshair is not None
        return True

    def action_zoom(self, factor: float) -> None:
        if (drawing := self._drawing) is not None:
            self._look(self.x.zoomed(factor, drawing.geometry.domain, drawing.geometry.data_end))

    def action_reset(self) -> None:
        # The y axis is fitted anew as well.
        self._memory = Memory()
        self.redraw()
        self._look(replace(self.x, window=None, follow=False))

    def action_move(self, direction: int) -> None:
        drawing = self._drawing
        if drawing is None:
            return
        if self.x.crosshair is None:
            self._look(self.x.panned(direction / 4, drawing.geometry.domain, drawing.geometry.data_end))
            return
        here = drawing.geometry.cell_of(self.x.crosshair)
        if here is None:
            here = drawing.geometry.cells if direction < 0 else -1
        beyond = [cell for cell in drawing.filled if (cell - here) * direction > 0]
        if beyond:
            cell = min(beyond, key=lambda cell: abs(cell - here))
            self._look(replace(self.x, crosshair=drawing.geometry.x_of(cell)))
        else:
            self._look(self.x.panned(direction / 4, drawing.geometry.domain, drawing.geometry.data_end))

    def action_crosshair(self) -> None:
        drawing = self._drawing
        if drawing is None or self.x.crosshair is not None:
            self.action_crosshair_off()
        elif drawing.filled:
            self._look(replace(self.x, crosshair=drawing.geometry.x_of(drawing.filled[-1])))

    def action_crosshair_off(self) -> None:
        self._look(replace(self.x, crosshair=None))

    def action_log(self) -> None:
        self.log_y = not self.log_y
        self.post_message(self.ViewChanged(self))

    def action_robust(self) -> None:
        self.robust = not self.robust
        self.post_message(self.ViewChanged(self))

    def action_smooth(self) -> None:
        self.smoothing = next((weight for weight in SMOOTHINGS if weight > self.smoothing), SMOOTHINGS[0])
        self.post_message(self.ViewChanged(self))

    def action_axis(self) -> None:
        index = self.axes.index(self.x.axis) if self.x.axis in self.axes else -1
        self._look(self.x.on_axis(self.axes[(index + 1) % len(self.axes)]))

    def on_click(self, event: events.Click) -> None:
        drawing, offset = self._drawing, event.get_content_offset(self)
        if drawing is None or offset is None or not 0 <= offset.x - drawing.geometry.left < drawing.geometry.cells:
            return
        self._look(replace(self.x, crosshair=drawing.geometry.x_of(offset.x - drawing.geometry.left)))

    def _look(self, x: XView) -> None:
        if x != self.x:
            self.x = x
            self.refresh_bindings()
            self.post_message(self.ViewChanged(self))
