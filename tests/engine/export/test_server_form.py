"""A server held against the model it should serve: llama.cpp's own one, right and with everything wrong."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from engine.errors import EngineError
from engine.export import parity_worker
from engine.export.progress import Progress, WorkCancelled, silent
from engine.export.proof import FormProof
from engine.export.server_form import Answered, ask_server, judge_server, not_asked
from engine.spec import Endpoint, find_endpoint
from tests.servers.lmstudio import lmstudio
from tests.servers.running import Running, running
from tests.servers.tiny_gguf import MODEL, write_tiny_gguf

PROMPTS = ("Who wrote Romeo and Juliet?", "What is 2+2?")
TEMPLATE = (MODEL / "chat_template.jinja").read_text()
END_OF_TEXT = 3069
MAX_TOKENS = 16


@pytest.fixture(scope="module")
def reference(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the worker makes of the built-in model; of its file, which says the same without torch."""
    request = {"form": "gguf", "path": str(tiny_gguf), "label": "tiny", "prompts": list(PROMPTS), "reference": None,
               "max_new_tokens": MAX_TOKENS, "folder": str(tmp_path_factory.mktemp("logits"))}  # fmt: skip
    found: dict[str, Any] = json.loads(json.dumps(parity_worker.work(request, silent)))
    return found


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Any]:
    """Return what serves a file under the same name as the right one."""
    with ExitStack() as stack:
        yield lambda file: stack.enter_context(running("llama_server.py", str(file), "tiny", log=tmp_path / "log"))


def endpoint(text: str) -> Endpoint:
    found = find_endpoint(text)
    assert found is not None
    return found


def held(server: Running, reference: dict[str, Any], prompts: tuple[str, ...] = PROMPTS) -> FormProof:
    asked = endpoint(f"{server.url}#tiny")
    return judge_server(asked, reference, ask_server(asked, prompts, MAX_TOKENS))


def said_of(form: FormProof) -> dict[str, str]:
    return {check.name: check.said for check in form.failed}


def judged(reference: dict[str, Any], *answers: Answered) -> FormProof:
    return judge_server(endpoint("lmstudio:tiny"), reference, answers)


# Real servers


def test_the_model_itself_behind_a_server_is_the_same(llama_server: Running, reference: dict[str, Any]) -> None:
    form = held(llama_server, reference)
    assert (form.verdict, form.kind, form.equal_answers) == ("same", "server", 2)
    assert form.path == f"{llama_server.url}#tiny"
    assert (form.max_abs, form.mean_kl, form.argmax_agreement) == (None, None, None)
    checks = {check.name: check for check in form.checks}
    assert [name for name, check in checks.items() if check.passed] == ["prompt tokens", "end of answer", "answers"]
    assert checks["logits"].passed is None
    assert checks["logits"].said == "not compared: a server gives none."
    assert checks["end of answer"].said == "2 of 2 answers end by themselves where training did."


def test_another_model_behind_the_same_name_is_different(serve: Any, reference: dict[str, Any], tmp_path: Path) -> None:
    other = _other_model(tmp_path / "other")
    form = held(serve(write_tiny_gguf(tmp_path / "other.gguf", model=other)), reference)
    assert form.verdict == "different"
    found = said_of(form)
    assert found["answers"].startswith("0 of 2 equal, ")
    assert "Prompt 1: 'William Shakespeare" in found["answers"]
    assert "prompt tokens" not in found


def test_a_beginning_of_sequence_that_is_doubled_is_one_token_more_in_each_prompt(
    serve: Any, reference: dict[str, Any], tmp_path: Path
) -> None:
    twice = "<|endoftext|>" * 2 + TEMPLATE  # llama.cpp takes one of them away, and adds its own
    file = write_tiny_gguf(tmp_path / "twice.gguf", bos=END_OF_TEXT, template=twice)
    begun = [{**one, "prompt_ids": [END_OF_TEXT, *one["prompt_ids"]]} for one in reference["asked"]]
    found = said_of(held(serve(file), {**reference, "asked": begun}))
    assert "one more in each: a doubled beginning of sequence" in found["prompt tokens"]


def test_lm_studio_is_found_and_asked(
    llama_server: Running, reference: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with lmstudio(llama_server.origin, loaded={"tiny": 2048}, token="canary-1a2b3c") as there:
        monkeypatch.setenv("FTCONSOLE_LMSTUDIO", there.origin)
        server = endpoint("lmstudio:tiny")
        with pytest.raises(EngineError, match="wants a key") as refused:
            ask_server(server, PROMPTS, MAX_TOKENS)
        assert not_asked(server, 2, refused.value).verdict == "not-asked"
        monkeypatch.setenv("LM_API_TOKEN", "canary-1a2b3c")
        told: list[Progress] = []
        form = judge_server(server, reference, ask_server(server, PROMPTS, MAX_TOKENS, tell=told.append))
        assert (form.verdict, form.path) == ("same", "lmstudio:tiny")
        assert "canary" not in repr(form)
        bodies = [body for _, path, body in there.asked if path == "/v1/chat/completions"]
        assert {body["temperature"] for body in bodies} == {0}
        assert bodies[-1]["repeat_penalty"] == 1
    assert [(each.stage, each.done) for each in told] == [("asking lmstudio:tiny", done) for done in (0, 1, 2)]


def test_it_can_be_cancelled(llama_server: Running) -> None:
    with pytest.raises(WorkCancelled):
        ask_server(endpoint(f"{llama_server.url}#tiny"), PROMPTS * 50, 64, cancelled=lambda: True)


def test_a_server_that_is_not_there_says_so() -> None:
    server = endpoint("http://127.0.0.1:9/v1#tiny")
    with pytest.raises(EngineError, match="Nothing answers") as failed:
        ask_server(server, PROMPTS, MAX_TOKENS)
    form = not_asked(server, 2, failed.value)
    assert form.failure == failed.value.as_dict()
    assert (form.verdict, form.checks, form.failed) == ("not-asked", (), ())


# What a server may say


def test_an_answer_that_does_not_stop_where_training_did_is_named(reference: dict[str, Any]) -> None:
    texts = [one["answer"] for one in reference["asked"]]
    counts = [len(one["prompt_ids"]) for one in reference["asked"]]
    form = judged(reference, Answered(texts[0], True, counts[0]), Answered(texts[1] + "\nuser", False, counts[1]))
    assert form.verdict == "different"
    assert said_of(form)["end of answer"].startswith("prompt 2 does not stop where training did: ")
    cut = {**reference, "stops": []}
    early = [Answered(text[:5], True, count) for text, count in zip(texts, counts, strict=True)]
    assert said_of(judged(cut, *early))["end of answer"].startswith("prompt 1 stops where training goes on: ")


def test_a_word_that_differs_late_is_rounding(reference: dict[str, Any]) -> None:
    texts = [one["answer"] for one in reference["asked"]]
    form = judged(reference, Answered(texts[0], True, None), Answered(texts[1][:-2] + "5.", True, None))
    assert (form.verdict, form.equal_answers) == ("close", 1)
    tokens = next(check for check in form.checks if check.name == "prompt tokens")
    assert (tokens.passed, tokens.said) == (None, "the server does not count them.")


def test_thoughts_and_space_around_an_answer_are_not_compared(reference: dict[str, Any]) -> None:
    thinks = [{**one, "answer": f"<think>\nHm.\n</think>\n\n{one['answer']}"} for one in reference["asked"]]
    said = [Answered(one["answer"] + " ", True, len(one["prompt_ids"])) for one in reference["asked"]]
    assert judged({**reference, "asked": thinks}, *said).verdict == "same"


def test_a_system_prompt_of_the_server_s_own_is_seen_in_the_tokens(reference: dict[str, Any]) -> None:
    said = [Answered(one["answer"], True, len(one["prompt_ids"]) + 12) for one in reference["asked"]]
    assert "a system prompt of the server's own" in said_of(judged(reference, *said))["prompt tokens"]
    said[1] = Answered(said[1].text, True, 3)
    assert "another template or tokenizer" in said_of(judged(reference, *said))["prompt tokens"]


def _other_model(folder: Path) -> Path:
    """Write the built-in model with nothing in the last matrix of each layer: it says other things."""
    raw = bytearray((MODEL / "model.safetensors").read_bytes())
    (length,) = struct.unpack("<Q", raw[:8])
    for name, about in json.loads(raw[8 : 8 + length]).items():
        if name.endswith("down_proj.weight"):
            begin, end = (8 + length + at for at in about["data_offsets"])
            raw[begin:end] = bytes(end - begin)
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(raw)
    return folder
