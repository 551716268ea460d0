"""First weights of an adapter that are taken from the base itself, or from the data.

PiSSA (Meng et al., 2024, arXiv:2404.02948) and OLoRA (Büyükakyüz, 2024, arXiv:2406.01775) put the base's own directions
into the adapter and take them out of the base: W = W' + s B0 A0, and W' + s B A is trained. What is saved is
W' + s B A - W = s B A - s B0 A0, an ordinary adapter of twice the rank for the base as it is, so that chat, merging,
export and every other tool are right without knowing of it. EVA (Paischer et al., 2024, arXiv:2410.07170) begins A with
the directions of what comes into each layer, and B with 0: it changes no base.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import EvaConfig, initialize_lora_eva_weights
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from engine.config.arguments import lora_arguments
from engine.config.methods import CHANGES_BASE
from engine.config.resolved import ResolvedConfig
from engine.data.rows import Row
from engine.errors import CheckpointError
from engine.journal import write_error
from engine.training.precision import trained_types_kept

_EVA_ROWS = 256
_EVA_BATCH = 8
_EVA_LONGEST = 256

Initial = dict[str, tuple[torch.Tensor, torch.Tensor, float]]
"""Of each layer by its name in the base: A0, B0 and s. On the CPU."""


def begins_with(resolved: ResolvedConfig, *, resumed: bool) -> dict[str, Any]:
    """Return the arguments for `peft.LoraConfig` of a new adapter.

    Args:
        resolved: The run's settings.
        resumed: Whether its weights come from a checkpoint: then it begins as any.
    """
    lora = lora_arguments(resolved)
    kind = lora["init_lora_weights"]
    if resumed and (kind == "eva" or kind in CHANGES_BASE):
        lora["init_lora_weights"] = True
    elif kind == "eva":
        # Without another rank for each layer, so that a resume finds the shapes it expects.
        lora["eva_config"] = EvaConfig(rho=1.0, use_label_mask=False)
    return lora


def begin(
    trainer: Any,
    kind: object,
    folder: Path,
    *,
    resumed: bool,
    keep: bool = True,
    rows: Sequence[Row],
    tokenizer: Any,
    heard: Callable[[], None],
) -> Initial | None:
    """Finish what PEFT has begun; return what the base lacks now, None where it lacks nothing.

    Args:
        trainer: With the new adapter on its model, nothing trained yet.
        kind: `lora.init_lora_weights`.
        folder: `initial/` of the run, where what was taken out of the base is kept.
        resumed: Whether it is to be taken out again as it was.
        keep: Whether to write what was taken out; one of several processes does.
        rows: Of the training set.
        tokenizer: The model's.
        heard: Called between batches; may raise to end early.

    Raises:
        CheckpointError: It is to be taken out again, and is not there.
        WorkspaceError: It cannot be kept.
    """
    model = trainer.model
    initial: Initial | None = None
    if kind == "eva" and not resumed:
        with trained_types_kept(model):  # PEFT makes them anew, in the base's type
            initialize_lora_eva_weights(model, _batches(rows, tokenizer, model, heard), show_progress_bar=False)
    elif kind in CHANGES_BASE:
        if resumed:
            initial = _read(folder, model)
            _take_out(model, initial)
        else:
            initial = {
                name: (layer.lora_A["default"].weight.detach().float().cpu().clone(),
                       layer.lora_B["default"].weight.detach().float().cpu().clone(), layer.scaling["default"])
                for name, layer in layers_of(model).items()
            }  # fmt: skip
            if keep:
                _write(folder, initial)
    model.peft_config["default"].init_lora_weights = True  # what is saved is ordinary
    model.peft_config["default"].eva_config = None
    return initial


def layers_of(model: Any) -> dict[str, Any]:
    """Return the layers with an adapter, by their name in the base."""
    return {name: layer for name, layer in model.base_model.model.named_modules() if isinstance(layer, LoraLayer)}


def _take_out(model: Any, initial: Initial) -> None:
    for name, layer in layers_of(model).items():
        down, up, scale = initial[name]
        base = layer.get_base_layer().weight
        taken = scale * up.to(base.device) @ down.to(base.device)  # as PEFT computes it
        whole = base.data.float()
        base.data = (whole - (taken.T if layer.fan_in_fan_out else taken)).to(base.dtype)


def _batches(rows: Sequence[Row], tokenizer: Any, model: Any, heard: Callable[[], None]) -> list[dict[str, Any]]:
    """Return rows spread over the training set as batches a model takes."""
    some = [rows[place * len(rows) // _EVA_ROWS] for place in range(_EVA_ROWS)] if len(rows) > _EVA_ROWS else rows
    texts = [
        tokenizer.apply_chat_template([*row.prompt, *row.completion], tokenize=False)
        if row.prompt
        else row.completion[-1]["content"]
        for row in some
        if row.completion
    ]
    made = []
    for start in range(0, len(texts), _EVA_BATCH):
        heard()
        batch = tokenizer(
            texts[start : start + _EVA_BATCH], return_tensors="pt", padding=True, truncation=True,
            max_length=_EVA_LONGEST, add_special_tokens=False, return_token_type_ids=False,
        )  # fmt: skip
        made.append(dict(batch.to(model.device)))
    return made


def _write(folder: Path, initial: Initial) -> None:
    tensors: dict[str, torch.Tensor] = {}
    for name, (down, up, scale) in initial.items():
        tensors[f"{name}.A"], tensors[f"{name}.B"] = down.contiguous(), up.contiguous()
        tensors[f"{name}.s"] = torch.tensor(scale, dtype=torch.float64)
    beside = folder / f".weights-{os.getpid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        save_file(tensors, beside)
        beside.chmod(0o600)
        beside.replace(folder / "weights.safetensors")
    except (OSError, SafetensorError) as error:
        wrapped = error if isinstance(error, OSError) else OSError(str(error))
        raise write_error(folder, wrapped) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def _read(folder: Path, model: Any) -> Initial:
    try:
        found = load_file(folder / "weights.safetensors")
        return {name: (found[f"{name}.A"], found[f"{name}.B"], float(found[f"{name}.s"])) for name in layers_of(model)}
    except (OSError, SafetensorError, KeyError) as error:
        raise CheckpointError(
            f"What was taken out of the base at the start, {folder}, is gone or damaged: {str(error)[:200]}.",
            remedy="Restore it, or begin again with `resume --from start`; the checkpoints load without it.",
        ) from error
