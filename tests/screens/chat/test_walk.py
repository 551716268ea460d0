"""An evening at the chat: questions from a file, votes, files written, conversations left and taken up again."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.screens.chat.stage import console_on
from tests.screens.chat.test_screen import SIZE, answered, opened, says, two
from tests.screens.runs.stage import notes, until, until_seen
from tui.widgets.choose import Chooser
from tui.widgets.confirm import Confirm


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.delenv("TMUX", raising=False)


async def test_questions_of_a_file_are_asked_voted_on_exported_written_and_taken_up_again(tmp_path: Path) -> None:
    asked = tmp_path / "asked.jsonl"
    asked.write_text("".join(json.dumps({"prompt": f"Question {word}?"}) + "\n" for word in ("one", "two")))
    async with AsyncExitStack() as stack:
        *_, subject = await two(stack, [says("Left says.")], [says("Right says.")])
        app = console_on(tmp_path, subject)
        async with app.run_test(size=SIZE) as pilot:
            screen = await opened(pilot)
            await pilot.press("escape", "f")
            await until(pilot, lambda: isinstance(app.screen, Chooser), "the files")
            await pilot.press(*"asked.jsonl", "enter")
            await until(pilot, lambda: len(screen.talk.prompts) == 2, "the questions")
            await pilot.press("n")
            await answered(pilot, 1)
            assert screen.talk.last is not None
            assert screen.talk.last.prompt == "Question one?"
            await pilot.press("p")
            await until(pilot, lambda: "That was the first one." in notes(app), "the beginning of the file")
            await pilot.press("n")
            await until_seen(pilot, "Question two?")
            await answered(pilot, 1)
            await pilot.press("n")
            await until(pilot, lambda: "That was the last one." in notes(app), "the end of the file")
            await pilot.press("2", "t")
            await until(pilot, lambda: isinstance(app.screen, Confirm), "the tally")
            await pilot.press("y")
            rows = tmp_path / "chats" / "preferences.jsonl"
            await until(pilot, rows.exists, "the rows")
            await until(pilot, lambda: app.screen is screen, "the chat")
            await pilot.press("W")
            await until(pilot, lambda: isinstance(app.screen, Chooser), "the name of the file")
            await pilot.press("enter")
            await until(pilot, lambda: list(tmp_path.glob("*.md")), "the file")
            name = screen.talk.conversation.name
            await until(pilot, lambda: app.screen is screen, "the chat")
            await pilot.press("c")
            await until(pilot, lambda: not screen.talk.thread, "a new conversation")
            await pilot.press("L")
            await until(pilot, lambda: isinstance(app.screen, Chooser), "the conversations")
            await pilot.press("enter")
            await until(pilot, lambda: screen.talk.conversation.name == name and screen.talk.thread, "the earlier one")
            await until_seen(pilot, "Question two?")
        assert not app.failures
    (row,) = [json.loads(line) for line in rows.read_text().splitlines()]
    assert "Right says." in json.dumps(row["chosen"])
    (written,) = tmp_path.glob("*.md")
    assert "Left says." in written.read_text()
