"""Adapters on the built-in model with random weights, made by PEFT itself. Loads torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.workspace import shipped_folder

TINY = shipped_folder() / "models" / "tiny"


def make_adapter(
    folder: Path, *, base: Path = TINY, seed: int = 0, size: float = 0.02, change: Callable[[Any], None] | None = None,
    tokenizer: bool = False, **config: Any,
) -> Path:  # fmt: skip
    """Write an adapter whose every matrix is random, so that it changes what the model says.

    Args:
        folder: Made.
        base: Model it is for.
        seed: Of the weights.
        size: Standard deviation of what is added to them.
        change: Called with the base before the adapter is put on: resizes its vocabulary.
        tokenizer: Whether the base's tokenizer is saved beside it, as a trainer does.
        config: Of `LoraConfig`, besides rank 4 on the attention.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if change is not None:
        change(model)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"], **config}
    put = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for parameter in put.parameters():
            if parameter.requires_grad:
                parameter += torch.randn_like(parameter) * size
    put.save_pretrained(folder)
    if tokenizer:
        AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder
