"""A conversation with two models, kept as a file: turns, answers, branches. `chats/NAME.jsonl` in the workspace.

The file is a journal, appended to and never rewritten, so a conversation that was cut off by a crash is whole up to its
last line and two consoles may write to one. What is read back is what was said, in order:

    opened   left, right, system, blind_seed           the models as they are named; always the first
    models   left, right                                another model was put on a side
    system   side, text                                 the system prompt, from the next question on
    turn     after, prompt, category, before            a question; its `seq` is its number. `after` null: a beginning
    at       turn                                       the conversation goes on behind this turn
    answer   turn, side, answer                         one answer; a second one to the same turn was asked for again
    shown    turn, side, number                         which answer of the turn is the one that counts

Turns make a tree. A changed question, or a question behind an earlier turn, is a branch beside the old one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from engine.chat.asking import SIDES, AnswerFailed, AnswerFinished, Message, Question, Sampling, Side, StopReason
from engine.errors import NotFound, UsageError
from engine.journal import Journal, write_error

CHATS = "chats"
ENDING = ".jsonl"
Ending: TypeAlias = StopReason | Literal["edited"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one side said to one turn."""

    text: str
    """Foreign."""
    model: str
    """What answered, as it is called: "voice-1@best"."""
    reason: Ending
    """"edited": the user wrote it, or changed it."""
    num_tokens: int = 0
    prompt_tokens: int | None = None
    first_token_seconds: float | None = None
    tokens_per_second: float | None = None
    counted: Literal["exactly", "by-pieces"] = "exactly"
    error: Mapping[str, str] | None = None
    """`code`, `message` and `remedy`, where it failed."""
    sampling: Mapping[str, Any] | None = None
    """What it was asked with."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and what both sides said to it."""

    id: int
    """Its line in the file."""
    after: int | None
    """The turn it goes on from; None: a beginning."""
    prompt: str
    category: str = ""
    before: tuple[Message, ...] = ()
    """What stands before the question that no side has said: the earlier turns of an example out of a suite."""
    answers: Mapping[Side, tuple[Answer, ...]] = field(default_factory=dict)
    """In the order they came; more than one where it was asked again."""
    shown: Mapping[Side, int] = field(default_factory=dict)
    """Which of them counts, where it is not the last."""

    def answer(self, side: Side) -> Answer | None:
        """Return the answer that counts; None where there is none."""
        answers = self.answers.get(side, ())
        number = self.shown.get(side, len(answers) - 1)
        return answers[number] if 0 <= number < len(answers) else None


class Conversation:
    """Two columns of turns, in memory and in a file that is made with the first line.

    Everything that changes it is written at once. What cannot be written raises, and an answer is then kept in memory.

    Args:
        path: The file; need not be there.
        left: The left model as it is named.
        right: The right one.
        system: The system prompt of both sides.
        blind_seed: From which the sides are shuffled, turn by turn; None where the names are shown.
    """

    def __init__(self, path: Path, left: str, right: str, *, system: str = "", blind_seed: int | None = None) -> None:
        self.path = path
        self.models: dict[Side, str] = {"left": left, "right": right}
        self.system: dict[Side, str] = {"left": system, "right": system}
        self.blind_seed = blind_seed
        self.turns: dict[int, Turn] = {}
        self.head: int | None = None
        """The turn behind which the next question stands."""
        self.left_out = 0
        """Lines of the file that could not be read."""
        self._journal: Journal | None = None

    @property
    def name(self) -> str:
        return self.path.name.removesuffix(ENDING)

    @property
    def thread(self) -> tuple[Turn, ...]:
        """The turns from the beginning to where it goes on: what is on the screen."""
        return self.thread_to(self.head)

    def thread_to(self, turn: int | None) -> tuple[Turn, ...]:
        """Return the turns from the beginning up to one, that one included."""
        found: list[Turn] = []
        while turn is not None:
            found.append(self.turns[turn])
            turn = found[-1].after
        return tuple(reversed(found))

    def branches(self, turn: int) -> tuple[Turn, ...]:
        """Return the turns that stand at the same place as one, that one included, the oldest first."""
        after = self.turns[turn].after
        return tuple(each for each in self.turns.values() if each.after == after)

    def newest_below(self, turn: int) -> int:
        """Return the last turn of the branches that go on from one: where a reader left off there."""
        below, last = {turn}, turn
        for each in self.turns.values():  # a turn stands behind the one it goes on from
            if each.after in below:
                below.add(each.id)
                last = each.id
        return last

    def question(self, side: Side, sampling: Sampling, *, turn: int | None = None) -> Question:
        """Return what a side is asked at a turn: the system prompt, what it was asked and said before, the prompt.

        A turn to which the side has said nothing is left out: two questions in a row are refused by many templates.

        Args:
            side: Whose own answers make its past.
            sampling: How it is to answer.
            turn: None for the last one of the thread.
        """
        asked = self.thread if turn is None else self.thread_to(turn)
        if not asked:
            raise UsageError("There is no question yet.", remedy="Write one.")
        messages = [Message("system", self.system[side])] if self.system[side].strip() else []
        for each in asked[:-1]:
            answer = each.answer(side)
            if answer is not None and answer.text:
                messages += [*each.before, Message("user", each.prompt), Message("assistant", answer.text)]
        given = [message for message in asked[-1].before if message.role != "system" or not messages]
        return Question((*messages, *given, Message("user", asked[-1].prompt)), sampling)

    def say(self, prompt: str, *, category: str = "", before: tuple[Message, ...] = ()) -> Turn:
        """Ask both something, behind the turn where the conversation is, and go there."""
        return self._add(self.head, prompt, category, before)

    def begin(self, prompt: str, *, category: str = "", before: tuple[Message, ...] = ()) -> Turn:
        """Ask both something that stands for itself, and go there."""
        return self._add(None, prompt, category, before)

    def edit(self, turn: int, prompt: str) -> Turn:
        """Ask something else instead of a turn: a branch beside it, and go there."""
        old = self._turn(turn)
        return self._add(old.after, prompt, old.category, old.before)

    def go_to(self, turn: int | None) -> None:
        """Go on behind an earlier turn, or from nothing: the next question makes a branch."""
        if turn is not None:
            self._turn(turn)
        self._write({"kind": "at", "turn": turn})
        self.head = turn

    def take(self, turn: int, side: Side, answer: Answer) -> None:
        """Add an answer. It is the one that counts from now on."""
        self._put_answer(turn, side, answer)
        self._write({"kind": "answer", "turn": turn, "side": side, "answer": asdict(answer)})

    def take_said(
        self, turn: int, text: str, said: AnswerFinished | AnswerFailed, sampling: Sampling, *, model: str | None = None
    ) -> Answer:
        """Add what a session said, and return it as an answer.

        Args:
            turn: Which was answered.
            text: All that arrived.
            said: The last word of the side.
            sampling: What it was asked with.
            model: What answered; None: the model of the side.
        """
        name = self.models[said.side] if model is None else model
        asked_with = {**asdict(sampling), "stop": list(sampling.stop)}
        if isinstance(said, AnswerFailed):
            answer = Answer(text, name, "error", error=said.error.as_dict(), sampling=asked_with)
        else:
            answer = Answer(
                text,
                name,
                said.reason,
                said.num_tokens,
                said.prompt_tokens,
                said.first_token_seconds,
                said.tokens_per_second,
                said.counted,
                sampling=asked_with,
            )
        self.take(turn, said.side, answer)
        return answer

    def edit_answer(self, turn: int, side: Side, text: str) -> Answer:
        """Put other words into a side's mouth. What it said stays, as an answer before."""
        old = self._turn(turn).answer(side)
        answer = Answer(text, old.model if old is not None else self.models[side], "edited")
        self.take(turn, side, answer)
        return answer

    def show(self, turn: int, side: Side, number: int) -> None:
        """Make another of several answers the one that counts; 0 is the first."""
        if not 0 <= number < len(self._turn(turn).answers.get(side, ())):
            raise UsageError(f"There is no answer {number + 1} to that turn.", remedy="Choose one that is there.")
        self._write({"kind": "shown", "turn": turn, "side": side, "number": number})
        self._put_shown(turn, side, number)

    def set_system(self, text: str, side: Side | None = None) -> None:
        """Change the system prompt of a side, or of both (None), from the next question on."""
        self._write({"kind": "system", "side": side, "text": text})
        for each in SIDES if side is None else (side,):
            self.system[each] = text

    def set_model(self, side: Side, model: str) -> None:
        """Say that another model answers on a side from now on."""
        models = {**self.models, side: model}
        self._write({"kind": "models", "left": models["left"], "right": models["right"]})
        self.models = models

    def close(self) -> None:
        """Close the file. Writing again opens it again."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _turn(self, turn: int) -> Turn:
        if turn not in self.turns:
            raise NotFound(f"The conversation {self.name} has no turn {turn}.", remedy="Choose one that is there.")
        return self.turns[turn]

    def _add(self, after: int | None, prompt: str, category: str, before: tuple[Message, ...]) -> Turn:
        if not prompt.strip():
            raise UsageError("The question is empty.", remedy="Write one.")
        record: dict[str, Any] = {"kind": "turn", "after": after, "prompt": prompt}
        if category:
            record["category"] = category
        if before:
            record["before"] = [asdict(message) for message in before]
        turn = Turn(self._write(record), after, prompt, category, before)
        self.turns[turn.id] = turn
        self.head = turn.id
        return turn

    def _put_answer(self, turn: int, side: Side, answer: Answer) -> None:
        old = self._turn(turn)
        answers = {**old.answers, side: (*old.answers.get(side, ()), answer)}
        shown = {each: number for each, number in old.shown.items() if each != side}
        self.turns[turn] = replace(old, answers=answers, shown=shown)

    def _put_shown(self, turn: int, side: Side, number: int) -> None:
        old = self._turn(turn)
        self.turns[turn] = replace(old, shown={**old.shown, side: number})

    def _write(self, record: dict[str, Any]) -> int:
        """Append a line and return its number, which no other line of the file has."""
        if self._journal is None:
            make_folder(self.path.parent)
            self._journal = Journal(self.path)
            if not self._journal.size:
                self._journal.append(
                    {
                        "kind": "opened",
                        "left": self.models["left"],
                        "right": self.models["right"],
                        "system": self.system["left"],
                        "blind_seed": self.blind_seed,
                    }
                )
                if self.system["left"] != self.system["right"]:
                    self._journal.append({"kind": "system", "side": "right", "text": self.system["right"]})
        return self._journal.append(record)

    def read(self, record: Mapping[str, Any]) -> None:
        """Apply one line of the file.

        Raises:
            KeyError, TypeError, ValueError, AttributeError, EngineError: It is none of ours; nothing has changed.
        """
        kind = record["kind"]
        if kind in ("opened", "models"):
            self.models = {"left": str(record["left"]), "right": str(record["right"])}
            if kind == "opened":
                self.system = dict.fromkeys(SIDES, str(record.get("system") or ""))
                seed = record.get("blind_seed")
                self.blind_seed = seed if isinstance(seed, int) else None
        elif kind == "system":
            for each in SIDES if record["side"] is None else (_side(record["side"]),):
                self.system[each] = str(record["text"])
        elif kind == "turn":
            after = record["after"]
            if after is not None:
                self._turn(after)
            before = tuple(Message(each["role"], str(each["content"])) for each in record.get("before", ()))
            number = int(record["seq"])
            self.turns[number] = Turn(number, after, str(record["prompt"]), str(record.get("category", "")), before)
            self.head = number
        elif kind == "at":
            if record["turn"] is not None:
                self._turn(record["turn"])
            self.head = record["turn"]
        elif kind == "answer":
            fields = {name: record["answer"][name] for name in Answer.__dataclass_fields__ if name in record["answer"]}
            answer = Answer(**{**fields, "text": str(fields["text"]), "model": str(fields["model"])})
            self._put_answer(record["turn"], _side(record["side"]), answer)
        elif kind == "shown":
            self._put_shown(record["turn"], _side(record["side"]), int(record["number"]))


def make_folder(folder: Path) -> Path:
    """Return `chats/`, made with mode 0700 when it is missing.

    Raises:
        WorkspaceError: It cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error
    return folder


def _side(value: object) -> Side:
    if value not in SIDES:
        raise ValueError(f"no side: {value!r}")
    return value
