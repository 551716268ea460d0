"""What every screen has: its text, its title, and a panel for what goes wrong on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.app import App, ComposeResult
from textual.geometry import Size
from textual.widgets import Static

from engine.errors import NotFound
from tui.app import ConsoleApp
from tui.console_screen import ConsoleScreen, size_class
from tui.registry import ScreenEntry
from tui.widgets.confirm import Confirm
from tui.widgets.failure_panel import FailurePanel
from tui.widgets.title_line import TitleLine


class Body(ConsoleScreen):
    def compose_body(self) -> ComposeResult:
        yield Static("one\ntwo")

    def on_mount(self) -> None:
        self.sub_title = "run [/s]"

    def fail(self) -> None:
        raise NotFound("Nothing there.")


def console() -> ConsoleApp:
    return ConsoleApp(Path("/home/me/a/very/long/path/of/a/workspace"), screens=[ScreenEntry("runs", "Runs", Body, "")])


async def test_the_text_of_a_view_is_what_is_drawn() -> None:
    app = console()
    async with app.run_test(size=(60, 15)):
        assert isinstance(app.screen, Body)
        lines = app.screen.plain_text().splitlines()
        assert lines[0].startswith(" Runs  run [/s]")
        assert lines[1:3] == ["one", "two"]
        assert "? Help" in lines[-1]


@pytest.mark.parametrize("width", [1, 20, 60, 120])
async def test_the_title_line_fits_and_keeps_the_end_of_the_path(width: int) -> None:
    app = console()
    async with app.run_test(size=(width, 20)):
        drawn = app.screen.query_one(TitleLine).render().plain
        assert len(drawn) <= max(width, 1)
        if width >= 60:
            assert drawn.endswith("workspace")
    assert app.failures == []


async def test_a_mistake_below_a_dialog_is_shown_on_the_screen_below_it() -> None:
    app = console()
    async with app.run_test() as pilot:
        home = app.screen
        assert isinstance(home, Body)
        app.push_screen(Confirm("Sure?"))
        await pilot.pause()
        home.call_next(home.fail)
        home.call_later(home.fail)
        await pilot.pause()
        assert str(home.query_one(FailurePanel).failure) == "Nothing there."
        assert isinstance(app.screen, Confirm)


async def test_in_another_application_a_mistake_is_not_hidden() -> None:
    class Plain(App[None]):
        def on_mount(self) -> None:
            self.push_screen(Body(Path("/w")))

    app = Plain()

    async def fail() -> None:
        async with app.run_test() as pilot:
            assert isinstance(app.screen, Body)
            app.screen.call_later(app.screen.fail)
            await pilot.pause()

    with pytest.raises(NotFound):
        await fail()


def test_sizes() -> None:
    assert [size_class(Size(*size)) for size in [(80, 24), (80, 23), (60, 15), (59, 99), (0, 0)]] == [
        "-full",
        "-monitor",
        "-monitor",
        "-line",
        "-line",
    ]
