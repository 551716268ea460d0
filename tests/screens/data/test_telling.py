"""A row in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.data.row import Row
from screens.data.telling import common_prefix, message_rows, raw_rows
from screens.data.telling_row import rendered_pair
from tests.screens.data.files import NASTY
from tui.display import cell_len
from tui.widgets.cells import Piece

ASKED = [{"role": "user", "content": "Are you well?"}]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def lines(rows: Sequence[Sequence[Piece]]) -> list[str]:
    return ["".join(text for text, _ in row).rstrip() for row in rows]


def test_messages_stand_below_their_roles_and_the_answer_is_what_is_learned() -> None:
    row = Row(Path(), 1, [{"role": "system", "content": "Be brief.\nBe kind."}, *ASKED], said("I am."))
    assert lines(message_rows(row, 60)) == [
        "system", "  Be brief.", "  Be kind.", "", "user", "  Are you well?", "", "assistant  learned", "  I am.",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [20, 63, 64, 100])
def test_two_answers_fit_beside_each_other_or_below(width: int) -> None:
    row = Row(
        Path(), 1, ASKED, said("I am a program, you see, " * 5), kind="preference", rejected=said(f"I am {NASTY}")
    )
    rows = lines(message_rows(row, width))
    assert all(cell_len(text) <= width for text in rows)
    assert any("chosen" in text and "rejected" in text for text in rows) == (width >= 64)
    assert "\x1b" not in "".join(rows)


@pytest.mark.parametrize("width", [20, 63, 64, 100])
def test_a_rendered_pair_shows_its_question_once_and_both_answers(width: int) -> None:
    texts = [f"<|user|>\nWhat?\n<|assistant|>\n{answer}<|end|>\n" for answer in ("So.", f"Not {NASTY}")]
    rows = lines(rendered_pair(texts[0], texts[1], width))
    assert [sum(word in text for text in rows) for word in ("What?", "So.", "Not")] == [1, 1, 1]
    assert any("So." in text and "Not" in text for text in rows) == (width >= 64)
    assert all(cell_len(text) <= width for text in rows)
    assert "\x1b" not in "".join(rows)


def test_what_only_one_answer_says_is_marked_and_what_both_begin_with_counted() -> None:
    row = Row(Path(), 1, ASKED, said("I am a program."), kind="preference", rejected=said("I am a person."))
    rows = message_rows(row, 90)
    marked = {text.strip(): style for pieces in rows for text, style in pieces}
    assert marked["program."] == "g"
    assert marked["person."] == "e"
    assert any("the same for 8 characters" in text for text in lines(rows))


def test_two_equal_answers_are_called_so() -> None:
    row = Row(Path(), 1, ASKED, said("Yes."), kind="preference", rejected=said("Yes."))
    assert any("nothing to prefer" in text for text in lines(message_rows(row, 90)))


@pytest.mark.parametrize(("one", "other", "same"), [("", "", 0), ("ab", "ab", 2), ("ab", "abc", 2), ("xb", "ab", 0)])
def test_the_common_prefix(one: str, other: str, same: int) -> None:
    assert common_prefix(one, other) == same


def test_the_raw_line_is_laid_out_where_it_is_json_and_shown_as_it_is_where_not() -> None:
    assert lines(raw_rows(b'{"a": "x\\ny", "b": [1]}', 60)) == ["{", '  "a": "x\\ny",', '  "b": [', "    1", "  ]", "}"]
    assert lines(raw_rows(b'{"a": \xff', 60)) == ['{"a": \\xff']
    assert "goes on" in lines(raw_rows(b'{"a": "xxxx', 60, truncated=True))[-1]


def test_a_tokenised_row_says_how_much_of_it_is_trained() -> None:
    row = Row(Path(), 1, [], [], kind="tokenised", input_ids=[1, 2, 3], labels=[-100, 2, 3])
    assert lines(message_rows(row, 90))[0].startswith("3 tokens, 2 of them trained.")
