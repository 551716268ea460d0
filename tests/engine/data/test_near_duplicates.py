"""Signatures of rows, by which those that say nearly the same are found."""

from __future__ import annotations

import random

import numpy as np

from engine.data import near_duplicates
from engine.data.near_duplicates import signature, signatures


def test_signatures_made_together_are_those_made_one_by_one() -> None:
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdef", k=4)) for _ in range(200)]
    sizes = [0, 1, 2, 3, 4, 15, near_duplicates._WORDS_AT_ONCE + 5, *(chance.randrange(40) for _ in range(400))]
    texts = [" ".join(chance.choices(words, k=size)) for size in sizes]
    assert np.array_equal(signatures(texts), np.array([signature(text) for text in texts]))
    assert signatures([]).shape == (0, near_duplicates.NUMBERS)
