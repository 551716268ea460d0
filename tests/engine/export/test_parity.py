"""The proof that a model is the same in every form; everything that breaks one is broken here, and has to be named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from engine.errors import NotFound, UsageError
from engine.export import merge_worker, parity, parity_worker
from engine.export.beside import PARTIAL
from engine.export.merge import merge, plan_merge
from engine.export.parity import prove, read_record, record_of
from engine.export.progress import silent
from engine.export.proof import FormProof, Proof
from engine.spec import LocalModel, find_endpoint, local_model
from engine.workspace import Workspace
from tests.engine.export.adapters_made import TINY, make_adapter
from tests.servers.running import Running
from tests.servers.tiny_gguf import write_tiny_gguf

PROMPTS = ("Who wrote Romeo and Juliet?", "What is 2+2?")
TEMPLATE = (TINY / "chat_template.jinja").read_text()
END_OF_TEXT = 3069


@pytest.fixture(scope="module", autouse=True)
def _here() -> Any:
    """Have the work done in this process: each of its own would import torch anew."""
    modules: Mapping[str, Callable[..., dict[str, Any]]] = {
        "engine.export.merge_worker": merge_worker.work,
        "engine.export.parity_worker": parity_worker.work,
    }

    def run(module: str, request: dict[str, Any], **options: Any) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(json.dumps(modules[module](json.loads(json.dumps(request)), silent)))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "run", run)
        patch.setattr("engine.export.merge.run", run)
        yield


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """With an adapter that changes much, and its merge in float32 and bfloat16."""
    place = tmp_path_factory.mktemp("parity")
    make_adapter(place / "lora", size=0.1)
    model = local_model(Workspace(place), "lora")
    merge(plan_merge(model, place / "wide", dtype="float32"))
    merge(plan_merge(model, place / "narrow", dtype="bfloat16"))
    return Workspace(place)


@pytest.fixture(scope="module")
def lora(workspace: Workspace) -> LocalModel:
    return local_model(workspace, "lora")


@pytest.fixture(scope="module")
def tiny(workspace: Workspace) -> LocalModel:
    return local_model(workspace, "tiny")


def proven(model: LocalModel, *forms: Path) -> Proof:
    return prove(model, forms, prompts=PROMPTS, max_new_tokens=8)


def broken(model: LocalModel, form: Path) -> dict[str, str]:
    """Return what the proof finds wrong with one form, by name."""
    proof = proven(model, form)
    assert proof.verdict == "different"
    return {check.name: check.said for check in proof.forms[0].failed}


def copy(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target))


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_every_form_of_one_model_is_the_same(workspace: Workspace, lora: LocalModel, tmp_path: Path) -> None:
    file = write_tiny_gguf(tmp_path / "narrow.gguf", model=workspace.path / "narrow")
    wide, narrow, gguf = proven(lora, workspace.path / "wide", workspace.path / "narrow", file).forms
    assert (wide.verdict, wide.type, wide.equal_answers) == ("same", "float32", 2)
    assert wide.max_abs is not None
    assert wide.max_abs <= 1e-4
    assert narrow.verdict in ("same", "close")
    assert narrow.mean_kl is not None
    assert narrow.mean_kl <= 1e-3
    assert (gguf.kind, gguf.type) == ("gguf", "f16")
    assert [check.name for check in gguf.checks if not check.passed] in ([], ["logits"], ["answers", "logits"])


def test_a_file_of_the_model_itself_is_the_same_and_keeps_the_record(tiny: LocalModel, tmp_path: Path) -> None:
    file = write_tiny_gguf(tmp_path / "tiny.gguf")
    proof = proven(tiny, file)
    (form,) = proof.forms
    assert (proof.verdict, form.equal_answers) == ("same", 2)
    assert form.mean_kl is not None
    assert form.mean_kl <= 1e-5
    assert proof.answers[0].startswith("William Shakespeare")
    assert record_of(file) == tmp_path / "tiny.parity.json"
    assert read_record(file) == json.loads(json.dumps(proof.as_dict()))


def test_a_server_that_fails_is_told_and_the_other_forms_count(
    tiny: LocalModel, llama_server: Running, tmp_path: Path
) -> None:
    file = write_tiny_gguf(tmp_path / "tiny.gguf")
    there, gone = (find_endpoint(f"{url}#tiny") for url in (llama_server.url, "http://127.0.0.1:9/v1"))
    assert there is not None
    assert gone is not None
    proof = prove(tiny, [gone, file, there], prompts=PROMPTS, max_new_tokens=16)
    assert [(form.kind, form.verdict) for form in proof.forms] == [
        ("server", "not-asked"), ("gguf", "same"), ("server", "same"),
    ]  # fmt: skip
    assert proof.verdict == "not-asked"
    record = read_record(file)
    assert record is not None
    assert record["forms"][0]["failure"]["code"] == "not-reachable"
    assert record["forms"][2]["path"] == f"{llama_server.url}#tiny"


def test_without_a_form_the_model_is_merged_for_the_proof(
    lora: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"{PARTIAL}parity-killed").mkdir()  # what a kill has left of another proof
    (form,) = proven(lora).forms
    assert (form.verdict, form.kind) == ("same", "merged")
    assert Path(form.path).is_relative_to(tmp_path)
    assert list(tmp_path.iterdir()) == []


# Broken on purpose


def test_another_base_is_named_by_the_record_of_the_merge(
    workspace: Workspace, lora: LocalModel, tmp_path: Path
) -> None:
    other = copy(TINY, tmp_path / "other-base")
    weights = load_file(other / "model.safetensors")
    weights["model.norm.weight"] *= 1.01  # at the file's end, where the fingerprint looks
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    wrong = local_model(workspace, "lora", base=str(other))
    merge(plan_merge(wrong, tmp_path / "out", dtype="float32"))
    assert "another model" in broken(lora, tmp_path / "out")["base"]


def test_another_base_or_checkpoint_is_named_by_its_logits(lora: LocalModel, tmp_path: Path) -> None:
    found = broken(lora, write_tiny_gguf(tmp_path / "base.gguf"))
    assert {"base", "logits", "answers"} <= set(found)
    assert "another base, or another checkpoint" in found["base"]


def test_an_edited_template_is_named_with_where_it_differs(
    workspace: Workspace, tiny: LocalModel, lora: LocalModel, tmp_path: Path
) -> None:
    edited = TEMPLATE.replace("<|im_start|>' + message['role']", "<|im_start|>' + message['role'] + ' '")
    assert edited != TEMPLATE
    folder = copy(workspace.path / "wide", tmp_path / "edited")
    (folder / "chat_template.jinja").write_text(edited)
    for model, form in ((lora, folder), (tiny, write_tiny_gguf(tmp_path / "edited.gguf", template=edited))):
        found = broken(model, form)
        assert "differs from line 2 on" in found["template"]
        assert found["prompt tokens"].startswith("prompt 1 differs from token 3 on")


def test_a_template_that_is_gone_is_named(tiny: LocalModel, tmp_path: Path) -> None:
    assert broken(tiny, write_tiny_gguf(tmp_path / "none.gguf", template=""))["template"] == "it has none."


def test_a_stop_token_that_was_removed_is_named(workspace: Workspace, lora: LocalModel, tmp_path: Path) -> None:
    folder = copy(workspace.path / "wide", tmp_path / "endless")
    edit(folder / "generation_config.json", eos_token_id=END_OF_TEXT)
    edit(folder / "config.json", eos_token_id=END_OF_TEXT)
    assert "does not stop at token 3071" in broken(lora, folder)["end of answer"]


def test_a_beginning_of_sequence_that_is_doubled_or_new_is_named(tiny: LocalModel, tmp_path: Path) -> None:
    new = write_tiny_gguf(tmp_path / "new.gguf", bos=END_OF_TEXT)
    assert broken(tiny, new)["beginning of sequence"] == "1 such tokens where training had 0."
    begun = replace(tiny, chat_template="<|endoftext|>" + TEMPLATE)
    once = write_tiny_gguf(tmp_path / "once.gguf", bos=END_OF_TEXT, template="<|endoftext|>" + TEMPLATE)
    (form,) = proven(begun, once).forms
    assert "beginning of sequence" not in {check.name for check in form.failed}
    twice = write_tiny_gguf(tmp_path / "twice.gguf", bos=END_OF_TEXT, template="<|endoftext|>" * 2 + TEMPLATE)
    assert broken(begun, twice)["beginning of sequence"] == "2 such tokens where training had 1."


def test_weights_that_changed_a_little_are_named(workspace: Workspace, lora: LocalModel, tmp_path: Path) -> None:
    folder = copy(workspace.path / "wide", tmp_path / "changed")
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] *= 1.05
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "mean KL" in broken(lora, folder)["logits"]


# What cannot be asked


def test_what_cannot_be_compared_is_refused(tiny: LocalModel, lora: LocalModel, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no"):
        proven(tiny, tmp_path / "nothing.gguf")
    with pytest.raises(UsageError, match="nothing was named"):
        proven(tiny)
    with pytest.raises(UsageError, match="no prompts"):
        prove(lora, (), prompts=())


def test_a_record_that_is_none_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    for text in ("", "[]", '{"verdict": "[red]"}', '{"forms": 3}'):
        record_of(file).write_text(text)
        assert read_record(file) is None


def test_the_worst_verdict_is_the_model_s() -> None:
    def form(verdict: Any) -> FormProof:
        return FormProof("p", "gguf", "f16", verdict, (), 0, 0, 0.0, 0.0, 1.0)

    def verdict(*verdicts: str) -> str:
        return Proof("m", "b", "", "", (), (), tuple(map(form, verdicts))).verdict

    assert verdict("same", "close") == "close"
    assert verdict("same", "not-asked", "close") == "not-asked"
    assert verdict("same", "different", "not-asked", "close") == "different"
    assert verdict("same") == "same"
