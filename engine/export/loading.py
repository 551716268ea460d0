"""A base and an adapter on it, loaded as they are stored: what merging and comparing begin with. Loads torch."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import PeftModel, get_peft_model_state_dict

from engine.adapters import PREFIX, Adapter, AdapterUnusable, read_adapter
from engine.errors import CheckpointError
from engine.export.parts import Parts, stored_quantised
from engine.training.loading import pretrained
from engine.weights import Tensor

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def load_base(parts: Parts, dtype: torch.dtype | str = "auto") -> Any:
    """Return the base on the CPU, "auto" in the type it is stored in.

    Raises:
        NotFound: It cannot be loaded.
        ModelUnusable: It brings code of its own that was not allowed.
        CheckpointError: Weights are missing from it, or it is stored quantised.
    """
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    model, said = pretrained(
        parts.source,
        parts.source,
        allow="Only a run with model.trust_remote_code: true is merged with it.",
        revision=parts.commit,
        dtype=dtype,
        trust_remote_code=parts.trust_remote_code,
        use_safetensors=None if parts.allow_pickle else True,
        output_loading_info=True,
    )
    if getattr(model, "hf_quantizer", None) is not None or hasattr(model.config, "quantization_config"):
        raise stored_quantised(parts.source)
    if missing := sorted(said["missing_keys"]):
        raise CheckpointError(
            f"The base {parts.source} is not whole: {len(missing)} weights are missing, {missing[0]} among them.",
            remedy="Fetch or copy it once more.",
        )
    return model.eval()


def put_on(model: Any, parts: Parts) -> Any:
    """Return the base with the adapter on it, every weight of the adapter in its place and in full precision.

    Raises:
        AdapterUnusable: It is of another kind, or not for this base.
        WeightsDamaged: Its file is cut off.
    """
    assert parts.adapter is not None
    folder = Path(parts.adapter)
    adapter = read_adapter(folder, allow_pickle=parts.allow_pickle)
    rows = model.get_input_embeddings().weight.shape[0]
    if adapter.vocabulary is not None and adapter.vocabulary != rows:
        model.resize_token_embeddings(adapter.vocabulary, mean_resizing=False)
    _widen(model, adapter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            put = PeftModel.from_pretrained(model, str(folder))
        except (RuntimeError, ValueError, KeyError) as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise AdapterUnusable(
                f"The adapter {folder.name} does not fit this base: {said[-1].strip()[:300]}",
                remedy="Name the base it was trained on with --base (of merge, export and parity).",
            ) from error
    if adapter.tensors:
        _prove_all_there(put, adapter.tensors, folder)
    return put.eval()


def _widen(model: Any, adapter: Adapter) -> None:
    """Make float32 what the adapter replaces whole: PEFT would round it to the type of what it replaces."""
    if adapter.changes_base or adapter.pickle:
        model.float()
        return
    for name in adapter.tensors:
        if "lora_" not in name:
            plain = name.removeprefix(PREFIX).replace(".base_layer", "").replace(".modules_to_save", "")
            with contextlib.suppress(AttributeError):
                parameter = model.get_parameter(plain)
                parameter.data = parameter.data.float()


def _prove_all_there(model: Any, saved: Mapping[str, Tensor], folder: Path) -> None:
    """Raise where PEFT passed over a weight: what it does not find in the file it leaves as it starts."""
    wanted: set[str] = {
        name for name in get_peft_model_state_dict(model, save_embedding_layers=False) if "lora_" in name
    }
    have: dict[str, Tensor] = {name: tensor for name, tensor in saved.items() if "lora_" in name}
    if len(wanted) != len(have):
        raise AdapterUnusable(
            f"The adapter {folder.name} has {len(have)} matrices and this base takes {len(wanted)} of such an adapter.",
            remedy="Name the base it was trained on with --base (of merge, export and parity).",
        )
