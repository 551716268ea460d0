"""What an export to GGUF needs, told before anything is done: from headers and configuration, without torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from engine.errors import NotFound, UsageError
from engine.export.carried import has_tokenizer
from engine.export.converter import Converter, find_converter
from engine.export.failures import FULL_PRECISION, NotExportable
from engine.export.merge import plan_merge
from engine.export.quantisation import Quantisation, conversion_type, expected_bytes
from engine.export.quantiser import Quantiser, find_quantiser
from engine.spec import LocalModel, base_folder, prove_base
from engine.weights import Tensor, read_json, read_tensors
from engine.workspace import named_path

ENDING: Final = ".gguf"
# Measured with two cores on a random model of 494 million weights: torch and transformers alone take 0.4 GB; the
# converter holds one tensor as float32 and its copy in the file's type, the quantiser one as float32 and what it
# makes of it. The pages of the source count too while it is read, but are given back when others need them.
_LIBRARIES_BYTES: Final = 450_000_000
_CONVERT_BYTES_PER_WEIGHT: Final = 8
_QUANTISE_BYTES_PER_WEIGHT: Final = 6
_CONVERT_WEIGHTS_PER_SECOND: Final = 40e6
_QUANTISE_WEIGHTS_PER_SECOND: Final = 25e6
_STARTING_SECONDS: Final = 6.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be exported, and to where."""

    model: LocalModel
    target: Path
    """The file; with several types its stem, to which each is appended. A folder: named after the model there."""
    quantisations: tuple[Quantisation, ...]
    adapter_only: bool = False
    """Export the LoRA alone, to be put on an exported base by llama.cpp."""
    llama_cpp: str | None = None
    """Folder of a llama.cpp named by the user."""
    allow_pickle: bool = False
    """Whether an adapter's weights may be read from a pickle."""
    name: str = ""
    """`general.name` in the file; empty: the target's stem."""


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One file there will be."""

    quantisation: Quantisation
    path: Path
    expected_bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What an export needs and does, before anything is done."""

    asked: Asked
    files: tuple[PlannedFile, ...]
    conversion: Quantisation
    """Converted to once; the types after it are made from that file."""
    conversion_bytes: int
    merges: bool
    """Whether an adapter is merged into its base first, in full precision."""
    merge_dtype: str
    """In what the merged weights are, until they are converted."""
    source: Path
    """Folder of the model, or of the base."""
    converter: Converter | None
    """None: it is fetched first."""
    quantiser: Quantiser | None
    """None where none is needed."""
    num_weights: int
    num_tensors: int
    num_uneven: int
    """Tensors whose rows do not divide by 256, which K-quants store in a larger type."""
    disk_bytes: int
    """At its highest, beside what is there."""
    free_bytes: int
    memory_bytes: int
    available_bytes: int | None
    seconds: float
    existing: tuple[Path, ...]
    """Of the files, those that are there already."""
    notes: tuple[str, ...] = ()


def plan_export(asked: Asked) -> Plan:
    """Say what an export needs, having looked at headers and configuration only.

    Raises:
        NotExportable: llama.cpp has no form for it: quantised weights, an adapter it cannot express.
        NotFound: The model is not on this machine, or not whole.
        MissingPackage: A quantiser is needed and there is none.
        UsageError: A type that does not go with the rest.
    """
    folder = base_folder(asked.model)
    if folder is None or not (folder / "config.json").is_file():
        given = asked.model.base.given
        raise NotFound(
            f"The model {given} is not on this machine.", remedy=f"Fetch it first: hf download {given}. Then export."
        )
    if asked.adapter_only:
        return _plan_adapter(asked, folder)
    config = read_json(folder / "config.json")
    merges = asked.model.adapter is not None
    _refuse_quantised(config, folder)
    if not any(has_tokenizer(place) for place in (folder, asked.model.adapter) if place is not None):
        raise NotExportable(
            f"There is no tokenizer in {folder}, and a GGUF file holds one.",
            remedy="Copy the tokenizer's files beside the weights, from the model that these were made of: "
            "tokenizer.json, tokenizer_config.json, chat_template.jinja, tokenizer.model.",
        )
    tensors = read_tensors(folder)
    weights = [tensor for tensor in tensors.values() if len(tensor.shape) > 0]
    shapes = [tensor.shape for tensor in weights]
    conversion = conversion_type(asked.quantisations, is_bfloat16=not merges and _is_bfloat16(weights))
    files = tuple(
        PlannedFile(one, path, expected_bytes(shapes, one))
        for one, path in zip(asked.quantisations, _targets(asked), strict=True)
    )
    conversion_bytes = expected_bytes(shapes, conversion)
    converter = find_converter(asked.llama_cpp)
    needs_quantiser = any(one is not conversion for one in asked.quantisations)
    num_weights = sum(tensor.num_elements for tensor in weights)
    matrices = [shape for shape in shapes if len(shape) > 1]
    uneven = sum(shape[-1] % 256 != 0 for shape in matrices)
    # Cast once: where the converter casts to float16, the merge may as well, and takes half the room.
    merge_dtype = "float16" if conversion.name == "f16" else "float32"
    merging = None
    if merges:
        beside = _first_folder(files[0].path.parent) / f".{files[0].path.name}"
        merging = plan_merge(asked.model, beside, dtype=merge_dtype, allow_pickle=asked.allow_pickle)
    kept = sum(file.expected_bytes for file in files)
    own = 0 if any(file.quantisation is conversion for file in files) else conversion_bytes
    largest = max((tensor.num_elements for tensor in weights), default=0)
    notes = list(merging.warnings) if merging is not None else []
    k_quants = [one.name for one in asked.quantisations if one.block == 256]
    if uneven and k_quants:
        notes.append(
            f"{uneven} of {len(matrices)} matrices have rows that do not divide by 256; {', '.join(k_quants)} will "
            "store them in larger types."
        )
    folder_of_target = _first_folder(files[0].path.parent)
    return Plan(
        asked=asked,
        files=files,
        conversion=conversion,
        conversion_bytes=conversion_bytes,
        merges=merges,
        merge_dtype=merge_dtype,
        source=folder,
        converter=converter,
        quantiser=find_quantiser(converter) if needs_quantiser else None,
        num_weights=num_weights,
        num_tensors=len(weights),
        num_uneven=uneven,
        disk_bytes=kept + own + (merging.needed_bytes or 0 if merging is not None else 0),
        free_bytes=shutil.disk_usage(folder_of_target).free,
        memory_bytes=max(
            _LIBRARIES_BYTES + _CONVERT_BYTES_PER_WEIGHT * largest,
            _QUANTISE_BYTES_PER_WEIGHT * largest if needs_quantiser else 0,
            merging.memory_bytes or 0 if merging is not None else 0,
        ),
        available_bytes=_available_bytes(),
        seconds=_seconds(num_weights, sum(one is not conversion for one in asked.quantisations))
        + (merging.seconds or 0 if merging is not None else 0),
        existing=tuple(file.path for file in files if os.path.lexists(file.path)),
        notes=tuple(notes),
    )


def _plan_adapter(asked: Asked, base: Path) -> Plan:
    from engine.adapters import read_adapter

    if asked.model.adapter is None:
        raise UsageError(
            f"{asked.model.label} is no adapter, so that there is none to export alone.", remedy="Leave --adapter out."
        )
    (quantisation, *others) = asked.quantisations
    if others or (not quantisation.plain and quantisation.name != "q8_0"):
        raise UsageError(
            "An adapter alone is exported in one of f32, f16, bf16 and q8_0, not in "
            f"{', '.join(one.name for one in asked.quantisations)}.",
            remedy="Name one of them with --quant.",
        )
    adapter = read_adapter(asked.model.adapter, allow_pickle=asked.allow_pickle)
    prove_base(asked.model)
    why = (
        "it is a DoRA adapter"
        if adapter.use_dora
        else f"it has trained {', '.join(adapter.modules_to_save)} whole"
        if adapter.modules_to_save
        else "its start has rewritten the weights of the base"
        if adapter.changes_base
        else ""
    )
    if why:
        raise NotExportable(
            f"{asked.model.label} cannot be a LoRA file of llama.cpp's: {why}.",
            remedy="Export the whole model: leave --adapter out.",
        )
    shapes = [tensor.shape for tensor in adapter.tensors.values()]
    (path,) = _targets(asked)
    size = expected_bytes(shapes, quantisation)
    return Plan(
        asked=asked,
        files=(PlannedFile(quantisation, path, size),),
        conversion=quantisation,
        conversion_bytes=size,
        merges=False,
        merge_dtype="",
        source=base,
        converter=find_converter(asked.llama_cpp),
        quantiser=None,
        num_weights=adapter.num_parameters,
        num_tensors=len(shapes),
        num_uneven=0,
        disk_bytes=size,
        free_bytes=shutil.disk_usage(_first_folder(path.parent)).free,
        memory_bytes=_LIBRARIES_BYTES + 8 * adapter.num_parameters,
        available_bytes=_available_bytes(),
        seconds=_STARTING_SECONDS,
        existing=(path,) if os.path.lexists(path) else (),
        notes=("For llama.cpp (--lora) and Ollama; LM Studio does not load adapters.",),
    )


def _refuse_quantised(config: Mapping[str, Any], folder: Path) -> None:
    how = config.get("quantization_config")
    if isinstance(how, dict) and how:
        bits = 4 if how.get("load_in_4bit") else 8 if how.get("load_in_8bit") else how.get("bits")
        kind = str(how.get("quant_method", "unknown"))[:40]
        shown = f"{bits}-bit, by {kind}" if bits else f"by {kind}"
        raise NotExportable(f"The weights in {folder} are quantised already ({shown}).", remedy=FULL_PRECISION)


def _is_bfloat16(weights: Sequence[Tensor]) -> bool:
    """Return whether most weights are bfloat16; some models keep a few in float32."""
    total = sum(tensor.num_elements for tensor in weights)
    return 2 * sum(tensor.num_elements for tensor in weights if tensor.dtype == "BF16") > total


def _targets(asked: Asked) -> list[Path]:
    """Return the path of each type's file."""
    target = Path(os.path.abspath(named_path(asked.target)))
    several = len(asked.quantisations) > 1
    if target.is_dir():
        target, several = target / (asked.name or "model"), True
    elif target.suffix.lower() == ENDING:
        target = target.with_suffix("")
    if not several:
        return [target.with_name(target.name + ENDING)]
    return [target.with_name(f"{target.name}-{one.name}{ENDING}") for one in asked.quantisations]


def _seconds(num_weights: int, num_quantised: int) -> float:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    converting = _STARTING_SECONDS + num_weights / _CONVERT_WEIGHTS_PER_SECOND
    quantising = num_quantised * num_weights / (_QUANTISE_WEIGHTS_PER_SECOND * max(1, cores) / 2)
    return converting + quantising


def _first_folder(path: Path) -> Path:
    """Return the nearest folder that is there."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _available_bytes() -> int | None:
    import psutil

    return int(psutil.virtual_memory().available)
