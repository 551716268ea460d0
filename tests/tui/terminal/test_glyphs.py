"""Drawings in ASCII take the cells of what they stand for."""

from __future__ import annotations

import unicodedata

from tui.display import cell_len
from tui.terminal.glyphs import TO_ASCII, encoder


def test_utf_8_goes_out_as_it_is() -> None:
    assert encoder("utf-8", "braille")("│ ⠿ 日 \ud800") == "│ ⠿ 日 ?".encode()


def test_every_drawing_is_one_cell_and_so_is_its_stand_in() -> None:
    for code, stand_in in TO_ASCII.items():
        assert len(stand_in) == 1
        assert stand_in.isascii()
        assert cell_len(chr(code)) == 1, unicodedata.name(chr(code))


def test_every_border_and_block_textual_draws_with_has_a_stand_in() -> None:
    from textual._border import BORDER_CHARS

    drawn = {
        character for rows in BORDER_CHARS.values() for row in rows for character in row if not character.isascii()
    }
    drawn |= {chr(code) for code in range(0x2500, 0x2580)} | set("▁▂▃▄▅▆▇█▉▊▋▌▍▎▏▐▀")
    assert {character for character in drawn if ord(character) not in TO_ASCII} == set()


def test_a_wide_letter_that_is_lacking_leaves_its_cells() -> None:
    assert encoder("iso8859-1", "ascii")("é日│x") == b"\xe9??|x"
    assert encoder("ascii", "ascii")("é日") == b"???"


def test_ascii_drawings_on_utf_8_keep_letters() -> None:
    assert encoder("utf-8", "ascii")("日╭─╮é") == "日+-+é".encode()
