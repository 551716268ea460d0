"""Rows of cells that send only what differs."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.geometry import Region

from tui.widgets.cells import Cells, Piece, cut, fitted, length, spread


class Numbers(Cells):
    """Two rows that a test sets."""

    DEFAULT_CSS = "Numbers { height: 2; }"
    shown: list[list[Piece]] = [[("step ", "m"), ("1", "v")], [("ready", " ")]]  # noqa: RUF012
    drawn = 0

    def pieces(self, width: int, height: int) -> list[list[Piece]]:
        self.drawn += 1
        return [list(row) for row in self.shown][:height]


class Stage(App[None]):
    def compose(self) -> ComposeResult:
        yield Numbers()


@pytest.mark.parametrize(
    ("shown", "regions"),
    [
        pytest.param([[("step ", "m"), ("1", "v")], [("ready", " ")]], [], id="the same"),
        pytest.param([[("step ", "m"), ("2", "v")], [("ready", " ")]], [Region(5, 0, 1, 1)], id="a digit"),
        pytest.param([[("step ", "m"), ("1", "w")], [("ready", " ")]], [Region(5, 0, 1, 1)], id="a colour"),
        pytest.param([[("step ", "m"), ("1", "v")]], [Region(0, 1, 5, 1)], id="a row less"),
    ],
)
async def test_only_cells_that_differ_are_repainted(
    shown: list[list[Piece]], regions: list[Region], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Stage()
    async with app.run_test(size=(40, 5)) as pilot:
        await pilot.pause()
        widget = app.query_one(Numbers)
        seen: list[Region] = []
        monkeypatch.setattr(widget, "refresh", lambda *found: seen.extend(found))
        widget.shown = shown
        widget.redraw()
        assert seen == regions


async def test_another_size_is_drawn_anew() -> None:
    app = Stage()
    async with app.run_test(size=(40, 5)) as pilot:
        await pilot.pause()
        await pilot.resize_terminal(4, 1)
        await pilot.pause()
        assert app.query_one(Numbers).text(4, 1) == "step"


def test_what_does_not_fit_is_left_out_last_things_first() -> None:
    groups: list[list[Piece]] = [[("first", "v")], [("second", " ")], [("third", " ")]]
    texts = ["".join(text for text, _ in fitted(groups, width)) for width in (21, 20, 13, 5, 3, 0)]
    assert texts == ["first   second", "first   second", "first", "first", "fi…", ""]
    assert length(fitted(groups, 100)) == 22


def test_the_right_edge_gives_way_to_the_left() -> None:
    left, right = [("left", " ")], [("right", " ")]
    assert ["".join(text for text, _ in spread(left, right, width)) for width in (12, 11, 10)] == [
        "left   right", "left  right", "left",
    ]  # fmt: skip
    assert cut([("ab", "m"), ("cdef", "v")], 4) == [("ab", "m"), ("c…", "v")]
