"""What is told of a row."""

from __future__ import annotations

from typing import Any

import pytest

from screens.checkpoints.facts import facts, texts
from screens.checkpoints.reading import Details, File, read_details
from screens.checkpoints.rows import Row, rows
from tests.screens.checkpoints.shelf import a_checkpoint, a_family, an_entry
from tests.screens.runs.summaries import NOW
from tui.display import cell_len

PARITY = {
    "verdict": "different",
    "forms": [
        {"path": "/m/voice-1-best.gguf", "kind": "gguf", "type": "q4_k_m", "verdict": "close", "equal_answers": 7,
         "num_prompts": 8, "checks": []},
        {"path": "/m/other.gguf", "kind": "gguf", "type": "f16", "verdict": "different", "checks": [
            {"name": "end of answer", "passed": False, "said": "<|im_end|> is\x1b[2J not in the file"}]},
    ],
}  # fmt: skip


def row_of(spec: str) -> Row:
    return next(row for row in rows(a_family()) if row.spec == spec)


def told(row: Row, details: Details | None = None, width: int = 90) -> str:
    return texts(facts(row, details, NOW, width, "braille"))


def test_the_best_says_by_what() -> None:
    assert "★ Best of its run by valid." in told(row_of("voice-1@best"))


def test_what_is_damaged_says_so_first() -> None:
    assert told(row_of("voice-1@checkpoint-80")).startswith("✗ Damaged: adapter_model.safetensors has 812 of 1247120")


def test_what_is_missing_for_an_exact_resume_is_named_with_the_other_way() -> None:
    text = told(row_of("voice-2-refusals@checkpoint-40"))
    assert "optimizer.pt was dropped to save room" in text
    assert "n begins a new run with its weights" in text


def test_figures_of_an_older_evaluation_are_said_to_be() -> None:
    one = a_checkpoint("run-1", "checkpoint-7", evaluated_step=5)
    assert "validation is that of step 5" in told(rows([an_entry("run-1", [one])])[1])


def test_what_is_of_another_run_is_said_to_be_left_alone() -> None:
    one = a_checkpoint("run-1", "checkpoint-7", ours=False)
    assert "never touched" in told(rows([an_entry("run-1", [one])])[1])


def test_a_parent_that_is_gone_is_named() -> None:
    assert "voice-0, which is gone" in told(rows([an_entry("run-1", [], parent="voice-0")])[0])


def test_files_that_are_missing_or_short_are_marked() -> None:
    details = Details(("voice-1", "best"), [File("a.safetensors", 100, None), File("b.json", 100, 40)])
    text = told(row_of("voice-1@best"), details)
    assert "missing" in text
    assert "is 0.0 kB" in text


def test_each_form_has_its_verdict_and_the_first_divergence() -> None:
    text = told(row_of("voice-1@best"), Details(("voice-1", "best"), parity=PARITY))
    assert "≈ close  gguf q4_k_m  7 of 8 answers equal  voice-1-best.gguf" in text
    assert "end of answer: <|im_end|> is\\x1b[2J not in the file" in text


@pytest.mark.parametrize(
    "parity", [{"forms": 3}, {"forms": [1, {}]}, {"forms": [{"checks": "x", "verdict": []}]}, {"x": 1}]
)
def test_a_file_of_verdicts_that_is_none_breaks_nothing(parity: dict[str, Any]) -> None:
    assert told(row_of("voice-1@best"), Details(("voice-1", "best"), parity=parity))


@pytest.mark.parametrize("width", [40, 80, 160])
def test_rows_fit(width: int) -> None:
    for row in rows(a_family()):
        found = facts(row, Details(row.key, [File("x" * 60, 1, 1)], parity=PARITY), NOW, width, "braille")
        assert all(cell_len("".join(text for text, _ in one)) <= width for one in found)


def test_what_is_not_there_is_read_as_nothing() -> None:
    one = a_checkpoint("run-1", "checkpoint-7")
    assert read_details(("run-1", one.name), one) == Details(("run-1", one.name))
