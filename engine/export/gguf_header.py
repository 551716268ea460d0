"""What a GGUF file says of itself: its metadata, and the type and shape of each tensor. No weights are read.

Standard library only, for the console; the `gguf` package brings numpy and parses arrays that nobody asks for.
Equal to `gguf.GGUFReader` in what both read, which a test says.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final, NamedTuple

from engine.errors import CheckpointError, NotFound


class _Storage(NamedTuple):
    name: str
    block: int
    """Weights in a block; a row must hold a whole number of blocks."""
    block_bytes: int


# ggml.h and ggml-common.h; the numbers are part of the file format.
_TYPES: Final = {
    0: _Storage("F32", 1, 4), 1: _Storage("F16", 1, 2), 2: _Storage("Q4_0", 32, 18), 3: _Storage("Q4_1", 32, 20),
    6: _Storage("Q5_0", 32, 22), 7: _Storage("Q5_1", 32, 24), 8: _Storage("Q8_0", 32, 34), 9: _Storage("Q8_1", 32, 40),
    10: _Storage("Q2_K", 256, 84), 11: _Storage("Q3_K", 256, 110), 12: _Storage("Q4_K", 256, 144),
    13: _Storage("Q5_K", 256, 176), 14: _Storage("Q6_K", 256, 210), 15: _Storage("Q8_K", 256, 292),
    16: _Storage("IQ2_XXS", 256, 66), 17: _Storage("IQ2_XS", 256, 74), 18: _Storage("IQ3_XXS", 256, 98),
    19: _Storage("IQ1_S", 256, 50), 20: _Storage("IQ4_NL", 32, 18), 21: _Storage("IQ3_S", 256, 110),
    22: _Storage("IQ2_S", 256, 82), 23: _Storage("IQ4_XS", 256, 136), 24: _Storage("I8", 1, 1),
    25: _Storage("I16", 1, 2), 26: _Storage("I32", 1, 4), 27: _Storage("I64", 1, 8), 28: _Storage("F64", 1, 8),
    29: _Storage("IQ1_M", 256, 56), 30: _Storage("BF16", 1, 2), 34: _Storage("TQ1_0", 256, 54),
    35: _Storage("TQ2_0", 256, 66), 39: _Storage("MXFP4", 32, 17),
}  # fmt: skip
_SCALARS: Final = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_TEXT, _ARRAY = 8, 9
_MOST_DEEP = 4
_DEFAULT_ALIGNMENT = 32


class GgufDamaged(CheckpointError):
    """A file is no GGUF file, or was cut off."""

    code = "gguf-damaged"


class Array(NamedTuple):
    """An array that was not asked for: only how long it is."""

    length: int


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One entry of the list of tensors."""

    name: str
    shape: tuple[int, ...]
    """The length of a row first, as ggml has it: the other way round than torch."""
    type: str
    """As ggml names it: "F16", "Q4_K"."""
    used_bytes: int

    @property
    def num_weights(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What stands before the weights."""

    path: Path
    size: int
    """Of the file, in bytes."""
    metadata: Mapping[str, Any]
    """Numbers, truth values, texts, lists of them; an `Array` where a list was not asked for."""
    tensors: tuple[GgufTensor, ...]

    @property
    def bits_per_weight(self) -> float:
        """Bits of all tensors over their weights: what the quantisation came to, not what it is called."""
        weights = sum(tensor.num_weights for tensor in self.tensors)
        return 8 * sum(tensor.used_bytes for tensor in self.tensors) / weights if weights else 0.0

    @property
    def types(self) -> dict[str, int]:
        """How many tensors there are of each type, the most frequent first."""
        counts: dict[str, int] = {}
        for tensor in self.tensors:
            counts[tensor.type] = counts.get(tensor.type, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    def text(self, key: str) -> str:
        """Return a text of the metadata; empty where there is none."""
        found = self.metadata.get(key)
        return found if isinstance(found, str) else ""

    def number(self, key: str) -> int | None:
        """Return a whole number of the metadata."""
        found = self.metadata.get(key)
        return found if type(found) is int else None


def read_gguf(path: Path, *, arrays: frozenset[str] = frozenset()) -> GgufHeader:
    """Read the header of a GGUF file, and prove that no weights are missing behind it.

    Args:
        path: A file of version 2 or 3, little-endian.
        arrays: Keys of lists that are wanted. A vocabulary is a list of 150,000 texts.

    Raises:
        NotFound: There is no such file, or it may not be read.
        GgufDamaged: It is no GGUF file, or shorter than it says.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size < 24:
                raise _damaged(path, f"it has {size} bytes")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                return _Cursor(path, mapped, size).header(arrays)
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}.", remedy="Check the path.") from error


def _damaged(path: Path, why: str) -> GgufDamaged:
    return GgufDamaged(f"{path} is no whole GGUF file: {why}.", remedy="Export it once more, or copy it again.")


class _Cursor:
    """Reads one value after the other."""

    def __init__(self, path: Path, mapped: mmap.mmap, size: int) -> None:
        self.path, self.mapped, self.size = path, mapped, size
        self.at = 0

    def header(self, arrays: frozenset[str]) -> GgufHeader:
        if self.mapped[:4] != b"GGUF":
            raise _damaged(self.path, "it does not begin with GGUF")
        self.at = 4
        try:
            version = self.number("<I")
            if version not in (2, 3):
                raise _damaged(self.path, f"its version is {version}, and 2 and 3 are known")
            num_tensors, num_entries = self.number("<Q"), self.number("<Q")
            metadata: dict[str, Any] = {}
            for _ in range(num_entries):  # an absurd number ends at the end of the file
                key = self.text()
                metadata[key] = self.value(self.number("<I"), wanted=key in arrays)
            entries = [self.tensor() for _ in range(num_tensors)]
        except (struct.error, IndexError):
            raise _damaged(self.path, f"it ends at byte {self.size:,}, within its header") from None
        alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        if type(alignment) is not int or alignment < 1:
            raise _damaged(self.path, f"its alignment is {alignment!r}"[:60])
        begins = -(-self.at // alignment) * alignment
        ends = max((offset + tensor.used_bytes for tensor, offset in entries), default=0)
        if begins + ends > self.size:
            raise _damaged(self.path, f"it has {self.size:,} bytes and its tensors reach to {begins + ends:,}")
        return GgufHeader(self.path, self.size, metadata, tuple(tensor for tensor, _ in entries))

    def number(self, form: str) -> Any:
        (found,) = struct.unpack_from(form, self.mapped, self.at)
        self.at += struct.calcsize(form)
        return found

    def text(self) -> str:
        length = self.number("<Q")
        if length > self.size - self.at:
            raise IndexError
        self.at += length
        return self.mapped[self.at - length : self.at].decode("utf-8", "replace")

    def value(self, kind: int, *, wanted: bool, depth: int = 0) -> Any:
        if kind == _TEXT:
            return self.text()
        if kind != _ARRAY:
            return self.number(self.form(kind))
        inner, count = self.number("<I"), self.number("<Q")
        if depth == _MOST_DEEP:
            raise _damaged(self.path, "it holds lists of lists of lists")
        if inner in (_TEXT, _ARRAY):
            if wanted:
                return [self.value(inner, wanted=True, depth=depth + 1) for _ in range(count)]
            for _ in range(count):
                if inner == _TEXT:
                    self.skip(self.number("<Q"))
                else:
                    self.value(inner, wanted=False, depth=depth + 1)
            return Array(count)
        form = self.form(inner)
        if not wanted:
            self.skip(count * struct.calcsize(form))
            return Array(count)
        self.skip(0)
        return [self.number(form) for _ in range(count)]

    def form(self, kind: int) -> str:
        if kind not in _SCALARS:
            raise _damaged(self.path, f"it holds a value of the unknown kind {kind}")
        return _SCALARS[kind]

    def skip(self, count: int) -> None:
        if count > self.size - self.at:
            raise IndexError
        self.at += count

    def tensor(self) -> tuple[GgufTensor, int]:
        name, dimensions = self.text(), self.number("<I")
        if dimensions > 8:
            raise _damaged(self.path, f"a tensor has {dimensions} dimensions")
        shape = tuple(self.number("<Q") for _ in range(dimensions))
        kind, offset = self.number("<I"), self.number("<Q")
        storage = _TYPES.get(kind)
        if storage is None:
            raise _damaged(self.path, f"the tensor {name[:80]!r} is of the unknown type {kind}")
        blocks = -(-(shape[0] if shape else 1) // storage.block) * prod(shape[1:])
        return GgufTensor(name, shape, storage.name, blocks * storage.block_bytes), offset
