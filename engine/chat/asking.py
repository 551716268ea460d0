"""What is asked of a model and what comes back: the words every way to an answer shares. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from engine.errors import EngineError

Side: TypeAlias = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")
Role: TypeAlias = Literal["system", "user", "assistant"]
StopReason: TypeAlias = Literal["stop", "length", "stopped", "stop-string", "error"]
"""The model ended by itself; the limit of tokens (or of the context) was reached; the user stopped it; one of the stop
strings came; it failed. Endpoints do not tell a stop string from the model's own end: both are "stop" there."""

_AT_ONCE_SECONDS = 0.005
"""Tokens that came within it came in one read. A burst of a dozen once showed as 278,000 tokens/s."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are picked. What is None is left to the model or the server."""

    temperature: float = 0.7
    """0 always takes the most likely token."""
    top_p: float = 0.9
    top_k: int | None = None
    max_tokens: int = 512
    seed: int | None = None
    stop: tuple[str, ...] = ()
    repetition_penalty: float | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What one side is asked."""

    messages: tuple[Message, ...]
    """Ends with what is to be answered."""
    sampling: Sampling = Sampling()
    prefix: str = ""
    """How the answer begins, where that is given."""


@dataclass(frozen=True, slots=True)
class TextArrived:
    """The answer has grown."""

    side: Side
    text: str
    """What is new, as it came: it goes through `tui.display` before it is shown."""
    pieces: int = 1
    """How many tokens, or what a server sends as one, came together."""


@dataclass(frozen=True, slots=True)
class AnswerFinished:
    """The answer is whole, or was stopped."""

    side: Side
    reason: StopReason
    num_tokens: int
    prompt_tokens: int | None
    """None where the server does not say."""
    first_token_seconds: float | None
    """From the question to the first token. None when there was none."""
    tokens_per_second: float | None
    """As `token_rate` counts it. None for less than two."""
    counted: Literal["exactly", "by-pieces"] = "exactly"
    """How `num_tokens` is known: from the tokenizer or the server, or by the pieces that came where it does not say."""


def token_rate(num_tokens: int, first_seconds: float, between_seconds: float) -> float | None:
    """Return how many tokens a second came: from the first token to the last, as servers report it.

    Tokens that came all at once, from a server or a proxy that holds answers back, say nothing about how fast they
    were made: those are counted from the question on.

    Args:
        num_tokens: Of the answer.
        first_seconds: From the question to the first token.
        between_seconds: From the first token to the last.
    """
    if num_tokens < 2:
        return None
    if between_seconds >= _AT_ONCE_SECONDS:
        return (num_tokens - 1) / between_seconds
    waited = first_seconds + between_seconds
    return num_tokens / waited if waited > 0 else None


@dataclass(frozen=True, slots=True)
class AnswerFailed:
    """There will be no more of this answer. What arrived stays."""

    side: Side
    error: EngineError


@dataclass(frozen=True, slots=True)
class Progress:
    """What is being done before or beside the answer: loading, thinking."""

    side: Side | None
    """None: both."""
    what: str


Said: TypeAlias = TextArrived | AnswerFinished | AnswerFailed | Progress
