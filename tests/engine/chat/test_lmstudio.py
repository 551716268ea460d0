"""LM Studio: found, listed, loaded and unloaded through a stand-in; its errors as sentences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.chat.address import Address
from engine.chat.asking import AnswerFailed, AnswerFinished, Message, Question, Said, Sampling, TextArrived
from engine.chat.endpoint import ask
from engine.chat.lmstudio import Instance, find_lmstudio, home, server_address
from engine.errors import EndpointError, EngineError, KeyNeeded, ModelNotLoaded, NotFound, NotReachable, UsageError
from engine.spec import Endpoint
from tests.servers.lmstudio import StandIn, lmstudio
from tests.servers.running import Running
from tests.servers.scripted import response, scripted

TOKEN = "sk-lm-canary01:0123456789"
STUDIO = Endpoint("lmstudio:ftconsole/tiny", "lmstudio:ftconsole/tiny", "lmstudio", "", "ftconsole/tiny")


def at(stand_in: StandIn, **more: str) -> dict[str, str]:
    return {"FTCONSOLE_LMSTUDIO": stand_in.origin, **more}


async def asked(stand_in: StandIn, **more: str) -> list[Said]:
    question = Question((Message("user", "Who wrote War and Peace?"),), Sampling(temperature=0, max_tokens=40))
    return [said async for said in ask(STUDIO, question, "left", environ=at(stand_in, **more))]


@pytest.mark.parametrize("api", ["v1", "v0"])
def test_models_are_listed_with_state_quantisation_and_context(api: str) -> None:
    with lmstudio("", api=api, loaded={"ftconsole/tiny": 1024}) as there:
        found = find_lmstudio(environ=at(there))
        models = found.models()
    assert found.api == api
    assert [model.kind for model in models] == ["llm", "embedding"]
    tiny = models[0]
    assert (tiny.key, tiny.quantization, tiny.max_context_length) == ("ftconsole/tiny", "F16", 2048)
    assert (tiny.architecture, tiny.format, tiny.publisher, tiny.loaded) == ("qwen2", "gguf", "ftconsole", True)
    assert not models[1].loaded
    if api == "v1":
        assert (tiny.bits_per_weight, tiny.size_bytes) == (16.0, 7_978_368)
        assert tiny.instances == (Instance("ftconsole/tiny", 1024),)
    json.dumps([model.as_dict() for model in models])


def test_a_model_is_loaded_once_and_unloaded() -> None:
    with lmstudio("") as there:
        studio = find_lmstudio(there.origin + "/v1", environ={})
        assert studio.load("tiny", context_length=512) == Instance("ftconsole/tiny", 512)
        assert studio.load("ftconsole/tiny") == Instance("ftconsole/tiny", 512)
        assert [path for _, path, _ in there.asked] == ["/api/v1/models/load"]
        assert studio.unload("tiny") == ("ftconsole/tiny",)
        assert there.loaded == {}
        with pytest.raises(ModelNotLoaded, match="not loaded"):
            studio.unload("tiny")


def test_the_older_form_loads_by_asking_and_cannot_unload(llama_server: Running) -> None:
    with lmstudio(llama_server.origin, api="v0") as there:
        studio = find_lmstudio(environ=at(there))
        assert studio.load("tiny").id == "ftconsole/tiny"
        with pytest.raises(EndpointError, match=r"0\.4\.0") as found:
            studio.unload("tiny")
    assert "lms unload ftconsole/tiny" in found.value.remedy


@pytest.mark.parametrize("api", ["v1", "v0"])
def test_a_token_is_needed_and_told_apart_from_not_being_there(api: str) -> None:
    with lmstudio("", api=api, token=TOKEN) as there:
        with pytest.raises(KeyNeeded, match="wants a key") as found:
            find_lmstudio(environ=at(there))
        assert "LM_API_TOKEN" in found.value.remedy
        with pytest.raises(KeyNeeded, match="does not take the key from LM_API_TOKEN") as wrong:
            find_lmstudio(environ=at(there, LM_API_TOKEN="sk-lm-wrong000:1"))
        assert "sk-lm" not in str(wrong.value)
        assert find_lmstudio(environ=at(there, LM_API_TOKEN=TOKEN)).models()


def test_not_running_says_how_to_start_it() -> None:
    with lmstudio("") as there:
        origin = there.origin
    with pytest.raises(NotReachable, match="does not answer") as found:
        find_lmstudio(origin, environ={})
    assert "lms server start" in found.value.remedy


def test_another_server_is_not_taken_for_it(llama_server: Running) -> None:
    with pytest.raises(EndpointError, match="is not LM Studio") as found:
        find_lmstudio(llama_server.origin, environ={"LM_API_TOKEN": TOKEN})
    assert f"{llama_server.origin}/v1#MODEL" in found.value.remedy


def test_an_older_one_without_the_greeting_is_known_by_its_list() -> None:
    with lmstudio("", api="v0", greets=False) as there:
        assert find_lmstudio(there.origin, environ={}).api == "v0"


def test_what_it_does_not_have_is_told_with_the_nearest() -> None:
    with lmstudio("") as there:
        studio = find_lmstudio(environ=at(there))
        with pytest.raises(NotFound) as found:
            studio.load("ftconsole/tinny")
        assert found.value.remedy == "Did you mean ftconsole/tiny?"
        with pytest.raises(EngineError, match="out of memory"):
            studio.load("tiny", context_length=4096)


async def test_whatever_answers_at_its_port_is_a_sentence() -> None:
    import asyncio

    for body, kind in [(b"<html>", "text/html"), (b"[" * 5_000, "application/json"), (b'{"models": 3}', "text/plain")]:
        async with scripted([response("200 OK", body, kind)]) as server:
            with pytest.raises(EndpointError, match="is not LM Studio"):
                await asyncio.to_thread(find_lmstudio, server.url, environ={})
    async with scripted([b"nonsense\r\n\r\n"]) as server:
        with pytest.raises(EndpointError, match="did not answer as a server does"):
            await asyncio.to_thread(find_lmstudio, server.url, environ={})


async def test_the_token_follows_no_redirect() -> None:
    import asyncio

    async with scripted([response("200 OK", b'{"models": []}')]) as elsewhere:
        away = response("307 Temporary Redirect", b"", location=elsewhere.url)
        async with scripted([away]) as server:
            with pytest.raises(EngineError):
                await asyncio.to_thread(find_lmstudio, server.url, environ={"LM_API_TOKEN": TOKEN})
        assert elsewhere.requests == []


async def test_a_question_finds_it_and_loads_its_model(llama_server: Running) -> None:
    with lmstudio(llama_server.origin, token=TOKEN) as there:
        said = await asked(there, LM_API_TOKEN=TOKEN)
    assert "".join(each.text for each in said if isinstance(each, TextArrived)) == "Leo Tolstoy wrote War and Peace."
    end = said[-1]
    assert isinstance(end, AnswerFinished)
    assert (end.reason, end.counted) == ("stop", "exactly")


@pytest.mark.parametrize(
    ("options", "kind", "remedy"),
    [
        ({"on_demand": False}, ModelNotLoaded, "ftconsole lmstudio load ftconsole/tiny"),
        ({"unload_after": 3}, ModelNotLoaded, "ftconsole lmstudio load ftconsole/tiny"),
        ({"token": TOKEN}, KeyNeeded, "LM_API_TOKEN"),
    ],
    ids=["nothing loaded", "unloaded in the middle", "no key"],
)
async def test_what_goes_wrong_with_a_question_has_a_remedy(
    llama_server: Running, options: dict[str, Any], kind: type[EngineError], remedy: str
) -> None:
    with lmstudio(llama_server.origin, **options) as there:
        said = await asked(there)
    end = said[-1]
    assert isinstance(end, AnswerFailed)
    assert isinstance(end.error, kind)
    assert remedy in end.error.remedy


def test_its_place_is_what_was_given_then_its_own_settings_then_its_usual_port(tmp_path: Path) -> None:
    nobody = {"HOME": str(tmp_path)}
    assert server_address(nobody) == Address("http", "127.0.0.1", 1234)
    folder = tmp_path / ".lmstudio"
    (folder / ".internal").mkdir(parents=True)
    hint = folder / ".internal" / "http-server-config.json"
    for text, port in [('{"port": 4321}', 4321), ("{}", 1234), ("nonsense", 1234), ('{"port": 99999}', 1234)]:
        hint.write_text(text)
        assert server_address(nobody).port == port
    given = {**nobody, "FTCONSOLE_LMSTUDIO": "http://gpu-box:5000/v1"}
    assert server_address(given) == Address("http", "gpu-box", 5000)
    with pytest.raises(UsageError):
        server_address({"FTCONSOLE_LMSTUDIO": "gpu-box"})


def test_its_folder_is_found_as_its_own_program_does(tmp_path: Path) -> None:
    nobody = {"HOME": str(tmp_path)}
    assert home(nobody) == tmp_path / ".lmstudio"
    (tmp_path / ".cache" / "lm-studio").mkdir(parents=True)
    assert home(nobody) == tmp_path / ".cache" / "lm-studio"
    (tmp_path / ".lmstudio-home-pointer").write_text("/elsewhere\n")
    assert home(nobody) == Path("/elsewhere")
    assert home({**nobody, "LMSTUDIO_HOME": "/given"}) == Path("/given")
