"""A model behind a server as a form to be proven: LM Studio, llama.cpp, whatever speaks OpenAI's protocol.

A server gives no logits and no token ids. What it does give is held against the reference: the text of its greedy
answers, how many tokens a prompt became, and whether an answer ended by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from engine.chat.asking import AnswerFailed, AnswerFinished, Message, Question, Sampling, TextArrived
from engine.errors import EngineError
from engine.export.progress import Cancelled, Progress, Tell, WorkCancelled, never, silent
from engine.export.proof import Check, FormProof, around, first_difference
from engine.spec import Endpoint

_LEAST_AGREEMENT: Final = 0.5
"""Of the text, where not all answers are equal. Measured on a model of 3 million weights, 14 prompts: q8_0, q6_k and
q5_k_m 1.0, q4_k_m 0.89, q3_k_m 0.88; with an adapter that changes much 0.06. One that changes little (0.96) is not told
from rounding: that takes logits."""
_THOUGHT: Final = "</think>"
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Answered:
    """What a server made of one prompt."""

    text: str
    ended: bool
    """By itself; False: at the limit of tokens."""
    prompt_tokens: int | None
    """As the server counts them; None where it does not say."""


def ask_server(
    server: Endpoint,
    prompts: Sequence[str],
    max_new_tokens: int,
    *,
    tell: Tell = silent,
    cancelled: Cancelled = never,
) -> list[Answered]:
    """Ask every prompt, one after the other, greedily. Not within a running event loop.

    Raises:
        WorkCancelled: `cancelled` returned True.
        EngineError: The server is not there, refused, or broke off.
    """
    return asyncio.run(_ask_all(server, prompts, max_new_tokens, tell, cancelled))


def judge_server(server: Endpoint, reference: dict[str, Any], found: Sequence[Answered]) -> FormProof:
    """Hold what a server said against what the worker made of the reference."""
    pairs = [_Pair.of(one, other, reference["stops"]) for one, other in zip(reference["asked"], found, strict=True)]
    equal = sum(pair.equal for pair in pairs)
    checks = (
        Check("base", None, "a server does not say from what its model was made."),
        Check("template", None, "not to be seen; the number of prompt tokens tells another one."),
        _prompt_tokens(pairs),
        Check("beginning of sequence", None, "not to be seen; a doubled one is one prompt token more."),
        _end(pairs),
        _answers(pairs, equal),
        Check("logits", None, "not compared: a server gives none."),
    )
    passed = all(check.passed is not False for check in checks)
    verdict: Literal["same", "close", "different"] = (
        "different" if not passed else "same" if equal == len(pairs) else "close"
    )
    return FormProof(server.given, "server", "", verdict, checks, equal, len(pairs), None, None, None)


def not_asked(server: Endpoint, num_prompts: int, error: EngineError) -> FormProof:
    """Return the proof of a server that could not be asked."""
    return FormProof(
        server.given, "server", "", "not-asked", (), 0, num_prompts, None, None, None, failure=error.as_dict()
    )


@dataclass(frozen=True, slots=True)
class _Pair:
    """The reference's answer to one prompt and the server's, without space around and without thoughts."""

    ours: str
    theirs: str
    ours_ended: bool
    theirs_ended: bool
    our_tokens: int
    their_tokens: int | None

    @classmethod
    def of(cls, asked: dict[str, Any], answered: Answered, stops: Sequence[int]) -> _Pair:
        ids = asked["answer_ids"]
        return cls(
            _spoken(asked["answer"]),
            _spoken(answered.text),
            bool(ids) and ids[-1] in stops,
            answered.ended,
            len(asked["prompt_ids"]),
            answered.prompt_tokens,
        )

    @property
    def equal(self) -> bool:
        return self.ours == self.theirs

    @property
    def agreement(self) -> float:
        """How much of the longer answer comes before the first divergence: 0 to 1."""
        longer = max(len(self.ours), len(self.theirs))
        return first_difference(self.ours, self.theirs) / longer if longer else 1.0


def _spoken(text: str) -> str:
    """Return an answer as it can be compared: servers strip it, and keep what a model thinks apart."""
    return text.rpartition(_THOUGHT)[2].strip()


def _prompt_tokens(pairs: Sequence[_Pair]) -> Check:
    counted = [(number, pair) for number, pair in enumerate(pairs, 1) if pair.their_tokens is not None]
    if not counted:
        return Check("prompt tokens", None, "the server does not count them.")
    more = [(number, pair.our_tokens, (pair.their_tokens or 0) - pair.our_tokens) for number, pair in counted]
    wrong = next((each for each in more if each[2]), None)
    if wrong is None:
        return Check("prompt tokens", True, f"as many as in training in all {len(counted)} prompts it counted.")
    number, ours, by = wrong
    said = f"prompt {number} has {ours + by} where training had {ours}"
    if by == 1 and all(each[2] == 1 for each in more):
        said += ", one more in each: a doubled beginning of sequence, or another template."
    elif all(each[2] == by for each in more):
        said += ", as many off in each: another template, or a system prompt of the server's own."
    else:
        said += ": another template or tokenizer."
    return Check("prompt tokens", False, said)


def _end(pairs: Sequence[_Pair]) -> Check:
    """Judge where answers end, as far as they say the same: after a divergence the ends need not agree."""
    judged = 0
    for number, pair in enumerate(pairs, 1):
        if pair.ours_ended and pair.theirs.startswith(pair.ours):
            judged += 1
            if not pair.theirs_ended or not pair.equal:
                on = around(pair.theirs, len(pair.ours))
                return Check("end of answer", False, f"prompt {number} does not stop where training did: {on!r}.")
        elif not pair.ours_ended and pair.theirs_ended and pair.ours.startswith(pair.theirs):
            on = around(pair.ours, len(pair.theirs))
            return Check("end of answer", False, f"prompt {number} stops where training goes on: {on!r}.")
    if not judged:
        return Check("end of answer", None, "no answer of the reference ended, or all differ before: see --max-tokens.")
    return Check("end of answer", True, f"{judged} of {len(pairs)} answers end by themselves where training did.")


def _answers(pairs: Sequence[_Pair], equal: int) -> Check:
    said = f"{equal} of {len(pairs)} equal"
    if equal == len(pairs):
        return Check("answers", True, f"{said}.")
    agreement = sum(pair.agreement for pair in pairs) / len(pairs)
    number, pair = next((number, pair) for number, pair in enumerate(pairs, 1) if not pair.equal)
    at = first_difference(pair.ours, pair.theirs)
    said += (
        f", {agreement:.0%} before the first divergence (at least {_LEAST_AGREEMENT:.0%}). "
        f"Prompt {number}: {around(pair.ours, at)!r} has become {around(pair.theirs, at)!r}."
    )
    return Check("answers", agreement >= _LEAST_AGREEMENT, said)


async def _ask_all(
    server: Endpoint, prompts: Sequence[str], max_new_tokens: int, tell: Tell, cancelled: Cancelled
) -> list[Answered]:
    stop = asyncio.Event()
    watching = asyncio.create_task(_watch(cancelled, stop))
    # Said although they change nothing of what is most likely: LM Studio has a penalty of 1.1 where none is named.
    greedy = Sampling(temperature=0.0, top_p=1.0, max_tokens=max_new_tokens, repetition_penalty=1.0)
    found = []
    try:
        for number, prompt in enumerate(prompts):
            tell(Progress(f"asking {server.label}", number, len(prompts), "prompts"))
            found.append(await _ask(server, Question((Message("user", prompt),), greedy), stop))
    finally:
        watching.cancel()
    tell(Progress(f"asking {server.label}", len(prompts), len(prompts), "prompts"))
    return found


async def _ask(server: Endpoint, question: Question, stop: asyncio.Event) -> Answered:
    from engine.chat.endpoint import ask

    text = ""
    async with contextlib.aclosing(ask(server, question, "left", stop=stop)) as answering:
        async for said in answering:
            match said:
                case TextArrived():
                    text += said.text
                case AnswerFailed():
                    raise said.error
                case AnswerFinished():
                    if said.reason == "stopped":
                        raise WorkCancelled
                    return Answered(text, said.reason == "stop", said.prompt_tokens)
                case _:
                    pass
    raise AssertionError("the last word is AnswerFinished or AnswerFailed")


async def _watch(cancelled: Cancelled, stop: asyncio.Event) -> None:
    while not cancelled():
        await asyncio.sleep(_POLL_SECONDS)
    stop.set()
