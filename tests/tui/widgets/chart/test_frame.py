"""Frames and their differences."""

from __future__ import annotations

from tui.widgets.chart.frame import FILLER, Frame, Row, changes


def frame(*rows: str) -> Frame:
    return Frame(tuple(rows), tuple("L" * len(row) for row in rows))


def test_equal_frames_differ_nowhere() -> None:
    assert changes(frame("abc", "def"), frame("abc", "def")) == []


def test_near_changes_are_one_run_and_far_ones_two() -> None:
    old = frame("a" * 30)
    assert changes(old, frame("a" * 5 + "b" + "a" * 4 + "b" + "a" * 19)) == [(5, 0, 6)]
    assert changes(old, frame("a" * 5 + "b" + "a" * 20 + "b" + "a" * 3)) == [(5, 0, 1), (26, 0, 1)]


def test_a_change_of_style_alone_is_a_change() -> None:
    assert changes(Frame(("abc",), ("LLL",)), Frame(("abc",), ("LVL",))) == [(1, 0, 1)]


def test_a_change_takes_in_the_whole_of_a_wide_character() -> None:
    wide = Row(6)
    wide.put(1, "界", "T")
    new = Frame(("".join(wide.text),), ("".join(wide.styles),))
    assert new.text[0] == f" 界{FILLER}   "
    assert changes(frame("      "), Frame(new.text, ("LLLLLL",))) == [(1, 0, 2)]
    assert changes(Frame((" ab   ",), ("LLLLLL",)), Frame((f" 界{FILLER}   ",), ("LLLLLL",))) == [(1, 0, 2)]
    assert new.plain() == " 界"


def test_text_is_cut_at_both_edges_and_never_in_the_middle_of_a_character() -> None:
    row = Row(4)
    assert row.put(-1, "abc", "T") == 2
    assert row.put(3, "界", "T") == 5
    assert "".join(row.text) == "bc  "
    row.put(0, "e\u0301x", "T")
    assert "".join(row.text) == "ex  "


def test_runs_join_cells_of_one_style() -> None:
    assert list(Frame(("abcd",), ("LLVV",)).runs(0)) == [("ab", "L"), ("cd", "V")]
