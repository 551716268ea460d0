"""The merge itself, of every kind of adapter: what was written says what base and adapter say."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from engine.adapters import AdapterUnusable
from engine.errors import CheckpointError, NotFound
from engine.export import merge_worker
from engine.export.merge_worker import MergeWrong, work
from engine.export.progress import Progress, silent
from tests.engine.export.adapters_made import TINY, make_adapter


def request(adapter: Path, target: Path, **changes: Any) -> dict[str, Any]:
    asked = {
        "target": str(target),
        "parts": {"source": str(TINY), "commit": None, "adapter": str(adapter), "trust_remote_code": False,
                  "allow_pickle": False},
        "base_name": "tiny", "base_folder": str(TINY), "chat_template": None, "dtype": "float32",
        "max_shard_size": 4_000_000_000, "verify": True, "replace": False, "record": {"model": "test"},
    }  # fmt: skip
    parts = changes.pop("parts", {})
    return {**asked, **changes, "parts": {**asked["parts"], **parts}}  # type: ignore[dict-item]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain adapter, with a tokenizer beside it."""
    return make_adapter(tmp_path_factory.mktemp("adapters") / "plain", tokenizer=True)


def widen(model: Any) -> None:
    model.resize_token_embeddings(3200, mean_resizing=False)


KINDS: dict[str, dict[str, Any]] = {
    "rsLoRA, with biases and another rank for one layer": {
        "use_rslora": True, "bias": "lora_only", "rank_pattern": {"layers.1.self_attn.q_proj": 2},
        "alpha_pattern": {"v_proj": 3},
    },
    "DoRA": {"use_dora": True},
    "a head of its own on a tied model": {"modules_to_save": ["lm_head"]},
    "an embedding of its own on a tied model": {"modules_to_save": ["embed_tokens"]},
    "LoRA on a tied embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "a larger vocabulary": {"change": widen, "modules_to_save": ["embed_tokens", "lm_head"]},
    "a start that rewrites the base": {"init_lora_weights": "olora"},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask little: the tests are about weights."""
    monkeypatch.setattr(merge_worker, "PROMPTS", merge_worker.PROMPTS[1:3])
    monkeypatch.setattr(merge_worker, "ANSWER_TOKENS", 5)


@pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's, about tied weights: that they come out right is tested
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_written_says_what_base_and_adapter_say(tmp_path: Path, kind: str) -> None:
    made = make_adapter(tmp_path / "adapter", **KINDS[kind])
    result = work(request(made, tmp_path / "out"), silent)
    assert result["verified"]["max_abs"] <= 1e-4
    assert result["verified"]["equal_answers"] == len(merge_worker.PROMPTS)
    assert sorted(os.listdir(tmp_path)) == ["adapter", "out"]


@pytest.mark.filterwarnings("error:All adapters are already merged")
def test_a_merged_folder_loads_everywhere_and_is_not_the_base(adapter: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    result = work(request(adapter, tmp_path / "out"), told.append)
    assert {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json",
            "chat_template.jinja", "merge.json"} <= set(result["files"])  # fmt: skip
    assert sum(result["files"].values()) == result["bytes"]
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert (merged.dtype, merged.config.tie_word_embeddings) == (torch.float32, True)
    base = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
    ids = torch.arange(20)[None]
    assert (merged(ids).logits - base(ids).logits).abs().max() > 1e-3
    assert [progress.stage for progress in told if progress.done == 0][:3] == [
        "loading the libraries", "asking base and adapter", "loading tiny",
    ]  # fmt: skip
    for path in (tmp_path / "out").iterdir():
        assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_weights_are_merged_in_float32_and_cast_once(adapter: Path, tmp_path: Path, dtype: str) -> None:
    work(request(adapter, tmp_path / "wide", verify=False), silent)
    result = work(request(adapter, tmp_path / "out", dtype=dtype), silent)
    wide, cast = (load_file(tmp_path / name / "model.safetensors") for name in ("wide", "out"))
    assert wide.keys() == cast.keys()
    for name, weight in wide.items():
        assert torch.equal(weight.to(getattr(torch, dtype)), cast[name]), name
    assert result["verified"]["mean_kl"] <= {"bfloat16": 1e-3, "float16": 1e-4}[dtype]
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == dtype


def test_a_large_model_is_written_in_several_files(adapter: Path, tmp_path: Path) -> None:
    result = work(request(adapter, tmp_path / "out", max_shard_size=5_000_000, verify=False), silent)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 2
    assert set(index["weight_map"].values()) <= set(result["files"])


def test_a_wrong_merge_is_not_kept(adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_worker, "merge_layers", lambda model, dtype, tell: model.disable_adapter_layers())
    monkeypatch.setattr("peft.PeftModel.merge_and_unload", lambda model: model.unload(), raising=False)
    with pytest.raises(MergeWrong, match="max_abs"):
        work(request(adapter, tmp_path / "out"), silent)
    assert os.listdir(tmp_path) == []


def edited(adapter: Path, folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """Return a copy of an adapter whose weights were changed."""
    folder.mkdir()
    (folder / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    weights = load_file(adapter / "adapter_model.safetensors")
    change(weights)
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


def test_a_merge_that_gives_no_numbers_is_refused(adapter: Path, tmp_path: Path) -> None:
    def spoil(weights: dict[str, torch.Tensor]) -> None:
        next(iter(weights.values()))[0, 0] = float("nan")

    with pytest.raises(CheckpointError, match="no numbers"):
        work(request(edited(adapter, tmp_path / "bad", spoil), tmp_path / "out", verify=False), silent)
    assert os.listdir(tmp_path) == ["bad"]


def test_weights_too_large_for_float16_are_told(adapter: Path, tmp_path: Path) -> None:
    def enlarge(weights: dict[str, torch.Tensor]) -> None:
        for weight in weights.values():
            weight *= 3000

    large = edited(adapter, tmp_path / "large", enlarge)
    with pytest.raises(CheckpointError, match="too large for float16"):
        work(request(large, tmp_path / "out", dtype="float16", verify=False), silent)


def test_an_adapter_that_lacks_a_matrix_is_refused(adapter: Path, tmp_path: Path) -> None:
    def lose(weights: dict[str, torch.Tensor]) -> None:
        weights.pop(next(iter(weights)))

    with pytest.raises(AdapterUnusable, match="matrices"):
        work(request(edited(adapter, tmp_path / "less", lose), tmp_path / "out", verify=False), silent)


def test_the_run_s_own_template_goes_with_the_model(adapter: Path, tmp_path: Path) -> None:
    template = "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"
    result = work(request(adapter, tmp_path / "out", chat_template=template), silent)
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == template
    assert "The chat template is the one it was trained with, not the base's." in result["notes"]


def test_a_base_that_lacks_weights_is_refused(adapter: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (base / name).write_bytes((TINY / name).read_bytes())
    weights = load_file(TINY / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="not whole"):
        work(request(adapter, tmp_path / "out", parts={"source": str(base)}, verify=False), silent)
    (base / "model.safetensors").unlink()
    with pytest.raises(NotFound, match="has no weights"):
        work(request(adapter, tmp_path / "out", parts={"source": str(base)}, verify=False), silent)
