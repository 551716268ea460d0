"""Choosing from a list, or naming what is not in it."""

from __future__ import annotations

import pytest
from textual.app import App
from textual.widgets import OptionList, Static

from tests.screens.data.files import NASTY
from tui.widgets.choose import Choice, Chooser

CHOICES = [Choice("a", "retain_train", "12 kB"), Choice("b", "unlearn_train", "4 kB"), Choice("c", NASTY, NASTY)]


def problem_of(text: str) -> str | None:
    return None if text.startswith("/") else f"{text} is no path."


async def answer(*keys: str, typed: str = "") -> list[str | None]:
    """Return what the dialog answers to keys; empty while it is still open."""
    given: list[str | None] = []
    app: App[None] = App()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.push_screen(Chooser("Which?", CHOICES, problem_of=problem_of, current="b", typed=typed), given.append)
        await pilot.pause()
        await pilot.press(*keys)
        await pilot.pause()
    return given


@pytest.mark.parametrize(
    ("keys", "given"),
    [
        pytest.param(["enter"], ["b"], id="what the cursor is on"),
        pytest.param(["up", "enter"], ["a"], id="one up"),
        pytest.param(["r", "e", "t", "enter"], ["a"], id="narrowed"),
        pytest.param(["slash", "x", "enter"], ["/x"], id="typed"),
        pytest.param(["x", "y", "enter"], [], id="neither listed nor a path"),
        pytest.param(["escape"], [None], id="left"),
    ],
)
async def test_what_is_answered(keys: list[str], given: list[str | None]) -> None:
    assert await answer(*keys) == given


async def test_a_line_that_is_filled_in_is_edited_and_narrows_nothing() -> None:
    assert await answer("backspace", "backspace", "enter", typed="/abc") == ["/a"]


async def test_a_problem_is_said_and_gone_with_the_next_letter() -> None:
    app: App[None] = App()
    async with app.run_test(size=(80, 24)) as pilot:
        dialog = Chooser("Which?", CHOICES, problem_of=problem_of)
        await app.push_screen(dialog)
        await pilot.press("x", "y", "enter")
        await pilot.pause()
        assert dialog.query_one(".problem").display
        await pilot.press("z")
        await pilot.pause()
        assert not dialog.query_one(".problem").display


async def test_where_there_is_no_list_none_is_spoken_of() -> None:
    app: App[None] = App()
    async with app.run_test(size=(80, 24)) as pilot:
        dialog = Chooser("How?", [], problem_of=problem_of, placeholder="prompt=question")
        await app.push_screen(dialog)
        await pilot.press("enter")
        await pilot.pause()
        assert str(dialog.query_one(".problem", Static).render()) == "Nothing is written yet."


async def test_a_name_stays_whole_where_its_note_has_no_room() -> None:
    app: App[None] = App()
    async with app.run_test(size=(40, 16)) as pilot:
        listed = [Choice("e", "e  Export to GGUF", "For llama.cpp and LM Studio"), Choice("p", "p" * 60, "226.2 kB")]
        listed.append(Choice("q", "Who " + "q" * 60, "turn 1", keep="start"))
        dialog = Chooser("What?", listed)
        await app.push_screen(dialog)
        await pilot.pause()
        options = dialog.query_one(OptionList)
        first, second, third = (str(options.get_option_at_index(at).prompt) for at in range(3))
        assert first.split() == ["e", "Export", "to", "GGUF", "For", "llama.cpp", "and", "LM", "Studio"]
        assert second.startswith("…p")
        assert second.endswith("p  226.2 kB")
        assert third.startswith("Who q")
        assert third.endswith("q…  turn 1")
