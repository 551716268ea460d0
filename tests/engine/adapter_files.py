"""Adapters, models and runs as files, written without torch: right in their headers, zeros for weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.events import RunCreated
from engine.runs.directory import RunDirectory, create_run
from engine.runs.provenance import folder_fingerprint
from engine.training.checkpoint_writer import write_checkpoint

RUN_ID = "0123456789abcdef"
MODEL = {"model.embed_tokens.weight": (16, 8), "model.layers.0.self_attn.q_proj.weight": (8, 8)}
"""A base of one layer."""
LORA = {
    "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": (2, 8),
    "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": (8, 2),
}
"""An adapter for it."""

TINY_LORA = {
    "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": (2, 256),
    "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": (256, 2),
}
"""An adapter for one layer of the built-in model."""


def write_weights(path: Path, tensors: Mapping[str, tuple[int, ...]]) -> Path:
    """Write a safetensors file of zeros in bfloat16."""
    header, end = {}, 0
    for name, shape in tensors.items():
        size = 2
        for side in shape:
            size *= side
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))
    return path


def write_model(folder: Path, tensors: Mapping[str, tuple[int, ...]] = MODEL) -> Path:
    """Write a model folder."""
    write_weights(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    return folder


def write_adapter(folder: Path, base: str | None, tensors: Mapping[str, tuple[int, ...]] = LORA, **said: Any) -> Path:
    """Write an adapter folder as PEFT does."""
    write_weights(folder / "adapter_model.safetensors", tensors)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], **said}
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": base}))
    return folder


def write_tiny_adapter(folder: Path, base: str = "tiny") -> Path:
    """Write an adapter that PEFT puts on the built-in model; it changes nothing."""
    return write_adapter(folder, base, TINY_LORA, target_modules=["layers.0.self_attn.q_proj"])


def make_run(runs: Path, name: str, base: Path, settings: str = "model:\n  name: base\n") -> RunDirectory:
    """Make a run on a base model, without a checkpoint."""
    model = {"given": base.name, "kind": "folder", "source": str(base), "fingerprint": folder_fingerprint(base)}
    provenance: dict[str, Any] = {
        "run_id": RUN_ID, "created": "2026-11-28T00:00:00+00:00", "parent": None, "config_sha256": "", "model": model,
        "data": [], "versions": {}, "git_commit": None, "machine": {},
    }  # fmt: skip
    return create_run(
        runs,
        name,
        created=RunCreated(name=name, method="sft", model=base.name, parent=None),
        files={"run.yaml": settings, "provenance.json": json.dumps(provenance)},
    )


def save(run: RunDirectory, step: int, where: str = "") -> Path:
    """Write a checkpoint of the run: `checkpoint-<step>`, or `best` or `final`."""
    target = run.path / where if where else run.checkpoints / f"checkpoint-{step}"

    def fill(folder: Path) -> None:
        write_adapter(folder, "base")

    write_checkpoint(target, fill, run_id=RUN_ID, step=step, metadata={})
    return target
