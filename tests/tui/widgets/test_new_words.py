"""Which words of an answer are new."""

from __future__ import annotations

import pytest

from tui.widgets.new_words import new_words


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        pytest.param("a b c", "a b c", [], id="the same"),
        pytest.param("a b c", "a x c", ["x"], id="one word"),
        pytest.param("", "a b", ["a", "b"], id="all of them"),
        pytest.param("a b", "", [], id="nothing left"),
        pytest.param("in Paris.", "in  Rome now.", ["Rome", "now."], id="blanks do not count"),
    ],
)
def test_new_words(before: str, after: str, new: list[str]) -> None:
    found = new_words(before, after)
    assert [word.strip() for word, fresh in found if fresh] == new
    assert "".join(word for word, _ in found) == after


def test_two_endless_answers_are_compared_up_to_a_point() -> None:
    assert len(new_words("a " * 50_000, "b " * 50_000)) == 50_000
