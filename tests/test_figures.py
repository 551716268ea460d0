"""README and docs/figures.md say what was measured last."""

from __future__ import annotations

import json

from benchmarks.figures import RESULTS
from benchmarks.readme import DOCUMENT, README, document, headlines


def test_the_figures_that_are_shown_are_those_that_were_measured() -> None:
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert DOCUMENT.read_text(encoding="utf-8") == document(rows), "run `python -m benchmarks.readme`"
    assert headlines(rows) in README.read_text(encoding="utf-8"), "run `python -m benchmarks.readme`"
