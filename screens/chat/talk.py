"""What the chat screen knows: the conversation, the answers that are coming, and how both are looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import Literal, TypeAlias

from engine.chat.asking import SIDES, Sampling, Side
from engine.chat.conversation import Answer, Conversation, Turn
from engine.chat.prompts import Prompt
from engine.chat.votes import Verdict, Vote, column, is_swapped
from tui.display import StreamCleaner

View: TypeAlias = Literal["markdown", "raw", "differences"]
VIEWS: tuple[View, ...] = ("markdown", "raw", "differences")
VIEWED: dict[View, str] = {
    "markdown": "",
    "raw": "raw text",
    "differences": "words that differ are marked",
}
"""What the title says of a view."""
CHARACTERS = 200_000
"""Of an answer, drawn at most: 50,000 tokens."""
LETTERS: dict[Side, str] = {"left": "A", "right": "B"}
"""What stands where a name would, while that is hidden."""
_ENDS = {"stop": "ended", "length": "cut at the limit", "stopped": "stopped", "stop-string": "stop string",
         "edited": "edited by you", "error": "failed"}  # fmt: skip


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
    shown: list[str] = field(default_factory=list)
    """What can be drawn of it, in the pieces it came in, up to `CHARACTERS`."""
    pieces: int = 0
    first: float | None = None
    """When the first piece came."""
    doing: str = ""
    """Before it: loading, thinking. Foreign."""
    _came: StringIO = field(default_factory=StringIO)  # a million pieces as a list would take 60 MB
    _cleaner: StreamCleaner = field(default_factory=StreamCleaner)

    @property
    def cut(self) -> bool:
        """Whether more came than can be drawn."""
        return self._came.tell() > CHARACTERS

    @property
    def text(self) -> str:
        """All that came. Foreign."""
        return self._came.getvalue()

    def take(self, text: str, now: float, pieces: int = 1) -> None:
        """Add what has come: text, of so many tokens."""
        if self.first is None:
            self.first = now
        self.pieces += pieces
        self._came.write(text)
        if not self.cut:
            self.shown.append(self._cleaner.feed(text))


@dataclass(slots=True)
class Talk:
    """Everything the view is a function of."""

    conversation: Conversation
    sampling: dict[Side, Sampling] = field(default_factory=lambda: dict.fromkeys(SIDES, Sampling()))
    coming: dict[Side, Coming] = field(default_factory=dict)
    shared: bool = True
    """Whether both sides are asked with the same settings."""
    view: View = "markdown"
    names: dict[Side, str] = field(default_factory=dict)
    """What the models of both sides are called, once they are found: "voice-1@best" for "voice-1"."""
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    """Votes of this conversation, by turn: by place on the screen. Names are shown from then on."""
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
        return not self.blind or turn in self.verdicts

    @property
    def hidden(self) -> bool:
        """Whether nothing may be said that tells which model does what: names, speed, what is being loaded."""
        return self.blind and (self.last is None or self.last.id not in self.verdicts)

    def side_at(self, place: Side, turn: int) -> Side:
        """Return the column of the conversation whose answer stands at a place of the screen."""
        seed = self.conversation.blind_seed
        return place if seed is None else column(place, swapped=is_swapped(seed, turn))

    @property
    def path_shown(self) -> str:
        """How both sides are answered, as far as it may be said."""
        return "Names are hidden until you vote." if self.hidden else self.path

    @property
    def doing_shown(self) -> str:
        """What is being loaded, as far as it may be said."""
        return "Loading the models" if self.doing and self.hidden else self.doing

    def name_of(self, side: Side) -> str:
        """Return what the model of a column is called."""
        return self.names.get(side) or self.conversation.models[side]

    def name_at(self, place: Side, turn: Turn | None) -> str:
        """Return whose answer stands at a place of a turn, or the letter it has while that is not to be known."""
        if self.blind and (turn is None or not self.revealed(turn.id)):
            return LETTERS[place]
        side = place if turn is None else self.side_at(place, turn.id)
        answer = turn.answer(side) if turn is not None else None
        return answer.model if answer is not None else self.name_of(side)

    def head_at(self, place: Side) -> str:
        """Return what is written above a column: what answers there next, or the letter it has."""
        return self.name_at(place, self.last) if self.blind else self.name_of(place)

    def take_votes(self, votes: Iterable[Vote]) -> None:
        """Know again what was voted in this conversation."""
        self.verdicts = {}
        for vote in votes:
            if vote.conversation == self.conversation.name:
                verdict = vote.verdict
                if verdict == "left" or verdict == "right":
                    verdict = column(verdict, swapped=vote.swapped)
                self.verdicts[vote.turn] = verdict

    def to_vote(self) -> Turn | None:
        """Return the turn a vote would be about: the last, once both have answered it."""
        turn = self.last
        if turn is None or self.answering:
            return None
        answers = [turn.answer(side) for side in SIDES]
        return turn if all(one is not None and one.reason != "error" for one in answers) else None


def figures(answer: Answer, *, hidden: bool = False, room: int = 200) -> str:
    """Return how fast an answer came and how it ended, in a line.

    Args:
        answer: It.
        hidden: Only what both models could have done.
        room: Cells there are: where they are few, words are shorter.
    """
    end = _ENDS[answer.reason]
    if answer.reason in ("edited", "error") or hidden:
        return end
    about = "about " if answer.counted == "by-pieces" else ""
    count = f"{about}{answer.num_tokens:,}"
    first = _seconds(answer.first_token_seconds) if answer.first_token_seconds is not None else ""
    rate = f"{answer.tokens_per_second:.3g}" if answer.tokens_per_second is not None else ""
    long = [f"{count} token{'s' if answer.num_tokens != 1 else ''}", first and f"first after {first}",
            rate and f"{rate} tokens/s", end]  # fmt: skip
    short = [f"{count} tok", first, rate and f"{rate}/s", end]
    said = " · ".join(filter(None, long))
    return said if len(said) <= room else " · ".join(filter(None, short))


def coming_figures(coming: Coming, now: float, *, hidden: bool = False) -> str:
    """Return how an answer under way is going."""
    if hidden:
        return "answering" if coming.first is not None else "waiting"
    if coming.first is None:
        waited = now - coming.began
        return f"{coming.doing or 'waiting'}{f', {waited:.0f} s' if waited >= 1 else ''}"
    seconds = now - coming.first
    rate = f" · {(coming.pieces - 1) / seconds:.3g} pieces/s" if coming.pieces > 1 and seconds > 0.5 else ""
    return f"first after {_seconds(coming.first - coming.began)}{rate}"


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
