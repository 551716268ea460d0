"""The built-in model, adapters of random weights for it, and what it says when it is alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.workspace import shipped_folder

TINY = shipped_folder() / "models" / "tiny"


def write_lora(folder: Path, seed: int, *, size: float = 0.12, **said: Any) -> Path:
    """Write an adapter for the built-in model, of random weights that change what it says."""
    import numpy as np
    from safetensors.numpy import save_file

    random = np.random.default_rng(seed)
    tensors: dict[str, Any] = {}
    for layer in range(4):
        for module, inputs, outputs in (("self_attn.q_proj", 256, 256), ("mlp.up_proj", 256, 768)):
            name = f"base_model.model.model.layers.{layer}.{module}"
            for factor, shape in (("A", (8, inputs)), ("B", (outputs, 8))):
                tensors[f"{name}.lora_{factor}.weight"] = random.normal(0, size, shape).astype("float32")
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 16,
        "target_modules": ["q_proj", "up_proj"], "base_model_name_or_path": str(TINY), **said,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the adapters `one` and `two`."""
    folder = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(("one", "two"), start=1):
        write_lora(folder / name, seed)
    return folder


@pytest.fixture(scope="session")
def alone(adapters: Path) -> Callable[..., list[int]]:
    """Return what gives the tokens of an answer by one model alone, as transformers and PEFT generate them."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    models: dict[str, Any] = {}
    known: dict[tuple[str, tuple[int, ...]], list[int]] = {}

    def answer(name: str, prompt: list[int], max_tokens: int, folder: Path | None = None) -> list[int]:
        if name not in models:
            model = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
            if name != "base":
                model = PeftModel.from_pretrained(model, str(folder or adapters / name))
            models[name] = model.eval()
        key = (name, tuple(prompt))
        if key not in known:
            ids = torch.tensor([prompt])
            made = models[name].generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_tokens, do_sample=False
            )
            known[key] = made[0, len(prompt) :].tolist()
        return known[key]

    return answer
