"""Words in rows of cells."""

from __future__ import annotations

import random

import pytest

from tui.display import cell_len
from tui.widgets.text_rows import as_text, cut_row, wrapped


@pytest.mark.parametrize(
    ("pieces", "width", "indent", "text"),
    [
        pytest.param([("one two three", "")], 8, 0, "one two\nthree", id="between words"),
        pytest.param([("one two three", "")], 20, 0, "one two three", id="it fits"),
        pytest.param([("one two three four", "")], 14, 4, "one two three\n    four", id="indented"),
        pytest.param([("abcdefghijkl", "")], 5, 0, "abcde\nfghij\nkl", id="a long word"),
        pytest.param([("a", "b"), (" resumes", "")], 20, 0, "a resumes", id="a piece that begins with a blank"),
        pytest.param([("日本語テスト", "")], 4, 0, "日本\n語テ\nスト", id="wide characters"),
        pytest.param([("", "")], 4, 0, "", id="nothing"),
    ],
)
def test_wrapping(pieces: list[tuple[str, str]], width: int, indent: int, text: str) -> None:
    assert as_text(wrapped(pieces, width, indent)) == text


def test_no_row_is_wider_than_asked_for() -> None:
    chance = random.Random(3)
    for _ in range(200):
        words = " ".join("ab日" * chance.randint(0, 6) for _ in range(chance.randint(0, 12)))
        width = chance.randint(8, 40)
        for row in wrapped([(words, "")], width, chance.choice([0, 2, 7])):
            assert sum(cell_len(text) for text, _ in row) <= width


@pytest.mark.parametrize(
    ("width", "text"), [(20, "one two three"), (13, "one two three"), (9, "one two …"), (1, "…"), (0, "")]
)
def test_cutting(width: int, text: str) -> None:
    assert as_text([cut_row([("one two ", "a"), ("three", "b")], width)]) == text
