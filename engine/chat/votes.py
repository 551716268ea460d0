"""Which answer was better, without knowing whose it was: shuffled sides, votes, what they add up to, rows for DPO.

Votes are lines of `chats/votes.jsonl`. Each holds all it needs, question and both answers included, so conversations
can be deleted. Models are those that answered, whichever side they were on.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from engine.chat.asking import SIDES, Message, Sampling, Side
from engine.chat.chat_files import VOTES
from engine.chat.conversation import CHATS, Answer, Conversation, Turn, make_folder
from engine.errors import DataError, UsageError, WorkspaceError
from engine.evaluation.temporal import Share
from engine.journal import Journal
from engine.workspace import Workspace

Verdict: TypeAlias = Literal["left", "right", "tie", "both-bad"]
VERDICTS: tuple[Verdict, ...] = ("left", "right", "tie", "both-bad")
HIDDEN_FAILURE = "It failed. Why is not said while names are hidden: it would name the model."
_EDITED = " (edited)"


@dataclass(frozen=True, slots=True)
class Vote:
    """One judgement of one pair of answers."""

    verdict: Verdict
    """By column of the conversation, never by where the answer stood on the screen."""
    models: Mapping[Side, str]
    """Those that answered; an answer that the user changed is told apart from what its model said."""
    answers: Mapping[Side, str]
    messages: tuple[Message, ...]
    """What the preferred side was asked, the system prompt and its own earlier answers included; the left one where
    neither is preferred."""
    conversation: str
    turn: int
    category: str = ""
    reason: str = ""
    blind: bool = False
    """Whether names and sides were hidden when it was cast. They were known when a verdict was changed later."""
    swapped: bool = False
    """Whether the left column stood on the right."""
    seed: int | None = None
    """Which the shuffling came from."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What the votes on two models add up to. `a` is the one whose name sorts first."""

    a: str
    b: str
    category: str | None
    """None: all of them."""
    a_wins: int
    b_wins: int
    ties: int
    both_bad: int
    num_blind: int

    @property
    def total(self) -> int:
        return self.a_wins + self.b_wins + self.ties + self.both_bad

    @property
    def share(self) -> Share:
        """How often `a` won, over the votes that preferred one: its `interval` is Wilson's at 95 %.

        Ties and pairs of bad answers say nothing about which is better; they are counted beside it.
        """
        return Share(self.a_wins, self.a_wins + self.b_wins)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form; `a_win_rate` is null where no vote preferred one."""
        decided = self.share
        return {
            **asdict(self),
            "total": self.total,
            "a_win_rate": decided.value if decided.total else None,
            "interval": list(decided.interval) if decided.total else None,
            "interval_method": "wilson-95",
        }


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written as preference rows."""

    path: Path
    num_rows: int
    left_out: Mapping[str, int]
    """Reason -> votes."""


def is_swapped(seed: int, turn: int) -> bool:
    """Return whether the left column stands on the right at a turn: the same seed and turn, the same answer."""
    return random.Random(f"{seed}:{turn}").random() < 0.5


def column(shown: Side, *, swapped: bool) -> Side:
    """Return the column whose answer stands at a place of the screen, and the other way round."""
    if not swapped:
        return shown
    return "right" if shown == "left" else "left"


def vote_on(conversation: Conversation, turn: Turn, verdict: Verdict, *, reason: str = "") -> Vote:
    """Return the vote on a turn.

    Args:
        conversation: Blind where it has a `blind_seed`: `verdict` is then by where the answers stand on the screen.
        turn: Both sides have answered it.
        verdict: See `conversation`.
        reason: Why, in the user's words.

    Raises:
        UsageError: A side has no answer, or that is no verdict.
    """
    if verdict not in VERDICTS:
        raise UsageError(f"{verdict!r} is no verdict.", remedy=f"One of {', '.join(VERDICTS)}.")
    answers: dict[Side, Answer] = {}
    for side in SIDES:
        answer = turn.answer(side)
        if answer is None or answer.reason == "error":
            raise UsageError(
                "There are no two answers to compare.",
                remedy="Vote once both sides have answered; ask again if one failed.",
            )
        answers[side] = answer
    seed = conversation.blind_seed
    swapped = seed is not None and is_swapped(seed, turn.id)
    if verdict in SIDES:
        verdict = column(verdict, swapped=swapped)
    asked = conversation.question("right" if verdict == "right" else "left", Sampling(), turn=turn.id)
    return Vote(
        verdict,
        {side: answer.model + _EDITED * (answer.reason == "edited") for side, answer in answers.items()},
        {side: answer.text for side, answer in answers.items()},
        asked.messages,
        conversation.name,
        turn.id,
        turn.category,
        " ".join(reason.split()),
        seed is not None,
        swapped,
        seed,
    )


def cast_vote(workspace: Workspace, vote: Vote) -> None:
    """Keep a vote. A later one on the same answers takes the place of an earlier one.

    Raises:
        WorkspaceError: It cannot be written.
    """
    journal = Journal(make_folder(workspace.path / CHATS) / VOTES)
    try:
        journal.append(asdict(vote))
    finally:
        journal.close()


def read_votes(workspace: Workspace) -> tuple[tuple[Vote, ...], int]:
    """Return the votes that count, in the order they were first cast, and how many lines could not be read.

    Raises:
        WorkspaceError: The file cannot be read.
    """
    path = workspace.path / CHATS / VOTES
    found: dict[tuple[object, ...], Vote] = {}
    unreadable = 0
    try:
        with path.open("rb") as file:
            for line in file:
                vote = _vote(line)
                if vote is not None:
                    answers = (vote.conversation, vote.turn, *sorted(vote.answers.items()))
                    before = found.get(answers)
                    if before is not None and (before.verdict != vote.verdict or not before.blind):
                        vote = replace(vote, blind=False)
                    found[answers] = vote
                elif line.strip():
                    unreadable += 1
    except FileNotFoundError:
        return (), 0
    except OSError as error:
        raise WorkspaceError(f"Cannot read {path}: {error.strerror}.", remedy="Check its permissions.") from error
    return tuple(found.values()), unreadable


def tallies(votes: Iterable[Vote]) -> list[Tally]:
    """Return what votes add up to: for each pair of models all of them, then each category."""
    counts: dict[tuple[str, str, str | None], list[int]] = {}
    for vote in votes:
        models = vote.models
        if models["left"] == models["right"]:  # one model asked in two ways: it is the columns that are compared
            models = {side: f"{model} ({side})" for side, model in models.items()}
        a, b = sorted(models.values())
        which = 2 if vote.verdict == "tie" else 3
        if vote.verdict in SIDES:
            which = 0 if models[vote.verdict] == a else 1
        categories: list[str | None] = [None, vote.category] if vote.category else [None]
        for category in categories:
            count = counts.setdefault((a, b, category), [0] * 5)
            count[which] += 1
            count[4] += vote.blind
    keys = sorted(counts, key=lambda key: (key[0], key[1], key[2] is not None, key[2] or ""))
    return [Tally(a, b, category, *counts[a, b, category]) for a, b, category in keys]


def preference_rows(votes: Sequence[Vote]) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return the votes as rows of TRL's conversational preference format, and why others make none."""
    rows, left_out = [], dict[str, int]()
    for vote in votes:
        why = ""
        if vote.verdict not in SIDES:
            why = "a tie" if vote.verdict == "tie" else "both answers bad"
        elif vote.answers["left"] == vote.answers["right"]:
            why = "both answers the same"
        elif not all(text.strip() for text in vote.answers.values()):
            why = "an empty answer"
        if why:
            left_out[why] = left_out.get(why, 0) + 1
            continue
        chosen: Side = "left" if vote.verdict == "left" else "right"
        rejected = column(chosen, swapped=True)
        metadata = {
            "category": vote.category,
            "reason": vote.reason,
            "chosen_model": vote.models[chosen],
            "rejected_model": vote.models[rejected],
        }
        rows.append(
            {
                "prompt": [asdict(message) for message in vote.messages],
                "chosen": [{"role": "assistant", "content": vote.answers[chosen]}],
                "rejected": [{"role": "assistant", "content": vote.answers[rejected]}],
                "metadata": {name: value for name, value in metadata.items() if value},
            }
        )
    return rows, left_out


def export_votes(votes: Sequence[Vote], path: Path, *, overwrite: bool = False) -> Exported:
    """Write the votes as a data file that `ftconsole train` takes for DPO.

    Raises:
        UsageError: The file is there, or is not called .jsonl.
        DataError: No vote prefers one of two answers.
        WorkspaceError: It cannot be written.
    """
    from engine.data.writing import as_line, check_writable, whole_file

    rows, left_out = preference_rows(votes)
    if not rows:
        why = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "there are none"
        raise DataError(f"No vote prefers one of two answers ({why}).", remedy="Vote left or right on some answers.")
    check_writable(path, (), overwrite=overwrite)
    with whole_file(path) as file:
        for row in rows:
            file.write(as_line(row) + b"\n")
    return Exported(path, len(rows), left_out)


def _vote(line: bytes) -> Vote | None:
    try:
        record = json.loads(line)
        if record["verdict"] not in VERDICTS:
            return None
        seed = record.get("seed")
        return Vote(
            record["verdict"],
            {side: str(record["models"][side]) for side in SIDES},
            {side: str(record["answers"][side]) for side in SIDES},
            tuple(Message(each["role"], str(each["content"])) for each in record["messages"]),
            str(record["conversation"]),
            int(record["turn"]),
            str(record.get("category", "")),
            str(record.get("reason", "")),
            record.get("blind") is True,
            record.get("swapped") is True,
            seed if isinstance(seed, int) else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
