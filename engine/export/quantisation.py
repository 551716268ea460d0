"""The types a GGUF file can be exported in: how llama.cpp numbers them, what they cost, what they are for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from engine.errors import UsageError
from engine.export.gguf_header import GgufTensor

DEFAULT: Final = "q4_k_m"


@dataclass(frozen=True, slots=True)
class Quantisation:
    """One type of file."""

    name: str
    ftype: int
    """`enum llama_ftype` in llama.h, which is also `general.file_type` in the file."""
    bits_per_weight: float
    """Of a model whose rows all divide by 256, its embeddings included. Measured with llama.cpp b9190."""
    block: int
    """Rows that do not divide by it are stored in a larger type."""
    fallback_bits: float
    """What a tensor takes whose rows divide by 32 only."""
    meaning: str

    @property
    def plain(self) -> bool:
        """Whether the converter writes it itself, without a quantiser."""
        return self.block == 1


# Sizes are those of the table every guide has; the fallbacks are llama-quant.cpp's: q3_K to q4_0, q4_K to q5_0, q5_K to
# q5_1, q6_K to q8_0.
ALL: Final = {
    one.name: one
    for one in (
        Quantisation("f32", 0, 32.0, 1, 32.0, "as trained, twice the size of f16"),
        Quantisation("bf16", 32, 16.0, 1, 16.0, "bfloat16 weights as they are"),
        Quantisation("f16", 1, 16.0, 1, 16.0, "near-lossless"),
        Quantisation("q8_0", 7, 8.5, 32, 8.5, "good, half of f16"),
        Quantisation("q6_k", 18, 6.56, 256, 8.5, "good, two fifths of f16"),
        Quantisation("q5_k_m", 17, 5.7, 256, 6.3, "balanced"),
        Quantisation("q4_k_m", 15, 4.9, 256, 5.9, "recommended, a quarter to a third of f16"),
        Quantisation("q4_k_s", 14, 4.6, 256, 5.7, "smaller"),
        Quantisation("q3_k_m", 12, 4.0, 256, 4.9, "a fifth to a quarter of f16, noticeable loss"),
    )
}


def parse(text: str) -> tuple[Quantisation, ...]:
    """Return the types that "q4_k_m,q8_0" names, each once, in this order.

    Raises:
        UsageError: One is none; the remedy has the nearest.
    """
    names = list(dict.fromkeys(name.strip().lower().replace("-", "_") for name in text.split(",") if name.strip()))
    for name in names:
        if name not in ALL:
            import difflib

            near = difflib.get_close_matches(name, ALL, n=1, cutoff=0.5)
            raise UsageError(
                f"There is no quantisation {name[:40]!r}.",
                remedy=(f"Did you mean {near[0]}? " if near else "") + f"There are {', '.join(ALL)}.",
            )
    if not names:
        raise UsageError("No quantisation is named.", remedy=f"There are {', '.join(ALL)}.")
    return tuple(ALL[name] for name in names)


def conversion_type(wanted: Sequence[Quantisation], *, is_bfloat16: bool) -> Quantisation:
    """Return the type that the model is converted to once; all others are made from that file.

    A type that was asked for saves a file. Else it is the one that changes nothing: bf16 where the weights are
    bfloat16, which f16 would round below 6e-5, and f16 for all others.
    """
    plain = {one.name for one in wanted if one.plain}
    own, other = ("bf16", "f16") if is_bfloat16 else ("f16", "bf16")
    if "f32" in plain:
        return ALL["f32"]
    return ALL[other if other in plain and own not in plain else own]


def expected_bytes(shapes: Iterable[tuple[int, ...]], quantisation: Quantisation) -> int:
    """Return about how large a file becomes. Row lengths stand last in the shapes, as in torch."""
    total = 0.0
    for shape in shapes:
        weights = 1
        for length in shape:
            weights *= length
        if len(shape) < 2:
            bits = 32.0  # norms and biases stay as they are
        elif shape[-1] % quantisation.block == 0:
            bits = quantisation.bits_per_weight
        else:
            bits = quantisation.fallback_bits if shape[-1] % 32 == 0 else 16.0
        total += weights * bits / 8
    return int(total)


def fallen_back(tensors: Iterable[GgufTensor], quantisation: Quantisation) -> int:
    """Return how many tensors llama.cpp stored in a larger type, because their rows do not divide by the block."""
    stays = {"F32", "F64", "I8", "I16", "I32", "I64"}
    return sum(
        len(tensor.shape) > 1 and tensor.type not in stays and tensor.shape[0] % quantisation.block != 0
        for tensor in tensors
        if not quantisation.plain
    )
