"""Nothing is done without a plain yes."""

from __future__ import annotations

import pytest
from textual.app import App
from textual.widgets import Button

from tui.widgets.confirm import Confirm


class Asks(App[None]):
    def __init__(self, question: Confirm) -> None:
        super().__init__()
        self.question = question
        self.answers: list[bool | None] = []

    def on_mount(self) -> None:
        self.push_screen(self.question, self.answers.append)


@pytest.mark.parametrize(
    ("keys", "answer"),
    [(["y"], True), (["n"], False), (["escape"], False), (["q"], False), (["enter"], False), (["tab", "enter"], True)],
    ids=lambda value: "+".join(value) if isinstance(value, list) else str(value),
)
async def test_keys_answer_and_enter_alone_is_no(keys: list[str], answer: bool) -> None:
    app = Asks(Confirm("Stop [/s]?", "What was not saved is lost.", yes="Stop [INST]"))
    async with app.run_test() as pilot:
        await pilot.press(*keys)
        await pilot.pause()
    assert app.answers == [answer]


async def test_what_cannot_be_undone_needs_its_name() -> None:
    app = Asks(Confirm("Delete run-1?", typed="run-y"))
    async with app.run_test() as pilot:
        await pilot.press(*"run-", "enter")
        assert app.question.query_one("#yes", Button).disabled
        assert app.answers == []
        await pilot.press("y")
        assert not app.question.query_one("#yes", Button).disabled
        await pilot.press("enter")
        await pilot.pause()
    assert app.answers == [True]
