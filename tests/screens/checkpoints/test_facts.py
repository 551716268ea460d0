"""What is told of a row."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.evaluation.evaluate import Result
from engine.events import BehaviourMeasured, RunCreated, to_json
from engine.export.parity import forms_in
from engine.journal import Journal
from engine.runs.directory import create_run
from screens.checkpoints.facts import facts, texts, title
from screens.checkpoints.reading import Details, File, read_details
from screens.checkpoints.rows import Row, rows
from tests.screens.checkpoints.shelf import a_checkpoint, a_family, an_entry
from tests.screens.runs.summaries import NOW
from tui.display import cell_len

FORMS = forms_in({
    "verdict": "different",
    "forms": [
        {"path": "/m/voice-1-best.gguf", "kind": "gguf", "type": "q4_k_m", "verdict": "close", "equal_answers": 7,
         "num_prompts": 8, "checks": []},
        {"path": "/m/other.gguf", "kind": "gguf", "type": "f16", "verdict": "different", "checks": [
            {"name": "base", "passed": True, "said": "the one it was trained on."},
            {"name": "end of answer", "passed": False, "said": "<|im_end|> is\x1b[2J not in the file"},
            {"name": "answers", "passed": False, "said": "0 of 8 equal."}]},
        {"path": "http://h:1/v1#voice", "kind": "server", "type": "", "verdict": "not-asked", "checks": [],
         "equal_answers": 0, "num_prompts": 8, "failure": {"code": "x", "message": "Nothing answers at h:1."}},
    ],
})  # fmt: skip
RESULTS = [
    Result(Path("a.json"), "temporal", f"2026-11-2{day}T10:00:00+00:00",
           {"retain_answered": 0.91, "unlearn_refused": 0.8}, "acceptable")
    for day in (8, 7, 6, 5)
]  # fmt: skip
MEASURED = BehaviourMeasured(
    200, "after", {"retain_answered": 0.96, "unlearn_refused": 1.0}, {"retain_answered": 50}, 2.5
)


def row_of(spec: str) -> Row:
    return next(row for row in rows(a_family()) if row.spec == spec)


def told(row: Row, details: Details | None = None, width: int = 90) -> str:
    return texts(facts(row, details, NOW, width, "braille"))


def test_the_best_says_by_what() -> None:
    assert "★ Best of its run by valid." in told(row_of("voice-1@best"))


def test_figures_of_a_split_are_called_by_its_name() -> None:
    assert title("eval_retain_mean_token_accuracy") == "retain accuracy"
    assert title("eval_mean_token_accuracy") == "accuracy"


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
    lines = told(row_of("voice-1@best"), Details(("voice-1", "best"), parity=FORMS), 130).splitlines()
    assert "parity     ≈ close  gguf q4_k_m  7 of 8 answers equal  voice-1-best.gguf" in lines
    first = "end of answer: <|im_end|> is\\x1b[2J not in the file"
    assert f"           ✗ different  gguf f16  other.gguf  {first} and 1 more" in lines
    assert "           ? not-asked  server  http://h:1/v1#voice  Nothing answers at h:1." in lines


@pytest.mark.parametrize(
    "parity",
    [{"forms": 3}, {"forms": [1, {}]}, {"forms": [{"path": "x", "checks": "x", "verdict": []}]}, {"x": 1},
     {"forms": [{"path": "x", "verdict": "same", "checks": [1, {"passed": 1}], "equal_answers": "8"}]}],
)  # fmt: skip
def test_a_file_of_verdicts_that_is_none_breaks_nothing(parity: dict[str, Any]) -> None:
    assert told(row_of("voice-1@best"), Details(("voice-1", "best"), parity=forms_in(parity)))


@pytest.mark.parametrize("width", [40, 80, 160])
def test_rows_fit(width: int) -> None:
    for row in rows(a_family()):
        found = facts(row, Details(row.key, [File("x" * 60, 1, 1)], FORMS, RESULTS, MEASURED), NOW, width, "braille")
        assert all(cell_len("".join(text for text, _ in one)) <= width for one in found)


def test_evaluations_are_told_the_newest_first_and_so_is_what_training_made_of_it() -> None:
    text = told(row_of("voice-1@final"), Details(("voice-1", "final"), (), (), RESULTS, MEASURED))
    assert "evaluated  acceptable  retain answered 91%  unlearn refused 80%  temporal 2026-11-28" in text
    assert "and 1 earlier" in text
    assert "behaviour  retain answered 96%  unlearn refused 100%  after training" in text


def test_what_is_kept_of_a_checkpoint_is_read(tmp_path: Path) -> None:
    created = RunCreated(name="run-1", method="sft", model="tiny", parent=None)
    run = create_run(tmp_path, "run-1", created=created, files={})
    Journal(run.events).append(to_json(MEASURED))
    run.evaluations.mkdir()
    (run.evaluations / "after.jsonl").touch()
    kept = {"created": "2026-11-28T10:00:00+00:00", "scores": {"retain_answered": {"value": 0.9}}, "grade": "excellent"}
    (run.evaluations / "temporal-final-0a1b2c3d.json").write_text(json.dumps(kept))
    (run.path / "final").mkdir()
    (run.path / "final" / "parity.json").write_text(
        json.dumps({"verdict": "same", "forms": [{"path": "/m/a.gguf", "kind": "gguf", "verdict": "same"}]})
    )
    final, earlier = a_checkpoint("run-1", "final", 200), a_checkpoint("run-1", "checkpoint-100")
    found = read_details(("run-1", "final"), replace(final, folder=str(run.path / "final")))
    assert [one.grade for one in found.evaluations] == ["excellent"]
    assert found.behaviour == MEASURED
    assert [one.verdict for one in found.parity] == ["same"]
    none = read_details(("run-1", earlier.name), replace(earlier, folder=str(run.checkpoints / earlier.name)))
    assert none == Details(("run-1", earlier.name), (), (), [])


def test_what_is_not_there_is_read_as_nothing() -> None:
    one = a_checkpoint("run-1", "checkpoint-7")
    assert read_details(("run-1", one.name), one) == Details(("run-1", one.name))
