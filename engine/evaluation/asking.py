"""Many questions asked of one model, always the likeliest token: in a process with the weights, or of a server.

Loads nothing heavy itself: weights are in a process of their own, and the client of servers is imported when one is
asked.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from engine import child
from engine.chat.asking import AnswerFailed, Message, Question, Sampling, TextArrived
from engine.errors import EngineError, WorkerFailed
from engine.spec import Endpoint, LocalModel, prove_base

Said: TypeAlias = Callable[[str], None]
"""Told in words what is being done before the first reply."""
_AT_ONCE = 4
"""Questions a server is asked at the same time: llama.cpp and LM Studio have as many slots unless told otherwise."""


class EvaluationEnded(WorkerFailed):
    """The process with the weights ended before it was done."""

    code = "evaluation-ended"


@dataclass(frozen=True, slots=True)
class Asking:
    """How the questions are asked."""

    max_new_tokens: int = 256
    """A reply is cut there."""
    batch_size: int = 32
    """Questions per forward pass of local weights."""
    device: str = "auto"
    """"auto", "cpu", "cuda:0" ...: of local weights."""
    system: str | None = None
    """Put before each question that brings no system turn of its own; None for none."""


def replies(
    model: LocalModel | Endpoint,
    questions: Sequence[Sequence[dict[str, str]]],
    asking: Asking,
    *,
    said: Said,
    cancelled: child.Cancelled = child.never,
) -> Iterator[tuple[int, str]]:
    """Yield the position of a question and its reply, in the order they come. Leaving the loop ends the work.

    Args:
        model: From `engine.spec`.
        questions: Messages with `role` and `content`, which end with what is to be answered.
        asking: How.
        said: See `Said`.
        cancelled: See `engine.child.Cancelled`.

    Raises:
        WorkCancelled: `cancelled` returned True.
        EngineError: The model cannot be loaded or reached, or ended in between.
    """
    whole = [_with_system(list(messages), asking.system) for messages in questions]
    if isinstance(model, Endpoint):
        yield from _of_server(model, whole, asking, cancelled)
    else:
        yield from _of_weights(model, whole, asking, said, cancelled)


def _with_system(messages: list[dict[str, str]], system: str | None) -> list[dict[str, str]]:
    if system is None or (messages and messages[0]["role"] == "system"):
        return messages
    return [{"role": "system", "content": system}, *messages]


def _of_weights(
    model: LocalModel,
    questions: Sequence[Sequence[dict[str, str]]],
    asking: Asking,
    said: Said,
    cancelled: child.Cancelled,
) -> Iterator[tuple[int, str]]:
    base = prove_base(model)
    request = {
        "base": asdict(base),
        "adapter": None if model.adapter is None else str(model.adapter),
        "tokenizer": None if model.tokenizer is None else str(model.tokenizer),
        "label": model.label,
        "chat_template": model.chat_template,
        "trust_remote_code": model.trust_remote_code,
        "device": asking.device,
        "batch_size": asking.batch_size,
        "max_new_tokens": asking.max_new_tokens,
        "questions": questions,
    }
    for told in child.ask("engine.evaluation.asking_worker", ended=_ended, cancelled=cancelled, request=request):
        if "reply" in told:
            yield told["index"], told["reply"]
        else:
            said(told["doing"])


def _ended(status: int, last: str) -> EngineError:
    killed = status == -9
    why = "it was killed by signal 9, often for lack of memory" if killed else last or f"exit status {status}"
    return EvaluationEnded(
        f"The process that asked the questions ended: {why}.",
        remedy="Run the same command again: it goes on with the questions that have no reply yet.",
    )


def _of_server(
    server: Endpoint, questions: Sequence[Sequence[dict[str, str]]], asking: Asking, cancelled: child.Cancelled
) -> Iterator[tuple[int, str]]:
    """Drive the event loop from here, a reply at a time, so that the caller need not know of it."""
    stream = _replies_of_server(server, questions, asking)
    with asyncio.Runner() as runner:
        try:
            while True:
                if cancelled():
                    raise child.WorkCancelled
                try:
                    yield runner.run(_next(stream))
                except StopAsyncIteration:
                    return
        finally:
            runner.run(stream.aclose())  # type: ignore[attr-defined]  # a generator, which has it


async def _next(stream: AsyncIterator[tuple[int, str]]) -> tuple[int, str]:
    return await anext(stream)


async def _replies_of_server(
    server: Endpoint, questions: Sequence[Sequence[dict[str, str]]], asking: Asking
) -> AsyncIterator[tuple[int, str]]:
    waiting = list(enumerate(questions))
    waiting.reverse()
    tasks: set[asyncio.Task[tuple[int, str]]] = set()
    try:
        while waiting or tasks:
            while waiting and len(tasks) < _AT_ONCE:
                index, messages = waiting.pop()
                tasks.add(asyncio.create_task(_reply_of_server(server, index, messages, asking)))
            done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            # Every failure is asked for: of one that is not, asyncio prints the traceback.
            failures = [error for task in done if (error := task.exception()) is not None]
            for task in done:
                if task.exception() is None:
                    yield task.result()
            if failures:
                raise failures[0]
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError, EngineError):
                await task


async def _reply_of_server(
    server: Endpoint, index: int, messages: Sequence[dict[str, Any]], asking: Asking
) -> tuple[int, str]:
    from engine.chat.endpoint import ask

    question = Question(
        tuple(Message(one["role"], one["content"]) for one in messages),
        Sampling(temperature=0.0, top_p=1.0, max_tokens=asking.max_new_tokens, seed=0),
    )
    pieces = []
    async for told in ask(server, question, "left"):
        if isinstance(told, AnswerFailed):
            raise told.error
        if isinstance(told, TextArrived):
            pieces.append(told.text)
    return index, "".join(pieces).strip()
