"""Which way a pair is answered, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.adapters import AdapterUnusable
from engine.chat import placing
from engine.chat.placing import LoadOptions, Local, Pair, place, settled
from engine.errors import MissingPackage, UsageError
from engine.spec import BaseChanged, Endpoint, local_model, pair_of
from engine.workspace import Workspace
from tests.engine.adapter_files import LORA, write_adapter, write_model

OPTIONS = LoadOptions(device="cpu", dtype="float32")
SERVER = Endpoint("lmstudio:qwen", "lmstudio:qwen", "lmstudio", "", "qwen")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    write_model(tmp_path / "models" / "first")
    write_model(tmp_path / "models" / "second", {"model.embed_tokens.weight": (16, 8)})
    adapters: dict[str, dict[str, Any]] = {
        "plain": {},
        "other": {},
        "dora": {"use_dora": True},
        "pissa": {"init_lora_weights": "pissa_niter_16"},
        "olora": {"init_lora_weights": "olora"},
        "gaussian": {"init_lora_weights": "gaussian"},
        "biases": {"bias": "lora_only"},
        "whole": {"modules_to_save": ["lm_head"]},
        "experts": {"target_parameters": ["mlp.experts.gate_up_proj"]},
        "tokens": {"trainable_token_indices": [1, 2]},
    }
    for name, said in adapters.items():
        write_adapter(tmp_path / name, str(tmp_path / "models" / "first"), **said)
    return Workspace(tmp_path)


def paired(workspace: Workspace, left: str, right: str, options: LoadOptions = OPTIONS) -> Pair:
    return place(*pair_of(workspace, left, right), options)


@pytest.mark.parametrize("name", ["plain", "gaussian", "whole"])
def test_base_and_adapter_are_rows_of_one_batch(workspace: Workspace, name: str) -> None:
    pair = paired(workspace, "base", name)
    assert pair.shares
    assert pair.path.startswith("One model in memory")
    assert "two rows of one batch" in pair.path


def test_checkpoints_of_one_base_are_beside_each_other(workspace: Workspace) -> None:
    pair = paired(workspace, "plain", "other")
    assert pair.shares
    assert pair.path.endswith("plain and other are two rows of one batch.")


def test_a_model_by_its_name_is_the_base_of_its_adapters(workspace: Workspace) -> None:
    assert paired(workspace, "first", "plain").shares


def test_one_model_on_both_sides_is_loaded_once(workspace: Workspace) -> None:
    pair = paired(workspace, "first", "first")
    assert pair.shares
    assert "both sides are first" in pair.path


@pytest.mark.parametrize(
    ("name", "why"), [("dora", "DoRA"), ("experts", "experts"), ("tokens", "single tokens")], ids=str
)
def test_what_cannot_share_a_batch_takes_turns_and_says_why(workspace: Workspace, name: str, why: str) -> None:
    pair = paired(workspace, "base", name)
    assert pair.shares
    assert "take turns" in pair.path
    assert why in pair.path


def test_adapters_with_different_modules_whole_take_turns(workspace: Workspace) -> None:
    assert "take turns of a few tokens over it, because they have different modules whole" in (
        paired(workspace, "plain", "whole").path
    )


@pytest.mark.parametrize(
    ("name", "why"), [("pissa", "pissa_niter_16"), ("olora", "olora"), ("biases", "biases of the base")], ids=str
)
def test_what_changes_the_base_has_it_for_itself_and_says_why(workspace: Workspace, name: str, why: str) -> None:
    pair = paired(workspace, "base", name)
    assert not pair.shares
    assert pair.path.startswith(f"Two models in memory: {name} ")
    assert why in pair.path
    assert isinstance(pair.right, Local)
    assert pair.right.speaker.changes_base
    assert not paired(workspace, "plain", name).shares
    assert paired(workspace, name, name).shares


def test_different_bases_are_two_models(workspace: Workspace) -> None:
    pair = paired(workspace, "second", "plain")
    assert not pair.shares
    assert pair.path == "Two models in memory: second, and plain on " + str(workspace.models / "first") + "."


def test_what_is_behind_an_address_is_not_loaded(workspace: Workspace) -> None:
    here = place(local_model(workspace, "plain"), SERVER, OPTIONS)
    assert here.path.endswith("lmstudio:qwen answers behind its address.")
    assert not here.shares
    assert "no model is loaded here" in place(SERVER, SERVER, OPTIONS).path


def test_an_adapter_for_another_base_is_refused(workspace: Workspace) -> None:
    wide = {name: tuple(4 * side if side == 8 else side for side in shape) for name, shape in LORA.items()}
    write_adapter(workspace.path / "wide", str(workspace.models / "first"), wide)
    with pytest.raises(BaseChanged, match="not for"):
        paired(workspace, "first", "wide")


def test_an_adapter_of_another_kind_is_refused(workspace: Workspace) -> None:
    write_adapter(workspace.path / "prefix", str(workspace.models / "first"), peft_type="PREFIX_TUNING")
    with pytest.raises(AdapterUnusable, match="PREFIX_TUNING"):
        paired(workspace, "first", "prefix")


@pytest.mark.parametrize(
    ("best", "given", "device", "dtype"),
    [
        pytest.param(("cpu", True), {}, "cpu", "float32", id="a processor"),
        pytest.param(("cuda", True), {}, "cuda", "bfloat16", id="a GPU"),
        pytest.param(("cuda", False), {}, "cuda", "float16", id="an older GPU"),
        pytest.param(("cuda", True), {"device": "cpu"}, "cpu", "float32", id="the processor beside a GPU"),
        pytest.param(("cuda", True), {"device": "cuda:1", "dtype": "float32"}, "cuda:1", "float32", id="as asked"),
    ],
)
def test_what_is_automatic_is_settled(
    monkeypatch: pytest.MonkeyPatch, best: tuple[str, bool], given: dict[str, Any], device: str, dtype: str
) -> None:
    monkeypatch.setattr(placing, "best_device", lambda: best)
    found = settled(LoadOptions(**given))
    assert (found.device, found.dtype) == (device, dtype)


def test_fewer_bits_are_for_a_gpu_or_a_processor(monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="4 bits needs an NVIDIA GPU or a processor, and this is mps"):
        settled(LoadOptions(device="mps", load_in_4bit=True))
    assert settled(LoadOptions(device="cpu", load_in_4bit=True)).bits == 4
    monkeypatch.setattr(placing, "best_device", lambda: ("cuda", True))
    with pytest.raises(UsageError, match="not both"):
        settled(LoadOptions(load_in_4bit=True, load_in_8bit=True))
    found = settled(LoadOptions(load_in_8bit=True))
    assert "in 8 bits" in paired(workspace, "base", "plain", found).path
    monkeypatch.setattr(placing, "find_package", lambda _: None)
    with pytest.raises(MissingPackage, match="bitsandbytes"):
        settled(LoadOptions(load_in_8bit=True))
