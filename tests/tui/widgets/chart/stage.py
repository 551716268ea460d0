"""An application with charts on it, and the terminal it would be seen on."""

from __future__ import annotations

from collections.abc import Sequence

import pyte
from rich.console import RenderableType
from textual._compositor import CompositorUpdate
from textual.app import App, ComposeResult
from textual.containers import Grid
from textual.reactive import Reactive
from textual.screen import Screen
from textual.widget import Widget

from tui.terminal.updates import ThriftyCompositor
from tui.theme import DARK, curve_defaults
from tui.widgets.chart import Chart


class ThriftyScreen(Screen[None]):
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)
    """Textual repaints the whole screen when the focus moves."""

    def __init__(self) -> None:
        super().__init__()
        self._compositor = ThriftyCompositor()


class Stage(App[None]):
    """Charts side by side, drawn as in the console."""

    CSS = """
    Grid { grid-gutter: 1 2; padding: 0 1; }
    #alone { grid-size: 1 1; padding: 0; }
    #many { grid-size: 2; }
    """
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, charts: Sequence[Chart], theme: str = "ftconsole-dark") -> None:
        super().__init__()
        self.charts = charts
        self.first_theme = theme
        self.updates: list[str] = []
        """What would have been written, update by update."""
        self.seen: list[Chart] = []
        """Charts whose view changed."""

    def get_default_screen(self) -> Screen[None]:
        return ThriftyScreen()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return curve_defaults(self.current_theme)

    def on_mount(self) -> None:
        self.register_theme(DARK)
        self.theme = self.first_theme

    def compose(self) -> ComposeResult:
        with Grid(id="alone" if len(self.charts) == 1 else "many"):
            yield from self.charts

    def on_chart_view_changed(self, message: Chart.ViewChanged) -> None:
        self.seen.append(message.chart)

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        if isinstance(renderable, CompositorUpdate) and not self._batch_count:
            self.updates.append(renderable.render_segments(self.console))
        super()._display(screen, renderable)


def on_terminal(size: tuple[int, int], updates: Sequence[str]) -> list[str]:
    """The lines of a terminal after these updates: glyphs, and for each its colours."""
    screen = pyte.Screen(*size)
    stream = pyte.Stream(screen)
    for update in updates:
        stream.feed(update)
    lines = []
    for y in range(size[1]):
        cells = [screen.buffer[y][x] for x in range(size[0])]
        lines.append(" ".join(f"{c.data}{c.fg if c.data != ' ' else ''}/{c.bg}{c.reverse}" for c in cells))
    return lines
