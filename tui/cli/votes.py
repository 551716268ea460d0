"""`ftconsole chats`, `vote` and `votes`: conversations as they were kept, and which answers were better."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from engine.chat.asking import SIDES, Side
from engine.chat.chat_files import list_conversations, open_conversation
from engine.chat.conversation import Answer, Conversation, Turn
from engine.chat.votes import (
    HIDDEN_FAILURE,
    VERDICTS,
    Tally,
    Verdict,
    cast_vote,
    column,
    export_votes,
    is_swapped,
    read_votes,
    tallies,
    vote_on,
)
from engine.errors import NotFound, UsageError
from engine.workspace import Workspace, named_path
from tui.cli import output
from tui.cli.table import table
from tui.display import for_terminal, plain

_PLACES = {"a": "left", "b": "right"}


def chats(workspace: str | None, name: str | None, *, as_json: bool) -> int:
    """Print the list of conversations, or one of them.

    Raises:
        EngineError: There is none of that name, or it cannot be read.
    """
    place = Workspace.find(workspace)
    if name is not None:
        conversation = open_conversation(place, name)
        if as_json:
            output.emit(_as_dict(conversation))
        else:
            _print(conversation)
        return 0
    found = list_conversations(place)
    if as_json:
        output.emit([{**asdict(one), "path": str(one.path), **_hidden(one.blind)} for one in found])
        return 0
    if not found:
        output.note("There are no conversations yet. `ftconsole chat` makes one.")
        return 0
    rows = [
        [
            plain(one.name, limit=100),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(one.changed)),
            "?" if one.blind else plain(one.left, limit=60),
            "?" if one.blind else plain(one.right, limit=60),
            plain(one.title, limit=80),
        ]
        for one in found
    ]
    table(("CHAT", "CHANGED", "LEFT", "RIGHT", "BEGINS"), rows)
    return 0


def vote(workspace: str | None, name: str, number: int, verdict: str, *, reason: str, as_json: bool) -> int:
    """Cast a vote and say whose the answers were.

    Raises:
        EngineError: There is no such conversation or turn, nothing to compare, or that is no verdict.
    """
    place = Workspace.find(workspace)
    conversation = open_conversation(place, name)
    if number not in conversation.turns:
        known = ", ".join(str(turn) for turn in list(conversation.turns)[-5:])
        raise NotFound(f"{conversation.name} has no turn {number}.", remedy=f"The last ones are {known}.")
    made = cast_on(place, conversation, conversation.turns[number], verdict, reason=reason)
    if as_json:
        output.emit({**asdict(made), "shown": _shown_models(conversation, number)})
    else:
        output.out(revealed(conversation, number, made.verdict))
    return 0


def cast_on(place: Workspace, conversation: Conversation, turn: Turn, verdict: str, *, reason: str = "") -> Any:
    """Keep a vote and return it.

    Raises:
        EngineError: As `vote`.
    """
    meant = _PLACES.get(verdict, verdict)
    if meant not in VERDICTS:
        raise UsageError(
            f"{verdict[:40]!r} is no verdict.", remedy="left or a, right or b, tie, or both-bad; as the answers stood."
        )
    made = vote_on(conversation, turn, meant, reason=reason)
    cast_vote(place, made)
    return made


def revealed(conversation: Conversation, turn: int, verdict: Verdict) -> str:
    """Return the sentence that says whose the answers were, cleaned."""
    models = {shown: plain(name, limit=120) for shown, name in _shown_models(conversation, turn).items()}
    answers = [conversation.turns[turn].answer(side) for side in SIDES]
    winner = next((a.model for a, side in zip(answers, SIDES, strict=True) if a is not None and side == verdict), None)
    said = {"tie": "A tie.", "both-bad": "Both bad."}.get(verdict, f"For {plain(winner or '', limit=120)}.")
    return f"{said} A was {models['left']}, B was {models['right']}."


def votes(workspace: str | None, *, export: str | None, force: bool, as_json: bool) -> int:
    """Print what the votes add up to, and write them as preference rows where that is asked for.

    Raises:
        EngineError: They cannot be read, or the file cannot be written.
    """
    place = Workspace.find(workspace)
    found, unreadable = read_votes(place)
    summed = tallies(found)
    done = export_votes(found, named_path(export), overwrite=force) if export is not None else None
    if as_json:
        written = None
        if done is not None:
            written = {"path": str(done.path), "num_rows": done.num_rows, "left_out": dict(done.left_out)}
        output.emit({"tallies": [each.as_dict() for each in summed], "unreadable": unreadable, "exported": written})
        return 0
    if not found:
        output.note("There are no votes yet. `ftconsole vote CHAT TURN VERDICT` casts one.")
    elif done is None:
        heads = ("A", "B", "CATEGORY", "A WINS", "B WINS", "TIES", "BAD", "A WIN RATE")
        table(heads, [_cells(each) for each in summed], right=heads[3:7])
        output.note("Win rate: of the votes that prefer one; in brackets Wilson's 95 % interval.")
    if unreadable:
        output.note(f"{unreadable} lines of chats/votes.jsonl cannot be read and are not counted.", style="warning")
    if done is not None:
        output.out(f"{done.num_rows} preference rows written to {plain(str(done.path))}.", style="good")
        for reason, count in done.left_out.items():
            output.note(f"  left out: {count}, {reason}")
    return 0


def _cells(tally: Tally) -> list[str]:
    share = tally.share
    rate = "-"
    if share.total:
        low, high = share.interval
        rate = f"{share.value:.0%} ({low:.0%} to {high:.0%})"
    return [
        plain(tally.a, limit=60),
        plain(tally.b, limit=60),
        "all" if tally.category is None else plain(tally.category, limit=40),
        str(tally.a_wins),
        str(tally.b_wins),
        str(tally.ties),
        str(tally.both_bad),
        rate,
    ]


def _shown_models(conversation: Conversation, turn: int) -> dict[Side, str]:
    """Return which model's answer stood where."""
    seed = conversation.blind_seed
    swapped = seed is not None and is_swapped(seed, turn)
    found: dict[Side, str] = {}
    for shown in SIDES:
        answer = conversation.turns[turn].answer(column(shown, swapped=swapped))
        found[shown] = answer.model if answer is not None else ""
    return found


def _hidden(blind: bool) -> dict[str, None]:
    return {"left": None, "right": None} if blind else {}


def _as_dict(conversation: Conversation) -> dict[str, Any]:
    """Return a conversation for JSON. Of a blind one no model is named: `vote` does that."""
    blind = conversation.blind_seed is not None
    return {
        "name": conversation.name,
        "left": None if blind else conversation.models["left"],
        "right": None if blind else conversation.models["right"],
        "blind": blind,
        "system": dict(conversation.system),
        "head": conversation.head,
        "left_out": conversation.left_out,
        "turns": [
            {
                "turn": turn.id,
                "after": turn.after,
                "prompt": turn.prompt,
                "category": turn.category,
                "answers": {shown: _answer(conversation, turn, shown, blind=blind) for shown in SIDES},
            }
            for turn in conversation.turns.values()
        ],
    }


def _answer(conversation: Conversation, turn: Turn, shown: Side, *, blind: bool) -> dict[str, Any] | None:
    answer = _standing(conversation, turn, shown)
    if answer is None:
        return None
    return {"text": answer.text, "reason": answer.reason} if blind else asdict(answer)


def _standing(conversation: Conversation, turn: Turn, shown: Side) -> Answer | None:
    seed = conversation.blind_seed
    return turn.answer(column(shown, swapped=seed is not None and is_swapped(seed, turn.id)))


def _print(conversation: Conversation) -> None:
    blind = conversation.blind_seed is not None
    if not blind:
        output.note(f"left: {plain(conversation.models['left'])}, right: {plain(conversation.models['right'])}")
    for turn in conversation.turns.values():
        output.out(f"[{turn.id}] {for_terminal(turn.prompt)}", style="bold")
        for shown in SIDES:
            answer = _standing(conversation, turn, shown)
            name = {"left": "A", "right": "B"}[shown] if blind else shown
            output.out(f"-- {name}", style="dim")
            if answer is not None:
                output.out(answer.text)
                if answer.error is not None:
                    output.out(f"error: {HIDDEN_FAILURE if blind else answer.error.get('message', '')}", style="error")
        output.out()
    if conversation.left_out:
        output.note(f"{conversation.left_out} lines of its file cannot be read.", style="warning")
