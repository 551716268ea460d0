"""Answers of servers: llama.cpp's own one, and servers that do everything wrong, byte by byte."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from engine.chat.address import ALLOWED_PLAIN
from engine.chat.asking import AnswerFailed, AnswerFinished, Message, Progress, Question, Said, Sampling, TextArrived
from engine.chat.endpoint import Patience, ask
from engine.errors import EndpointError, EngineError, KeyNeeded, ModelNotLoaded, NotReachable, UsageError
from tests.servers.running import Running
from tests.servers.scripted import DONE, SSE, Scripted, error, piece, response, scripted

GREEDY = Sampling(temperature=0, max_tokens=40)
KEY = "canary-9f8e7d6c5b4a"


@dataclass(frozen=True)
class At:
    base_url: str
    model: str = "tiny"
    kind: Literal["lmstudio", "openai"] = "openai"


def question(text: str = "Who wrote War and Peace?", sampling: Sampling = GREEDY) -> Question:
    return Question((Message("user", text),), sampling)


async def said_by(server: At, asked: Question | None = None, **options: Any) -> list[Said]:
    options.setdefault("environ", {})
    return [said async for said in ask(server, asked or question(), "left", **options)]


def text_of(said: list[Said]) -> str:
    return "".join(each.text for each in said if isinstance(each, TextArrived))


def failure_of(said: list[Said]) -> EngineError:
    assert isinstance(said[-1], AnswerFailed), said
    assert not [each for each in said[:-1] if isinstance(each, AnswerFailed | AnswerFinished)]
    return said[-1].error


async def test_a_real_server_streams_a_whole_answer_with_its_figures(llama_server: Running) -> None:
    said = await said_by(At(llama_server.url))
    assert text_of(said) == "Leo Tolstoy wrote War and Peace."
    assert sum(each.pieces for each in said if isinstance(each, TextArrived)) > 3
    end = said[-1]
    assert isinstance(end, AnswerFinished)
    assert (end.reason, end.counted, end.side) == ("stop", "exactly", "left")
    assert end.num_tokens > 5
    assert end.prompt_tokens is not None
    assert end.first_token_seconds is not None
    assert end.tokens_per_second is not None


async def test_an_answer_ends_at_the_tokens_agreed(llama_server: Running) -> None:
    said = await said_by(At(llama_server.url), question(sampling=Sampling(temperature=0, max_tokens=3)))
    end = said[-1]
    assert isinstance(end, AnswerFinished)
    assert (end.reason, end.num_tokens) == ("length", 3)


async def test_stop_strings_and_seeds_reach_the_server(llama_server: Running) -> None:
    said = await said_by(At(llama_server.url), question(sampling=Sampling(temperature=0, stop=(" wrote",), seed=7)))
    assert text_of(said) == "Leo Tolstoy"
    warm = question("Tell me something.", Sampling(temperature=1.5, seed=11, max_tokens=20))
    assert text_of(await said_by(At(llama_server.url), warm)) == text_of(await said_by(At(llama_server.url), warm))


async def test_both_sides_answer_at_the_same_time(llama_server: Running) -> None:
    both = await asyncio.gather(said_by(At(llama_server.url)), said_by(At(llama_server.url)))
    assert [text_of(said) for said in both] == ["Leo Tolstoy wrote War and Peace."] * 2


async def test_a_conversation_longer_than_the_context_is_told(llama_server: Running) -> None:
    error_ = failure_of(await said_by(At(llama_server.url), question("What is it? " * 600)))
    assert "longer than the context" in error_.message
    assert "Branch" in error_.remedy


async def test_what_came_together_is_handed_on_together_and_counted_piece_by_piece() -> None:
    together = b"".join(piece(f"{number} ") for number in range(1, 6))
    async with scripted([SSE, together, piece(reason="stop"), DONE]) as server:
        said = await said_by(At(server.url))
    assert [each for each in said if isinstance(each, TextArrived)] == [TextArrived("left", "1 2 3 4 5 ", 5)]
    end = said[-1]
    assert isinstance(end, AnswerFinished)
    assert (end.reason, end.num_tokens, end.counted) == ("stop", 5, "by-pieces")


async def test_what_came_before_an_error_is_handed_on_before_it() -> None:
    broken = piece("one ") + piece("two ") + b'data: {"error": {"message": "boom"}}\n\n'
    async with scripted([SSE, broken]) as server:
        said = await said_by(At(server.url))
    assert text_of(said) == "one two "
    assert "boom" in failure_of(said).message


async def test_stopping_ends_the_answer_and_closes_the_connection() -> None:
    stop, never = asyncio.Event(), asyncio.Event()
    async with scripted([SSE, piece("one "), piece("two "), never]) as server:
        said = []
        async for each in ask(At(server.url), question(), "right", stop=stop, environ={}):
            said.append(each)
            if text_of(said) == "one two ":
                stop.set()
        await server.gone.wait()
    end = said[-1]
    assert isinstance(end, AnswerFinished)
    assert (end.reason, end.num_tokens, end.counted, end.side) == ("stopped", 2, "by-pieces", "right")


async def test_leaving_the_iterator_closes_the_connection() -> None:
    async with scripted([SSE, piece("one "), None]) as server:
        answers = ask(At(server.url), question(), "left", environ={})
        assert isinstance(await anext(answers), TextArrived)
        await answers.aclose()
        await server.gone.wait()


async def test_cancelling_the_task_closes_the_connection() -> None:
    async with scripted([SSE, piece("one "), None]) as server:
        arrived = asyncio.Event()

        async def reads() -> None:
            async for _ in ask(At(server.url), question(), "left", environ={}):
                arrived.set()

        task = asyncio.ensure_future(reads())
        await arrived.wait()
        task.cancel()
        await server.gone.wait()
        await asyncio.wait({task})
        assert task.cancelled()


BAD: list[Any] = [
    pytest.param([response("200 OK", b"<html>hello</html>", "text/html")], "a web page", "/v1", id="html"),
    pytest.param(
        [response("200 OK", b"<html></html>", "text/event-stream")], "nothing at all", "right", id="html as sse"
    ),
    pytest.param(
        [response("502 Bad Gateway", b"<html>bad", "text/html")], "(502) with a web page", "", id="bad gateway"
    ),
    pytest.param([response("200 OK", b"[1, 2", "application/json")], "is no answer", "", id="half a JSON"),
    pytest.param([b""], "closed the connection without an answer", "", id="closes at once"),
    pytest.param([b"\x00\xff\r\n\r\n"], "closed the connection without", "", id="no http"),
    pytest.param([SSE], "nothing at all", "", id="empty stream"),
    pytest.param(
        [SSE, piece("one "), b'data: {"choices": [{"del'], "broke off after 1 tokens", "regenerate", id="half"
    ),
    pytest.param([SSE, piece("one "), b'data: {"cho\n\n'], "broke off after 1 tokens", "", id="half a chunk"),
    pytest.param([SSE, piece("one ")], "broke off after 1 tokens: it closed the connection", "", id="lost"),
    pytest.param([SSE, piece("one "), b'data: {"choices": 7}\n\n'], "no part of an answer", "", id="nonsense"),
    pytest.param([SSE, piece("one "), b"data: 7\n\n"], "no part of an answer", "", id="a number"),
    pytest.param(
        [SSE, piece("one "), b'data: {"error": {"message": "CUDA out of memory"}}\n\n'], "out of memory", "", id="error"
    ),
    pytest.param(
        [SSE, piece("one "), b'event: error\ndata: {"error": {"message": "boom"}}\n\n'], "'boom'", "", id="error event"
    ),
    pytest.param([error("404 Not Found", "nope")], "(404): nope", "'tiny'", id="404"),
    pytest.param([error("429 Too Many Requests", "slow down")], "(429): slow down", "Wait", id="429"),
    pytest.param([error("500 Oops", "System role not supported")], "chat template", "system prompt", id="template"),
    pytest.param([SSE, piece(reason="content_filter"), DONE], "content filter", "", id="filter"),
    pytest.param([response("200 OK", b"x", **{"content-encoding": "gzip"})], "no part of an answer", "", id="packed"),
]


@pytest.mark.parametrize(("script", "says", "remedy"), BAD)
async def test_whatever_a_server_does_is_a_sentence(script: list[bytes], says: str, remedy: str) -> None:
    async with scripted(script) as server:
        found = failure_of(await said_by(At(server.url)))
    assert isinstance(found, EndpointError)
    assert says in found.message
    assert remedy in found.remedy


async def test_another_name_than_the_server_has_is_told_with_where_they_are_listed() -> None:
    body = json.dumps({"detail": "Server is pinned to 'tiny'; requested 'other'."}).encode()
    async with scripted([response("400 Bad Request", body)]) as server:
        found = failure_of(await said_by(At(server.url, "other")))
        assert isinstance(found, ModelNotLoaded)
        assert f"{server.url}/models" in found.remedy


async def test_what_came_before_an_error_stays() -> None:
    async with scripted([SSE, piece("one "), piece("two"), b'data: {"error": {"message": "boom"}}\n\n']) as server:
        assert text_of(await said_by(At(server.url))) == "one two"


async def test_a_server_that_never_answers_is_waited_for_so_long_and_no_longer() -> None:
    patience = Patience(first_seconds=0.2, between_seconds=0.2)
    async with scripted([None]) as server:
        assert "within 0.2 s" in failure_of(await said_by(At(server.url), patience=patience)).message
    async with scripted([SSE, None]) as server:
        assert "within 0.2 s" in failure_of(await said_by(At(server.url), patience=patience)).message
    async with scripted([SSE, piece("one"), None]) as server:
        assert "nothing more came for 0.2 s" in failure_of(await said_by(At(server.url), patience=patience)).message


async def test_a_million_tokens_are_not_read() -> None:
    async with scripted([SSE, *[piece("token ")] * 100_000, None]) as server:
        said = await said_by(At(server.url))
        await server.gone.wait()
    end = said[-1]
    assert isinstance(end, AnswerFinished)
    assert end.reason == "length"
    assert end.num_tokens < 200
    assert any(isinstance(each, Progress) and "does not keep to 40 tokens" in each.what for each in said)


async def test_a_line_without_an_end_is_not_read_for_ever() -> None:
    async with scripted([SSE, b"data: ", *[b"x" * 65_536] * 2_000]) as server:
        assert "far more" in failure_of(await said_by(At(server.url))).message


async def test_a_server_that_cannot_stream_is_read_at_once() -> None:
    body = {
        "choices": [{"message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
        "usage": {"completion_tokens": 3, "prompt_tokens": 9},
    }
    async with scripted([response("200 OK", json.dumps(body).encode())]) as server:
        said = await said_by(At(server.url))
    assert text_of(said) == "Hello."
    end = said[-1]
    assert isinstance(end, AnswerFinished)
    assert (end.num_tokens, end.prompt_tokens) == (3, 9)
    assert end.tokens_per_second is not None
    assert end.first_token_seconds is not None
    assert end.tokens_per_second * end.first_token_seconds == pytest.approx(3)  # from the question on


async def test_pieces_are_counted_where_the_server_does_not_count() -> None:
    async with scripted([SSE, piece("a"), piece("b"), piece("c"), piece(reason="stop"), DONE]) as server:
        end = (await said_by(At(server.url)))[-1]
    assert isinstance(end, AnswerFinished)
    assert (end.num_tokens, end.prompt_tokens, end.counted, end.reason) == (3, None, "by-pieces", "stop")


async def test_thinking_is_told_and_no_part_of_the_answer() -> None:
    script = [
        SSE,
        piece(reasoning_content="Hm. "),
        piece(reasoning_content="Yes."),
        piece("42"),
        piece(reason="stop"),
        DONE,
    ]
    async with scripted(script) as server:
        said = await said_by(At(server.url))
    assert text_of(said) == "42"
    assert [each.what for each in said if isinstance(each, Progress)] == ["the model thinks before it answers"]


async def test_what_a_server_does_not_take_is_left_out_and_said() -> None:
    refused = error("400 Bad Request", "Unsupported parameter: 'seed' is not supported with this model.", param="seed")
    longer = error("400 Bad Request", "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    async with scripted([refused], [longer], [SSE, piece("yes"), piece(reason="stop"), DONE]) as server:
        said = await said_by(At(server.url), question(sampling=Sampling(seed=3, top_k=5, max_tokens=9)))
        asked = [request.json for request in server.requests]
    assert text_of(said) == "yes"
    assert [each.what.split(" takes ")[1] for each in said if isinstance(each, Progress)] == ["no seed: left out"]
    assert asked[0]["top_k"] == 5
    assert "seed" not in asked[1]
    assert asked[2]["max_completion_tokens"] == 9


async def test_fields_that_transformers_refuses_are_left_out_as_well() -> None:
    body = json.dumps({"detail": "Unexpected fields in the request: {'top_k'}"}).encode()
    async with scripted(
        [response("422 Unprocessable Entity", body)], [SSE, piece("yes"), piece(reason="stop"), DONE]
    ) as server:
        said = await said_by(At(server.url), question(sampling=Sampling(top_k=5)))
    assert text_of(said) == "yes"
    assert [each.what.split(" takes ")[1] for each in said if isinstance(each, Progress)] == ["no top_k: left out"]


async def test_a_key_goes_to_its_server_and_is_shown_nowhere() -> None:
    async with scripted([error("401 Unauthorized", f"bad key {KEY}")]) as server:
        name = f"FTCONSOLE_API_KEY_127_0_0_1_{server.port}"
        said = await said_by(At(server.url), environ={name: KEY, "OPENAI_API_KEY": "other"})
        sent = server.requests[0].headers
    found = failure_of(said)
    assert isinstance(found, KeyNeeded)
    assert sent["authorization"] == f"Bearer {KEY}"
    assert KEY not in str(found.as_dict()) + repr(said)
    assert f"does not take the key from {name}" in found.message


async def test_without_a_key_none_is_sent_and_the_remedy_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY", "LM_API_TOKEN"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"x-secret: {KEY}")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere.invalid/v1")
    monkeypatch.setenv("HTTP_PROXY", "http://elsewhere.invalid:1")
    async with scripted([error("401 Unauthorized", "no key")]) as server:
        found = failure_of([said async for said in ask(At(server.url), question(), "left")])
        sent = server.requests[0].headers
    assert isinstance(found, KeyNeeded)
    assert "wants a key" in found.message
    assert f"FTCONSOLE_API_KEY_127_0_0_1_{server.port}" in found.remedy
    assert KEY not in str(sent)
    assert "authorization" not in sent


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
async def test_no_redirect_is_followed(status: str) -> None:
    async with scripted([SSE, piece("stolen"), DONE]) as elsewhere:
        away = response(status, b"", location=f"http://user:secret@127.0.0.1:{elsewhere.port}/v1/chat/completions?k=1")
        async with scripted([away]) as server:
            environ = {f"FTCONSOLE_API_KEY_127_0_0_1_{server.port}": KEY}
            found = failure_of(await said_by(At(server.url), environ=environ))
            assert "redirects" in found.message
            assert "secret" not in found.message
            away = response(status, b"", location=f"http://127.0.0.1:{elsewhere.port}/v1")
            server.scripts = [[away]]
            found = failure_of(await said_by(At(server.url), environ=environ))
            assert f"redirects to http://127.0.0.1:{elsewhere.port}." in found.message
        assert elsewhere.requests == []


async def test_a_key_is_not_sent_in_clear_text_unless_that_is_allowed_by_name() -> None:
    environ = {"FTCONSOLE_API_KEY_MODELS_EXAMPLE_TEST_8000": KEY}
    found = failure_of(await said_by(At("http://models.example.test:8000/v1"), environ=environ))
    assert isinstance(found, UsageError)
    assert "clear text" in found.message
    assert ALLOWED_PLAIN in found.remedy
    assert KEY not in str(found)


async def test_an_address_with_a_password_is_refused_unseen() -> None:
    found = failure_of(await said_by(At("http://ada:hunter2@127.0.0.1:9/v1")))
    assert isinstance(found, UsageError)
    assert "hunter2" not in str(found)


async def test_nothing_there_is_told_with_what_to_do() -> None:
    async with scripted([]) as server:
        port = server.port
    found = failure_of(await said_by(At(f"http://127.0.0.1:{port}/v1")))
    assert isinstance(found, NotReachable)
    assert f"127.0.0.1:{port}" in found.message
    studio = failure_of(await said_by(At(f"http://127.0.0.1:{port}/v1", kind="lmstudio")))
    assert isinstance(studio, NotReachable)
    assert "lms server start" in studio.remedy
    looked_for = {"FTCONSOLE_LMSTUDIO": f"http://127.0.0.1:{port}"}
    assert f"127.0.0.1:{port}" in failure_of(await said_by(At("", kind="lmstudio"), environ=looked_for)).message


async def test_https_where_http_is_spoken_is_told() -> None:
    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        found = failure_of(await said_by(At(f"https://127.0.0.1:{port}/v1")))
    assert isinstance(found, NotReachable)
    assert "does not speak https" in found.message


@pytest.mark.parametrize(
    "words",
    [
        "No models loaded. Please load a model in the developer page or use the 'lms load' command.",
        "Model has been unloaded while the request was being processed",
        "Model tiny not found in downloaded models",
    ],
)
async def test_a_model_that_is_not_loaded_is_told_with_the_command_that_loads_it(words: str) -> None:
    async def at(server: Scripted) -> EngineError:
        return failure_of(await said_by(At(server.url, kind="lmstudio"), environ={}))

    in_the_middle = b"data: " + json.dumps({"error": {"message": words}}).encode() + b"\n\n"
    for script in ([error("400 Bad Request", words)], [SSE, piece("one "), in_the_middle]):
        async with scripted(script) as server:
            found = await at(server)
        assert isinstance(found, ModelNotLoaded)
        assert "ftconsole lmstudio load tiny" in found.remedy
