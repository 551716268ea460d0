"""The reports on a whole file."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from engine.data.findings import Finding, Report
from screens.data.pane import Told
from screens.data.reports import bar, report_rows
from tests.screens.data.files import NASTY
from tui.display import cell_len


def lines(rows: Sequence[Told]) -> list[str]:
    return ["".join(text for text, _ in row.pieces).rstrip() for row in rows]


CUT = Finding("answer-cut", "warning", 40, tuple(("a/t.jsonl", line) for line in range(1, 21)), NASTY, f"Do {NASTY}")
WHOLE = Finding("template-missing", "grave", 1, (), "There is no template", "Set model.chat_template.")


def test_a_report_adds_up_and_each_finding_that_has_rows_leads_to_them() -> None:
    rows = report_rows(Report((WHOLE, CUT), 100, 97, 3), 70, "braille")
    said = "\n".join(lines(rows))
    assert said.startswith("1 grave, 1 warning\n100 rows = 97 kept + 3 left out, listed below")
    assert [row.target for row in rows if row.target is not None] == [1]
    assert "lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 ..." in said
    assert "without a chat template" in said
    assert "\x1b" not in said


@pytest.mark.parametrize("width", [20, 40, 100])
def test_a_report_fits(width: int) -> None:
    rows = report_rows(Report((WHOLE, CUT), 100, 97, 3), width, "ascii")
    assert all(cell_len(text) <= width for text in lines(rows))


def test_a_report_without_findings_says_so() -> None:
    assert lines(report_rows(Report((), 5, 5, 0, with_template=True), 70, "ascii")) == [
        "v nothing to complain of", "5 rows, all of them kept",
    ]  # fmt: skip


def test_a_bar_shows_the_least_there_is() -> None:
    assert bar(1.0, 10, "braille") == "█" * 10
    assert bar(0.0, 10, "braille") == ""
    assert bar(0.00001, 10, "braille", least=True) == "▏"
    assert bar(0.00001, 10, "ascii", least=True) == "#"
