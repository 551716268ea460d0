"""Opening and leaving screens, keys that work everywhere, and what the application keeps alive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.css.stylesheet import Stylesheet
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static

from engine.errors import NotFound
from tests.tui.conftest import ROOT
from tui.app import ConsoleApp
from tui.console_screen import ConsoleScreen
from tui.messages import OpenRun, OpenScreen, RunsKnown
from tui.palette import ConsolePalette
from tui.registry import SCREENS, ScreenEntry
from tui.settings import Settings
from tui.steady_app import MISTAKES_ALLOWED
from tui.terminal.contract import Terminal
from tui.widgets.failure_panel import FailurePanel
from tui.widgets.help import Help


class Home(ConsoleScreen):
    HELP = "The first screen."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "fail", "Fail", id="home.fail", tooltip="Make a mistake"),
        Binding("w", "work", "Work", show=False, id="home.work"),
    ]

    def compose_body(self) -> ComposeResult:
        yield Static("home body")
        yield Input(placeholder="filter")

    def action_fail(self) -> None:
        raise ValueError("on purpose")

    @work(exit_on_error=False)
    async def action_work(self) -> None:
        raise NotFound("Nothing is there.", remedy="Look elsewhere.")


class Live(ConsoleScreen):
    CSS_PATH = None

    def __init__(self, workspace: Path, run: str) -> None:
        super().__init__(workspace)
        self.run = run

    def compose_body(self) -> ComposeResult:
        yield Static(self.run, markup=False)

    def on_mount(self) -> None:
        self.sub_title = self.run


ENTRIES = (
    ScreenEntry("runs", "Runs", Home, "Every run"),
    ScreenEntry("live", "Live", Live, "One run", shows_run=True),
)


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("TMUX", raising=False)


def console(opening: str = "runs", settings: Settings | None = None, terminal: Terminal | None = None) -> ConsoleApp:
    return ConsoleApp(Path("/work space"), opening, settings, terminal, ENTRIES)


async def until(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    """Wait for `condition`; the palette searches in a task that no pilot waits for."""
    for _ in range(2_000):
        if condition():
            return
        await pilot.pause(0.01)
    raise AssertionError("waited in vain")


def opened(app: ConsoleApp) -> list[tuple[str, str | None]]:
    return [screen.opened_as for screen in app.screen_stack if isinstance(screen, ConsoleScreen)]


async def test_a_run_is_opened_on_top_once_and_left_with_q() -> None:
    app = console()
    async with app.run_test() as pilot:
        app.post_message(OpenRun("run-1"))
        await pilot.pause()
        app.post_message(OpenRun("run-2"))
        await pilot.pause()
        assert opened(app) == [("runs", None), ("live", "run-1"), ("live", "run-2")]
        app.post_message(OpenRun("run-1"))
        await pilot.pause()
        assert opened(app) == [("runs", None), ("live", "run-1")]
        await pilot.press("q")
        assert opened(app) == [("runs", None)]
    assert app.failures == []


async def test_leaving_home_leaves_the_console() -> None:
    app = console()
    async with app.run_test() as pilot:
        await pilot.press("tab")  # out of the filter, which takes letters
        app.screen.set_focus(None)
        await pilot.press("q")
        await pilot.pause()
    assert app.return_code == 0


async def test_a_run_can_be_the_first_screen_and_home_is_behind_it() -> None:
    app = console("run-7")
    async with app.run_test() as pilot:
        assert opened(app) == [("live", "run-7")]
        await pilot.press("q")
        await pilot.pause()
        assert opened(app) == [("runs", None)]
    assert app.return_code is None or app.return_code == 0


async def test_a_screen_that_does_not_exist_is_a_failure_on_the_screen() -> None:
    app = console()
    async with app.run_test() as pilot:
        app.post_message(OpenScreen("nowhere"))
        await pilot.pause()
        assert "There is no screen called 'nowhere'." in str(app.screen.query_one(FailurePanel).render())


async def test_a_mistake_in_an_action_is_shown_once_with_a_count_and_closed_with_escape() -> None:
    app = console()
    async with app.run_test() as pilot:
        app.screen.set_focus(None)
        await pilot.press("f", "f", "f")
        panel = app.screen.query_one(FailurePanel)
        assert "ValueError in test_app.py" in str(panel.render())
        assert "(3 times)" in str(panel.render())
        assert len(list((Path(app.failures[0].remedy.split()[-1])).parent.glob("crash-*"))) == 1
        await pilot.press("escape")
        assert not panel.display
        assert app.is_running


async def test_an_error_of_the_engine_is_its_message_and_its_remedy_and_is_no_crash(tmp_path: Path) -> None:
    app = console()
    async with app.run_test() as pilot:
        app.screen.set_focus(None)
        await pilot.press("w")
        await app.workers.wait_for_complete([worker for worker in app.workers if not worker.is_finished])
        await pilot.pause()
        assert str(app.screen.query_one(FailurePanel).render()) == "! Nothing is there.\nLook elsewhere."
        assert [failure.code for failure in app.failures] == ["not-found"]
    assert not list(tmp_path.rglob("crash-*"))


async def test_a_mistake_that_happens_again_and_again_ends_the_console() -> None:
    app = console()

    async def press_on() -> None:
        async with app.run_test() as pilot:
            app.screen.set_focus(None)
            await pilot.press(*"f" * (MISTAKES_ALLOWED + 1))

    with pytest.raises(ValueError, match="on purpose"):
        await press_on()
    assert app.return_code == 1
    assert app.crash_file is not None


async def test_help_lists_the_keys_of_the_screen_the_focus_and_everywhere() -> None:
    app = console()
    async with app.run_test(size=(100, 50)) as pilot:
        app.screen.set_focus(None)
        await pilot.press("question_mark")
        assert isinstance(app.screen, Help)
        groups = {group.title: group for group in app.screen.groups}
        assert groups["Runs"].about == "The first screen."
        assert ("f",) in [entry.keys for entry in groups["Runs"].entries]
        everywhere = {entry.label: entry.keys for entry in groups["Everywhere"].entries}
        assert set(everywhere["Quit"]) == {"Q", "^q"}
        assert everywhere["Help"] == ("?", "f1")
        assert "Suspend" in everywhere
        await pilot.press("f1")
        assert not isinstance(app.screen, Help)


async def test_every_key_of_ours_has_an_id_so_that_it_can_be_changed() -> None:
    app = console(settings=Settings(keys={"app.help": "f7"}))
    async with app.run_test() as pilot:
        for active in app.screen.active_bindings.values():
            if type(active.node) in (ConsoleApp, Home):
                assert active.binding.id or active.binding.system, active.binding
        await pilot.press("f7")
        assert isinstance(app.screen, Help)


async def test_the_palette_goes_to_runs_and_does_what_keys_do() -> None:
    app = console()
    async with app.run_test() as pilot:
        app.post_message(RunsKnown(["run-[/s]"], []))
        await pilot.press("ctrl+p")
        assert isinstance(app.screen, ConsolePalette)
        await pilot.press(*"open run")
        found = app.screen.query_one(OptionList)
        await until(pilot, lambda: found.option_count == 1 and found.highlighted == 0)
        await pilot.press("enter")
        await until(pilot, lambda: opened(app)[-1] == ("live", "run-[/s]"))
    assert app.failures == []


async def test_page_keys_wait_until_the_palette_has_laid_out_its_list() -> None:
    app = console()
    async with app.run_test() as pilot:
        await pilot.press("ctrl+p")
        found = app.screen.query_one(OptionList)
        await until(pilot, lambda: found.option_count > 1)
        found.styles.height = 0
        await until(pilot, lambda: not found.size)
        await pilot.press("down", "pagedown", "pageup")
        await pilot.pause()
    assert app.failures == []


async def test_a_key_for_a_screen_that_has_no_widgets_yet_does_nothing() -> None:
    app = console()
    async with app.run_test():
        assert not await app.run_action("step_out", ConsoleScreen(Path("/work space")))
    assert app.failures == []


async def test_ctrl_c_says_how_to_leave_and_shift_q_leaves() -> None:
    app = console("run-1")
    async with app.run_test() as pilot:
        await pilot.press("ctrl+c")
        await pilot.pause()
        assert any("Q leaves the console" in note.message for note in app._notifications)
        await pilot.press("Q")
        await pilot.pause()
    assert app.return_code == 0


async def test_notes_are_literal() -> None:
    app = console("run-1")
    async with app.run_test() as pilot:
        app.notify("[INST] \x1b[2J [/INST]", title="[@click=app.quit]x[/]")
        await pilot.pause()
        (note,) = app._notifications
        assert note.message == r"[INST] \x1b[2J [/INST]"
        assert note.markup is False
    assert app.failures == []


async def test_the_view_is_copied_as_text(tmp_path: Path) -> None:
    app = console("run-1")
    async with app.run_test(size=(60, 15)) as pilot:
        await pilot.press("P")
        await app.workers.wait_for_complete()
        await pilot.pause()
        copied = (tmp_path / "ftconsole" / "clip.txt").read_text()
        assert "run-1" in copied
        assert any("clip.txt" in note.message for note in app._notifications)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((80, 24), "-full"), ((79, 24), "-monitor"), ((60, 15), "-monitor"), ((40, 10), "-line"), ((200, 5), "-line")],
)
async def test_a_screen_has_a_class_for_its_size(size: tuple[int, int], expected: str) -> None:
    app = console()
    async with app.run_test(size=size) as pilot:
        assert app.screen.has_class(expected)
        await pilot.resize_terminal(100, 30)
        await pilot.pause()
        assert app.screen.has_class("-full")
        assert not app.screen.has_class("-line", "-monitor")


async def test_cursors_do_not_blink() -> None:
    app = console()
    async with app.run_test() as pilot:
        field = app.screen.query_one(Input)
        field.focus()
        await pilot.pause()
        assert field.cursor_blink is False


@pytest.mark.parametrize("theme", ["ftconsole-dark", "ftconsole-light", "ftconsole-plain", "ansi-dark", "nord"])
async def test_every_theme_can_draw_every_part(theme: str) -> None:
    app = console(terminal=Terminal(theme=theme, colour="none" if theme == "ftconsole-plain" else "truecolor"))
    async with app.run_test() as pilot:
        assert app.current_theme.name == theme
        app.screen.set_focus(None)
        await pilot.press("f", "question_mark")
        await pilot.pause()
        assert [failure.code for failure in app.failures] == ["bug"]


def test_the_screens_have_names_of_their_own() -> None:
    names = [entry.name for entry in SCREENS]
    assert len(set(names)) == len(names)


def test_a_theme_has_all_its_curve_colours(own_state: None) -> None:
    wanted: Callable[[str], bool] = lambda name: name.startswith("curve-")  # noqa: E731
    for theme in ("ftconsole-dark", "nord", "ansi-light"):
        app = console(terminal=Terminal(theme=theme))
        assert len(list(filter(wanted, app.theme_variables))) == 6


@pytest.mark.parametrize("sheet", sorted(ROOT.glob("screens/*/*.tcss")), ids=lambda path: path.parent.name)
def test_a_sheet_styles_its_own_screen_alone(sheet: Path) -> None:
    # What is below a screen that is opened is not styled again.
    read = Stylesheet(variables=ConsoleApp(Path()).get_css_variables())
    read.read(sheet)
    styled = {selectors.selectors[0].name for rule in read.rules for selectors in rule.selector_set}
    assert len(styled) == 1
    assert styled.pop().endswith("Screen")
