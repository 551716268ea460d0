"""What a chat would take of a device, and what trains there now: asked before anything is loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.chat.placing import LoadOptions, Local, Pair
from engine.chat.resident import BaseModel
from engine.config.arguments import visible_device
from engine.config.model import ModelSection, RunConfig
from engine.config.resolved import ResolvedConfig
from engine.config.yaml_text import read_file
from engine.errors import EngineError
from engine.hardware.machine import room
from engine.hardware.memory import BYTES, CONTEXT, weight_bytes
from engine.hardware.model_shape import ModelShape, NotEstimated, find_shape
from engine.runs.directory import RunDirectory
from engine.runs.summary import summarise_all
from engine.workspace import ModelReference, Workspace

_CONVERSATION_TOKENS = 4096
"""Per side, for the estimate: what attention remembers grows with it."""
_LORA_BYTES = 4
"""PEFT computes adapters in float32."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Of the memory of one device, in bytes."""

    device: str
    """As it is asked for: "cpu", "cuda:1". Empty where nothing is loaded here."""
    needed_bytes: int | None
    """Weights, adapters, two conversations of 4,096 tokens and the process itself, without what is loaded already.
    None where nothing says how large a model is."""
    free_bytes: int | None
    """Now, for a new process. None where the machine does not tell."""
    total_bytes: int | None
    runs: tuple[str, ...]
    """Names of the runs that are at work on this device."""

    @property
    def left_bytes(self) -> int | None:
        """What would be left; below 0 where it does not fit. None where that is not known."""
        return None if self.free_bytes is None or self.needed_bytes is None else self.free_bytes - self.needed_bytes

    @property
    def ask_first(self) -> bool:
        """Whether a person should say yes before it is loaded: something trains there, or it would not fit."""
        loads = self.needed_bytes != 0
        return loads and (bool(self.runs) or (self.left_bytes is not None and self.left_bytes < 0))

    def sentence(self) -> str:
        """Return it in words, names of runs included: to be shown, never obeyed."""
        if not self.device or self.needed_bytes == 0:
            return "Nothing more has to be loaded here."
        needed = "an amount of memory nobody can tell" if self.needed_bytes is None else _size(self.needed_bytes)
        said = f"Chat needs about {needed} on {self.device}"
        if self.free_bytes is not None:
            said += f", where {_size(self.free_bytes)} are free"
        if self.left_bytes is not None:
            left = self.left_bytes
            said += f": {_size(left)} would be left" if left >= 0 else f": {_size(-left)} too little"
        if self.runs:
            verb = "is" if len(self.runs) == 1 else "are"
            said += f". {' and '.join(self.runs)} {verb} training there and may need more than now"
        return said + "."


def needs_of(workspace: Workspace, pair: Pair, options: LoadOptions, loaded: Iterable[BaseModel] = ()) -> Needs:
    """Return what a pair would take beyond the models that are loaded already."""
    local = [one for one in (pair.left, pair.right) if isinstance(one, Local)]
    if not local:
        return Needs("", 0, None, None, ())
    there = room(options.device)
    known = set(loaded)
    bases = {one.base for one in local if one.base not in known}
    needed: int | None = None
    with contextlib.suppress(NotEstimated):
        needed = sum(CONTEXT[there.kind] + _base_bytes(base) for base in bases) + sum(
            _adapter_bytes(one.speaker.adapter) + _memory_bytes(one.base) for one in local if one.base in bases
        )
    return Needs(options.device, needed, there.free_bytes, there.total_bytes, _runs_on(workspace, options.device))


def _base_bytes(base: BaseModel) -> int:
    section = ModelSection(
        name=base.label or "model",
        dtype=base.dtype,  # type: ignore[arg-type]
        load_in_4bit=base.bits == 4,
        load_in_8bit=base.bits == 8,
    )
    return weight_bytes(RunConfig(model=section), _shape(base))


def _memory_bytes(base: BaseModel) -> int:
    """Return what attention remembers of one conversation, keys and values of every layer."""
    shape = _shape(base)
    numbers = 2 * shape.num_hidden_layers * shape.num_key_value_heads * shape.head_dim
    return numbers * BYTES[base.dtype] * _CONVERSATION_TOKENS


def _shape(base: BaseModel) -> ModelShape:
    folder = None if base.folder is None else Path(base.folder)
    return find_shape(ModelReference("folder" if folder else "hub", base.source, folder, base.revision), None)


def _adapter_bytes(folder: Path | None) -> int:
    if folder is None:
        return 0
    from engine.adapters import read_adapter

    return read_adapter(folder).num_parameters * _LORA_BYTES


def _runs_on(workspace: Workspace, device: str) -> tuple[str, ...]:
    """Return the runs at work on the same card; on the host those that train on its processor."""
    return tuple(
        summary.name
        for summary in summarise_all(workspace.runs)
        if summary.active and _same_device(RunDirectory(Path(summary.path)), device)
    )


def _same_device(run: RunDirectory, device: str) -> bool:
    try:
        theirs = ResolvedConfig.from_yaml(read_file(run.config)).config.model.device
        return theirs.partition(":")[0] == device.partition(":")[0] and visible_device(theirs) == visible_device(device)
    except EngineError:
        return True  # nobody can say: better to ask once too often


def _size(number: int) -> str:
    return f"{number / 1e9:,.1f} GB" if number >= 10**9 else f"{number / 1e6:,.0f} MB"
