"""One question to a server that speaks OpenAI's protocol, and its answer as it comes.

LM Studio, vLLM, llama.cpp, hosted models. The request is made by the `openai` client, imported at the first question
(450 ms) in a thread. Whatever the server does ends in one `AnswerFinished` or `AnswerFailed`, and closing the iterator
closes the connection, on which servers stop generating.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from engine.chat.address import Address, parse_address
from engine.chat.asking import (
    AnswerFailed,
    AnswerFinished,
    Progress,
    Question,
    Said,
    Side,
    StopReason,
    TextArrived,
    token_rate,
)
from engine.chat.keys import Key, find_key
from engine.chat.lmstudio import api_address, server_address
from engine.chat.pacing import Pace
from engine.chat.refusals import Asked, broken_off, failure, optional_parameter, reply_of_status
from engine.errors import EndpointError, EngineError

if TYPE_CHECKING:
    from engine.chat.guarded import GuardedTransport

_BYTES_PER_TOKEN = 4_096
"""Generous: a chunk of one token is 200 to 400 bytes."""
_CHARACTERS_PER_TOKEN = 64
"""Generous as well: the longest tokens are runs of spaces."""
_SLACK = 1 << 20
_REASONS: Mapping[str, StopReason] = {"length": "length", "max_tokens": "length"}
_REASONING = ("reasoning_content", "reasoning")
"""Where servers put what a model says to itself: llama.cpp and LM Studio, newer vLLM."""
_TRIES = 10


class Server(Protocol):
    """What is asked."""

    @property
    def kind(self) -> Literal["lmstudio", "openai"]: ...
    @property
    def base_url(self) -> str: ...
    @property
    def model(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server may be silent."""

    connect_seconds: float = 10.0
    first_seconds: float = 300.0
    """Until the answer begins. Long: a server may load the model first."""
    between_seconds: float = 60.0


@dataclass(slots=True)
class _Answer:
    """What has come so far."""

    side: Side
    started: float
    pieces: int = 0
    characters: int = 0
    first: float | None = None
    last: float = 0.0
    usage: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    thinking: bool = False

    def piece(self, length: int) -> None:
        self.last = time.perf_counter()
        if self.first is None:
            self.first = self.last
        self.pieces += 1
        self.characters += length

    def finished(self, reason: StopReason) -> AnswerFinished:
        counted = _count(self.usage.get("completion_tokens"))
        num_tokens = self.pieces if counted is None else counted
        first = self.first
        return AnswerFinished(
            self.side,
            reason,
            num_tokens,
            _count(self.usage.get("prompt_tokens")),
            None if first is None else first - self.started,
            None if first is None else token_rate(num_tokens, first - self.started, self.last - first),
            counted="exactly" if counted is not None else "by-pieces",
        )


@dataclass(slots=True)
class _Connection:
    """The client for one question, to be closed."""

    address: Address
    key: Key | None
    transport: GuardedTransport
    client: Any
    stream: Any = field(default=None)

    async def close(self) -> None:
        # A server that has gone makes closing fail too; there is nothing left to be told of it.
        with contextlib.suppress(Exception):
            if self.stream is not None:
                await self.stream.close()
        with contextlib.suppress(Exception):
            await self.client.close()


async def ask(
    server: Server,
    question: Question,
    side: Side,
    *,
    stop: asyncio.Event | None = None,
    patience: Patience | None = None,
    environ: Mapping[str, str] = os.environ,
) -> AsyncGenerator[Said, None]:
    """Yield the answer to one question. The last word is `AnswerFinished` or `AnswerFailed`; never an `EngineError`.

    Args:
        server: An `Endpoint` of `engine.spec`: LM Studio without a `base_url` is looked for.
        question: Its `prefix` must be empty: no two servers agree on how an answer is begun.
        side: Of which is asked.
        stop: Set to end the answer where it is; it then finishes as "stopped".
        patience: None for the usual.
        environ: Where keys are looked for.
    """
    try:
        answering = _answer(server, question, side, stop or asyncio.Event(), patience or Patience(), environ)
        async with contextlib.aclosing(answering):  # closing us closes the connection now, not when memory is tidied
            async for said in answering:
                yield said
    except EngineError as error:
        yield AnswerFailed(side, error)


async def _answer(
    server: Server,
    question: Question,
    side: Side,
    stop: asyncio.Event,
    patience: Patience,
    environ: Mapping[str, str],
) -> AsyncGenerator[Said, None]:
    if question.prefix:
        raise EndpointError(
            "A server cannot be told how its answer begins.", remedy="Ask again instead of going on with an answer."
        )
    address = parse_address(server.base_url) if server.base_url else api_address(server_address(environ))
    key = await asyncio.to_thread(find_key, address, lmstudio=server.kind == "lmstudio", environ=environ)
    connection = await _connect(address, key, question.sampling.max_tokens, patience)
    asked = Asked(address, key, server.kind, server.model)
    stopping = asyncio.ensure_future(stop.wait())
    answer = _Answer(side, time.perf_counter())
    try:
        parameters = _parameters(server, question)
        for _ in range(_TRIES):
            try:
                connection.stream = await _until(
                    _posted(connection.client, parameters), stopping, patience.first_seconds, asked
                )
                break
            except Exception as error:
                name = optional_parameter(error, parameters)
                if name is None:
                    raise failure(error, asked) from error
                parameters = _without(parameters, name)
                # Nobody asked for the first, and the second goes by its other name.
                if name not in ("stream_options", "max_tokens"):
                    yield Progress(side, f"{asked.server} takes no {name}: left out")
        else:
            raise EndpointError(f"{asked.server} refuses the settings one after the other.", remedy="Leave them out.")
        if connection.stream is None:
            yield answer.finished("stopped")
            return
        reading = _read(connection, answer, question.sampling.max_tokens, stopping, patience, asked)
        async with contextlib.aclosing(reading):
            async for said in reading:
                yield said
    finally:
        stopping.cancel()
        await connection.close()


async def _read(
    connection: _Connection,
    answer: _Answer,
    max_tokens: int,
    stopping: asyncio.Future[Any],
    patience: Patience,
    asked: Asked,
) -> AsyncGenerator[Said, None]:
    kind = str(connection.stream.response.headers.get("content-type", "")).partition(";")[0].strip().lower()
    if kind not in ("text/event-stream", ""):
        async for said in _at_once(connection, answer, kind, stopping, patience, asked):
            yield said
        return
    chunks = _Chunks(connection.stream)
    try:
        while True:
            waits = patience.first_seconds if answer.first is None else patience.between_seconds
            if not await _come(chunks, stopping, waits, asked, answer):
                yield answer.finished("stopped")
                return
            texts: list[str] = []
            before = answer.pieces
            too_long = False
            # What is wrong with a chunk is told after the text of those before it.
            wrong: EngineError | None = None
            for chunk in chunks.taken():
                try:
                    text = _take(chunk, answer)
                except (AttributeError, TypeError, IndexError, KeyError):
                    wrong = broken_off(asked, answer.pieces, "it sent something that is no part of an answer")
                    break
                if text is None:
                    if answer.thinking and answer.pieces == 1:
                        yield Progress(answer.side, "the model thinks before it answers")
                elif text:
                    texts.append(text)
                too_long = answer.characters > _CHARACTERS_PER_TOKEN * max_tokens + _SLACK
                too_long = too_long or answer.pieces > 2 * max_tokens + 64
                if too_long:
                    break
            if texts:
                yield TextArrived(answer.side, "".join(texts), answer.pieces - before)
            if wrong is not None:
                raise wrong
            if too_long:
                yield Progress(
                    answer.side, f"{asked.server} does not keep to {max_tokens} tokens: the answer was ended"
                )
                yield answer.finished("length")
                return
            if chunks.ended:
                break
    finally:
        await chunks.close()
    if chunks.error is not None:
        raise failure(chunks.error, asked, num_tokens=answer.pieces) from chunks.error
    yield _ending(answer, asked, done=b"[DONE]" in connection.transport.tail)


class _Chunks:
    """The chunks of a stream, read by a task of its own, to be taken several at a time."""

    def __init__(self, stream: Any) -> None:
        self.error: Exception | None = None
        """What ended it too early."""
        self._chunks: list[Any] = []
        self._news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read(stream))

    @property
    def ended(self) -> bool:
        """Whether all there will be was taken."""
        return self._reader.done() and not self._chunks

    @property
    def news(self) -> asyncio.Future[None]:
        """Done when there is something to take, or it has ended."""
        if self._news.done() and not self._chunks and not self._reader.done():
            self._news = asyncio.get_running_loop().create_future()
        return self._news

    def taken(self) -> list[Any]:
        """Return what has come since."""
        chunks, self._chunks = self._chunks, []
        return chunks

    async def close(self) -> None:
        """Read no further."""
        self._reader.cancel()
        # It is waited for, so that the connection is closed and no task is left behind.
        await asyncio.wait({self._reader})

    async def _read(self, stream: Any) -> None:
        pace = Pace()
        try:
            pace.reads()
            async for chunk in stream:
                self._chunks.append(chunk)
                if not self._news.done():
                    self._news.set_result(None)
                await pace.waits()
                pace.reads()
        except Exception as error:  # noqa: BLE001 - whatever ends it is told by `failure`, after the text that came
            self.error = error
        finally:
            if not self._news.done():
                # In the turn after this one, when the task is over.
                asyncio.get_running_loop().call_soon(self._tell_end)

    def _tell_end(self) -> None:
        if not self._news.done():
            self._news.set_result(None)


async def _come(chunks: _Chunks, stopping: asyncio.Future[Any], seconds: float, asked: Asked, answer: _Answer) -> bool:
    """Wait until chunks have come or the stream has ended; False where the user stopped it first."""
    news = chunks.news
    await asyncio.wait({news, stopping}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    if stopping.done() and not news.done():
        return False
    if not news.done():
        raise _silent(seconds, asked, answer)
    return True


def _take(chunk: Any, answer: _Answer) -> str | None:
    """Note what a chunk says and return the text in it; None for what the model says to itself."""
    usage, choices = chunk.get("usage"), chunk.get("choices")
    if isinstance(usage, dict):
        answer.usage = usage
    if not choices:
        return ""
    choice = choices[0]
    if choice.get("finish_reason") is not None:
        answer.reason = str(choice["finish_reason"])
    delta = choice.get("delta")
    if delta is None:
        return ""
    text = delta.get("content")
    if text:
        if not isinstance(text, str):
            raise TypeError("text that is none")
        answer.piece(len(text))
        return text
    thought = next((found for name in _REASONING if (found := delta.get(name))), None)
    if thought:
        answer.thinking = True
        answer.piece(len(str(thought)))
        return None
    return ""


def _ending(answer: _Answer, asked: Asked, *, done: bool) -> Said:
    reason = answer.reason
    if reason is None and not done:
        if answer.first is None:
            raise EndpointError(
                f"{asked.server} answered with nothing at all.", remedy=f"Is {asked.address.url} the right address?"
            )
        raise broken_off(asked, answer.pieces, "it closed the connection")
    if reason == "content_filter":
        raise EndpointError(f"{asked.server} withheld the answer (content filter).", remedy="Ask in other words.")
    if reason in ("tool_calls", "function_call") and not answer.pieces:
        raise EndpointError(f"{asked.server} wanted to call a tool instead of answering.", remedy="Ask in other words.")
    return answer.finished(_REASONS.get(reason or "", "stop"))


async def _at_once(
    connection: _Connection,
    answer: _Answer,
    kind: str,
    stopping: asyncio.Future[Any],
    patience: Patience,
    asked: Asked,
) -> AsyncGenerator[Said, None]:
    """Read what came instead of a stream: the answer in one piece, from servers that cannot stream, or no answer."""
    try:
        body = await _until(connection.stream.response.aread(), stopping, patience.first_seconds, asked, answer)
    except EngineError:
        raise
    except Exception as error:
        raise failure(error, asked) from error
    if body is None:
        yield answer.finished("stopped")
        return
    reply = reply_of_status(200, kind, body, asked)
    if isinstance(reply, EngineError):
        raise reply
    answer.usage = reply.usage
    answer.piece(len(reply.text))
    if reply.text:
        yield TextArrived(answer.side, reply.text)
    yield answer.finished(_REASONS.get(reply.reason or "", "stop"))


async def _until(
    work: Any, stopping: asyncio.Future[Any], seconds: float, asked: Asked, answer: _Answer | None = None
) -> Any:
    """Return what is waited for; None where the user stopped it first.

    Raises:
        EndpointError: It took too long.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task, stopping}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if stopping.done():
            return None
        raise _silent(seconds, asked, answer)
    finally:
        if not task.done():
            task.cancel()
            # It is waited for, so that the connection is closed and no task is left behind.
            await asyncio.wait({task})


def _silent(seconds: float, asked: Asked, answer: _Answer | None) -> EngineError:
    if answer is not None and answer.first is not None:
        return broken_off(asked, answer.pieces, f"nothing more came for {seconds:g} s")
    return EndpointError(
        f"{asked.server} did not begin to answer within {seconds:g} s.",
        remedy="Look whether it is loading the model or busy with other questions, then ask again.",
    )


async def _connect(address: Address, key: Key | None, max_tokens: int, patience: Patience) -> _Connection:
    openai, httpx2, guarded = await asyncio.to_thread(_libraries)
    transport = guarded.GuardedTransport(address, key, _SLACK + max_tokens * _BYTES_PER_TOKEN)
    silence = max(patience.first_seconds, patience.between_seconds) + 5
    client = openai.AsyncOpenAI(
        base_url=address.url,
        api_key="unused",  # the transport has the key, and sends no header but its own
        max_retries=0,  # a question that is asked again by itself may be charged twice
        http_client=httpx2.AsyncClient(
            transport=transport,
            follow_redirects=False,
            trust_env=False,
            timeout=httpx2.Timeout(silence, connect=patience.connect_seconds),
        ),
        timeout=httpx2.Timeout(silence, connect=patience.connect_seconds),
    )
    return _Connection(address, key, transport, client)


def _posted(client: Any, parameters: dict[str, Any]) -> Any:
    """Return what posts a question and is awaited for the stream of its answer, chunk by chunk as plain dictionaries.

    `client.chat.completions.create` makes objects of them: 395 us of work for each chunk, where this takes 113.
    """
    from openai import AsyncStream

    body = {name: value for name, value in parameters.items() if name != "extra_body"}
    body |= parameters.get("extra_body", {})
    return client.post("/chat/completions", cast_to=object, body=body, stream=True, stream_cls=AsyncStream[object])


def _libraries() -> tuple[Any, Any, Any]:
    import httpx2
    import openai

    from engine.chat import guarded

    return openai, httpx2, guarded


def _parameters(server: Server, question: Question) -> dict[str, Any]:
    sampling = question.sampling
    parameters: dict[str, Any] = {
        "model": server.model,
        "messages": [{"role": each.role, "content": each.content} for each in question.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
    }
    if sampling.seed is not None:
        parameters["seed"] = sampling.seed
    if sampling.stop:
        parameters["stop"] = list(sampling.stop)
    extra: dict[str, Any] = {}
    if sampling.top_k is not None:
        extra["top_k"] = sampling.top_k
    if sampling.repetition_penalty is not None:
        # llama.cpp and LM Studio call it so, vLLM and TGI the other way; each passes over what it does not know.
        extra["repeat_penalty"] = sampling.repetition_penalty
        if server.kind != "lmstudio":
            extra["repetition_penalty"] = sampling.repetition_penalty
    if extra:
        parameters["extra_body"] = extra
    return parameters


def _without(parameters: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the parameters without one. OpenAI's newer models want `max_tokens` under another name."""
    changed = {key: value for key, value in parameters.items() if key != name}
    if name == "max_tokens":
        changed["max_completion_tokens"] = parameters[name]
    if "extra_body" in parameters:
        changed["extra_body"] = {key: value for key, value in parameters["extra_body"].items() if key != name}
    return changed


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
