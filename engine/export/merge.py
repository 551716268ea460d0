"""Make one model of a base and an adapter: what it will need, then the work in a process of its own. No torch here."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from engine.adapters import Adapter, read_adapter
from engine.errors import DiskFull, EngineError, TargetExists, UsageError
from engine.export.beside import clear_abandoned, exists
from engine.export.parts import stored_quantised
from engine.export.progress import Cancelled, Tell, never, run, silent
from engine.runs.plan import size_text
from engine.runs.provenance import ModelSource, versions
from engine.spec import LocalModel, base_folder, prove_base
from engine.weights import Tensor, read_json, read_tensors
from engine.workspace import named_path

Dtype: TypeAlias = Literal["bfloat16", "float16", "float32"]
SHARD_BYTES = 4_000_000_000
"""Largest file of weights. A file is held in memory while it is written."""
_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
_SMALL_FILES = 32 << 20
"""Tokenizer and configs: a vocabulary of 256,000 takes 30 MB."""
_LIBRARIES_BYTES = 450 << 20
"""What Python, torch, transformers and PEFT take before any weight (measured: 0.40 GB)."""
_NAMED = ("ftconsole", "torch", "transformers", "peft")
_START_SECONDS, _BYTES_PER_SECOND = 15.0, 150e6
"""Importing, and reading plus merging plus writing, on two cores with a cold disk."""


class NothingToMerge(UsageError):
    """What was named is a whole model already."""

    code = "nothing-to-merge"


@dataclass(frozen=True, slots=True)
class MergePlan:
    """What will be done, and what it needs."""

    model: LocalModel
    base: ModelSource
    """Proven: see `engine.spec.prove_base`."""
    adapter: Adapter
    target: Path
    dtype: Dtype
    verify: bool
    num_parameters: int | None
    """None where the base has yet to be fetched."""
    needed_bytes: int | None
    """On the target's disk."""
    free_bytes: int
    memory_bytes: int | None
    """At the peak."""
    free_memory_bytes: int
    seconds: float | None
    """About."""
    replaces: bool
    """Whether a model that is there would go."""
    allow_pickle: bool = False
    max_shard_bytes: int = SHARD_BYTES
    warnings: tuple[str, ...] = ()
    """Sentences."""

    @property
    def num_files(self) -> int | None:
        """Files of weights there will be; None where that is not known."""
        if self.num_parameters is None:
            return None
        return max(1, -(-self.num_parameters * _BYTES[self.dtype] // self.max_shard_bytes))

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "model": self.model.label,
            "base": self.base.given,
            "base_fingerprint": self.base.fingerprint or None,
            "adapter": str(self.adapter.path),
            "target": str(self.target),
            "dtype": self.dtype,
            "parameters": self.num_parameters,
            "needed_bytes": self.needed_bytes,
            "free_bytes": self.free_bytes,
            "memory_bytes": self.memory_bytes,
            "free_memory_bytes": self.free_memory_bytes,
            "seconds": None if self.seconds is None else round(self.seconds, 1),
            "files": self.num_files,
            "replaces": self.replaces,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class Merged:
    """What was made."""

    path: Path
    files: Mapping[str, int]
    """Name and bytes."""
    used_bytes: int
    seconds: float
    notes: tuple[str, ...] = ()
    """Sentences on what was carried along."""
    verified: Mapping[str, Any] | None = None
    """`max_abs`, `mean_kl`, `argmax_agreement`, `equal_answers` and `answers`; None where it was not verified."""
    plan: MergePlan | None = field(default=None, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "path": str(self.path),
            "files": dict(self.files),
            "bytes": self.used_bytes,
            "seconds": self.seconds,
            "notes": list(self.notes),
            "verified": None if self.verified is None else dict(self.verified),
        }


def plan_merge(
    model: LocalModel,
    target: Path,
    *,
    dtype: str = "bfloat16",
    verify: bool = False,
    allow_pickle: bool = False,
    max_shard_bytes: int = SHARD_BYTES,
) -> MergePlan:
    """Return what a merge will do and need. Reads headers and fingerprints, changes nothing.

    Args:
        model: From `engine.spec.local_model`; needs an adapter.
        target: Folder to be made.
        dtype: What the merged weights are cast to, once.
        verify: Whether base and adapter are to be compared with what was written.
        allow_pickle: Whether weights in pickles may be read.
        max_shard_bytes: Largest file of weights.

    Raises:
        NothingToMerge: It is a whole model already.
        BaseMissing, BaseChanged: The base it was trained on is not there, or is not it any more.
        CheckpointError: The adapter is damaged, of another kind, or for another base; the base is stored quantised.
        UsageError: There is no such dtype, or something other than a model stands at `target`.
        DiskFull: There is not enough room.
    """
    if dtype not in get_args(Dtype):
        raise UsageError(f"There is no dtype {dtype!r}.", remedy=f"One of {', '.join(get_args(Dtype))}.")
    if model.adapter is None:
        raise NothingToMerge(
            f"There is nothing to merge: {model.label} is a whole model, without an adapter.",
            remedy="Use it as it is, or export it with `ftconsole export`.",
        )
    target = named_path(target).absolute()
    replaces = _may_stand_there(target)
    adapter = read_adapter(model.adapter, allow_pickle=allow_pickle)
    proven = prove_base(model)
    folder = base_folder(model)
    if folder is not None and "quantization_config" in read_json(folder / "config.json"):
        raise stored_quantised(proven.given)
    tensors = _tensors(model)
    clear_abandoned(target.parent)
    free = shutil.disk_usage(_existing(target)).free
    needs = _needs(tensors, adapter, dtype, verify, max_shard_bytes) if tensors else None
    if needs is not None and needs.disk > free:
        raise DiskFull(
            f"The merged model needs {size_text(needs.disk)}, and {_existing(target)} has {size_text(free)}.",
            remedy="Free some space there, or choose another folder with -o.",
        )
    memory = _free_memory()
    return MergePlan(
        model=model,
        base=proven,
        adapter=adapter,
        target=target,
        dtype=dtype,  # type: ignore[arg-type]  # checked above
        verify=verify,
        num_parameters=sum(tensor.num_elements for tensor in tensors.values()) if tensors else None,
        needed_bytes=needs.disk if needs else None,
        free_bytes=free,
        memory_bytes=needs.memory if needs else None,
        free_memory_bytes=memory,
        seconds=needs.seconds if needs else None,
        replaces=replaces,
        allow_pickle=allow_pickle,
        max_shard_bytes=max_shard_bytes,
        warnings=tuple(_warnings(model, proven, adapter, needs.memory if needs else 0, memory)),
    )


def merge(plan: MergePlan, *, replace: bool = False, tell: Tell = silent, cancelled: Cancelled = never) -> Merged:
    """Carry out a plan, in a process of its own.

    Args:
        plan: From `plan_merge`.
        replace: Whether a model that stands at the target goes, once the new one is whole.
        tell: Called with every progress.
        cancelled: Asked twenty times a second; True ends the work, and nothing is left behind.

    Raises:
        TargetExists: Something is there, and `replace` is false.
        WorkCancelled: It was cancelled.
        EngineError: It failed. Nothing is under the target's name that was not there before.
    """
    if plan.replaces and not replace:
        raise exists(plan.target)
    folder = base_folder(plan.model)
    request = {
        "target": str(plan.target),
        "parts": parts_of(plan.model, plan.base, plan.allow_pickle),
        "base_name": plan.base.given,
        "base_folder": None if folder is None else str(folder),
        "chat_template": plan.model.chat_template,
        "dtype": plan.dtype,
        "max_shard_size": plan.max_shard_bytes,
        "verify": plan.verify,
        "replace": replace,
        "record": _record(plan),
    }
    try:
        made = run("engine.export.merge_worker", request, what="The merge", tell=tell, cancelled=cancelled)
    finally:
        clear_abandoned(plan.target.parent)  # what a killed process could not
    return Merged(
        path=plan.target,
        files=made["files"],
        used_bytes=made["bytes"],
        seconds=made["seconds"],
        notes=tuple(made["notes"]),
        verified=made["verified"],
        plan=plan,
    )


def parts_of(model: LocalModel, base: ModelSource, allow_pickle: bool = False) -> dict[str, Any]:
    """Return the fields of `engine.export.parts.Parts`."""
    return {
        "source": base.source,
        "commit": (base.fingerprint or base.revision) if base.kind == "hub" else None,
        "adapter": None if model.adapter is None else str(model.adapter),
        "trust_remote_code": model.trust_remote_code,
        "allow_pickle": allow_pickle,
    }


@dataclass(frozen=True, slots=True)
class _Needs:
    disk: int
    memory: int
    seconds: float


def _needs(tensors: Mapping[str, Tensor], adapter: Adapter, dtype: str, verify: bool, max_shard_bytes: int) -> _Needs:
    """Return room, memory and time. See `engine.export.merge_worker` for how the work is done."""
    elements = sum(tensor.num_elements for tensor in tensors.values())
    stored = sum(tensor.used_bytes for tensor in tensors.values())
    largest = max(tensor.num_elements for tensor in tensors.values())
    extra = 4 * adapter.num_parameters
    written = elements * _BYTES[dtype] + extra
    # The model in the wider of the two types, one layer in float32 three times (weight, product, copy), and the file
    # that is being written.
    peak = max(stored, written) + 12 * largest + extra + min(max_shard_bytes, written)
    seconds = (stored + written) / _BYTES_PER_SECOND
    if verify:
        peak = max(peak, 4 * elements + extra + (256 << 20))
        seconds += 2 * 4 * elements / _BYTES_PER_SECOND + 5.0
    return _Needs(written + _SMALL_FILES, peak + _LIBRARIES_BYTES, _START_SECONDS + seconds)


def _warnings(model: LocalModel, base: ModelSource, adapter: Adapter, memory_bytes: int, free_bytes: int) -> list[str]:
    found = []
    if memory_bytes > free_bytes:
        found.append(
            f"It needs about {size_text(memory_bytes)} of memory, and {size_text(free_bytes)} are free: it may be "
            "killed, or become slow."
        )
    if not model.base.fingerprint:
        found.append(
            f"Nothing proves that {base.given} is the base {model.label} was trained on, only that its shapes fit."
        )
    if adapter.changes_base:
        found.append(
            f"The adapter began with init_lora_weights {adapter.init_lora_weights}, which rewrote the base; it is made "
            "anew from the base, so verify the merge with --verify."
        )
    if model.training_bits:
        found.append(
            f"It was trained on a base of {model.training_bits} bits and is merged into the full one, which answers "
            "slightly otherwise."
        )
    return found


def _record(plan: MergePlan) -> dict[str, Any]:
    """Return what `merge.json` says of where the model came from."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": plan.model.label,
        "run": plan.model.run,
        "checkpoint": plan.model.checkpoint,
        "step": plan.model.step,
        "base": asdict(plan.base),
        "dtype": plan.dtype,
        "versions": {
            name: version
            for name, version in versions().items()
            if name in ("ftconsole", "torch", "transformers", "peft")
        },
    }


def _may_stand_there(target: Path) -> bool:
    """Return whether a model is there.

    Raises:
        UsageError: Something else is, which is never replaced.
    """
    if not target.exists() and not target.is_symlink():
        return False
    if target.is_dir() and not target.is_symlink():
        names = {path.name for path in target.iterdir()}
        if not names:
            return False
        if "config.json" in names and "events.jsonl" not in names:
            return True
    raise TargetExists(f"{target} is there already, and no model.", remedy="Choose another -o.")


def _tensors(model: LocalModel) -> Mapping[str, Tensor]:
    folder = base_folder(model)
    if folder is None:
        return {}
    try:
        return read_tensors(folder)
    except EngineError as error:
        if type(error).code == "not-found":  # a pickle: how large it is nobody knows before it is read
            return {}
        raise


def _existing(target: Path) -> Path:
    return next(path for path in target.parents if path.is_dir())


def _free_memory() -> int:
    import psutil

    free: int = psutil.virtual_memory().available
    return free
