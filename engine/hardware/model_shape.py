"""How many weights a base model has and in which layers, without loading it.

Told exactly from the headers of its safetensors files where they are on this machine, else from the fields of its
configuration for the architectures below.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from engine.config.catalogue import CatalogueEntry
from engine.errors import EngineError
from engine.runs.provenance import cached_commit, hub_cache
from engine.workspace import ModelReference

_MAX_HEADER_BYTES = 100 << 20
"""As the safetensors library: a longer header is no header."""
_EMBEDDING = re.compile(r"(embed|wte|wpe|word_embeddings)")
_NORM = re.compile(r"(norm|ln_|layernorm)[^.]*$")
_HEADS = frozenset({"lm_head", "embed_out", "output"})


class NotEstimated(EngineError):
    """Nothing on this machine says how large the model is."""

    code = "not-estimated"
    exit_code = 3


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The weights of a causal language model, tied ones once."""

    model_type: str
    """As in config.json: "qwen2", "llama"."""
    tensors: Mapping[str, tuple[int, ...]]
    """Shape of every weight by its name in transformers."""
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int

    @property
    def num_parameters(self) -> int:
        """Weights, tied ones once."""
        return sum(prod(shape) for shape in self.tensors.values())

    def matrices(self) -> Iterator[tuple[str, int, int]]:
        """Yield module name, inputs and outputs of every linear layer, the head included where it is one of its own."""
        for name, shape in self.tensors.items():
            module = name.removesuffix(".weight")
            last = module.rpartition(".")[2]
            if module != name and len(shape) == 2 and not _EMBEDDING.search(last) and not _NORM.search(last):
                yield module, shape[1], shape[0]

    def adapted(self, target_modules: Sequence[str] | str) -> Iterator[tuple[str, int, int]]:
        """Yield name, inputs and outputs of each layer that PEFT gives an adapter.

        Equal to `peft.tuners.tuners_utils`: a name in the list fits a module called so or ending in `.name`;
        "all-linear" is every linear layer but the head.
        """
        if isinstance(target_modules, str):
            yield from (layer for layer in self.matrices() if layer[0] not in _HEADS)
            return
        for name, shape in self.tensors.items():
            module = name.removesuffix(".weight")
            if module != name and len(shape) == 2 and any(_fits(module, target) for target in target_modules):
                yield module, shape[1], shape[0]

    def whole(self, modules: list[str]) -> Iterator[tuple[int, ...]]:
        """Yield the shapes of the weights below the modules named, as `modules_to_save` copies them."""
        for name, shape in self.tensors.items():
            module = name.rpartition(".")[0]
            parts = module.split(".")
            if any(_fits(".".join(parts[: n + 1]), one) for one in modules for n in range(len(parts))):
                yield shape


def find_shape(model: ModelReference, entry: CatalogueEntry | None) -> ModelShape:
    """Return the shape of a base model.

    Args:
        model: From `Workspace.model`. A Hub model is looked for in the local cache; the network is not touched.
        entry: Of the catalogue, where it has one.

    Raises:
        NotEstimated: Its files are not here and the catalogue does not know it, or its architecture is unknown.
    """
    folder = model.path or _cached_folder(model)
    fields = _fields_of(folder) if folder is not None else None
    if fields is None and entry is not None and isinstance(entry.fields.get("shape"), dict):
        fields = entry.fields["shape"]
    if fields is None:
        raise NotEstimated(
            f"How large {model.name} is cannot be told: its files are not on this machine and the catalogue has no "
            "shape of it.",
            remedy=f"Fetch it first: hf download {model.name}" if model.kind == "hub" else "Name a folder of a model.",
        )
    tensors = dict(_tensors_of(folder)) if folder is not None else {}
    return shape_of(fields, tensors, model.name)


def shape_of(fields: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]], name: str) -> ModelShape:
    """Return the shape that the fields of a config.json describe; `tensors` are those of its files, if known.

    Raises:
        NotEstimated: A field is missing, or nothing is known of the architecture and there are no files.
    """
    nested = fields.get("text_config")
    if isinstance(nested, dict) and "hidden_size" not in fields:
        fields = {**nested, "model_type": fields.get("model_type")}

    def number(*names: str, default: int | None = None) -> int:
        for one in names:
            value = fields.get(one)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
        if default is None:
            raise NotEstimated(
                f"The configuration of {name} has no {names[0]}, so its memory cannot be told.",
                remedy="Try it: `ftconsole estimate --probe` measures.",
            )
        return default

    kind = str(fields.get("model_type") or "")
    hidden, heads = number("hidden_size", "n_embd", "d_model"), number("num_attention_heads", "n_head")
    tied = bool(fields.get("tie_word_embeddings", kind in ("gemma", "gemma2", "gpt2")))
    shape = ModelShape(
        model_type=kind,
        tensors={},
        hidden_size=hidden,
        intermediate_size=number("intermediate_size", "n_inner", default=4 * hidden),
        num_hidden_layers=number("num_hidden_layers", "n_layer"),
        num_attention_heads=heads,
        num_key_value_heads=number("num_key_value_heads", default=heads),
        head_dim=number("head_dim", default=hidden // heads),
        vocab_size=number("vocab_size"),
    )
    found = {key: size for key, size in tensors.items() if not (tied and key == "lm_head.weight")}
    if not found:
        found = dict(_described(shape, fields, tied))
    if not found:
        raise NotEstimated(
            f"The architecture {kind or 'of ' + name} is not known here, so the memory of {name} cannot be told "
            "before its files are on this machine.",
            remedy="Fetch the model first, or try it: `ftconsole estimate --probe` measures.",
        )
    return ModelShape(**{**{slot: getattr(shape, slot) for slot in shape.__slots__}, "tensors": found})


def _described(shape: ModelShape, fields: Mapping[str, Any], tied: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the weights that transformers builds from a configuration; nothing for an architecture not known here.

    The tests compare each with the class itself.
    """
    kind = shape.model_type
    if kind not in ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi3", "phi"):
        return
    d, f, q = shape.hidden_size, shape.intermediate_size, shape.num_attention_heads * shape.head_dim
    k = shape.num_key_value_heads * shape.head_dim
    bias = kind == "phi"
    yield "model.embed_tokens.weight", (shape.vocab_size, d)
    for number in range(shape.num_hidden_layers):
        layer = f"model.layers.{number}"
        attention, mlp = f"{layer}.self_attn", f"{layer}.mlp"
        if kind == "phi3":
            matrices = {f"{attention}.qkv_proj": (q + 2 * k, d), f"{attention}.o_proj": (d, q)}
            matrices |= {f"{mlp}.gate_up_proj": (2 * f, d), f"{mlp}.down_proj": (d, f)}
        else:
            out = "dense" if kind == "phi" else "o_proj"
            matrices = {f"{attention}.q_proj": (q, d), f"{attention}.k_proj": (k, d), f"{attention}.v_proj": (k, d)}
            matrices[f"{attention}.{out}"] = (d, q)
            if kind == "phi":
                matrices |= {f"{mlp}.fc1": (f, d), f"{mlp}.fc2": (d, f)}
            else:
                matrices |= {f"{mlp}.gate_proj": (f, d), f"{mlp}.up_proj": (f, d), f"{mlp}.down_proj": (d, f)}
        for name, size in matrices.items():
            yield f"{name}.weight", size
            in_attention = ".self_attn." in name
            given = fields.get("attention_bias" if in_attention else "mlp_bias") is True
            qwen = kind == "qwen2" and in_attention and not name.endswith("o_proj")
            if bias or qwen or (given and kind in ("llama", "qwen3", "gemma", "gemma2")):
                yield f"{name}.bias", (size[0],)
        if kind == "qwen3":
            yield f"{attention}.q_norm.weight", (shape.head_dim,)
            yield f"{attention}.k_norm.weight", (shape.head_dim,)
        norms = ["input_layernorm"] if kind == "phi" else ["input_layernorm", "post_attention_layernorm"]
        if kind == "gemma2":
            norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
        for norm in norms:
            yield f"{layer}.{norm}.weight", (d,)
            if bias:
                yield f"{layer}.{norm}.bias", (d,)
    last = "model.final_layernorm" if kind == "phi" else "model.norm"
    yield f"{last}.weight", (d,)
    if bias:
        yield f"{last}.bias", (d,)
    if not tied:
        yield "lm_head.weight", (shape.vocab_size, d)
    if bias:
        yield "lm_head.bias", (shape.vocab_size,)


def _fits(module: str, target: str) -> bool:
    return module == target or module.endswith(f".{target}")


def _cached_folder(model: ModelReference) -> Path | None:
    commit = cached_commit(model.name, model.revision)
    if not commit:
        return None
    folder = hub_cache() / f"models--{model.name.replace('/', '--')}" / "snapshots" / commit
    return folder if (folder / "config.json").is_file() else None


def _fields_of(folder: Path) -> dict[str, Any] | None:
    try:
        fields = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return None
    return fields if isinstance(fields, dict) else None


def _tensors_of(folder: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield name and shape of the weights in the folder's safetensors files, from their headers alone.

    Nothing when a file is missing or damaged: half a model is no figure.
    """
    found: dict[str, tuple[int, ...]] = {}
    for path in _weight_files(folder):
        header = _header(path)
        if header is None:
            return
        for name, about in header.items():
            size = about.get("shape") if isinstance(about, dict) else None
            if name.endswith((".inv_freq", ".masked_bias")):  # buffers that older versions saved
                continue
            if name != "__metadata__" and isinstance(size, list) and all(isinstance(n, int) for n in size):
                found[name] = tuple(size)
    yield from found.items()


def _weight_files(folder: Path) -> list[Path]:
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_bytes())
        names = set(index["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        names = {"model.safetensors"}
    return [folder / name for name in sorted(names) if isinstance(name, str) and "/" not in name]


def _header(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= _MAX_HEADER_BYTES else None
    except (OSError, ValueError):
        return None
    return header if isinstance(header, dict) else None
