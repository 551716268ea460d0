"""What a server says or does instead of answering, as a sentence and a remedy.

Servers agree on little more than `{"error": {"message": ...}}`, so the words of the message are looked at too. What a
server says is shown to the user, without keys, on one line, cut off.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.chat.address import Address
from engine.chat.keys import Key, how_to_give_one, redact
from engine.errors import EndpointError, EngineError, KeyNeeded, ModelNotLoaded, NotReachable

_SHOWN = 300
_OPTIONAL = (
    "stream_options",
    "seed",
    "top_k",
    "top_p",
    "repeat_penalty",
    "repetition_penalty",
    "stop",
    "temperature",
    "max_tokens",
)
"""What may be left out when a server refuses it. `max_tokens` goes under its newer name instead."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom was asked for what."""

    address: Address
    key: Key | None
    kind: str
    model: str

    @property
    def server(self) -> str:
        """For the beginning of a sentence."""
        if self.kind == "lmstudio":
            return f"LM Studio at {self.address.host_and_port}"
        return f"The server at {self.address.host_and_port}"

    def said(self, text: str) -> str:
        """Return words of the server as they may be shown."""
        words = " ".join(redact(text, self.key).split())
        return words if len(words) <= _SHOWN else f"{words[:_SHOWN]} ..."


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer in one piece."""

    text: str
    reason: str | None
    usage: Mapping[str, Any]


def failure(error: Exception, asked: Asked, *, num_tokens: int = 0) -> EngineError:
    """Return the error a user can act on behind one of the `openai` client or its connection.

    Args:
        error: Any exception.
        asked: Whom.
        num_tokens: How many pieces of the answer had come.
    """
    if isinstance(error, EngineError):
        return error
    import httpx2
    import openai

    from engine.chat.guarded import Redirected, TooMuch

    causes = list(_chain(error))
    for cause in causes:
        if isinstance(cause, Redirected):
            return _redirected(cause.target, asked)
        if isinstance(cause, TooMuch):
            return broken_off(asked, num_tokens, "it sent far more than an answer of this length takes")
        if isinstance(cause, httpx2.DecodingError):
            return broken_off(asked, num_tokens, "it sent something that is no part of an answer")
    if isinstance(error, openai.APIStatusError):
        body = error.response.content if error.response.is_closed else b""
        kind = error.response.headers.get("content-type", "").partition(";")[0].strip().lower()
        found = reply_of_status(error.status_code, kind, body, asked)
        return found if isinstance(found, EngineError) else EndpointError(f"{asked.server} refused.")
    if isinstance(error, openai.APITimeoutError) or any(isinstance(each, httpx2.ConnectError) for each in causes):
        if num_tokens:
            return broken_off(asked, num_tokens, "nothing more came")
        return _unreachable(causes, asked)
    if isinstance(error, openai.APIConnectionError):
        if num_tokens:
            return broken_off(asked, num_tokens, "the connection was lost")
        return EndpointError(
            f"{asked.server} took the question and closed the connection without an answer.",
            remedy="Look at what it printed: it may have run out of memory.",
        )
    if isinstance(error, openai.APIError):  # an error where the answer should have gone on
        return _of_words(str(error.message), asked, num_tokens, _word(error.body, "type"), _word(error.body, "code"))
    if isinstance(error, ValueError | httpx2.HTTPError):
        return broken_off(asked, num_tokens, "it sent something that is no part of an answer")
    raise error


def broken_off(asked: Asked, num_tokens: int, why: str) -> EndpointError:
    """Return the error of an answer that did not reach its end."""
    after = f" after {num_tokens} tokens" if num_tokens else ""
    return EndpointError(
        f"The answer of {asked.server.replace('The', 'the', 1)} broke off{after}: {why}.",
        remedy="What came is kept. Ask again with regenerate, and look at what the server printed.",
    )


def reply_of_status(status: int, kind: str, body: bytes, asked: Asked) -> Reply | EngineError:
    """Return what a response that is no stream says.

    Args:
        status: Of HTTP.
        kind: Its content type, without parameters.
        body: All of it.
        asked: Whom.
    """
    try:
        value = json.loads(body) if body else None
    except (ValueError, RecursionError):
        value = None
    if status == 200:
        if (reply := _reply(value)) is not None:
            return reply
        if (words := _words(value)) is not None:
            return _of_words(words[0], asked, 0, *words[1:])
        what = (
            "a web page" if "html" in kind or body.lstrip()[:1] == b"<" else f"{kind or 'something'} that is no answer"
        )
        return EndpointError(
            f"{asked.server} answered with {what}.",
            remedy=f"{asked.address.url} may not be a server for models; their address usually ends in /v1.",
        )
    text, type_, code = _words(value) or ("", "", "")
    return _of_status(status, text, type_, code, kind, asked)


def optional_parameter(error: Exception, parameters: Mapping[str, Any]) -> str | None:
    """Return the parameter a server refuses though it could do without, if that is what the error says."""
    import openai

    if not isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError):
        return None
    text = f"{error.message} {error.body}"  # FastAPI's `detail` is in the body alone
    if not re.search(
        r"unsupported|not supported|unrecogni[sz]ed|unknown|unexpected|extra|not permitted|invalid", text, re.I
    ):
        return None
    sent = {*parameters, *parameters.get("extra_body", {})}
    return next((name for name in _OPTIONAL if name in sent and re.search(rf"\b{name}\b", text)), None)


def _of_status(status: int, text: str, type_: str, code: str, kind: str, asked: Asked) -> EngineError:
    if status in (401, 403):
        sent = f"does not take the key from {asked.key.source}" if asked.key is not None else "wants a key"
        says = f": {asked.said(text)}" if text else "."
        return KeyNeeded(
            f"{asked.server} is there and {sent}{says}",
            remedy=how_to_give_one(asked.address, lmstudio=asked.kind == "lmstudio"),
        )
    if text and (known := _known(text, asked, type_, code)) is not None:
        return known
    says = f": {asked.said(text)}" if text else (" with a web page." if "html" in kind else ".")
    if status == 404:
        return EndpointError(
            f"{asked.server} knows no such address or model (404){says}",
            remedy=f"Check the address, which usually ends in /v1, and the name of the model: {asked.model!r}.",
        )
    if status == 429:
        return EndpointError(f"{asked.server} is asked too often (429){says}", remedy="Wait a while, then ask again.")
    if status == 503:
        return ModelNotLoaded(
            f"{asked.server} is not ready (503){says}", remedy="It may still be loading: ask again in a while."
        )
    return EndpointError(f"{asked.server} refused ({status}){says}", remedy="Look at what it printed.")


def _of_words(text: str, asked: Asked, num_tokens: int, type_: str, code: str) -> EngineError:
    """Return the error behind a message that came with a status of 200, or inside of a stream."""
    if (known := _known(text, asked, type_, code)) is not None:
        return known
    if num_tokens:
        return broken_off(asked, num_tokens, f"it says {asked.said(text)!r}")
    return EndpointError(f"{asked.server} did not answer: {asked.said(text)}", remedy="Look at what it printed.")


def _known(text: str, asked: Asked, type_: str, code: str) -> EngineError | None:
    """Return the error for words whose meaning is known."""
    low = f"{text} {type_} {code}".lower()
    if "invalid_api_key" in low or "api token is required" in low or "incorrect api key" in low:
        return _of_status(401, text, type_, code, "", asked)
    if re.search(r"context (size|length|window)|exceed_context|context_length_exceeded|maximum context", low):
        return EndpointError(
            f"The conversation is longer than the context of {asked.model!r}: {asked.said(text)}",
            remedy="Branch from an earlier turn, begin a new conversation, or load the model with a longer context.",
        )
    if "loading model" in low:
        return ModelNotLoaded(f"{asked.server} is still loading its model.", remedy="Ask again in a while.")
    if re.search(r"no models? (is |are )?(currently )?loaded|unloaded|not loaded|model_not_loaded|no_model", low):
        return ModelNotLoaded(f"{asked.server} has not loaded the model: {asked.said(text)}", remedy=_loading(asked))
    if re.search(
        r"model_not_found|server is pinned to|model .{0,200}(not found|does not exist)|failed to load model",
        low,
    ):
        return ModelNotLoaded(
            f"{asked.server} does not have {asked.model!r}: {asked.said(text)}", remedy=_loading(asked)
        )
    if re.search(r"system role|system message|roles must alternate|only user, assistant|raise_exception|jinja", low):
        return EndpointError(
            f"The chat template of {asked.model!r} refuses this conversation: {asked.said(text)}",
            remedy="Empty the system prompt, or see that user and assistant take turns.",
        )
    if "out of memory" in low or "failed to allocate" in low:
        return EndpointError(
            f"{asked.server} ran out of memory: {asked.said(text)}", remedy="Load the model with a shorter context."
        )
    return None


def _loading(asked: Asked) -> str:
    if asked.kind == "lmstudio":
        return f"`ftconsole lmstudio list` shows what there is, `ftconsole lmstudio load {asked.model}` loads it."
    return f"{asked.address.url}/models lists what it serves."


def _redirected(target: str, asked: Asked) -> EndpointError:
    where = ""
    try:
        from engine.chat.address import parse_address

        where = f" to {parse_address(re.split(r'[?#]', target)[0]).origin}"
    except EngineError:  # a path, or nothing that may be shown
        pass
    return EndpointError(
        f"{asked.server} redirects{where}. That is not followed: what you ask goes nowhere that you did not name.",
        remedy="If that is where it is now, give the new address.",
    )


def _unreachable(causes: list[BaseException], asked: Asked) -> EndpointError:
    text = " ".join(str(cause) for cause in causes)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return NotReachable(
            f"The certificate of {asked.address.host_and_port} cannot be verified.",
            remedy="Set SSL_CERT_FILE to the certificate of whoever signed it.",
        )
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text or "UNKNOWN_PROTOCOL" in text:
        return NotReachable(f"{asked.server} does not speak https.", remedy="Write the address with http://.")
    if asked.kind == "lmstudio":
        return not_running(asked.address)
    secure = ", and whether it speaks https" if asked.address.scheme == "https" else ""
    return NotReachable(
        f"Nothing answers at {asked.address.host_and_port}.",
        remedy=f"Start the server, or check host and port{secure}.",
    )


def not_running(address: Address) -> NotReachable:
    """Return the error of an LM Studio that is not there."""
    return NotReachable(
        f"LM Studio does not answer at {address.host_and_port}.",
        remedy="Start its server: Developer > Start Server in LM Studio, or `lms server start`.",
    )


def _reply(value: object) -> Reply | None:
    try:
        choice = value["choices"][0]  # type: ignore[index]
        text = choice["message"]["content"]
        usage = value.get("usage")  # type: ignore[attr-defined]
    except (TypeError, KeyError, IndexError, AttributeError):
        return None
    if not isinstance(text, str | None):
        return None
    return Reply(text or "", choice.get("finish_reason"), usage if isinstance(usage, dict) else {})


def _words(value: object) -> tuple[str, str, str] | None:
    """Return message, type and code of an error in JSON; None where there is none."""
    if not isinstance(value, dict):
        return None
    error = value.get("error", value.get("detail", value.get("message")))
    if isinstance(error, str):
        return error, "", ""
    if isinstance(error, dict):
        return str(error.get("message") or error), _word(error, "type"), _word(error, "code")
    return (str(error), "", "") if error else None


def _word(body: object, name: str) -> str:
    return str(body.get(name) or "") if isinstance(body, dict) else ""


def _chain(error: BaseException | None) -> Any:
    seen = 0
    while error is not None and seen < 20:
        yield error
        error, seen = error.__cause__ or error.__context__, seen + 1
