"""The last line shows what keys do, as far as there is room."""

from __future__ import annotations

from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from tui.widgets.key_line import KeyHint, KeyLine, fitting, key_hints

ZOOM = Binding.Group("Zoom", compact=True)


class Keys(App[None]):
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "stop", "Stop [/s]"),
        Binding("plus", "zoom(2)", "In", key_display="+", group=ZOOM),
        Binding("minus", "zoom(1)", "Out", key_display="-", group=ZOOM),
        Binding("j,down", "down", "Down"),
        Binding("slash", "search", "Search", key_display="/"),
        Binding("z", "hidden", "Hidden", show=False),
        Binding("question_mark", "help", "Help"),
    ]
    stopped = 0
    may_stop: bool | None = True

    def compose(self) -> ComposeResult:
        yield Input()
        yield KeyLine()

    def action_stop(self) -> None:
        self.stopped += 1

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.may_stop if action == "stop" else True


def text(app: Keys) -> str:
    return app.query_one(KeyLine).render().plain


async def test_keys_of_a_group_are_one_entry_and_names_are_literal() -> None:
    app = Keys()
    async with app.run_test() as pilot:
        app.screen.set_focus(None)
        await pilot.pause()
        assert text(app) == " s Stop [/s]  +- Zoom  j Down  / Search  ? Help "


async def test_letters_that_a_field_takes_are_not_offered() -> None:
    app = Keys()
    async with app.run_test() as pilot:
        app.query_one(Input).focus()
        await pilot.pause()
        assert "Stop" not in text(app)
        assert "Search" not in text(app)
        assert "Zoom" not in text(app)


async def test_a_click_presses_the_key_and_a_key_that_is_off_does_nothing() -> None:
    app = Keys()
    async with app.run_test() as pilot:
        app.screen.set_focus(None)
        await pilot.click(KeyLine, offset=(3, 0))
        await pilot.pause()
        assert app.stopped == 1
        app.may_stop = None
        app.screen.refresh_bindings()
        await pilot.pause()
        assert not key_hints(app.screen)[0].enabled
        await pilot.click(KeyLine, offset=(3, 0))
        await pilot.pause()
        assert app.stopped == 1


def test_where_there_is_no_room_the_last_entry_stays() -> None:
    hints = [KeyHint(key, key, "label", True) for key in "abc"]
    assert fitting(hints, 100) == hints
    assert [hint.key for hint in fitting(hints, 19)] == ["a", "c"]
    assert [hint.key for hint in fitting(hints, 1)] == ["c"]
    assert fitting([], 10) == [KeyHint("", "", "", False)]
