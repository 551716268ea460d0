"""An adapter folder of PEFT, ours or another tool's, looked at without torch: what it is, whether it fits a base."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import CheckpointError, NotFound
from engine.weights import Tensor, read_header, read_json

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PICKLE = "adapter_model.bin"
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight")
PREFIX = "base_model.model."
"""Of every name in an adapter's file; what follows is the name in the model."""
_FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<which>A|B|embedding_A|embedding_B)(\.weight)?")
# In peft/tuners/lora/layer.py (0.21) each of these writes new base weights when the adapter is put on; eva, gaussian
# and orthogonal do not.
_CHANGES_BASE = ("pissa", "corda", "olora", "loftq", "lora_ga", "mica")


class AdapterUnusable(CheckpointError):
    """The folder is an adapter that cannot be used for this: of another kind, a pickle, or for another base."""

    code = "adapter-unusable"


@dataclass(frozen=True, slots=True)
class Adapter:
    """What an adapter folder says of itself."""

    path: Path
    kind: str
    """PEFT's type, "LORA"."""
    r: int
    lora_alpha: float
    target_modules: tuple[str, ...]
    """Empty when it is a pattern; then `target_pattern` has it."""
    target_pattern: str | None
    use_dora: bool
    use_rslora: bool
    init_lora_weights: str
    """"True" for PEFT's default."""
    modules_to_save: tuple[str, ...]
    bias: str
    base: str | None
    """Name or folder of the base it was trained on; None when it does not say."""
    revision: str | None
    tensors: Mapping[str, Tensor]
    """By their names in the file; empty for a pickle."""
    pickle: bool
    """Whether the weights are in `adapter_model.bin`."""

    @property
    def changes_base(self) -> bool:
        """Whether its start rewrote the base weights, so that the base with this adapter off is not the base."""
        return self.init_lora_weights.lower().startswith(_CHANGES_BASE)

    @property
    def num_parameters(self) -> int:
        return sum(tensor.num_elements for tensor in self.tensors.values())

    @property
    def vocabulary(self) -> int | None:
        """Rows of the embedding saved with it, where that was resized or trained; None when the base's is used."""
        for name, tensor in self.tensors.items():
            if name.endswith(_EMBEDDINGS) and len(tensor.shape) == 2:
                return tensor.shape[0]
        return None


def read_adapter(folder: Path, *, allow_pickle: bool = False) -> Adapter:
    """Look at an adapter folder.

    Args:
        folder: With `adapter_config.json` and `adapter_model.safetensors`.
        allow_pickle: Whether `adapter_model.bin` will do where there is no safetensors file.

    Raises:
        NotFound: It is none, or has no weights.
        AdapterUnusable: It is no LoRA, or its weights are a pickle.
        WeightsDamaged: Its weights are cut off or no safetensors.
    """
    if not (folder / CONFIG).is_file():
        raise NotFound(f"{folder} is no adapter: it has no {CONFIG}.", remedy="Name a folder that PEFT has saved.")
    said = read_json(folder / CONFIG)
    kind = said.get("peft_type")
    if not isinstance(kind, str):
        raise AdapterUnusable(f"{folder / CONFIG} is damaged: it names no peft_type.", remedy="Restore it.")
    if kind != "LORA":
        raise AdapterUnusable(
            f"{folder} is an adapter of kind {kind[:40]}; only LoRA, with DoRA and rsLoRA, can be used here.",
            remedy="Merge it with the tool that made it, and name the merged folder.",
        )
    pickle = not (folder / WEIGHTS).is_file() and (folder / PICKLE).is_file()
    if pickle and not allow_pickle:
        raise AdapterUnusable(
            f"The weights of {folder} are in {PICKLE}, a pickle: reading it runs whatever program it holds.",
            remedy="If you trust who made it, allow it with --allow-pickle; better, save it again as safetensors.",
        )
    tensors = {} if pickle else read_header(folder / WEIGHTS)
    targets = said.get("target_modules")
    return Adapter(
        path=folder,
        kind=kind,
        r=_number(said.get("r"), 8),
        lora_alpha=_number(said.get("lora_alpha"), 8),
        target_modules=_texts(targets),
        target_pattern=targets if isinstance(targets, str) else None,
        use_dora=said.get("use_dora") is True,
        use_rslora=said.get("use_rslora") is True,
        init_lora_weights=str(said.get("init_lora_weights", True)),
        modules_to_save=_texts(said.get("modules_to_save")),
        bias=str(said.get("bias") or "none"),
        base=_text(said.get("base_model_name_or_path")),
        revision=_text(said.get("revision")),
        tensors=tensors,
        pickle=pickle,
    )


def misfit(adapter: Adapter, base: Mapping[str, Tensor]) -> str | None:
    """Return in words why an adapter cannot be one for this base; None when every shape fits.

    Args:
        adapter: From `read_adapter`.
        base: Tensors of the base by their names in transformers, from `engine.weights.read_tensors`.
    """
    shapes = {_plain(name): tensor.shape for name, tensor in base.items()}
    kinds = {re.sub(r"\d+", "N", name) for name in shapes}
    known, unknown = 0, ""
    for name, tensor in adapter.tensors.items():
        part = _FACTOR.fullmatch(name.removeprefix(PREFIX))
        if part is None or len(tensor.shape) != 2:
            continue
        module = part["module"]
        key = _plain(f"{module}.weight")
        weight = shapes.get(key)
        if weight is None:
            # Files may name modules as an older transformers did; a layer too many is another model.
            if re.sub(r"\d+", "N", key) in kinds:
                return f"it adapts {module}, which the base does not have"
            unknown = unknown or module
            continue
        known += 1
        side = tensor.shape[0 if part["which"] == "B" else 1]
        if part["which"] == "embedding_A" and side == adapter.vocabulary:
            continue  # resized together with the adapter
        if side not in weight:  # either way round: GPT-2 keeps its matrices transposed
            return f"{module} has {' x '.join(map(str, weight))} weights there, and the adapter is for {side} of them"
    return f"it adapts {unknown}, which the base does not have" if unknown and not known else None


def _plain(name: str) -> str:
    """Return a weight's name without what wrappers and heads put before it."""
    return re.sub(r"^(model\.|transformer\.|language_model\.|base_layer\.)+", "", name)


def _number(value: Any, default: int) -> int:
    return value if type(value) in (int, float) and value > 0 else default


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(sorted(name for name in value if isinstance(name, str))) if isinstance(value, list) else ()
