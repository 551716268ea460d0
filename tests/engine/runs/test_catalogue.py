"""The tree of runs and checkpoints: what is listed, what is remembered, what is noticed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from engine.events import RunCreated
from engine.runs.catalogue import Catalogue, read_catalogue, read_run, verified
from engine.runs.checkpoints import Checkpoint
from engine.runs.directory import RunDirectory, create_run
from engine.runs.entries import direction
from engine.training.checkpoint_writer import write_checkpoint
from tests.engine.saved import OTHER_ID, RUN_ID, SAVED, edit_manifest, make_run, saver


@pytest.fixture(autouse=True)
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return make_run(tmp_path / "runs", "voice-1")


def save(run: RunDirectory, step: int, target: Path | None = None, **metadata: Any) -> Checkpoint:
    return write_checkpoint(
        target or run.checkpoints / f"checkpoint-{step}",
        saver(step),
        run_id=RUN_ID,
        step=step,
        metadata={"epoch": step / 10, "reason": "scheduled", **metadata},
    )


def read(run: RunDirectory, tmp_path: Path) -> Catalogue:
    return read_catalogue(run.path.parent, cache=tmp_path / "cache")


def child(runs: Path, name: str, parent: str | None) -> RunDirectory:
    created = RunCreated(name=name, method="sft", model="tiny", parent=parent)
    return create_run(runs, name, created=created, files={"provenance.json": f'{{"run_id": "{OTHER_ID}"}}\n'})


def test_a_checkpoint_is_listed_with_what_it_scored_and_what_it_weighs(run: RunDirectory) -> None:
    metrics = {"loss": 1.5, "eval_retain_loss": 2.0, "eval_unlearn_loss": "NaN", "rewards/margins": 0.25}
    save(run, 10, metrics=metrics, evaluated_step=10)
    (entry,) = read_run(run).checkpoints
    assert (entry.run, entry.name, entry.step, entry.epoch, entry.reason) == (
        "voice-1", "checkpoint-10", 10, 1.0, "scheduled",
    )  # fmt: skip
    assert entry.metrics["eval_retain_loss"] == 2.0
    assert entry.metrics["eval_unlearn_loss"] != entry.metrics["eval_unlearn_loss"]
    assert entry.adapter_bytes == len(SAVED["adapter_config.json"]) + len(SAVED["adapter_model.safetensors"]) + 2
    assert entry.optimizer_bytes == sum(len(SAVED[n]) for n in ("optimizer.pt", "scheduler.pt", "rng_state.pth"))
    assert entry.used_bytes == sum(path.stat().st_size for path in entry.path.iterdir())
    assert entry.created > 1_700_000_000
    assert entry.resumable
    assert json.dumps(entry.as_dict(), allow_nan=False)


def test_best_and_final_come_first_and_then_the_newest(run: RunDirectory) -> None:
    for step in (9, 10, 100):
        save(run, step)
    save(run, 10, run.best)
    save(run, 100, run.final)
    names = [entry.name for entry in read_run(run).checkpoints]
    assert names == ["best", "final", "checkpoint-100", "checkpoint-10", "checkpoint-9"]


def test_the_best_is_told_for_each_figure_and_never_a_damaged_one(run: RunDirectory) -> None:
    save(run, 10, metrics={"eval_loss": 1.0, "eval_mean_token_accuracy": 0.5, "learning_rate": 0.1})
    save(run, 20, metrics={"eval_loss": 2.0, "eval_mean_token_accuracy": 0.9, "learning_rate": 0.0})
    save(run, 30, metrics={"eval_loss": 0.1})
    save(run, 40, metrics={"eval_loss": "NaN"})
    (run.checkpoints / "checkpoint-30" / "adapter_model.safetensors").write_bytes(b"cut")
    best = {entry.step: entry.best_by for entry in read_run(run).checkpoints}
    assert best == {40: (), 30: (), 20: ("eval_mean_token_accuracy",), 10: ("eval_loss",)}


def test_a_figure_of_an_older_evaluation_makes_nothing_the_best(run: RunDirectory) -> None:
    save(run, 10, metrics={"eval_loss": 1.0}, evaluated_step=10)
    save(run, 15, metrics={"eval_loss": 1.0}, evaluated_step=10)
    assert {entry.step: entry.best_by for entry in read_run(run).checkpoints} == {15: (), 10: ("eval_loss",)}


def test_what_is_damaged_foreign_or_not_exact_says_why(run: RunDirectory) -> None:
    for step in (10, 20, 30):
        save(run, step)
    (run.checkpoints / "checkpoint-10" / "adapter_model.safetensors").write_bytes(b"")
    edit_manifest(run.checkpoints / "checkpoint-20", run_id=OTHER_ID)
    manifest = json.loads((run.checkpoints / "checkpoint-30" / "manifest.json").read_text())
    del manifest["files"]["optimizer.pt"]
    edit_manifest(run.checkpoints / "checkpoint-30", files=manifest["files"], dropped=["optimizer.pt"])
    said = {entry.step: (entry.fault, entry.not_exact, entry.ours) for entry in read_run(run).checkpoints}
    assert said == {
        10: ("adapter_model.safetensors has 0 of 10242 bytes", None, True),
        20: ("its manifest names another run", None, False),
        30: (None, "optimizer.pt was dropped to save room, so going on would not be exact", True),
    }


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"])
def test_without_what_only_a_resume_needs_the_weights_are_whole(run: RunDirectory, name: str) -> None:
    (save(run, 10).path / name).unlink()
    (entry,) = read_run(run).checkpoints
    assert (entry.fault, entry.not_exact, entry.resumable) == (None, f"{name} is missing", False)
    assert verified(read_run(run)).checkpoints == read_run(run).checkpoints


def test_a_flipped_bit_is_found_by_verifying(run: RunDirectory) -> None:
    weights = save(run, 10).path / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[100] ^= 1
    weights.write_bytes(content)
    entry = read_run(run)
    assert entry.checkpoints[0].fault is None
    assert verified(entry).checkpoints[0].fault == "adapter_model.safetensors differs from its hash"


def test_runs_stand_below_the_run_they_were_continued_from(run: RunDirectory, tmp_path: Path) -> None:
    runs = run.path.parent
    child(runs, "voice-2", "voice-1")
    child(runs, "voice-3", "voice-2")
    child(runs, "other", "gone")
    child(runs, "a", "b")
    child(runs, "b", "a")
    shown = [(entry.name, entry.depth, entry.parent) for entry in read(run, tmp_path).runs]
    assert len(shown) == 6
    first = shown.index(("voice-1", 0, None))
    assert shown[first : first + 3] == [("voice-1", 0, None), ("voice-2", 1, "voice-1"), ("voice-3", 2, "voice-2")]
    assert ("other", 0, None) in shown


def test_what_was_read_is_remembered_and_what_changed_is_read_anew(run: RunDirectory, tmp_path: Path) -> None:
    save(run, 10, metrics={"eval_loss": 1.0})
    save(run, 20, metrics={"eval_loss": float("inf")})
    first = read(run, tmp_path)
    assert read(run, tmp_path).runs[0].checkpoints == first.runs[0].checkpoints
    save(run, 30, metrics={"eval_loss": 0.5})
    (run.checkpoints / "checkpoint-20" / "adapter_config.json").unlink()
    now = {entry.step: (entry.fault, entry.best_by) for entry in read(run, tmp_path).runs[0].checkpoints}
    assert now == {30: (None, ("eval_loss",)), 20: ("adapter_config.json is missing", ()), 10: (None, ())}


def test_what_is_remembered_is_in_the_order_of_the_list_and_written_only_when_something_changed(
    run: RunDirectory, tmp_path: Path
) -> None:
    for step, where in ((9, ""), (10, ""), (9, "best"), (10, "final")):
        save(run, step, run.path / where if where else None)
    first = read(run, tmp_path)
    (file,) = (tmp_path / "cache").iterdir()
    written = file.stat().st_ino
    assert read(run, tmp_path) == first
    assert file.stat().st_ino == written
    assert [one.name for one in first.runs[0].checkpoints] == ["best", "final", "checkpoint-10", "checkpoint-9"]
    (run.checkpoints / "checkpoint-9" / "adapter_config.json").unlink()
    again = read(run, tmp_path)
    assert [one.fault is None for one in again.runs[0].checkpoints] == [True, True, True, False]
    assert file.stat().st_ino != written


def test_not_looked_at_closely_only_what_came_and_went_is_seen(run: RunDirectory, tmp_path: Path) -> None:
    for step in (10, 20, 30):
        save(run, step)
    cache = tmp_path / "cache"
    read_catalogue(run.path.parent, cache=cache)
    (run.checkpoints / "checkpoint-30" / "adapter_config.json").unlink()
    glanced = read_catalogue(run.path.parent, cache=cache, closely=False).runs[0].checkpoints
    assert [one.fault for one in glanced] == [None, None, None]
    assert glanced[0].stamp[0] != glanced[0].path.stat().st_mtime_ns
    save(run, 40)
    seen = read_catalogue(run.path.parent, cache=cache, closely=False).runs[0].checkpoints
    assert {one.step: one.fault for one in seen} == {
        40: None, 30: "adapter_config.json is missing", 20: None, 10: None,
    }  # fmt: skip


def test_what_each_kind_is_remembered_as_is_where_it_is(run: RunDirectory, tmp_path: Path) -> None:
    save(run, 10)
    for target in (run.best, run.final, run.stages / "facts"):
        target.parent.mkdir(exist_ok=True)
        save(run, 10, target)
    whole = read(run, tmp_path).runs
    assert read_catalogue(run.path.parent, cache=tmp_path / "cache", closely=False).runs == whole
    save(run, 20, run.stages / "voice")
    glanced = read_catalogue(run.path.parent, cache=tmp_path / "cache", closely=False).runs[0].checkpoints
    assert {one.folder for one in glanced} == {
        str(path) for path in (run.best, run.final, run.stages / "facts", run.stages / "voice",
                               run.checkpoints / "checkpoint-10")
    }  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"[]", b'{"version": 7}', b'{"version": [1], "runs": 3}', b"[" * 90_000])
def test_a_damaged_memory_is_none(run: RunDirectory, tmp_path: Path, content: bytes) -> None:
    save(run, 10)
    before = read(run, tmp_path).runs
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(content)
    assert read(run, tmp_path).runs[0].checkpoints == before[0].checkpoints


def test_without_time_runs_are_left_pending_until_the_next_call(run: RunDirectory, tmp_path: Path) -> None:
    runs = run.path.parent
    child(runs, "voice-2", None)
    found = read_catalogue(runs, cache=tmp_path / "cache", max_seconds=0.0)
    assert [entry.pending for entry in found.runs].count(True) == 1
    assert not read_catalogue(runs, cache=tmp_path / "cache", max_seconds=0.0).pending


def test_a_run_that_cannot_say_its_id_is_listed_with_the_reason(run: RunDirectory) -> None:
    save(run, 10)
    run.provenance.unlink()
    entry = read_run(run)
    assert "provenance.json" in entry.problem
    assert not entry.checkpoints[0].ours


def test_links_and_other_names_are_no_checkpoints(run: RunDirectory, tmp_path: Path) -> None:
    save(run, 10)
    (run.checkpoints / "checkpoint-20").symlink_to(tmp_path)
    (run.checkpoints / "checkpoint-x").mkdir()
    (run.checkpoints / ".partial-checkpoint-30").mkdir()
    assert [entry.name for entry in read_run(run).checkpoints] == ["checkpoint-10"]


def test_a_folder_without_runs_is_an_empty_tree(tmp_path: Path) -> None:
    assert read_catalogue(tmp_path / "nowhere", cache=tmp_path / "cache").runs == ()


@pytest.mark.parametrize(
    ("metric", "sign"),
    [("eval_retain_loss", -1), ("eval_mean_token_accuracy", 1), ("rewards/margins", 1), ("eval_rewards/accuracies", 1),
     ("learning_rate", 0), ("grad_norm", 0)],
)  # fmt: skip
def test_a_figure_is_better_low_or_high_or_judges_nothing(metric: str, sign: int) -> None:
    assert direction(metric) == sign
