"""Adapters that begin with the base's own directions: what is saved is right on the base, and goes on exactly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import events
from engine.adapters import read_adapter
from engine.config.load import loads
from engine.errors import CheckpointError, ConfigError
from engine.workspace import Workspace
from tests.conftest import read_records
from tests.engine.training.conftest import write_rows
from tests.engine.training.test_exact_resume import train, whole_and_resumed

WEIGHTS = "adapter_model.safetensors"


@pytest.mark.parametrize("kind", ["pissa", "olora", "eva"])
def test_what_is_saved_is_an_ordinary_adapter_and_a_resume_goes_on_exactly(
    kind: str, config_text: Callable[..., str], small_model: Path, tmp_path: Path
) -> None:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    workspace = Workspace(tmp_path / "workspace")
    settings: dict[str, Any] = {
        "training": {"max_steps": 3, "learning_rate": 1e-2}, "evaluation": {"eval_steps": 3, "prompts": []},
        "saving": {"save_steps": 3, "save_best": False}, "forgetting": {"gauge": True, "probe": "data/probe.jsonl"},
        "lora": {"r": 2, "lora_alpha": 3, "init_lora_weights": kind, "lora_dropout": 0.0},
    }  # fmt: skip
    text = config_text(**settings)
    write_rows(workspace.path / "data" / "probe.jsonl", [{"text": "A week has seven days."}])
    whole, broken, chosen = whole_and_resumed(workspace, text)
    assert chosen.metadata["base_changed"] == (kind != "eva")

    log = [record.event for record in read_records(whole)]
    began, *_, ended = [event for event in log if isinstance(event, events.ForgettingMeasured)]
    assert began.change == pytest.approx(0, abs=1e-5)  # the model is the base at first
    adapter = read_adapter(whole.final)
    assert not adapter.changes_base
    assert adapter.r == (2 if kind == "eva" else 4)

    def loss(model: Any) -> float:
        ids = torch.tensor([tokens])
        with torch.no_grad():
            return float(model.eval()(ids, labels=ids).loss)

    from engine.training.loading import load_tokenizer

    tokens = load_tokenizer(str(small_model))("A week has seven days.")["input_ids"]
    base = AutoModelForCausalLM.from_pretrained(small_model)
    assert loss(PeftModel.from_pretrained(base, whole.final)) == pytest.approx(ended.loss, abs=1e-5)
    if kind == "eva":
        return
    # And as PEFT itself would have it: the same beginning on the base, and what was trained in its place.
    own = json.loads((whole.checkpoints / "checkpoint-3" / "trained" / "adapter_config.json").read_text())
    config = LoraConfig(r=2, lora_alpha=3, target_modules=own["target_modules"], init_lora_weights=kind)
    again = get_peft_model(AutoModelForCausalLM.from_pretrained(small_model), config)
    set_peft_model_state_dict(again, load_file(whole.checkpoints / "checkpoint-3" / "trained" / WEIGHTS))
    assert loss(again) == pytest.approx(ended.loss, abs=1e-4)
    (broken.path / "initial" / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match="taken out of the base"):
        train(broken, resume=f"checkpoints/{chosen.path.name}")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"method": {"name": "dpo"}}, "go with dpo: it compares with the base, the adapter off"),
        ({"method": {"name": "npo"}}, "go with npo: it compares with the base"),
        ({"model": {"load_in_4bit": True}}, "a quantised base cannot be rewritten"),
    ],
)
def test_what_a_rewritten_base_cannot_be_is_refused(
    settings: dict[str, Any], said: str, config_text: Callable[..., str]
) -> None:
    with pytest.raises(ConfigError, match=said):
        loads(config_text(lora={"init_lora_weights": "pissa"}, **settings), "test.yaml").check()
