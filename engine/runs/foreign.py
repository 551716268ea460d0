"""Checkpoints of other tools: a PEFT adapter, a model folder, the output folder of a Trainer. Listed, never touched.

No manifest proves them. What can be seen without reading all of it is: a safetensors file says in its header how long
it must be, so one that was cut short is known.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.errors import EngineError, NotFound
from engine.runs.checkpoints import METADATA
from engine.runs.entries import CheckpointEntry, as_number, as_numbers, mtime, shares, sizes_in, with_best
from engine.weights import PICKLES, read_header, read_json, weight_files

ADAPTER_CONFIG, MODEL_CONFIG = "adapter_config.json", "config.json"
STATE = "trainer_state.json"
_STEP = re.compile(r"checkpoint-([0-9]{1,12})")
_NO_FIGURES = frozenset({"step", "epoch", "total_flos"})
_RESUME = ("optimizer", "scheduler", "rng_state", STATE)


def read_folder(path: Path) -> tuple[CheckpointEntry, ...]:
    """Return the checkpoints of a folder: itself, and each `checkpoint-N` in it, the newest first.

    Raises:
        NotFound: It is none, and has none; or it may not be read.
    """
    try:
        with os.scandir(path) as found:
            inner = [Path(entry.path) for entry in found if _STEP.fullmatch(entry.name) and entry.is_dir()]
    except OSError as error:
        raise NotFound(f"{path} cannot be read as a folder: {error.strerror}.", remedy="Check the path.") from error
    inner.sort(key=lambda folder: int(folder.name.rpartition("-")[2]), reverse=True)
    entries = [entry for folder in (path, *inner) if (entry := _entry(folder)) is not None]
    if not entries:
        raise NotFound(
            f"{path} holds no checkpoint: neither {ADAPTER_CONFIG} nor {MODEL_CONFIG}, and no checkpoint-N.",
            remedy="Name a run, an adapter that PEFT has saved, a model, or the output folder of a Trainer.",
        )
    # Without a manifest they are not `ours`, by which alone the best is told.
    judged = with_best(replace(entry, ours=True) for entry in entries)
    return tuple(replace(entry, ours=False) for entry in judged)


def _entry(folder: Path) -> CheckpointEntry | None:
    sizes = sizes_in(folder) if not any(folder.glob("checkpoint-*")) else _top(folder)
    if ADAPTER_CONFIG not in sizes and MODEL_CONFIG not in sizes:
        return None
    is_adapter = ADAPTER_CONFIG in sizes
    state = read_json(folder / STATE)
    step = _STEP.fullmatch(folder.name)
    about = read_json(folder / METADATA)  # of a copy in models/
    at = state.get("global_step", about.get("step"))
    number = at if type(at) is int else int(step[1]) if step else 0
    adapter, optimizer, other = shares(sizes)
    wrong = _fault(folder, sizes, is_adapter)
    missing = next((name for name in _RESUME if not any(file.startswith(name) for file in sizes)), None)
    said = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path") if is_adapter else None
    return CheckpointEntry(
        run="",
        name=folder.name,
        folder=str(folder),
        step=number,
        epoch=as_number(state.get("epoch", about.get("epoch"))),
        created=max((mtime(folder / name) for name in sizes if name.endswith((".safetensors", ".bin"))), default=0.0),
        reason="",
        metrics=_figures(state, number) or as_numbers(about.get("metrics")),
        adapter_bytes=adapter,
        optimizer_bytes=optimizer,
        other_bytes=other,
        fault=wrong,
        not_exact=f"it has no {missing}" if missing else "only the tool that wrote it can go on exactly",
        ours=False,
        kind="adapter" if is_adapter else "model",
        base=said if isinstance(said, str) else None,
    )


def _top(folder: Path) -> dict[str, int]:
    """Return the sizes of the files right in a folder that has checkpoints of its own."""
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file():
                found[entry.name] = entry.stat().st_size
    return found


def _fault(folder: Path, sizes: Mapping[str, int], is_adapter: bool) -> str | None:
    """Return what can be seen to be wrong with the weights."""
    if not is_adapter and any(name in sizes for name in PICKLES) and "model.safetensors" not in sizes:
        return None  # a pickle, which is not opened
    if is_adapter and "adapter_model.safetensors" not in sizes:
        return None if "adapter_model.bin" in sizes else "it has no weights"
    try:
        files = [folder / "adapter_model.safetensors"] if is_adapter else weight_files(folder)
        for file in files:
            read_header(file)
    except EngineError as error:
        return error.message.removeprefix(f"{folder}").lstrip("/ ").rstrip(".") or "its weights cannot be read"
    return None


def _figures(state: Mapping[str, Any], step: int) -> dict[str, float]:
    """Return the newest figures that a Trainer's own history has at a step."""
    found: dict[str, float] = {}
    history = state.get("log_history")
    for entry in history if isinstance(history, list) else ():
        if not isinstance(entry, dict) or not isinstance(entry.get("step"), int) or entry["step"] > step:
            continue
        for name, value in entry.items():
            number = as_number(value) if isinstance(name, str) and _is_figure(name) else None
            if number is not None and (not name.startswith("eval_") or entry["step"] == step):
                found[name] = number
    return found


def _is_figure(name: str) -> bool:
    """Return whether a name of the history is of something learned: how long it took is not."""
    return name not in _NO_FIGURES and not name.endswith(("_runtime", "_per_second"))
