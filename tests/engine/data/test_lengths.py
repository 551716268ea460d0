"""How long rows are, from a sample."""

from __future__ import annotations

import json
from pathlib import Path

from engine.data.lengths import Lengths, sample_lengths
from engine.workspace import shipped_folder

TINY = shipped_folder() / "models" / "tiny"


def test_a_row_is_as_long_as_the_template_makes_it(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"question": "Why?", "answer": "Because. " * n}) + "\n" for n in (1, 2, 50)))
    found = sample_lengths([rows], TINY)
    assert found is not None
    assert found.counted == 3
    assert found.longest == found.sorted_lengths[-1] > 100
    assert found.mean == sum(found.sorted_lengths) / 3
    plain = sample_lengths([rows], TINY, template="{{ messages[-1]['content'] }}")
    assert plain is not None
    assert plain.longest < found.longest


def test_shares_and_quantiles() -> None:
    lengths = Lengths(4, 25.0, 40, (10, 20, 30, 40))
    assert lengths.share_above(20) == 0.5
    assert lengths.quantile(0.5) == 30
    assert lengths.quantile(1.0) == 40


def test_what_cannot_be_told_is_none(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "Why?", "answer": "So."}\n')
    assert sample_lengths([rows], tmp_path) is None
    assert sample_lengths([rows], TINY, template="{{ raise_exception('no') }}") is None
    assert sample_lengths([tmp_path / "none.jsonl"], TINY) is None
