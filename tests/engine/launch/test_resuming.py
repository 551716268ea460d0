"""Going on exactly, or not at all: what is refused, what is offered instead, and what is said to be inexact."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from engine.config.load import loads
from engine.errors import CheckpointError, RunBusy
from engine.launch import prepare
from engine.launch.prepare import new_run, resume_run
from engine.runs import provenance
from engine.runs.checkpoints import read_json
from engine.runs.directory import RunDirectory
from engine.runs.entries import read_entry
from engine.runs.liveness import Life, Liveness
from engine.runs.shelf import carry_out, plan_drop_optimizer
from engine.training.checkpoint_writer import write_checkpoint
from engine.workspace import Workspace
from tests.engine.saved import saver

RESUME_ONLY = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """From which checkpoint each start was; none is made."""
    found: list[Any] = []
    monkeypatch.setattr(prepare, "start", lambda _run, *, resume=None, **_: found.append(resume and resume.path.name))
    monkeypatch.setattr(os, "fsync", lambda _: None)
    return found


@pytest.fixture
def run(tmp_path: Path, started: list[Any]) -> RunDirectory:
    (tmp_path / "rows.jsonl").write_text('{"instruction": "Say hello.", "output": "Hello."}\n' * 20)
    given = loads("data: {train: rows.jsonl, max_length: 64}", "run.yaml")
    made = new_run(Workspace(tmp_path), given, name="voice-1")
    for step in (10, 20):
        save(made, step)
    return made


def save(run: RunDirectory, step: int) -> None:
    own = read_json(run.provenance)["run_id"]
    write_checkpoint(run.checkpoints / f"checkpoint-{step}", saver(step), run_id=own, step=step, metadata={})


def damage(run: RunDirectory, step: int, name: str) -> None:
    (run.checkpoints / f"checkpoint-{step}" / name).unlink()


def test_the_newest_is_gone_on_from(run: RunDirectory, started: list[Any]) -> None:
    resumed = resume_run(run)
    assert started == ["checkpoint-20"]
    assert resumed.inexact == []


def test_a_dry_run_says_from_where_and_starts_nothing(
    run: RunDirectory, started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed = resume_run(run, dry_run=True)
    assert resumed.checkpoint is not None
    assert (resumed.checkpoint.path.name, started) == ("checkpoint-20", [])
    monkeypatch.setattr(prepare, "liveness", lambda _: Liveness(Life.ALIVE, "process 7 works on it"))
    with pytest.raises(RunBusy, match="process 7 works on it"):
        resume_run(run, dry_run=True)


@pytest.mark.parametrize("name", RESUME_ONLY)
def test_a_checkpoint_without_what_a_resume_needs_is_passed_over(
    run: RunDirectory, started: list[Any], name: str
) -> None:
    damage(run, 20, name)
    assert [reason for _, reason in resume_run(run).skipped] == [f"{name} is missing"]
    assert started == ["checkpoint-10"]


@pytest.mark.parametrize("how", ["missing", "dropped"])
def test_where_no_exact_resume_is_possible_both_ways_out_are_named(
    run: RunDirectory, started: list[Any], how: str
) -> None:
    own = read_json(run.provenance)["run_id"]
    for step in (10, 20):
        if how == "missing":
            damage(run, step, "optimizer.pt")
        else:
            entry = read_entry("voice-1", own, run.checkpoints / f"checkpoint-{step}")
            assert entry is not None
            carry_out(plan_drop_optimizer([entry]))
    with pytest.raises(CheckpointError, match=r"cannot go on exactly: checkpoint-20 has its weights") as caught:
        resume_run(run)
    assert "`ftconsole continue voice-1@checkpoint-20`" in caught.value.remedy
    assert "--from start" in caught.value.remedy
    with pytest.raises(CheckpointError) as caught:
        resume_run(run, checkpoint="20")
    assert "`ftconsole continue voice-1@checkpoint-20`" in caught.value.remedy
    assert started == []
    assert resume_run(run, checkpoint="start").checkpoint is None
    assert started == [None]


def test_where_the_weights_are_gone_too_it_begins_again(run: RunDirectory, started: list[Any]) -> None:
    for step in (10, 20):
        damage(run, step, "adapter_model.safetensors")
    assert resume_run(run).checkpoint is None
    assert started == [None]


def test_what_has_changed_is_named_and_continuing_is_offered(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"instruction": "Say bye.", "output": "Bye."}\n' * 20)
    with pytest.raises(CheckpointError, match=r"rows\.jsonl was changed") as caught:
        resume_run(run)
    assert "ftconsole continue voice-1" in caught.value.remedy


def test_another_version_of_a_library_is_said(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    record = json.loads(run.provenance.read_text())
    was = record["versions"]["torch"]
    record["versions"]["torch"] = "1.0"
    run.provenance.write_text(json.dumps(record))
    assert resume_run(run).inexact == [f"torch is {was}, it was 1.0"]
    monkeypatch.setattr(provenance, "versions", lambda: {**record["versions"]})
    assert resume_run(run).inexact == []
