"""Tokens in cells: the mark under each says what becomes of it."""

from __future__ import annotations

import pytest

from engine.data.microscope import Token
from screens.data.token_rows import SHOWN_FIRST, SHOWN_LAST, legend, list_rows, mask_rows
from tests.screens.data.stage import tokens
from tui.display import cell_len
from tui.widgets.cells import Piece
from tui.widgets.chart.glyphs import GlyphSet


def drawn(rows: list[list[Piece]]) -> list[str]:
    return ["".join(text for text, _ in row) for row in rows]


@pytest.mark.parametrize("glyphs", ["braille", "ascii"])
def test_what_becomes_of_a_token_is_seen_without_colour(glyphs: GlyphSet) -> None:
    states = [
        Token("text", 1, trained=True),
        Token("text", 2, trained=False),
        Token("text", 3, trained=False, truncated=True),
        Token("text", 4, trained=False, padding=True),
        Token("text", 5, trained=True, only_here=True),
    ]
    _, marks = drawn(mask_rows(states, 80, glyphs))
    parts = [marks[start : start + 4] for start in range(0, 20, 4)]
    assert len(set(parts)) == 5
    assert all(len(part) == 4 for part in parts)
    assert all(character.isascii() for character in marks) == (glyphs == "ascii")


def test_marks_stand_under_their_tokens_whatever_their_width() -> None:
    made = [Token("日本", 1, trained=True), Token("ab", 2, trained=False), Token("\x1b", 3, trained=True)]
    text, marks = drawn(mask_rows(made, 80, "braille"))
    assert text == "日本ab\\x1b"
    assert cell_len(text) == cell_len(marks)
    assert marks == "━━━╸· ━━━╸"


@pytest.mark.parametrize("width", [1, 2, 7, 20, 200])
def test_no_row_is_wider_than_its_pane(width: int) -> None:
    made = [*tokens(padded=True), Token("x" * 50, 9, trained=True), Token("日" * 9, 8, trained=True)]
    rows = mask_rows(made, width, "braille")
    assert len(rows) % 2 == 0
    assert all(cell_len(row) <= max(width, 2) for row in drawn(rows))


def test_a_line_break_ends_the_row_and_is_seen() -> None:
    made = [Token("a\n", 1, trained=False), Token("b", 2, trained=False)]
    assert drawn(mask_rows(made, 80, "braille"))[::2] == ["a⏎", "b"]


def test_a_token_without_text_shows_its_id() -> None:
    assert drawn(mask_rows([Token("", 77, trained=True)], 80, "braille"))[0] == "<77>"


def test_a_long_row_keeps_its_end_where_the_answer_ends() -> None:
    made = [Token(".", number, trained=False) for number in range(SHOWN_FIRST + SHOWN_LAST + 9)]
    made[-1] = Token("END", 1, trained=True)
    rows = drawn(list_rows(made, 80))
    assert len(rows) == SHOWN_FIRST + SHOWN_LAST + 2
    assert "END" in rows[-1]
    assert rows[-1].split()[0] == str(len(made) - 1)
    assert any("9 tokens left out" in row for row in drawn(mask_rows(made, 80, "braille")))


def test_the_legend_counts_each_state_that_there_is() -> None:
    said = ["".join(text for text, _ in group) for group in legend(tokens(cut=True, padded=True), "ascii")]
    assert said == ["+== trained 3", ". masked 9", "xxx truncated 3", "___ padding 3"]
