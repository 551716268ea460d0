"""Bars of cells."""

from __future__ import annotations

import pytest

from tui.widgets.bar import bar


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "────"), (0.5, "━━──"), (0.6, "━━╸─"), (1.0, "━━━━"), (7.0, "━━━━"), (-1.0, "────")]
)
def test_bars(share: float, text: str) -> None:
    assert "".join(piece for piece, _ in bar(share, 4, "braille")) == text


def test_a_bar_without_drawing_characters() -> None:
    assert "".join(piece for piece, _ in bar(0.5, 4, "ascii")) == "##.."
