"""How fast an answer came."""

from __future__ import annotations

import pytest

from engine.chat.asking import token_rate


@pytest.mark.parametrize(
    ("num_tokens", "first", "between", "rate"),
    [
        (11, 0.5, 2.0, 5.0),
        (2, 0.5, 0.5, 2.0),
        (12, 0.12, 0.00004, pytest.approx(100, rel=0.01)),  # all in one read: from the question on
        (2, 0.0, 0.0, None),
        (1, 0.5, 0.0, None),
        (0, 0.0, 0.0, None),
    ],
)
def test_tokens_a_second_are_those_between_the_first_and_the_last_unless_all_came_at_once(
    num_tokens: int, first: float, between: float, rate: float | None
) -> None:
    assert token_rate(num_tokens, first, between) == rate
