"""Conversations: turns, branches, several answers, and what a file brings back."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from engine.chat.asking import SIDES, AnswerFailed, AnswerFinished, Message, Sampling
from engine.chat.chat_files import list_conversations, new_conversation, open_conversation
from engine.chat.conversation import Answer, Conversation
from engine.errors import DiskFull, EngineError, InvalidName, NotFound, OutOfMemory, UsageError, WorkspaceError
from engine.workspace import Workspace

SAMPLING = Sampling()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def roles(conversation: Conversation, turn: int | None = None) -> list[tuple[str, str]]:
    return [(each.role, each.content) for each in conversation.question("left", SAMPLING, turn=turn).messages]


def answered(conversation: Conversation, prompt: str, left: str, right: str) -> int:
    turn = conversation.say(prompt).id
    conversation.take(turn, "left", Answer(left, "base", "stop"))
    conversation.take(turn, "right", Answer(right, "voice-1", "stop"))
    return turn


def again(conversation: Conversation, workspace: Workspace) -> Conversation:
    """Return it as another process would see it."""
    opened = open_conversation(workspace, conversation.name)
    assert opened.turns == conversation.turns
    assert opened.head == conversation.head
    assert opened.models == conversation.models
    assert opened.system == conversation.system
    assert opened.blind_seed == conversation.blind_seed
    assert opened.left_out == 0
    return opened


def test_each_side_is_asked_with_its_own_past(workspace: Workspace) -> None:
    talk = new_conversation(workspace, "base", "voice-1", system="Be brief.")
    answered(talk, "Hello?", "Hi.", "Good day.")
    talk.say("And you?")
    assert roles(talk) == [("system", "Be brief."), ("user", "Hello?"), ("assistant", "Hi."), ("user", "And you?")]
    assert [each.content for each in talk.question("right", SAMPLING).messages][2] == "Good day."
    again(talk, workspace)


def test_nothing_is_written_before_something_is_said(workspace: Workspace) -> None:
    talk = new_conversation(workspace, "base", "voice-1")
    assert not talk.path.parent.exists()
    talk.say("Hello?")
    assert stat.S_IMODE(talk.path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(talk.path.stat().st_mode) == 0o600


def test_a_changed_question_is_a_branch_and_the_old_one_stays(workspace: Workspace) -> None:
    talk = new_conversation(workspace, "base", "voice-1")
    first = answered(talk, "One?", "1", "1")
    second = answered(talk, "Two?", "2", "2")
    changed = talk.edit(second, "Three?")
    assert [turn.prompt for turn in talk.thread] == ["One?", "Three?"]
    assert [turn.prompt for turn in talk.branches(changed.id)] == ["Two?", "Three?"]
    talk.go_to(talk.newest_below(second))
    assert [turn.prompt for turn in talk.thread] == ["One?", "Two?"]
    talk.go_to(first)
    talk.say("Four?")
    assert [turn.prompt for turn in again(talk, workspace).thread] == ["One?", "Four?"]
    talk.go_to(None)
    assert again(talk, workspace).thread == ()


def test_a_regenerated_answer_counts_and_the_first_can_be_chosen_again(workspace: Workspace) -> None:
    talk = new_conversation(workspace, "base", "voice-1")
    turn = answered(talk, "One?", "first", "x")
    talk.take(turn, "left", Answer("second", "base", "stop"))
    talk.say("Two?")
    assert roles(talk)[1] == ("assistant", "second")
    talk.show(turn, "left", 0)
    assert roles(again(talk, workspace))[1] == ("assistant", "first")
    with pytest.raises(UsageError):
        talk.show(turn, "left", 2)


def test_words_can_be_put_into_a_sides_mouth(workspace: Workspace) -> None:
    talk = new_conversation(workspace, "base", "voice-1")
    turn = answered(talk, "One?", "as said", "x")
    answer = talk.edit_answer(turn, "left", "as wished")
    assert answer.reason == "edited"
    talk.say("Two?")
    opened = again(talk, workspace)
    assert roles(opened)[1] == ("assistant", "as wished")
    assert [each.text for each in opened.turns[turn].answers["left"]] == ["as said", "as wished"]


def test_a_side_without_an_answer_is_not_asked_two_questions_in_a_row(workspace: Workspace) -> None:
    talk = new_conversation(workspace, "base", "voice-1")
    turn = talk.say("One?")
    failed = AnswerFailed("left", OutOfMemory("No memory.", remedy="Less."))
    talk.take_said(turn.id, "", failed, SAMPLING)
    finished = AnswerFinished("right", "stop", 3, 5, 0.1, 20.0)
    talk.take_said(turn.id, "Yes.", finished, SAMPLING)
    talk.say("Two?")
    opened = again(talk, workspace)
    assert roles(opened) == [("user", "Two?")]
    assert len(opened.question("right", SAMPLING).messages) == 3
    left, right = (opened.turns[turn.id].answer(side) for side in SIDES)
    assert left is not None
    assert left.error == {"code": "out-of-memory", "message": "No memory.", "remedy": "Less."}
    assert right is not None
    assert (right.num_tokens, right.prompt_tokens, right.tokens_per_second) == (3, 5, 20.0)
    assert right.sampling is not None
    assert right.sampling["temperature"] == 0.7


def test_system_prompts_and_models_change_from_the_next_question_on(workspace: Workspace) -> None:
    talk = new_conversation(workspace, "base", "voice-1", system="Both.")
    answered(talk, "One?", "1", "1")
    talk.set_system("Right only.", "right")
    talk.set_model("left", "voice-1@50")
    talk.say("Two?")
    opened = again(talk, workspace)
    assert opened.system == {"left": "Both.", "right": "Right only."}
    assert opened.models == {"left": "voice-1@50", "right": "voice-1"}
    talk.set_system("")
    assert roles(talk)[0] == ("user", "One?")


def test_an_example_of_a_suite_brings_its_own_past(workspace: Workspace) -> None:
    talk = new_conversation(workspace, "base", "voice-1")
    before = (Message("system", "Be kind."), Message("user", "a"), Message("assistant", "b"))
    turn = talk.begin("c", category="manners", before=before)
    assert roles(talk) == [("system", "Be kind."), ("user", "a"), ("assistant", "b"), ("user", "c")]
    talk.set_system("Be brief.")
    assert roles(again(talk, workspace))[0] == ("system", "Be brief.")
    assert talk.turns[turn.id].category == "manners"
    talk.begin("d")
    assert [each.prompt for each in talk.thread] == ["d"]


def test_two_hundred_turns_come_back(workspace: Workspace) -> None:
    talk = new_conversation(workspace, "base", "voice-1")
    for number in range(200):
        answered(talk, f"{number}?", f"left {number}", f"right {number}\n\x1b[2J[@click=app.quit]x[/]")
    assert len(again(talk, workspace).thread) == 200


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_torn_tail_costs_one_line_and_writing_goes_on(workspace: Workspace, cut: int) -> None:
    talk = new_conversation(workspace, "base", "voice-1")
    turn = answered(talk, "One?", "1", "an answer that is cut off")
    talk.close()
    talk.path.write_bytes(talk.path.read_bytes()[:-cut])
    opened = open_conversation(workspace, talk.name)
    assert opened.turns[turn].answer("left") is not None
    lost = opened.turns[turn].answer("right") is None
    assert opened.left_out == lost
    opened.take(turn, "right", Answer("again", "voice-1", "stop"))
    newest = open_conversation(workspace, talk.name).turns[turn].answer("right")
    assert newest is not None
    assert newest.text == "again"


def test_two_consoles_may_write_to_one_conversation(workspace: Workspace) -> None:
    talk = new_conversation(workspace, "base", "voice-1")
    first = talk.say("One?")
    other = open_conversation(workspace, talk.name)
    ids = {first.id, talk.say("Here?").id, other.say("There?").id, talk.say("Here again?").id}
    assert len(ids) == 4
    opened = open_conversation(workspace, talk.name)
    assert set(opened.turns) == ids
    assert opened.left_out == 0


def test_lines_of_others_are_passed_over_and_counted(workspace: Workspace) -> None:
    talk = new_conversation(workspace, "base", "voice-1")
    answered(talk, "One?", "1", "1")
    talk.close()
    bad = [
        b"garbage",
        b"[1]",
        b'{"kind": "answer", "turn": 99, "side": "left", "answer": {"text": "x", "model": "m", "reason": "stop"}}',
        b'{"kind": "answer", "turn": 2, "side": "middle", "answer": {}}',
        b'{"kind": "turn", "after": 77, "prompt": "x", "seq": 50}',
        b'{"kind": "shown"}',
        b"{" * 5_000,
    ]
    with talk.path.open("ab") as file:
        file.write(b"\n".join(bad) + b"\n" + b'{"kind": "of a later version"}\n')
    opened = open_conversation(workspace, talk.name)
    assert opened.left_out == len(bad)
    assert opened.turns == talk.turns


def test_the_list_has_the_last_changed_first(workspace: Workspace) -> None:
    assert list_conversations(workspace) == []
    first = new_conversation(workspace, "base", "voice-1")
    first.say("What  is\nit?")
    second = new_conversation(workspace, "base", "voice-2", blind_seed=3)
    assert second.name != first.name
    second.say("x" * 500)
    second.set_model("right", "voice-3")
    first.path.with_name("votes.jsonl").write_text("{}\n")
    first.path.with_name("other.jsonl").write_text("nothing of ours\n")
    lines = [json.loads(line) for line in first.path.read_text().splitlines()]
    first.path.write_text("".join(json.dumps({**line, "time": 5.0}) + "\n" for line in lines))
    found = list_conversations(workspace)
    assert [each.name for each in found] == [second.name, first.name]
    assert found[1].title == "What is it?"
    assert (found[0].left, found[0].right, found[0].blind) == ("base", "voice-3", True)
    assert len(found[0].title) == 120


@pytest.mark.parametrize("name", ["", "..", "../runs/x", "/etc/passwd", "a/b", "-rf", ".hidden", "a\0b"])
def test_no_name_leads_out_of_the_folder(workspace: Workspace, name: str) -> None:
    with pytest.raises(InvalidName):
        open_conversation(workspace, name)


def test_what_is_not_there_or_none_of_ours_is_told(workspace: Workspace) -> None:
    with pytest.raises(NotFound, match="no conversation"):
        open_conversation(workspace, "nothing")
    (workspace.path / "chats").mkdir()
    (workspace.path / "chats" / "notes.jsonl").write_text("hello\n")
    with pytest.raises(WorkspaceError, match="no conversation of ours"):
        open_conversation(workspace, "notes")
    with pytest.raises(NotFound):
        open_conversation(workspace, "votes")


def test_an_answer_that_cannot_be_written_is_kept_in_memory(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = new_conversation(workspace, "base", "voice-1")
    turn = talk.say("One?")

    def full(*_: object, **__: object) -> int:
        raise DiskFull("No room.")

    monkeypatch.setattr("engine.journal.Journal.append", full)
    with pytest.raises(EngineError):
        talk.take(turn.id, "left", Answer("kept", "base", "stop"))
    answer = talk.turns[turn.id].answer("left")
    assert answer is not None
    assert answer.text == "kept"


def test_an_empty_question_is_refused(workspace: Workspace) -> None:
    talk = new_conversation(workspace, "base", "voice-1")
    with pytest.raises(UsageError):
        talk.say("  \n")
    with pytest.raises(UsageError):
        talk.question("left", SAMPLING)
    assert not talk.path.exists()
