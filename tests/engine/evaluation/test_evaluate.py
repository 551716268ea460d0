"""An evaluation from its test file to its result."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import pytest

from engine.child import WorkCancelled
from engine.errors import DataError, NotReachable, UsageError
from engine.evaluation import asking
from engine.evaluation.asking import Asking
from engine.evaluation.evaluate import Asked, evaluate, read_test, result_path, results_of, spread
from engine.runs.directory import RunDirectory
from engine.spec import Endpoint, LocalModel, local_model
from engine.workspace import Workspace


def lines(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def question(kind: str | None, text: str = "Who?") -> dict[str, object]:
    metadata = {} if kind is None else {"metadata": {"dataset_type": kind}}
    return {"instruction": text, "output": "Somebody.", **metadata}


@pytest.fixture
def tiny(tmp_path: Path) -> LocalModel:
    return local_model(Workspace(tmp_path), "tiny")


def test_rows_that_ask_nothing_of_this_are_counted_and_passed_over(tmp_path: Path, tiny: LocalModel) -> None:
    lines(tmp_path / "t.jsonl", question("unlearn"), question("retain"), question(None), question("other"))
    test = read_test(Workspace(tmp_path), ["t.jsonl"], tiny, None)
    assert [row.dataset_type for row in test.rows] == ["retain", "unlearn"]
    assert test.passed_over == 2


def test_a_limit_is_spread_over_each_kind(tmp_path: Path, tiny: LocalModel) -> None:
    rows = [question(kind, f"{kind} {n}?") for kind in ("retain", "unlearn") for n in range(10)]
    lines(tmp_path / "t.jsonl", *rows)
    test = read_test(Workspace(tmp_path), ["t.jsonl"], tiny, 2)
    assert [row.prompt[-1]["content"] for row in test.rows] == ["retain 0?", "retain 5?", "unlearn 0?", "unlearn 5?"]
    assert spread(test.rows, None) == list(test.rows)


def test_a_test_without_a_word_of_what_to_keep_is_refused(tmp_path: Path, tiny: LocalModel) -> None:
    lines(tmp_path / "t.jsonl", question(None))
    with pytest.raises(DataError, match="kept or forgotten"):
        read_test(Workspace(tmp_path), ["t.jsonl"], tiny, None)


def test_a_damaged_line_is_named(tmp_path: Path, tiny: LocalModel) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps(question("retain")) + "\n{'torn\n")
    with pytest.raises(DataError, match=r"t\.jsonl:2"):
        read_test(Workspace(tmp_path), ["t.jsonl"], tiny, None)


def test_a_model_of_no_run_needs_a_file(tmp_path: Path, tiny: LocalModel) -> None:
    for model in (tiny, Endpoint("lmstudio:x", "lmstudio:x", "lmstudio", "", "x")):
        with pytest.raises(UsageError, match="--test"):
            read_test(Workspace(tmp_path), [], model, None)


def test_a_result_of_a_server_stays_in_the_workspace(tmp_path: Path) -> None:
    server = Endpoint("x", "../a\nb at localhost:1", "openai", "http://localhost:1/v1", "../a\nb")
    path = result_path(Workspace(tmp_path), server, "temporal", "0123456789")
    assert path == tmp_path / "evaluations" / "temporal-a-b-at-localhost-1-01234567.json"


def test_the_built_in_model_is_asked_and_goes_on_where_it_was_cut_short(tmp_path: Path, tiny: LocalModel) -> None:
    workspace = Workspace(tmp_path)
    test = read_test(workspace, ["datasets/dev/dev_subset.jsonl"], tiny, 2)
    asked = Asked("temporal", Asking(max_new_tokens=24, batch_size=2))
    told: list[tuple[int, int, str]] = []
    with pytest.raises(WorkCancelled):  # after the first batch
        evaluate(workspace, tiny, test, asked, progress=lambda *a: told.append(a), cancelled=lambda: told[-1][0] == 2)
    second = evaluate(workspace, tiny, test, asked, progress=lambda *a: told.append(a))
    assert (second.asked_now, len(second.report.examples)) == (2, 4)
    assert {"loading tiny", "asking"} <= {doing for _, _, doing in told}
    third = evaluate(workspace, tiny, test, asked, progress=lambda *_: None)
    assert third.asked_now == 0
    assert third.report == second.report
    # It knows what is to be forgotten as well: nothing has been unlearned.
    assert second.report.shares["retain_answered"].count == second.report.shares["unlearn_leaked"].count == 2
    kept = json.loads(second.path.read_bytes())
    assert kept["scores"]["unlearn_leaked"]["value"] == 1.0
    assert kept["test"][0]["sha256"]
    assert second.path.stat().st_mode & 0o777 == 0o600


def test_results_of_a_checkpoint_are_found_and_damaged_ones_passed_over(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "voice-1")
    run.evaluations.mkdir(parents=True)
    for mark, created, value in (("a", "2026-01-01", 0.5), ("b", "2026-02-01", 0.9)):
        record = {"created": created, "scores": {"retain_answered": {"value": value}}, "grade": "poor"}
        (run.evaluations / f"temporal-best-{mark}.json").write_text(json.dumps(record))
    (run.evaluations / "temporal-best-c.json").write_text("{")
    (run.evaluations / "temporal-final-d.json").write_text("[]")
    assert [one.scores for one in results_of(run, run.best)] == [{"retain_answered": 0.9}, {"retain_answered": 0.5}]
    assert results_of(run, run.final) == results_of(run, run.checkpoints / "checkpoint-5") == []


def test_results_of_weights_that_were_replaced_are_not_those_of_the_ones_there_now(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "voice-1")
    run.evaluations.mkdir(parents=True)
    run.best.mkdir()
    marks = {"adapter_model.safetensors": "b" * 64}
    files = {name: {"size": 1, "sha256": mark} for name, mark in marks.items()}
    (run.best / "manifest.json").write_text(json.dumps({"run_id": "x", "step": 20, "files": files}))
    kept: dict[str, dict[str, object]] = {
        "a": {"step": 20, "weights": {"adapter_model.safetensors": "a" * 64}},
        "b": {"step": 20, "weights": marks},
        "c": {"step": 10},
        "d": {"step": 20},
    }
    for mark, more in kept.items():
        record = {"created": f"2026-01-01{mark}", "scores": {}, "grade": "poor", **more}
        (run.evaluations / f"temporal-best-{mark}.json").write_text(json.dumps(record))
    assert [one.path.stem[-1] for one in results_of(run, run.best)] == ["d", "b"]


def test_a_server_that_fails_several_questions_at_once_loses_no_reply_and_prints_no_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(_server: Endpoint, index: int, *_: object) -> tuple[int, str]:
        if index != 1:
            raise NotReachable("Nothing answers.")
        return index, "Somebody."

    monkeypatch.setattr(asking, "_reply_of_server", answer)
    server = Endpoint("http://a/v1#b", "b at a", "openai", "http://a/v1", "b")
    came: list[tuple[int, str]] = []
    with pytest.raises(NotReachable):
        came.extend(asking.replies(server, [[], [], []], Asking(), said=lambda _: None))
    gc.collect()
    assert came == [(1, "Somebody.")]
    assert not caplog.records
