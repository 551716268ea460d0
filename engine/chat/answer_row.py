"""One answer while it is made: a row of the batch, with its own sampling, end and text. Knows nothing of the others."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from engine.chat.asking import Sampling, StopReason, token_rate
from engine.chat.streamed_text import StreamedText
from engine.errors import EngineError, NonFinite

BASE = "__base__"
"""PEFT's name for a row without adapter."""
_TOLD_SECONDS = 0.1
"""Text is told at most so often: a small model makes a thousand tokens a second, and the screen draws four times."""
Say = Callable[[Mapping[str, Any]], None]


@dataclass(slots=True)
class KeyValues:
    """What attention remembers of a row's first tokens."""

    ids: list[int]
    adapter: str
    layers: list[Any]
    """Keys and values of each layer, a pair of tensors of 1 x heads x len(ids) x width. None once used up."""


@dataclass(slots=True)
class AnswerRow:
    """One question at one side, from its prompt to its last token."""

    id: int
    adapter: str
    """PEFT's name of the adapter, or `BASE`."""
    prompt: list[int]
    sampling: Sampling
    max_tokens: int
    """As asked, or what the context leaves."""
    ends: frozenset[int]
    """Tokens that end an answer."""
    text: StreamedText
    say: Say
    """Takes what is to be told of this row."""
    asked: float = field(default_factory=time.monotonic)
    ids: list[int] = field(default_factory=list)
    """Prompt and answer so far."""
    memory: KeyValues | None = None
    stop_asked: bool = False
    reason: StopReason | None = None
    """Why it ended; None while it goes on."""
    error: EngineError | None = None
    _first: float | None = None
    _last: float = 0.0
    _told: float = 0.0
    _untold: str = ""
    _told_tokens: int = 0
    _processors: Any = None
    _generator: Any = None

    def __post_init__(self) -> None:
        self.ids = list(self.prompt)

    @property
    def ended(self) -> bool:
        return self.reason is not None

    @property
    def num_tokens(self) -> int:
        """Of the answer, its end included."""
        return len(self.ids) - len(self.prompt)

    def choose(self, logits: torch.Tensor) -> int:
        """Return the next token. Draws from this row's own generator, so that what stands beside it changes nothing.

        Processors and their order are those of `generate`: penalty, temperature, top-k, top-p.

        Args:
            logits: Of the whole vocabulary, float32.
        """
        if self._processors is None:
            self._prepare(logits.device)
        if bool(torch.isnan(logits).any()):  # drawing from it would take the whole device down
            self.error = NonFinite(
                "The model's output is not a number (NaN): its weights, or the adapter's, are broken.",
                remedy="Use an earlier checkpoint; where it is float16, load it in another type.",
            )
            return 0
        scores = logits[None]
        if self._processors:
            ids = torch.tensor([self.ids], device=scores.device) if self.sampling.repetition_penalty else None
            scores = self._processors(ids, scores)
        if self.sampling.temperature <= 0:
            return int(scores.argmax(-1))
        return int(torch.multinomial(scores.softmax(-1), 1, generator=self._generator))

    def take(self, token: int) -> None:
        """Add a token that was made, and tell what can be told."""
        if self.ended:
            return
        if self.error is not None:
            self.fail(self.error)
            return
        now = time.monotonic()
        self._first = now if self._first is None else self._first
        self._last = now
        self.ids.append(token)
        if token in self.ends:
            self.end("stop")
            return
        self._untold += self.text.push(token)
        if self.text.stopped:
            self.end("stop-string")
        elif self.num_tokens >= self.max_tokens:
            self.end("length")
        elif self._untold and now - self._told >= _TOLD_SECONDS:
            self._tell(now)

    def end(self, reason: StopReason) -> None:
        """Tell what is left and how it ended. A second end is none."""
        if self.ended:
            return
        self.reason = reason
        self._untold += self.text.finish()
        if self.text.stopped:
            self.reason = reason = "stop-string"
        self._tell(time.monotonic())
        first, number = self._first, self.num_tokens
        told = {
            "reason": reason,
            "num_tokens": number,
            "prompt_tokens": len(self.prompt),
            "first_token_seconds": None if first is None else first - self.asked,
            "tokens_per_second": None if first is None else token_rate(number, first - self.asked, self._last - first),
        }
        self.say({"row": self.id, "finished": told})

    def fail(self, error: EngineError) -> None:
        """Tell that there will be no more. What was told stays."""
        if self.ended:
            return
        self.reason, self.error = "error", error
        if self._untold:
            self._tell(time.monotonic())
        self.say({"row": self.id, "error": {**error.as_dict(), "exit_code": error.exit_code}})

    def _tell(self, now: float) -> None:
        if self._untold:
            pieces, self._told_tokens = self.num_tokens - self._told_tokens, self.num_tokens
            self.say({"row": self.id, "text": self._untold, "pieces": pieces})
            self._untold, self._told = "", now

    def _prepare(self, device: torch.device) -> None:
        sampling = self.sampling
        self._processors = LogitsProcessorList()
        if sampling.repetition_penalty and sampling.repetition_penalty != 1.0:
            self._processors.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
        if sampling.temperature <= 0:
            return
        if sampling.temperature != 1.0:
            self._processors.append(TemperatureLogitsWarper(float(sampling.temperature)))
        if sampling.top_k:
            self._processors.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p < 1.0:
            self._processors.append(TopPLogitsWarper(sampling.top_p))
        self._generator = torch.Generator(device=device)
        seed = sampling.seed if sampling.seed is not None else int.from_bytes(os.urandom(6))
        self._generator.manual_seed(seed)
