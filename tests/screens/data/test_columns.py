"""The columns of the table fit into every width."""

from __future__ import annotations

import pytest

from screens.data.columns import TEXTS, Shown, cells, columns_for, heads
from tui.display import cell_len


@pytest.mark.parametrize("kind", [*TEXTS, "unheard of"])
def test_a_row_fills_its_width_and_no_more(kind: str) -> None:
    for width in range(24, 200):
        columns = columns_for(kind, width, 7)
        texts = tuple("日本 and more words than there is room for " * 3 for _ in range(3))
        for row in (heads(columns), cells(Shown(1_234_567, texts), columns, "braille")):
            assert sum(cell_len(text) for text, _ in row) == width, (kind, width)


def test_a_line_that_is_no_row_says_why_and_what_it_is() -> None:
    columns = columns_for("sft", 70, 3)
    row = "".join(text for text, _ in cells(Shown(7, ("{broken",), problem="it ends in the middle"), columns, "ascii"))
    assert row.split() == ["!", "7", "it", "ends", "in", "the", "middle", "{broken"]


def test_a_row_that_a_search_found_has_a_sign() -> None:
    columns = columns_for("text", 40, 3)
    plainly, found = (cells(Shown(7, ("a text",)), columns, "ascii", marked=marked) for marked in (False, True))
    assert plainly[0][0].strip() == ""
    assert found[0][0].strip() == "*"
