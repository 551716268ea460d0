"""An adapter beside an earlier one: what is saved is both, what is trained is the new one, and it goes on exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import events
from engine.config.load import loads
from engine.errors import ConfigError
from engine.launch.forecast import forecast
from engine.launch.prepare import new_run, settle
from engine.workspace import Workspace
from tests.conftest import read_records
from tests.engine.training.test_exact_resume import train, whole_and_resumed

WEIGHTS = "adapter_model.safetensors"


def test_what_is_saved_is_both_adapters_as_one_and_a_resume_goes_on_exactly(
    config_text: Callable[..., str], small_model: Path, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    workspace = Workspace(tmp_path / "workspace")
    short: dict[str, Any] = {
        "training": {"max_steps": 4, "learning_rate": 1e-2}, "evaluation": {"eval_steps": 2, "prompts": []},
        "saving": {"save_steps": 2, "save_best": False},
    }  # fmt: skip
    first = new_run(workspace, loads(config_text(**short, lora={"lora_alpha": 6}), "test.yaml"), name="first")
    train(first)
    # Another rank, fewer modules, another scale.
    stack = {"model": {"adapter": "first", "adapter_mode": "stack", "name": str(small_model), "device": "cpu"},
             "lora": {"r": 2, "lora_alpha": 5, "target_modules": ["q_proj", "v_proj"], "use_rslora": True}}  # fmt: skip
    whole, _, _ = whole_and_resumed(workspace, config_text(**short, **stack))
    memory = forecast(workspace, settle(workspace, loads(config_text(**short, **stack), "test.yaml"))).memory.components
    earlier = sum(tensor.numel() for tensor in load_file(whole.start / WEIGHTS).values())
    assert memory["adapter"] == memory["gradients"] + 4 * earlier
    (told,) = [one for record in read_records(whole) if isinstance(one := record.event, events.EarlierLearning)]
    assert (told.mode, told.parent) == ("stack", "first")

    def logits(*adapters: Path) -> torch.Tensor:
        model = AutoModelForCausalLM.from_pretrained(small_model)
        for adapter in adapters[:-1]:
            model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
        with torch.no_grad():
            return PeftModel.from_pretrained(model, adapters[-1]).eval()(torch.arange(3, 60)[None]).logits

    last = whole.checkpoints / "checkpoint-4"
    wanted = logits(whole.start, last / "trained")
    torch.testing.assert_close(logits(last), wanted, atol=2e-5, rtol=0)
    torch.testing.assert_close(logits(whole.final), wanted, atol=2e-5, rtol=0)
    assert not torch.allclose(logits(whole.start), wanted, atol=1e-3)
    assert [path.name for path in whole.final.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lora": {"use_dora": True}}, r"lora\.use_dora"),
        ({"method": {"name": "dpo"}}, "dpo compares with where it begins"),
    ],
)
def test_what_two_adapters_cannot_be_is_refused(
    settings: dict[str, Any], said: str, config_text: Callable[..., str]
) -> None:
    model = {"adapter": "first", "adapter_mode": "stack"}
    with pytest.raises(ConfigError, match=said):
        loads(config_text(model=model, **settings), "test.yaml").check()
