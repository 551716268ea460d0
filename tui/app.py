"""The application: opens screens. A screen handles its own messages; what is here concerns all of them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.css.stylesheet import Stylesheet
from textual.notifications import SeverityLevel
from textual.screen import Screen

from engine.errors import NotFound
from tui.clipboard import copy
from tui.console_screen import ConsoleScreen
from tui.display import plain
from tui.jobs import Jobs
from tui.messages import CopyText, OpenScreen, RunsKnown
from tui.registry import SCREENS, ScreenEntry
from tui.settings import Settings
from tui.steady_app import SteadyApp
from tui.terminal.contract import Terminal
from tui.theme import THEMES, Colourless, curve_defaults
from tui.typed_ahead import TypedAhead


class ConsoleApp(TypedAhead, SteadyApp):
    """The console.

    Args:
        workspace: Folder with `datasets/`, `models/` and `runs/`.
        opening: "runs", the name of the run to open live, or the name of a screen and its subject.
        settings: What the user chose.
        terminal: What can be drawn with, from `tui.terminal.contract.examine`.
        screens: What can be opened; the first is home.
    """

    TITLE = "ftconsole"
    ENABLE_COMMAND_PALETTE = True
    COMMANDS: ClassVar[set[Any]] = set()
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark,f1", "help", "Help", id="app.help", tooltip="This list"),
        Binding(
            "ctrl+p", "command_palette", "Commands", show=False, priority=True, id="app.palette",
            tooltip="Go to a screen or run, or do anything by name",
        ),
        Binding(
            "colon", "command_palette", "Commands", show=False, id="app.palette-colon",
            tooltip="Go to a screen or run, or do anything by name",
        ),
        Binding(
            "ctrl+z", "suspend_process", "Suspend", show=False, id="app.suspend",
            tooltip="Back to the shell; fg returns",
        ),
        Binding(
            "ctrl+l", "repaint", "Draw again", show=False, id="app.repaint",
            tooltip="Draw the whole screen again",
        ),
        Binding("ctrl+c", "help_quit", show=False, system=True),
        Binding("Q", "quit", "Quit", show=False, id="app.quit", tooltip="Leave the console. Runs go on"),
        Binding(
            "ctrl+q", "quit", "Quit", show=False, priority=True, id="app.quit-always",
            tooltip="Leave the console. Runs go on",
        ),
    ]  # fmt: skip

    def __init__(
        self,
        workspace: Path,
        opening: str | tuple[str, str | None] = "runs",
        settings: Settings | None = None,
        terminal: Terminal | None = None,
        screens: Sequence[ScreenEntry] = SCREENS,
    ) -> None:
        self.workspace = workspace
        self.settings = settings or Settings()
        self.screen_entries = tuple(screens)
        self._opening = opening
        super().__init__(terminal or Terminal())
        self.animation_level = "none"
        for theme in THEMES:
            self.register_theme(theme)
        if self.terminal.theme in self.available_themes:
            self.set_reactive(ConsoleApp.theme, self.terminal.theme)
        self._use_theme()
        if self.terminal.colour == "none":
            self._filters = [Colourless()]
        self.known_runs: list[str] = []
        """Names for the command palette, newest first."""
        self.alive_runs: list[str] = []
        """What goes on when the console ends."""
        self.jobs = Jobs(self)
        """What does not."""

    def _use_theme(self) -> None:
        # What `App.__init__` did for its default theme. Nothing is parsed yet, so this costs one palette and not
        # the parsing of every style sheet.
        self.stylesheet = Stylesheet(variables=self.get_css_variables())
        self._refresh_truecolor_filter(self.ansi_theme)
        self.set_class(self.current_theme.dark, "-dark-mode", update=False)
        self.set_class(not self.current_theme.dark, "-light-mode", update=False)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return curve_defaults(self.current_theme)

    # Opening screens

    def get_default_screen(self) -> Screen[Any]:
        home = self.screen_entries[0]
        if isinstance(self._opening, tuple):
            name, subject = self._opening
            screen = self._make(self._entry(name), subject)
        elif self._opening == home.name:
            screen = self._make(home, None)
        else:
            screen = self._make(self._entry("live"), self._opening)
        # What Textual does for pushed screens only.
        screen._push_result_callback(self, None)
        for path in screen.css_path:
            self.stylesheet.read(path)
        return screen

    def _entry(self, name: str) -> ScreenEntry:
        for entry in self.screen_entries:
            if entry.name == name:
                return entry
        raise NotFound(f"There is no screen called {name!r}.")

    def _make(self, entry: ScreenEntry, run: str | None) -> ConsoleScreen:
        target = entry.target
        if isinstance(target, str):
            module, _, name = target.partition(":")
            target = getattr(import_module(module), name)
        screen: ConsoleScreen = target(self.workspace, run) if entry.shows_run else target(self.workspace)
        screen.set_reactive(Screen.title, screen.title or entry.title)
        screen.opened_as = (entry.name, run)
        return screen

    @on(OpenScreen)
    def _open(self, message: OpenScreen) -> None:
        message.stop()
        self.open_screen(message.name, message.run)

    def open_screen(self, name: str, run: str | None = None) -> None:
        """Go back to a screen that is open, or open it on top."""
        for depth, screen in enumerate(self.screen_stack):
            if not isinstance(screen, ConsoleScreen) or screen.opened_as[0] != name:
                continue
            if screen.opened_as[1] == run or screen.take_subject(run):
                for _ in self.screen_stack[depth + 1 :]:
                    self.pop_screen()
                return
        self.push_screen(self._make(self._entry(name), run))

    def _load_screen_css(self, screen: Screen[Any]) -> None:
        """Load the sheets of a screen that is opened, and style it alone.

        Textual parses every sheet once more and styles the widgets below as well: a fifth of the processor time in
        which the checkpoints open. Nothing below can change: a sheet is nested under its screen, others are parsed.
        """
        new = [path for path in screen.css_path if not self.stylesheet.has_source(str(path), "")]
        for path in new:
            self.stylesheet.read(path)
        super()._load_screen_css(screen)
        if new:
            self.stylesheet.update(screen)

    def action_leave(self) -> None:
        """Leave the screen on top; the last one is left for home, and home for the shell."""
        if len(self.screen_stack) > 1:
            self.pop_screen()
        elif isinstance(self.screen, ConsoleScreen) and self.screen.opened_as != (self.screen_entries[0].name, None):
            self.switch_screen(self._make(self.screen_entries[0], None))
        else:
            self._quit_or_ask()

    async def action_quit(self) -> None:
        """Leave the console."""
        self._quit_or_ask()

    def _quit_or_ask(self) -> None:
        running = self.jobs.running
        if not running:
            self.exit()
            return
        from tui.widgets.confirm import Confirm

        def answered(yes: bool | None) -> None:
            if yes:
                self.jobs.stop_all()
                self.exit()

        if not isinstance(self.screen, Confirm):
            named = "; ".join(job.title for job in running)
            told = "It ends with the console, and nothing is left of it. Runs go on."
            self.push_screen(Confirm(f"Leave in the middle of this? {named}", told, yes="Leave"), answered)

    @on(RunsKnown)
    def _know_runs(self, message: RunsKnown) -> None:
        self.known_runs, self.alive_runs = message.names, message.alive

    # Keys that work everywhere

    def action_help(self) -> None:
        """Show what can be done here."""
        from tui.widgets.help import Help, help_groups

        if not isinstance(self.screen, Help):
            self.push_screen(Help(help_groups(self.screen)))

    def action_command_palette(self) -> None:
        """Open the palette over the screen."""
        from tui.palette import ConsoleCommands, ConsolePalette

        if not isinstance(self.screen, ConsolePalette):
            self.push_screen(ConsolePalette([ConsoleCommands], placeholder="A screen, a run or an action"))

    def search_themes(self) -> None:
        from textual.theme import ThemeProvider

        from tui.palette import ConsolePalette

        if self.terminal.colour == "none":
            self.notify("Without colours there is one theme.")
        else:
            self.push_screen(ConsolePalette([ThemeProvider], placeholder="A theme"))

    def get_system_commands(self, screen: Screen[object]) -> Sequence[SystemCommand]:  # noqa: ARG002
        return ()

    def action_repaint(self) -> None:
        """Draw everything again, for a terminal that something else has written on."""
        self.screen.refresh(layout=True)

    def action_help_quit(self) -> None:
        """Say how to leave. ctrl+c copies what is selected; with nothing selected somebody wants out."""
        self.notify("Q leaves the console, q this screen. Runs go on either way.", title="Nothing is selected")

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Show a note. Literal unless `markup` is asked for, the other way round than Textual's."""
        if not markup:
            message, title = plain(message, lines=12), plain(title)
        super().notify(message, title=title, severity=severity, timeout=timeout, markup=markup)

    # Copying

    @on(CopyText)
    def _copy(self, message: CopyText) -> None:
        self._clipboard = message.text
        self.run_worker(
            self._copy_and_say(message.text), group="copy", description=f"Copying {message.what}", exclusive=True
        )

    def copy_to_clipboard(self, text: str) -> None:
        self.post_message(CopyText(text, "the selection"))

    async def _copy_and_say(self, text: str) -> None:
        self.notify(str(await copy(text, self._send)))

    def _send(self, sequence: str) -> None:
        if self._driver is not None:
            self._driver.write(sequence)

    def _on_load(self) -> None:
        self.set_keymap(dict(self.settings.keys))
