"""Dialogs answer with what was typed, also when a slow line hands over the letters and their Enter at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual import events
from textual.app import App
from textual.screen import ModalScreen

from screens.checkpoints.target_dialog import Answer as Target
from screens.checkpoints.target_dialog import TargetDialog
from screens.configure.picker import Answer, Picker
from tests.screens.runs.stage import until
from tui.typed_ahead import TypedAhead
from tui.widgets.choose import Choice, Chooser
from tui.widgets.form import Field, Form
from tui.widgets.text_dialog import TextDialog

NAMES = ("demo", "small", "tiny")
ENTER, SAVE = ("enter", "\r"), ("ctrl+s", "\x13")


def burst(app: App[Any], text: str, end: tuple[str, str]) -> None:
    for letter in text:
        app.post_message(events.Key(letter, letter))
    app.post_message(events.Key(*end))


@pytest.mark.parametrize(
    ("dialog", "end", "answer"),
    [
        pytest.param(lambda: Picker("Which?", [Answer(name, name) for name in NAMES]), ENTER, "small", id="picker"),
        pytest.param(lambda: Chooser("Which?", [Choice(name, name) for name in NAMES]), ENTER, "small", id="chooser"),
        pytest.param(
            lambda: Form("What?", [Field("seed", ("",), "any")], lambda name, value: None),
            ENTER, [{"seed": "small"}], id="form",
        ),
        pytest.param(lambda: TextDialog("Why?"), SAVE, "small", id="text"),
    ],
)  # fmt: skip
async def test_it_is_all_taken(dialog: Callable[[], ModalScreen[Any]], end: tuple[str, str], answer: object) -> None:
    given: list[object] = []
    app = TypedAhead()
    async with app.run_test() as pilot:
        await app.push_screen(dialog(), given.append)
        await pilot.pause()
        burst(app, "small", end)
        await until(pilot, lambda: bool(given), "the answer")
    assert given == [answer]


async def test_a_place_is_looked_at_before_it_is_written_to() -> None:
    given: list[Target | None] = []
    app = TypedAhead()
    async with app.run_test() as pilot:
        dialog = TargetDialog("Merge", "of it", [], target="merged")
        await app.push_screen(dialog, given.append)
        await until(pilot, lambda: dialog._needs is not None, "what it takes")
        burst(app, "-2", ENTER)
        await until(pilot, lambda: dialog._needs is not None and dialog.answer.target == "merged-2", "the name")
        assert given == []
        await pilot.press("enter")
        await until(pilot, lambda: bool(given), "the answer")
    assert given == [Target(frozenset(), "merged-2")]


async def test_a_second_enter_does_not_close_the_screen_below() -> None:
    given: list[str | None] = []
    app = TypedAhead()
    async with app.run_test() as pilot:
        below = Picker("Below?", [Answer(name, name) for name in NAMES])
        await app.push_screen(below)
        await app.push_screen(Picker("Which?", [Answer(name, name) for name in NAMES]), given.append)
        await pilot.pause()
        app.post_message(events.Key(*ENTER))
        burst(app, "", ENTER)
        await until(pilot, lambda: bool(given), "the answer")
        await pilot.pause()
        assert app.screen is below
    assert given == ["demo"]
