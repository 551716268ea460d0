"""Which words of a text an earlier one lacks."""

from __future__ import annotations

import re

_WORDS_COMPARED = 600
"""Of an answer. Comparing takes the product of two lengths."""


def new_words(before: str, after: str) -> list[tuple[str, bool]]:
    """Return the words of `after`, each with the blanks behind it, and whether `before` lacks it there."""
    import difflib  # 5 ms that the first paint does not need

    old = re.findall(r"\S+", before)[:_WORDS_COMPARED]
    pieces = re.findall(r"\S+\s*", after)
    new = [piece.strip() for piece in pieces[:_WORDS_COMPARED]]
    same: set[int] = set()
    for _, start, size in difflib.SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks():
        same.update(range(start, start + size))
    return [(piece, index < _WORDS_COMPARED and index not in same) for index, piece in enumerate(pieces)]
