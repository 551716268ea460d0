"""Blind votes: shuffling, what they add up to, and rows that training reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.chat.chat_files import new_conversation
from engine.chat.conversation import Answer, Conversation
from engine.chat.votes import (
    VERDICTS,
    Verdict,
    cast_vote,
    column,
    export_votes,
    is_swapped,
    preference_rows,
    read_votes,
    tallies,
    vote_on,
)
from engine.data.row import Row
from engine.data.rows import read_rows, recognise_file
from engine.errors import DataError, UsageError
from engine.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def ask(talk: Conversation, prompt: str, *, category: str = "", left: str = "L", right: str = "R") -> int:
    turn = talk.begin(prompt, category=category).id
    talk.take(turn, "left", Answer(left, talk.models["left"], "stop"))
    talk.take(turn, "right", Answer(right, talk.models["right"], "stop"))
    return turn


def vote(workspace: Workspace, talk: Conversation, turn: int, verdict: Verdict, **more: str) -> None:
    cast_vote(workspace, vote_on(talk, talk.turns[turn], verdict, **more))


def test_sides_are_shuffled_by_seed_and_turn_and_evenly() -> None:
    swaps = [is_swapped(7, turn) for turn in range(1_000)]
    assert swaps == [is_swapped(7, turn) for turn in range(1_000)]
    assert swaps != [is_swapped(8, turn) for turn in range(1_000)]
    assert 450 < sum(swaps) < 550
    assert column("left", swapped=False) == "left"
    assert column("left", swapped=True) == "right"


def test_a_blind_vote_is_for_what_stood_there(workspace: Workspace) -> None:
    talk = new_conversation(workspace, "base", "voice-1", blind_seed=1)
    turns = [ask(talk, f"{number}?") for number in range(8)]
    for turn in turns:
        vote(workspace, talk, turn, "left", reason="  shorter \n and better ")
    votes, unreadable = read_votes(workspace)
    assert unreadable == 0
    assert [each.verdict for each in votes] == ["right" if is_swapped(1, turn) else "left" for turn in turns]
    assert {each.verdict for each in votes} == {"left", "right"}
    assert all(each.blind and each.seed == 1 and each.reason == "shorter and better" for each in votes)
    assert [each.swapped for each in votes] == [is_swapped(1, turn) for turn in turns]


def test_votes_add_up_per_pair_and_category_whichever_column_a_model_was_in(workspace: Workspace) -> None:
    one = new_conversation(workspace, "base", "voice-1")
    for verdict, category in [("right", "art"), ("right", "law"), ("left", "art"), ("tie", "law"), ("both-bad", "")]:
        vote(workspace, one, ask(one, f"{verdict} {category}?", category=category), verdict)  # type: ignore[arg-type]
    other = new_conversation(workspace, "voice-1", "base", blind_seed=5)
    vote(workspace, other, turn := ask(other, "again?"), "right" if is_swapped(5, turn) else "left")
    third = new_conversation(workspace, "base", "voice-2")
    vote(workspace, third, ask(third, "x?"), "left")
    found = {(each.a, each.b, each.category): each for each in tallies(read_votes(workspace)[0])}
    assert list(found) == [
        ("base", "voice-1", None),
        ("base", "voice-1", "art"),
        ("base", "voice-1", "law"),
        ("base", "voice-2", None),
    ]
    both = found["base", "voice-1", None]
    assert (both.a_wins, both.b_wins, both.ties, both.both_bad, both.total, both.num_blind) == (1, 3, 1, 1, 6, 1)
    law = found["base", "voice-1", "law"]
    assert (law.a_wins, law.b_wins, law.ties) == (0, 1, 1)


def test_the_interval_is_wilsons_over_votes_that_prefer_one(workspace: Workspace) -> None:
    talk = new_conversation(workspace, "base", "voice-1")
    for number in range(10):
        vote(workspace, talk, ask(talk, f"{number}?"), "left" if number < 8 else "right")
    for number in range(5):
        vote(workspace, talk, ask(talk, f"tie {number}?"), "tie")
    (tally,) = tallies(read_votes(workspace)[0])
    said = tally.as_dict()
    assert said["a_win_rate"] == 0.8
    # Wilson's interval at 95 % of 8 of 10, as R's prop.test(8, 10, correct=FALSE) prints it.
    assert said["interval"] == pytest.approx([0.4901625, 0.9433178], abs=1e-6)
    assert (said["ties"], said["total"], said["interval_method"]) == (5, 15, "wilson-95")


def test_a_pair_without_a_preference_has_no_rate(workspace: Workspace) -> None:
    talk = new_conversation(workspace, "base", "voice-1")
    vote(workspace, talk, ask(talk, "x?"), "tie")
    (tally,) = tallies(read_votes(workspace)[0])
    assert (tally.as_dict()["a_win_rate"], tally.as_dict()["interval"]) == (None, None)


def test_a_later_vote_on_the_same_answers_counts(workspace: Workspace) -> None:
    talk = new_conversation(workspace, "base", "voice-1")
    turn = ask(talk, "x?")
    for verdict in VERDICTS:
        vote(workspace, talk, turn, verdict)
    assert [each.verdict for each in read_votes(workspace)[0]] == ["both-bad"]
    talk.take(turn, "left", Answer("another", "base", "stop"))
    vote(workspace, talk, turn, "left")
    assert [each.verdict for each in read_votes(workspace)[0]] == ["both-bad", "left"]


def test_a_verdict_that_is_changed_once_names_were_shown_was_not_blind(workspace: Workspace) -> None:
    talk = new_conversation(workspace, "base", "voice-1", blind_seed=1)
    kept, changed = ask(talk, "x?"), ask(talk, "y?")
    for turn in (kept, changed):
        vote(workspace, talk, turn, "left")
    vote(workspace, talk, kept, "left", reason="shorter")
    vote(workspace, talk, changed, "right")
    vote(workspace, talk, changed, "right", reason="longer")
    votes, _ = read_votes(workspace)
    assert [(each.turn, each.reason, each.blind) for each in votes] == [
        (kept, "shorter", True),
        (changed, "longer", False),
    ]


def test_an_answer_that_the_user_wrote_wins_nothing_for_its_model(workspace: Workspace) -> None:
    talk = new_conversation(workspace, "base", "voice-1")
    turn = ask(talk, "x?")
    talk.edit_answer(turn, "right", "what it should have said")
    vote(workspace, talk, turn, "right")
    (tally,) = tallies(read_votes(workspace)[0])
    assert (tally.a, tally.b, tally.b_wins) == ("base", "voice-1 (edited)", 1)


def test_one_model_asked_in_two_ways_is_compared_by_column(workspace: Workspace) -> None:
    talk = new_conversation(workspace, "voice-1", "voice-1")
    for number in range(3):
        vote(workspace, talk, ask(talk, f"{number}?"), "right")
    (tally,) = tallies(read_votes(workspace)[0])
    assert (tally.a, tally.b, tally.a_wins, tally.b_wins) == ("voice-1 (left)", "voice-1 (right)", 0, 3)


def test_there_is_nothing_to_vote_on_without_two_answers(workspace: Workspace) -> None:
    talk = new_conversation(workspace, "base", "voice-1")
    turn = talk.begin("x?").id
    talk.take(turn, "left", Answer("L", "base", "stop"))
    with pytest.raises(UsageError, match="no two answers"):
        vote(workspace, talk, turn, "left")
    talk.take(turn, "right", Answer("", "voice-1", "error", error={"code": "endpoint"}))
    with pytest.raises(UsageError, match="no two answers"):
        vote(workspace, talk, turn, "left")
    talk.take(turn, "right", Answer("R", "voice-1", "stop"))
    with pytest.raises(UsageError, match="no verdict"):
        vote(workspace, talk, turn, "middle")  # type: ignore[arg-type]


def test_votes_become_rows_that_are_read_as_preferences(workspace: Workspace, tmp_path: Path) -> None:
    talk = new_conversation(workspace, "base", "voice-1", system="Be brief.")
    turn = talk.say("Hello?").id
    for side, text in (("left", "Hi."), ("right", "Hey.")):
        talk.take(turn, side, Answer(text, talk.models[side], "stop"))  # type: ignore[arg-type, index]
    turn = talk.say("And?", category="manners").id
    for side, text in (("left", "So so."), ("right", "[link=x]Fine.\x1b[2J")):
        talk.take(turn, side, Answer(text, talk.models[side], "stop"))  # type: ignore[arg-type, index]
    vote(workspace, talk, turn, "right", reason="kinder")
    vote(workspace, talk, ask(talk, "t?"), "tie")
    vote(workspace, talk, ask(talk, "b?"), "both-bad")
    vote(workspace, talk, ask(talk, "s?", left="same", right="same"), "left")
    vote(workspace, talk, ask(talk, "e?", left=" "), "right")
    done = export_votes(read_votes(workspace)[0], path := tmp_path / "prefs.jsonl")
    assert (done.num_rows, sum(done.left_out.values())) == (1, 4)
    assert set(done.left_out) == {"a tie", "both answers bad", "both answers the same", "an empty answer"}
    assert recognise_file(path).kind == "preference"
    (row,) = read_rows(path)
    assert isinstance(row, Row)
    assert row.prompt == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello?"},
        {"role": "assistant", "content": "Hey."},
        {"role": "user", "content": "And?"},
    ]
    assert row.completion == [{"role": "assistant", "content": "[link=x]Fine.\x1b[2J"}]
    assert row.rejected == [{"role": "assistant", "content": "So so."}]
    assert row.metadata["category"] == "manners"
    with pytest.raises(UsageError, match="there already"):
        export_votes(read_votes(workspace)[0], path)


def test_without_a_preference_nothing_is_written(workspace: Workspace, tmp_path: Path) -> None:
    talk = new_conversation(workspace, "base", "voice-1")
    vote(workspace, talk, ask(talk, "t?"), "tie")
    with pytest.raises(DataError, match="1 a tie"):
        export_votes(read_votes(workspace)[0], tmp_path / "prefs.jsonl")
    assert list(tmp_path.glob("prefs*")) == []
    assert preference_rows(()) == ([], {})


@pytest.mark.parametrize(
    "line", [b"garbage", b"[]", b'{"verdict": "best"}', b'{"verdict": "left", "models": 3}', b"{" * 5_000]
)
def test_a_line_that_is_no_vote_is_counted_and_costs_nothing_else(workspace: Workspace, line: bytes) -> None:
    talk = new_conversation(workspace, "base", "voice-1")
    vote(workspace, talk, ask(talk, "x?"), "left")
    with (workspace.path / "chats" / "votes.jsonl").open("ab") as file:
        file.write(line + b"\n")
    vote(workspace, talk, ask(talk, "y?"), "right")
    votes, unreadable = read_votes(workspace)
    assert ([each.verdict for each in votes], unreadable) == (["left", "right"], 1)


def test_no_votes_are_none(workspace: Workspace) -> None:
    found: Any = read_votes(workspace)
    assert found == ((), 0)
