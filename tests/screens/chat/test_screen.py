"""The chat in use: from a key to a question, from a server's bytes to a file. Servers say what is written down here."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from textual import events
from textual.pilot import Pilot

from engine.chat.asking import Sampling
from engine.chat.chat_files import list_conversations, open_conversation
from engine.chat.conversation import Turn
from engine.chat.votes import read_votes
from engine.spec import pair_of
from engine.workspace import Workspace
from screens.chat.column import Column
from screens.chat.composer import Composer
from screens.chat.screen import ChatScreen
from screens.chat.talk import Talk
from tests.screens.chat.stage import a_talk, chat, coming, console, console_on, settled
from tests.screens.runs.stage import notes, seen, until, until_seen
from tests.servers.lmstudio import lmstudio
from tests.servers.scripted import DONE, SSE, Scripted, Step, piece, scripted
from tui.app import ConsoleApp
from tui.messages import CopyText, OpenScreen
from tui.widgets.cells import Piece
from tui.widgets.choose import Chooser
from tui.widgets.confirm import Confirm
from tui.widgets.form import Form
from tui.widgets.text_dialog import TextDialog

SIZE = (100, 30)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.delenv("TMUX", raising=False)


def says(*texts: str) -> list[Step]:
    """Return what a server says that answers so."""
    return [SSE, *[piece(text) for text in texts], piece(reason="stop"), DONE]


async def two(stack: AsyncExitStack, left: list[list[Step]], right: list[list[Step]]) -> tuple[Scripted, Scripted, str]:
    """Return two servers, and the subject that opens the chat on them."""
    one, other = await stack.enter_async_context(scripted(*left)), await stack.enter_async_context(scripted(*right))
    return one, other, f"{one.url}#one\n{other.url}#two"


async def opened(pilot: Pilot[None]) -> ChatScreen:
    """Wait for the two models."""
    app = pilot.app
    assert isinstance(app, ConsoleApp)
    await until(pilot, lambda: chat(app).talk.path, "the pair")
    return chat(app)


async def ask(pilot: Pilot[None], text: str) -> None:
    """Write a question and send it."""
    screen = await opened(pilot)
    screen.query_one(Composer).focus()
    await pilot.pause()
    screen.query_one(Composer).text = text
    await pilot.press("enter")


async def answered(pilot: Pilot[None], turns: int) -> None:
    """Wait until so many turns have been answered by both."""
    screen = await opened(pilot)
    await until(pilot, lambda: len(screen.talk.thread) == turns and screen.talk.to_vote(), f"{turns} answers")
    await pilot.pause()


async def test_a_question_is_answered_by_both_and_everything_is_kept(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one, other, subject = await two(stack, [says("From ", "the left.")], [says("From the right.")])
        app = console_on(tmp_path, subject)
        async with app.run_test(size=SIZE) as pilot:
            await ask(pilot, "Who are you?")
            await answered(pilot, 1)
            assert "From the left." in seen(app)
            assert "From the right." in seen(app)
            await ask(pilot, "And now?")
            await answered(pilot, 2)
            assert [message["content"] for message in one.requests[1].json["messages"]] == [
                "Who are you?", "From the left.", "And now?",
            ]  # fmt: skip
            assert other.requests[1].json["messages"][1]["content"] == "From the right."
        assert not app.failures
    (kept,) = list_conversations(Workspace(tmp_path))
    turns = open_conversation(Workspace(tmp_path), kept.name).thread
    assert [turn.prompt for turn in turns] == ["Who are you?", "And now?"]
    assert turns[0].answer("left") is not None


async def test_a_new_conversation_waits_for_the_answers_asked_for_with_the_key_before_it(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        _, _, subject = await two(stack, [says("Once."), says("Twice.")], [says("Left."), says("Right.")])
        app = console_on(tmp_path, subject)
        async with app.run_test(size=SIZE) as pilot:
            await ask(pilot, "Who are you?")
            await answered(pilot, 1)
            await pilot.press("escape")
            for key in "rc":
                app.post_message(events.Key(key, key))
            await until_seen(pilot, "Twice.")
            assert "Who are you?" in seen(app)
        assert not app.failures


async def test_one_side_is_stopped_and_the_other_goes_on(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    async with AsyncExitStack() as stack:
        one, _, subject = await two(
            stack, [[SSE, piece("Begun"), asyncio.Event()]], [[SSE, piece("More"), go_on, piece(" to come"), DONE]]
        )
        app = console_on(tmp_path, subject)
        async with app.run_test(size=SIZE) as pilot:
            await ask(pilot, "Speak.")
            await until_seen(pilot, "Begun")
            await until_seen(pilot, "More")
            await pilot.press("escape", "x")
            await until_seen(pilot, "stopped")
            await asyncio.wait_for(one.gone.wait(), 30)
            assert set(chat(app).talk.coming) == {"right"}
            go_on.set()
            await until_seen(pilot, "More to come")
        assert not app.failures


async def test_escape_leaves_the_line_then_stops_both_and_never_the_screen(tmp_path: Path) -> None:
    never: list[Step] = [SSE, piece("Begun"), asyncio.Event()]
    async with AsyncExitStack() as stack:
        *_, subject = await two(stack, [never], [never])
        app = console_on(tmp_path, subject)
        async with app.run_test(size=SIZE) as pilot:
            await ask(pilot, "Speak.")
            await until(pilot, lambda: seen(app).count("Begun") == 2, "both")
            await pilot.press("escape")
            assert isinstance(app.focused, Column)
            assert len(chat(app).talk.coming) == 2
            await pilot.press("escape")
            await until(pilot, lambda: not chat(app).talk.answering, "the end")
            assert seen(app).count("stopped") == 2
            await pilot.press("escape")
            assert isinstance(app.screen, ChatScreen)
        assert not app.failures


async def test_a_side_that_fails_says_why_in_its_column_and_the_conversation_goes_on(tmp_path: Path) -> None:
    broken: list[Step] = [SSE, piece("It was fir"), b'data: {"error": {"message": "CUDA out of memory"}}\n\n']
    async with AsyncExitStack() as stack:
        *_, subject = await two(stack, [says("Fine.")], [broken, says("Here again.")])
        app = console_on(tmp_path, subject)
        async with app.run_test(size=SIZE) as pilot:
            await ask(pilot, "Who?")
            await until_seen(pilot, "failed")
            assert "It was fir" in seen(app)
            assert "CUDA out of memory" in seen(app)
            await pilot.press("escape", "tab")
            assert chat(app).here == "right"
            await pilot.press("R")
            await until_seen(pilot, "Here again.")
            assert "answer 2 of 2" in seen(app)
            await pilot.press("left_square_bracket")
            await until_seen(pilot, "CUDA out of memory")
        assert not app.failures


async def test_names_are_hidden_until_the_vote_and_known_again_afterwards(tmp_path: Path) -> None:
    secrets = ("#one", "#two", "/v1", "127.0.0.1")
    async with AsyncExitStack() as stack:
        *_, subject = await two(stack, [says("From the left.")], [says("From the right.")])
        app = console_on(tmp_path, subject)
        async with app.run_test(size=SIZE) as pilot:
            screen = await opened(pilot)
            await pilot.press("escape", "B")
            await ask(pilot, "Who are you?")
            await answered(pilot, 1)
            said = seen(app) + screen.plain_text() + "".join(notes(app)[1:])
            assert not [secret for secret in secrets if secret in said]
            assert "Which is better?" in seen(app)
            await pilot.press("escape", "1")
            await until_seen(pilot, "better")
            assert "two" in screen.plain_text()
            await pilot.press("w")
            await until(pilot, lambda: isinstance(app.screen, TextDialog), "why")
            await pilot.press(*"short", "ctrl+s")
            await until(pilot, lambda: app.screen is screen, "the chat")
            name = screen.talk.conversation.name
            await pilot.press("c")
            await until(pilot, lambda: not screen.talk.thread, "a new conversation")
            assert not [secret for secret in secrets if secret in seen(app)]
            await screen.take_up(open_conversation(Workspace(tmp_path), name))
            await until_seen(pilot, "better")
        assert not app.failures
    votes, _ = read_votes(Workspace(tmp_path))
    assert [(vote.blind, vote.reason) for vote in votes] == [(True, "short")]


async def test_another_question_instead_is_a_branch_and_nothing_is_lost(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        *_, subject = await two(stack, [says("One.")], [says("Two.")])
        app = console_on(tmp_path, subject)
        async with app.run_test(size=SIZE) as pilot:
            await ask(pilot, "First?")
            await answered(pilot, 1)
            await pilot.press("escape", "e")
            await until(pilot, lambda: isinstance(app.screen, TextDialog), "the question")
            await pilot.press(*"Yes", "ctrl+s")
            await until_seen(pilot, "First?Yes")
            await answered(pilot, 1)
            await pilot.press("left_curly_bracket")
            await until(pilot, lambda: "First?Yes" not in seen(app), "the branch before")
            await pilot.press("right_curly_bracket")
            await until_seen(pilot, "First?Yes")
        assert not app.failures


async def test_an_answer_is_copied_as_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "https://example.org/" + "path/" * 60
    copied: list[str] = []
    async with AsyncExitStack() as stack:
        *_, subject = await two(stack, [says(f"**See** {address}")], [says("Two.")])
        app = console_on(tmp_path, subject)
        async with app.run_test(size=SIZE) as pilot:
            await ask(pilot, "Where?")
            await answered(pilot, 1)
            posted = chat(app).post_message

            def post(message: object) -> bool:
                if isinstance(message, CopyText):
                    copied.append(message.text)
                    return True
                return posted(message)  # type: ignore[arg-type]

            monkeypatch.setattr(chat(app), "post_message", post)
            await pilot.press("escape", "y")
            await until(pilot, lambda: copied, "the copy")
        assert copied == [f"**See** {address}"]


async def test_a_question_that_cannot_be_kept_stays_in_the_line(tmp_path: Path) -> None:
    (tmp_path / "chats").write_text("no folder")
    async with AsyncExitStack() as stack:
        *_, subject = await two(stack, [says("One.")], [says("Two.")])
        app = console_on(tmp_path, subject)
        async with app.run_test(size=SIZE) as pilot:
            await ask(pilot, "Who?")
            await until(pilot, lambda: chat(app).failures, "the sentence")
            assert chat(app).failures[0].code != "bug"
            assert chat(app).query_one(Composer).text == "Who?"


async def test_sampling_is_a_form_that_refuses_what_cannot_be(tmp_path: Path) -> None:
    app = console(a_talk(("Who?", "Tolstoy.", "Tolstoi.")))
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("escape", "o")
        await until(pilot, lambda: isinstance(app.screen, Form), "the form")
        await pilot.press("ctrl+t", "end", "x", "enter")
        await until_seen(pilot, "temperature is a number")
        await pilot.press("backspace", "down", "down", "down", "ctrl+u", *"64", "enter")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen), "the chat")
        assert chat(app).talk.sampling["right"] == Sampling(0.2, 0.9, None, 64)
    assert not app.failures


async def test_models_of_lm_studio_are_loaded_and_unloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with lmstudio("") as there:
        monkeypatch.setenv("FTCONSOLE_LMSTUDIO", there.origin)
        app = console(a_talk(("Who?", "Tolstoy.", "Tolstoi.")))
        async with app.run_test(size=SIZE) as pilot:
            await settled(pilot)
            await pilot.press("escape", "M")
            await until(pilot, lambda: isinstance(app.screen, Chooser), "the list")
            await until_seen(pilot, "tokens")
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, Confirm) or "is loaded" in "".join(notes(app)), "an end")
            if isinstance(app.screen, Confirm):
                await pilot.press("y")
                await until(pilot, lambda: "is unloaded" in "".join(notes(app)), "the unloading")
        assert not app.failures
    monkeypatch.setenv("FTCONSOLE_LMSTUDIO", "http://127.0.0.1:9")
    app = console(a_talk())
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("escape", "M")
        await until(pilot, lambda: chat(app).failures, "the sentence")
        assert chat(app).failures[0].code != "bug"


async def test_an_open_chat_takes_another_pair_instead_of_a_second_screen(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one, other, subject = await two(stack, [says("One.")], [says("Two.")])
        app = console_on(tmp_path, subject)
        async with app.run_test(size=SIZE) as pilot:
            await opened(pilot)
            app.post_message(OpenScreen("chat", f"{other.url}#two\n{one.url}#one"))
            await until(pilot, lambda: chat(app).talk.names.get("left", "").startswith("two"), "the other pair")
            assert sum(isinstance(screen, ChatScreen) for screen in app.screen_stack) == 1
        assert not app.failures


async def test_what_is_asked_while_another_model_is_found_is_answered_by_that_one_and_bears_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = threading.Event()

    def slowly(*given: Any) -> Any:
        assert found.wait(60)
        return pair_of(*given)

    async with AsyncExitStack() as stack:
        one, other, subject = await two(stack, [says("One.")], [says("Two.")])
        third = await stack.enter_async_context(scripted(says("Three.")))
        app = console_on(tmp_path, subject)
        async with app.run_test(size=SIZE) as pilot:
            await opened(pilot)
            monkeypatch.setattr("screens.chat.screen.pair_of", slowly)
            chat(app).change_pair(f"{third.url}#three", f"{other.url}#two")
            await ask(pilot, "Who?")
            await until(pilot, lambda: chat(app).talk.answering, "the question")
            found.set()
            await answered(pilot, 1)
            left = chat(app).talk.thread[0].answer("left")
            assert left is not None
            assert (left.text, left.model.partition(" ")[0]) == ("Three.", "three")
            assert not one.requests
        assert not app.failures


async def test_two_hundred_turns_are_laid_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    talk = a_talk(*[(f"Question {number}?", "An answer. " * 30, "Another. " * 40) for number in range(200)])
    laid_out: list[int] = []
    lay_out = Column._turn_rows

    def counted(self: Column, talk: Talk, turn: Turn, width: int) -> list[list[Piece]]:
        laid_out.append(turn.id)
        return lay_out(self, talk, turn, width)

    monkeypatch.setattr(Column, "_turn_rows", counted)
    app = console(talk)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await until(pilot, lambda: all(column.whole for column in app.screen.query(Column)), "every turn")
        assert len(laid_out) <= 800
        talk.conversation.read({"kind": "turn", "seq": 201, "after": 200, "prompt": "The last?"})
        talk.coming = {"left": coming(201, "left", "It grows"), "right": coming(201, "right", "too")}
        chat(app).show_talk()
        laid_out.clear()
        for _ in range(20):
            talk.coming["left"].take(" and grows", 0.0)
            chat(app).show_talk()
        assert len(laid_out) == 40
        await pilot.press("escape", "g")
        assert "Question 0?" in seen(app)
        await pilot.press("j")
        left, right = app.screen.query(Column)
        assert (left.scroll_y, right.scroll_y) == (1, 1)


async def test_a_scroll_bar_that_comes_and_goes_does_not_change_where_lines_break(tmp_path: Path) -> None:
    talk = a_talk(("Short?", "Yes.", "No."))
    app = console(talk)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        columns = app.screen.query(Column)
        widths = [column.scrollable_content_region.width for column in columns]
        talk.conversation.read({"kind": "turn", "seq": 2, "after": 1, "prompt": "What is it? " * 300})
        chat(app).show_talk()
        await until(pilot, lambda: all(column.show_vertical_scrollbar for column in columns), "the scroll bars")
        assert [column.scrollable_content_region.width for column in columns] == widths


@pytest.mark.usefixtures("real_commands")
async def test_two_sides_of_the_built_in_model_in_a_process_of_their_own_that_may_be_killed(tmp_path: Path) -> None:
    app = console_on(tmp_path, "tiny\ntiny")
    async with app.run_test(size=SIZE) as pilot:
        screen = await opened(pilot)
        await ask(pilot, "Who wrote War and Peace?")
        await until(pilot, lambda: screen.talk.to_vote() or isinstance(app.screen, Confirm), "both answers")
        if isinstance(app.screen, Confirm):  # something else has taken the memory of this machine
            await pilot.press("y")
            await until(pilot, lambda: screen.talk.to_vote(), "both answers")
        assert "Tolstoy" in seen(app)
        worker = next(one for one in psutil.Process().children() if "engine.chat.worker" in " ".join(one.cmdline()))
        os.kill(worker.pid, signal.SIGSTOP)  # so that it is sure to be in the middle
        await ask(pilot, "And who wrote Emma?")
        await until(pilot, lambda: len(screen.talk.coming) == 2, "the question")
        os.kill(worker.pid, signal.SIGKILL)
        await until(pilot, lambda: not screen.talk.answering, "the end")
        assert seen(app).count("failed") == 2
    assert not app.failures
