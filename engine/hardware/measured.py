"""What probes have measured on this machine, remembered so that the next prediction is nearer."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from engine.config.model import RunConfig
from engine.hardware.memory import NOTHING_MEASURED, Correction, Estimate
from engine.renaming import replace_file

_KEPT = 200
_MEDIAN_OF = 5
_TELLING = 0.2
"""Activations and logits below this part of what was predicted say nothing about how well they are."""
_FACTORS = (0.3, 3.0)
"""A measurement further from the prediction than this is of something else, such as another process on the card."""


def remembered_path() -> Path:
    """Return the file, in the user's folder for state. It holds sizes and names of models, nothing else."""
    base = os.environ.get("XDG_STATE_HOME") or ""
    folder = Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state"
    return folder / "ftconsole" / "memory.jsonl"


def remember(
    config: RunConfig,
    predicted: Estimate,
    *,
    device: str,
    peak_bytes: int,
    context_bytes: int,
    now: float,
    path: Path | None = None,
) -> None:
    """Keep a measurement beside the prediction for the same batch. A folder that cannot be written is no failure.

    Args:
        config: Resolved.
        predicted: Without any correction.
        device: Name of the card, or of the processor.
        peak_bytes: Measured, the process's own share included.
        context_bytes: Of the process before the model was loaded.
        now: Unix seconds.
        path: Instead of `remembered_path()`.
    """
    entry = {
        "when": round(now),
        "device": device,
        "settings": _settings(config),
        "model": config.model.name,
        "rows": predicted.batch.rows,
        "length": predicted.batch.length,
        "predicted": predicted.components,
        "peak_bytes": peak_bytes,
        "context_bytes": context_bytes,
    }
    path = path or remembered_path()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lines = [json.dumps(one) for one in [*_entries(path), entry][-_KEPT:]]
        replace_file(path, "\n".join(lines) + "\n")  # a second console may be reading


def correction(config: RunConfig, device: str, *, path: Path | None = None) -> Correction:
    """Return what was learned on this device from runs with the same arithmetic.

    Where a model's activations are a small part, the difference belongs to the process itself; where they are a
    large one, to how they are predicted. The same model's measurements come before those of others.
    """
    kind = _settings(config)
    here = [one for one in _entries(path or remembered_path()) if one["device"] == device]
    same = [one for one in here if one["settings"] == kind]
    if not here:
        return NOTHING_MEASURED
    context = round(statistics.median(_context_of(one) for one in (same or here)[-_MEDIAN_OF:]))
    telling = [one for one in same if _tells(one)]
    own = [one for one in telling if one["model"] == config.model.name]
    telling = own or telling
    if not telling:
        return Correction(context, 1.0, f"the process itself was measured here: {context >> 20:,} MB")
    factor = statistics.median(_factor(one, context) for one in telling[-_MEDIAN_OF:])
    if not own:  # another model's deviation is half of it that model's own
        factor = 1 + (factor - 1) / 2
    last = telling[-1]
    return Correction(
        context,
        factor,
        f"measured here with {last['model']}, {last['rows']} x {last['length']} tokens: activations "
        f"{factor:.2f} times what was predicted",
    )


def _variable(entry: dict[str, Any]) -> int:
    return int(entry["predicted"]["activations"] + entry["predicted"]["logits"])


def _fixed(entry: dict[str, Any]) -> int:
    return sum(int(entry["predicted"][name]) for name in ("weights", "adapter", "gradients", "optimizer"))


def _context_of(entry: dict[str, Any]) -> int:
    own = int(entry["context_bytes"])
    if _tells(entry):
        return own
    rest = int(entry["peak_bytes"]) - _fixed(entry) - _variable(entry)
    return max(own, min(rest, round(_FACTORS[1] * own)))


def _tells(entry: dict[str, Any]) -> bool:
    variable = _variable(entry)
    return variable > 0 and variable >= _TELLING * (variable + _fixed(entry) + int(entry["context_bytes"]))


def _factor(entry: dict[str, Any], context: int) -> float:
    low, high = _FACTORS
    measured = int(entry["peak_bytes"]) - _fixed(entry) - context
    return min(high, max(low, measured / _variable(entry)))


def _settings(config: RunConfig) -> dict[str, Any]:
    """Return what changes how much is kept for the backward pass, and the library that does it."""
    model = config.model
    bits = 4 if model.load_in_4bit else 8 if model.load_in_8bit else 0
    return {
        "dtype": model.dtype,
        "bits": bits,
        "recompute": config.training.activation_checkpointing,
        "attention": model.attn_implementation,
        "packing": config.data.packing,
        "torch": metadata.version("torch"),
    }


def _entries(path: Path) -> list[dict[str, Any]]:
    return list(_read(path))


def _read(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            entry = json.loads(line)
            whole = isinstance(entry["settings"], dict) and isinstance(entry["device"], str)
            numbers = [entry["peak_bytes"], entry["context_bytes"], entry["rows"], entry["length"]]
            numbers += [
                entry["predicted"][name]
                for name in ("weights", "adapter", "gradients", "optimizer", "activations", "logits")
            ]
        except (ValueError, KeyError, TypeError):  # torn, or of another version
            continue
        named = whole and isinstance(entry["model"], str)
        if named and all(isinstance(n, int) and n >= 0 for n in numbers) and entry["peak_bytes"] > 0:
            yield entry
