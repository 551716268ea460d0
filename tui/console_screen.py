"""The base of every screen: its frame, its keys, and a panel for what goes wrong.

A screen is made by the application as `Class(workspace)` or, when it shows one run, `Class(workspace, run)`. It
overrides `compose_body`, `plain_text`, `TITLE`, `HELP` and `BINDINGS`, handles its own messages and posts those of
`tui.messages` for what is beyond it. Whatever it raises is shown in its panel:

- in handlers, actions, workers and drawings, by `Steady` and the application;
- `EngineError` as its message and remedy, anything else as a bug with the file that tells more.

Workers are started with `exit_on_error=False`. On a widget leave that out: its errors then come here as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.geometry import Size
from textual.screen import Screen
from textual.worker import Worker, WorkerState

from tui.messages import CopyText
from tui.settings import Settings
from tui.steady import Steady, SteadyHost
from tui.terminal.contract import Terminal
from tui.widgets.failure_panel import Failure, FailurePanel
from tui.widgets.key_line import KeyLine
from tui.widgets.title_line import TitleLine

SIZE_CLASSES = ((80, 24, "-full"), (60, 15, "-monitor"), (0, 0, "-line"))
"""Least width and height, and the class a screen then has; the first that fits."""


def size_class(size: Size) -> str:
    """Return the class a screen of this size has: "-full", "-monitor" or "-line"."""
    return next(name for width, height, name in SIZE_CLASSES if size.width >= width and size.height >= height)


class ConsoleScreen(Steady, Screen[None]):
    """One screen of the console.

    Args:
        workspace: Folder with `datasets/`, `models/` and `runs/`.
    """

    TITLE: ClassVar[str | None] = None
    """Its name in the first line, the palette and the help."""
    HELP: ClassVar[str | None] = None
    """A sentence or two on what one sees and does here, for the help."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "q", "app.leave", "Leave", id="app.leave",
            tooltip="Leave this screen; from the first one, the console",
        ),
        Binding(
            "escape", "step_out", "Step out", show=False, id="app.step-out",
            tooltip="Close what is open, one layer at a time; never quits",
        ),
        Binding("tab", "app.focus_next", "Next pane", show=False, id="app.next"),
        Binding("shift+tab", "app.focus_previous", "Previous pane", show=False, id="app.previous"),
        Binding(
            "P", "copy_view", "Copy view", show=False, id="app.copy-view",
            tooltip="Copy what this screen shows, as plain text",
        ),
        Binding(
            "ctrl+c,super+c", "screen.copy_text", "Copy selection", show=False, id="app.copy",
            tooltip="Copy what is selected with the mouse",
        ),
    ]  # fmt: skip
    DEFAULT_CSS = """
    ConsoleScreen {
        layout: vertical;
        overflow: hidden;
        &.-line TitleLine, &.-line KeyLine { display: none; }
    }
    """

    def __init__(self, workspace: Path) -> None:
        super().__init__()
        self.workspace = workspace
        self.opened_as: tuple[str, str | None] = ("", None)
        """Name of the screen and of its run, by which it is found again."""
        self.failures: list[Failure] = []
        """Everything that was shown in the panel, oldest first."""

    # What a screen overrides

    def compose_body(self) -> ComposeResult:
        """Yield the widgets between the title line and the key line."""
        yield from ()

    def plain_text(self) -> str:
        """Return the view as text, for people without a terminal or with a screen reader.

        A screen returns what it knows rather than what fits; this is what is drawn.
        """
        rows = ("".join(segment.text for segment in strip) for strip in self._compositor.render_strips())
        return "\n".join(row.rstrip() for row in rows).strip("\n") + "\n"

    def step_out(self) -> bool:
        """Leave the innermost thing that is open on this screen. False: there was none."""
        return False

    def take_subject(self, subject: str | None) -> bool:
        """Show something else, where a screen that is open is asked for with another subject. False: open another."""
        del subject
        return False

    # The frame

    @property
    def settings(self) -> Settings:
        """What the user chose."""
        return getattr(self.app, "settings", None) or Settings()

    @property
    def terminal(self) -> Terminal:
        """What can be drawn with: `terminal.glyphs`, `terminal.colour`."""
        return getattr(self.app, "terminal", None) or Terminal()

    def compose(self) -> ComposeResult:
        self._take_size(self.app.size)
        yield TitleLine(str(self.workspace))
        yield from self.compose_body()
        yield FailurePanel()
        yield KeyLine()

    def on_resize(self, event: events.Resize) -> None:
        self._take_size(event.size)

    def _take_size(self, size: Size) -> None:
        now = size_class(size)
        if not self.has_class(now):
            self.update_classes({name: name == now for _, _, name in SIZE_CLASSES}, animate=False)

    def watch_title(self) -> None:
        self._redraw_title()

    def watch_sub_title(self) -> None:
        self._redraw_title()

    def _redraw_title(self) -> None:
        for line in self.query_children(TitleLine) if self.is_mounted else ():
            line.refresh()

    # Failures

    def show_failure(self, failure: Failure) -> None:
        """Put `failure` into the panel."""
        self.failures.append(failure)
        try:
            self.query_one(FailurePanel).show(failure)
        except NoMatches:
            # Composing failed: the panel is then all there is.
            panel = FailurePanel()
            panel.show(failure)
            self.mount(panel)

    def forget_failure(self) -> None:
        """Close the panel: what it was about is no longer on this screen."""
        for panel in self.query(FailurePanel):
            panel.clear()

    @on(Worker.StateChanged)
    def _worker_ended(self, event: Worker.StateChanged) -> None:
        error = event.worker.error
        if event.state is WorkerState.ERROR and error is not None:
            host = self.app
            if not isinstance(host, SteadyHost) or not host.contain(error, self):
                raise error

    # Keys

    def action_step_out(self) -> None:
        """Close the failure panel or what else is open, innermost first."""
        panel = self.query_one(FailurePanel)
        if panel.failure is not None:
            panel.clear()
        else:
            self.step_out()

    def action_copy_view(self) -> None:
        """Copy the text of this view."""
        self.post_message(CopyText(self.plain_text(), "the view"))
