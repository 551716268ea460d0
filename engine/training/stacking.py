"""An earlier adapter, frozen, and a new one that is trained beside it: both act, one learns.

What is saved is both as one ordinary adapter, exactly: with rank r = r1 + r2,
B A = [s1 B1, s2 B2] [A1; A2] = s1 B1 A1 + s2 B2 A2, so that a checkpoint needs nothing but its base, in any tool. To go
on training, a checkpoint keeps the new adapter alone besides, under `trained/`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch.nn.functional import pad

from engine.runs.checkpoints import TRAINED
from engine.runs.provenance import ADAPTER_WEIGHTS
from engine.training.initialising import Initial, layers_of

EARLIER = "earlier"
"""What PEFT calls the frozen adapter; the trained one is its "default"."""
_CONFIG = "adapter_config.json"


def stacked(model: Any, folder: Path, lora: dict[str, Any]) -> Any:
    """Return the base with the adapter of a folder on it, frozen, and a new one beside it.

    Args:
        model: The base.
        folder: `start/` of the run.
        lora: For `peft.LoraConfig` of the new adapter. Its first weights are drawn here: seed before.
    """
    config = LoraConfig.from_pretrained(str(folder))
    config.lora_dropout, config.inference_mode = 0.0, True  # it acts as it does in use
    both = PeftModel.from_pretrained(model, str(folder), adapter_name=EARLIER, config=config)
    both.add_adapter("default", LoraConfig(**lora))
    both.base_model.set_adapter([EARLIER, "default"])
    for name, parameter in both.named_parameters():
        if f".{EARLIER}." in name:
            parameter.requires_grad_(False)
    return both


def is_stacked(model: Any) -> bool:
    """Return whether a model has a frozen adapter beside the trained one."""
    return EARLIER in (getattr(model, "peft_config", None) or {})


def save_as_one(model: Any, folder: Path, *, to_resume: bool, initial: Initial | None = None) -> None:
    """Make one ordinary adapter for the base of what PEFT has saved to a folder.

    Args:
        model: From `stacked`, or with an adapter that has changed the base.
        folder: With the trained adapter, and a frozen one in a folder of its own.
        initial: What the base lacks; None where it is whole.
        to_resume: Whether the trained one alone is kept besides.
    """
    shutil.rmtree(folder / EARLIER, ignore_errors=True)
    config = json.loads((folder / _CONFIG).read_text("utf-8"))
    if to_resume:
        (folder / TRAINED).mkdir(mode=0o700)
        for name in (_CONFIG, ADAPTER_WEIGHTS):
            (folder / name).rename(folder / TRAINED / name)
    tensors, modules, rank = _together(model, initial)
    config |= {
        "r": rank, "lora_alpha": rank, "use_rslora": False, "rank_pattern": {}, "alpha_pattern": {},
        "target_modules": sorted(modules),
    }  # fmt: skip
    save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    (folder / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def load_trained(model: Any, checkpoint: Path) -> None:
    """Put the trained adapter of a checkpoint in the place of the new one."""
    set_peft_model_state_dict(model, load_file(checkpoint / TRAINED / ADAPTER_WEIGHTS), adapter_name="default")


def _together(model: Any, initial: Initial | None) -> tuple[dict[str, torch.Tensor], set[str], int]:
    """Return the tensors of all parts as one adapter, the modules it is on, and its rank.

    A module that only one part is on is filled up with zeros: one adapter has one rank.
    """
    layers = layers_of(model)
    parts: list[dict[str, tuple[torch.Tensor, torch.Tensor, float]]] = [
        {
            name: (layer.lora_A[one].weight.detach().float().cpu(), layer.lora_B[one].weight.detach().float().cpu(),
                   layer.scaling[one])
            for name, layer in layers.items()
            if one in layer.lora_A
        }
        for one in (EARLIER, "default")
    ]  # fmt: skip
    if initial is not None:
        parts.append({name: (down, up, -scale) for name, (down, up, scale) in initial.items()})
    parts = [part for part in parts if part]
    ranks = [max(len(down) for down, _, _ in part.values()) for part in parts]
    tensors = {}
    for name, layer in layers.items():
        nothing = torch.zeros(0, layer.in_features), torch.zeros(layer.out_features, 0), 0.0
        found = [part.get(name, nothing) for part in parts]
        downs = [pad(down, (0, 0, 0, rank - len(down))) for (down, _, _), rank in zip(found, ranks, strict=True)]
        ups = [pad(up * scale, (0, rank - up.shape[1])) for (_, up, scale), rank in zip(found, ranks, strict=True)]
        tensors[f"base_model.model.{name}.lora_A.weight"] = torch.cat(downs, dim=0).contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = torch.cat(ups, dim=1).contiguous()
    return tensors, set(layers), sum(ranks)
