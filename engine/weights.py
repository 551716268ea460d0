"""What files of weights say of themselves, read from their headers: names, types and shapes, without torch.

A safetensors file begins with the length of a JSON header, which lists every tensor and where its bytes are. A file
that was cut off or damaged at its beginning is known by that alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeGuard

from engine.errors import CheckpointError, NotFound

INDEX = "model.safetensors.index.json"
WHOLE = "model.safetensors"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "adapter_model.bin")
"""Weights in files that are programs: unpickling one runs what it says."""
_MAX_HEADER_BYTES = 100 << 20
"""As the safetensors library: a longer header is no header."""
_MAX_JSON_BYTES = 64 << 20
_BITS = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F4": 4,
}  # fmt: skip


class WeightsDamaged(CheckpointError):
    """A file of weights is cut off, or its header is none."""

    code = "weights-damaged"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One entry of a header."""

    dtype: str
    """As safetensors writes it: "F32", "BF16"."""
    shape: tuple[int, ...]

    @property
    def num_elements(self) -> int:
        return prod(self.shape)

    @property
    def used_bytes(self) -> int:
        return self.num_elements * _BITS.get(self.dtype, 32) // 8


def read_header(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name.

    Raises:
        WeightsDamaged: It is no such file, or shorter than its header says.
        NotFound: It is not there, or may not be read.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            first = file.read(8)
            length = int.from_bytes(first, "little")
            if len(first) < 8 or length > min(size - 8, _MAX_HEADER_BYTES):
                raise _damaged(path, f"its {size:,} bytes are too few for the header it promises")
            header = json.loads(file.read(length))
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}.", remedy="Check the path.") from error
    except (ValueError, RecursionError):
        raise _damaged(path, "its header is not readable") from None
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not readable")
    header.pop("__metadata__", None)
    tensors, end = dict[str, Tensor](), 0
    for name, about in header.items():
        tensor, last = _entry(about)
        if tensor is None:
            raise _damaged(path, f"its header does not say where {name[:80]!r} is")
        tensors[name], end = tensor, max(end, last)
    if 8 + length + end != size:
        raise _damaged(path, f"it has {size:,} bytes and its header speaks of {8 + length + end:,}")
    return tensors


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a model folder: one, or those its index lists.

    Raises:
        WeightsDamaged: The index is none, or names files outside of the folder.
        NotFound: There is no such file; the message says so where there are pickles instead.
    """
    if (folder / INDEX).is_file():
        placed = read_json(folder / INDEX).get("weight_map")
        names = sorted(set(placed.values())) if isinstance(placed, dict) and _all_text(placed) else []
        if not names or any("/" in name or name in ("", ".", "..") for name in names):
            raise _damaged(folder / INDEX, "it does not say which files there are")
        return [folder / name for name in names]
    if (folder / WHOLE).is_file():
        return [folder / WHOLE]
    pickles = [name for name in PICKLES if (folder / name).is_file()]
    if pickles:
        raise NotFound(
            f"{folder} has its weights in {pickles[0]}, a pickle: reading it runs whatever program it holds.",
            remedy="Save the model once more with save_pretrained, which writes safetensors.",
        )
    raise NotFound(f"{folder} has no weights: there is no {WHOLE}.", remedy="Fetch or copy the model once more.")


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Return the tensors of a model folder by name.

    Raises:
        WeightsDamaged, NotFound: As `weight_files` and `read_header`.
    """
    found: dict[str, Tensor] = {}
    for file in weight_files(folder):
        found |= read_header(file)
    return found


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a file; empty when there is none."""
    try:
        if not path.is_file() or path.stat().st_size > _MAX_JSON_BYTES:
            return {}
        read = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def _entry(about: object) -> tuple[Tensor | None, int]:
    """Return a tensor and where its bytes end, of what follows the header."""
    if not isinstance(about, dict):
        return None, 0
    dtype, shape, offsets = about.get("dtype"), about.get("shape"), about.get("data_offsets")
    if not (isinstance(dtype, str) and _counts(shape) and _counts(offsets) and len(offsets) == 2):
        return None, 0
    return Tensor(dtype, tuple(shape)), offsets[1]


def _counts(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)


def _all_text(placed: Mapping[Any, Any]) -> bool:
    return all(isinstance(name, str) for name in placed.values())


def _damaged(path: Path, why: str) -> WeightsDamaged:
    return WeightsDamaged(
        f"{path} is damaged: {why}.", remedy="Restore it from a backup, or use another checkpoint: nothing was changed."
    )
