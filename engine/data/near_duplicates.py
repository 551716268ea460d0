"""Rows that say nearly the same: MinHash signatures over word triples, and the pairs whose signatures agree.

Two rows agree in a share of their signature that estimates the share of triples they have in common (Jaccard), with
a standard error of 0.05 at 0.8. Imports numpy: for a process of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

NUMBERS: Final = 64
"""Of a signature."""
SIMILAR: Final = 0.8
_BANDS: Final = 16
"""Of 4 numbers: a pair that has 0.8 in common shares one of them with 99.98 %, one that has 0.4 with 34 %."""
_SCRIPTS: Final = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD: Final = re.compile(rf"[^\W{_SCRIPTS}]+|[{_SCRIPTS}]")
"""Scripts that are written without spaces are taken by the character."""
_RANDOM = np.random.default_rng(1)
_FACTORS: Final = _RANDOM.integers(1, 1 << 63, NUMBERS, dtype=np.uint64) | np.uint64(1)
_SUMMANDS: Final = _RANDOM.integers(0, 1 << 63, NUMBERS, dtype=np.uint64)
_TRIPLE: Final = _RANDOM.integers(1, 1 << 63, 3, dtype=np.uint64) | np.uint64(1)
_MOST_WORDS: Final = 20_000
"""Of a row; what follows is not compared."""

_WORDS_AT_ONCE: Final = 2_048
"""What is computed of them at once is a megabyte."""

Signature = NDArray[np.uint32]


def signature(text: str) -> Signature:
    """Return the signature of a text. The same in every process only where PYTHONHASHSEED is the same."""
    words = _WORD.findall(text.lower())[:_MOST_WORDS]
    hashes = np.array([hash(word) for word in words] or [0], np.int64).view(np.uint64)
    if len(hashes) >= 3:
        hashes = hashes[:-2] * _TRIPLE[0] + hashes[1:-1] * _TRIPLE[1] + hashes[2:] * _TRIPLE[2]
    elif len(hashes) == 2:
        hashes = hashes[:1] * _TRIPLE[0] + hashes[1:] * _TRIPLE[1]
    mixed = (hashes ^ (hashes >> np.uint64(29)))[:, None] * _FACTORS
    mixed += _SUMMANDS
    # The upper half of a product is the mixed one.
    lowest: Signature = (mixed.min(axis=0) >> np.uint64(32)).astype(np.uint32)
    return lowest


def signatures(texts: Sequence[str]) -> NDArray[np.uint32]:
    """Return the `signature` of each text, one to a row.

    Those of short texts are taken together, since each call of numpy takes a microsecond or more: 200,000 rows of 15
    words took 13 s of processor time one by one.
    """
    made = np.empty((len(texts), NUMBERS), np.uint32)
    several: list[tuple[int, list[int]]] = []
    held = 0
    for number, text in enumerate(texts):
        words = [hash(word) for word in _WORD.findall(text.lower())[:_MOST_WORDS]]
        if len(words) < len(_TRIPLE):
            made[number] = signature(text)
            continue
        several.append((number, words))
        held += len(words)
        if held >= _WORDS_AT_ONCE:
            _together(several, made)
            several, held = [], 0
    _together(several, made)
    return made


def _together(several: Sequence[tuple[int, list[int]]], made: NDArray[np.uint32]) -> None:
    """Write the signatures of texts with at least three words, given by the hashes of these, to their places."""
    if not several:
        return
    hashes = np.array([one for _, words in several for one in words], np.int64).view(np.uint64)
    triples = hashes[:-2] * _TRIPLE[0] + hashes[1:-1] * _TRIPLE[1] + hashes[2:] * _TRIPLE[2]
    # The last two words of a text begin no triple: those would go on in the next text.
    ends = np.cumsum([len(words) for _, words in several])
    inside = np.ones(len(hashes), np.bool_)
    inside[ends - 1] = inside[ends - 2] = False
    triples = triples[inside[:-2]]
    mixed = (triples ^ (triples >> np.uint64(29)))[:, None] * _FACTORS
    mixed += _SUMMANDS
    first = ends - 2 * np.arange(1, len(several) + 1)
    starts = np.r_[0, first[:-1]]
    places = [number for number, _ in several]
    made[places] = (np.minimum.reduceat(mixed, starts, axis=0) >> np.uint64(32)).astype(np.uint32)


def pairs_within(signatures: Signature) -> NDArray[np.int64]:
    """Return pairs of similar rows as (later, earlier), one for each later row that has any.

    Args:
        signatures: One row per text.
    """
    return _pairs(signatures, np.zeros(len(signatures), np.bool_), across=False)


def pairs_across(first: Signature, second: Signature) -> NDArray[np.int64]:
    """Return pairs of similar rows as (row of `second`, row of `first`), one for each of `second` that has any."""
    both = np.concatenate([first, second])
    of_second = np.arange(len(both)) >= len(first)
    found = _pairs(both, of_second, across=True)
    found[:, 0] -= len(first)
    return found


def _pairs(signatures: Signature, of_second: NDArray[np.bool_], *, across: bool) -> NDArray[np.int64]:
    if not len(signatures):
        return np.empty((0, 2), np.int64)
    candidates = []
    width = NUMBERS // _BANDS
    for band in range(_BANDS):
        part = signatures[:, band * width : (band + 1) * width].astype(np.uint64)
        keys = (part * _FACTORS[:width]).sum(axis=1, dtype=np.uint64)
        order = np.argsort(keys, kind="stable")
        new = np.r_[True, keys[order][1:] != keys[order][:-1]]
        # Each with the first of its group and with the one before it: not with all, which a group of 10,000 forbids.
        firsts = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
        for earlier in (firsts, np.r_[order[:1], order[:-1]]):
            kept = ~new & (of_second[order] & ~of_second[earlier] if across else True)
            candidates.append(np.stack([order[kept], earlier[kept]], axis=1))
    found = np.unique(np.concatenate(candidates), axis=0)
    agree = np.empty(len(found), np.float64)
    for start in range(0, len(found), 100_000):
        part_of = found[start : start + 100_000]
        agree[start : start + 100_000] = (signatures[part_of[:, 0]] == signatures[part_of[:, 1]]).mean(axis=1)
    found = found[agree >= SIMILAR]
    _, first_of_each = np.unique(found[:, 0], return_index=True)
    return found[first_of_each].astype(np.int64)
