"""What the chat screen knows: the conversation, the answers that are coming, and how both are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from engine.chat.asking import SIDES, Sampling, Side
from engine.chat.conversation import Answer, Conversation, Turn
from engine.chat.prompts import Prompt
from engine.chat.votes import Verdict, Vote, column, is_swapped
from tui.display import StreamCleaner

View: TypeAlias = Literal["markdown", "raw", "differences"]
VIEWS: tuple[View, ...] = ("markdown", "raw", "differences")


@dataclass(slots=True)
class Coming:
    """An answer that is under way."""

    turn: int
    side: Side
    """Column of the conversation."""
    sampling: Sampling
    model: str
    """What answers."""
    began: float
    """`time.monotonic`."""
    text: str = ""
    """As it came. Foreign."""
    shown: str = ""
    """What can be drawn of it."""
    pieces: int = 0
    first: float | None = None
    """When the first piece came."""
    doing: str = ""
    """Before it: loading, thinking."""
    cleaner: StreamCleaner = field(default_factory=StreamCleaner)

    def take(self, text: str, now: float) -> None:
        """Add what has come."""
        if self.first is None:
            self.first = now
        self.pieces += 1
        self.text += text
        self.shown += self.cleaner.feed(text)


@dataclass(slots=True)
class Talk:
    """Everything the view is a function of."""

    conversation: Conversation
    sampling: dict[Side, Sampling] = field(default_factory=lambda: dict.fromkeys(SIDES, Sampling()))
    coming: dict[Side, Coming] = field(default_factory=dict)
    shared: bool = True
    """Whether both sides are asked with the same settings."""
    view: View = "markdown"
    votes: dict[int, Vote] = field(default_factory=dict)
    """Of this sitting, by turn: names are shown from then on."""
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    """How they were cast, by place on the screen."""
    prompts: Sequence[Prompt] = ()
    """Of a file, to be gone through."""
    at: int = -1
    """Which of `prompts` was asked last; -1 before the first."""
    path: str = ""
    """How both sides are answered, in a sentence. Foreign."""
    open: bool = False
    """Whether the models are loaded."""
    doing: str = ""
    """What is being loaded; empty when nothing is."""

    @property
    def blind(self) -> bool:
        return self.conversation.blind_seed is not None

    @property
    def thread(self) -> tuple[Turn, ...]:
        return self.conversation.thread

    @property
    def last(self) -> Turn | None:
        """The turn everything is about unless one is chosen."""
        return self.thread[-1] if self.thread else None

    @property
    def answering(self) -> bool:
        return bool(self.coming)

    def revealed(self, turn: int) -> bool:
        """Whether it may be said whose answers these are."""
        return not self.blind or turn in self.votes

    def side_at(self, place: Side, turn: int) -> Side:
        """Return the column of the conversation whose answer stands at a place of the screen."""
        seed = self.conversation.blind_seed
        return place if seed is None else column(place, swapped=is_swapped(seed, turn))

    def name_at(self, place: Side, turn: int | None) -> str:
        """Return what is written above a place: the model, or a letter while that is not to be known."""
        if self.blind and (turn is None or not self.revealed(turn)):
            return "A" if place == "left" else "B"
        side = place if turn is None else self.side_at(place, turn)
        return self.conversation.models[side]

    def to_vote(self) -> Turn | None:
        """Return the turn a vote would be about: the last, once both have answered it."""
        turn = self.last
        if turn is None or self.answering:
            return None
        answers = [turn.answer(side) for side in SIDES]
        return turn if all(one is not None and one.reason != "error" for one in answers) else None


def figures(answer: Answer) -> str:
    """Return how fast an answer came and how it ended, in a line."""
    if answer.reason == "edited":
        return "edited by you"
    if answer.reason == "error":
        return "failed"
    parts = [f"{answer.num_tokens:,} token{'s' if answer.num_tokens != 1 else ''}"]
    if answer.counted == "by-pieces":
        parts[0] = f"about {parts[0]}"
    if answer.first_token_seconds is not None:
        parts.append(f"first after {_seconds(answer.first_token_seconds)}")
    if answer.tokens_per_second is not None:
        parts.append(f"{answer.tokens_per_second:.3g}/s")
    ends = {"stop": "ended", "length": "cut at the limit", "stopped": "stopped", "stop-string": "stop string"}
    return " · ".join([*parts, ends[answer.reason]])


def coming_figures(coming: Coming, now: float) -> str:
    """Return how an answer under way is going."""
    if coming.first is None:
        return coming.doing or f"waiting {_seconds(now - coming.began)}"
    seconds = now - coming.first
    rate = f" · {(coming.pieces - 1) / seconds:.3g}/s" if coming.pieces > 1 and seconds > 0.5 else ""
    return f"{coming.pieces:,} · first after {_seconds(coming.first - coming.began)}{rate}"


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
