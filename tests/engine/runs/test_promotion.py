"""Copies in `models/`: whole or not there, never over what somebody else put there, latest and previous exchanged."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.errors import CheckpointError, DiskFull, InvalidName, NotFound, TargetExists, WorkspaceError
from engine.export.beside import PARTIAL
from engine.runs import promotion
from engine.runs.catalogue import read_run
from engine.runs.checkpoints import sha256
from engine.runs.directory import RunDirectory
from engine.runs.entries import CheckpointEntry
from engine.runs.promotion import LATEST, PREVIOUS, plan_promote, plan_rollback, promoted, said_of
from engine.runs.shelf import carry_out
from engine.workspace import Workspace
from tests.engine.saved import SAVED, make_run, write

TAKEN = {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "metadata.json"}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    run = make_run(tmp_path / "runs", "voice-1")
    for step in (10, 20, 30):
        write(run, step)
    return Workspace(tmp_path)


def entry(workspace: Workspace, step: int) -> CheckpointEntry:
    run = RunDirectory(workspace.runs / "voice-1")
    return next(one for one in read_run(run).checkpoints if one.step == step)


def promote(workspace: Workspace, step: int, name: str | None = LATEST) -> Any:
    return carry_out(plan_promote(workspace, entry(workspace, step), name))


def weights(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_weights_are_copied_and_what_only_training_needs_is_not(workspace: Workspace) -> None:
    plan = plan_promote(workspace, entry(workspace, 20))
    assert not workspace.models.exists()
    assert plan.lost == ()
    carry_out(plan)
    copy = workspace.models / "voice-1-checkpoint-20"
    assert names(copy) == TAKEN | {"manifest.json", "promoted.json", "provenance.json"}
    assert weights(copy) == SAVED["adapter_model.safetensors"] + b"20"
    assert plan.needed_bytes == sum((copy / name).stat().st_size for name in TAKEN)
    assert said_of(copy) == "voice-1@checkpoint-20"
    files = json.loads((copy / "manifest.json").read_text())["files"]
    assert all(sha256(copy / name) == about["sha256"] for name, about in files.items())
    assert promoted(copy)["step"] == 20
    assert names(workspace.models) - {".shelf.lock"} == {copy.name}


def test_the_run_can_go_and_the_copy_stays(workspace: Workspace) -> None:
    promote(workspace, 20, "voice")
    shutil.rmtree(workspace.runs)
    assert weights(workspace.models / "voice").endswith(b"20")


def test_latest_becomes_previous_and_rolling_back_exchanges_them(workspace: Workspace) -> None:
    latest, previous = workspace.models / LATEST, workspace.models / PREVIOUS
    promote(workspace, 10)
    assert not previous.exists()
    promote(workspace, 20)
    assert (said_of(latest), said_of(previous)) == ("voice-1@checkpoint-20", "voice-1@checkpoint-10")
    plan = plan_promote(workspace, entry(workspace, 30), LATEST)
    assert plan.lost == (
        "models/previous (voice-1@checkpoint-10) is deleted: what is latest now (voice-1@checkpoint-20) becomes "
        "previous.",
    )
    carry_out(plan)
    assert (weights(latest)[-2:], weights(previous)[-2:]) == (b"30", b"20")
    rollback = plan_rollback(workspace)
    assert rollback.lost == ()
    carry_out(rollback)
    assert (weights(latest)[-2:], weights(previous)[-2:]) == (b"20", b"30")
    carry_out(plan_rollback(workspace))
    assert (weights(latest)[-2:], weights(previous)[-2:]) == (b"30", b"20")
    assert not [name for name in names(workspace.models) if name.startswith(".partial")]


def test_a_promotion_cut_short_leaves_both_names_whole(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    promote(workspace, 10)
    promote(workspace, 20)
    latest, previous = workspace.models / LATEST, workspace.models / PREVIOUS
    plan = plan_promote(workspace, entry(workspace, 30), LATEST)
    real = promotion._swap

    def cut(one: Path, other: Path) -> None:
        if other.name == LATEST:
            raise OSError(5, "Input/output error")
        real(one, other)

    monkeypatch.setattr(promotion, "_swap", cut)
    with pytest.raises(WorkspaceError):
        carry_out(plan)
    assert (weights(latest)[-2:], weights(previous)[-2:]) == (b"20", b"20")


def test_what_a_killed_promotion_has_left_is_cleared_by_the_next(workspace: Workspace) -> None:
    left = workspace.models / f"{PARTIAL}latest-0123abcd"
    left.mkdir(parents=True)
    (left / "adapter_model.safetensors").write_bytes(b"half")
    for step in (10, 20):
        promote(workspace, step)
    assert names(workspace.models) == {".shelf.lock", LATEST, PREVIOUS}


def test_without_an_exchange_in_one_step_three_renames_do_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())
    promote(workspace, 10)
    promote(workspace, 20)
    carry_out(plan_rollback(workspace))
    assert weights(workspace.models / LATEST)[-2:] == b"10"


def test_a_name_that_is_taken_is_refused(workspace: Workspace) -> None:
    (workspace.models / "mine").mkdir(parents=True)
    with pytest.raises(TargetExists, match="already mine"):
        plan_promote(workspace, entry(workspace, 10), "mine")
    plan = plan_promote(workspace, entry(workspace, 10), "other")
    (workspace.models / "other").mkdir()
    with pytest.raises(TargetExists, match="made meanwhile"):
        carry_out(plan)
    assert names(workspace.models / "other") == set()


@pytest.mark.parametrize("made", ["a folder", "a link"])
def test_a_latest_that_was_not_promoted_is_never_touched(workspace: Workspace, tmp_path: Path, made: str) -> None:
    workspace.models.mkdir()
    if made == "a folder":
        (workspace.models / LATEST).mkdir()
        (workspace.models / LATEST / "model.safetensors").write_bytes(b"mine")
    else:
        (workspace.models / LATEST).symlink_to(tmp_path / "runs")
    with pytest.raises(WorkspaceError, match="was not promoted"):
        plan_promote(workspace, entry(workspace, 10), LATEST)


def test_a_previous_exchanged_for_a_link_is_not_followed(workspace: Workspace, tmp_path: Path) -> None:
    promote(workspace, 10)
    promote(workspace, 20)
    plan = plan_promote(workspace, entry(workspace, 30), LATEST)
    (workspace.models / PREVIOUS).rename(tmp_path / "canary")
    (workspace.models / PREVIOUS).symlink_to(tmp_path / "canary")
    with pytest.raises(WorkspaceError, match="was not promoted"):
        carry_out(plan)
    assert weights(tmp_path / "canary")[-2:] == b"10"
    assert weights(workspace.models / LATEST)[-2:] == b"20"


@pytest.mark.parametrize("name", ["../x", "/abs", "-rf", "a\nb", "x" * 300, "a\0b", "", "tiny", "previous", "a/b"])
def test_names_that_could_leave_the_folder_are_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(InvalidName):
        plan_promote(workspace, entry(workspace, 10), name)


def test_a_damaged_checkpoint_is_not_promoted(workspace: Workspace) -> None:
    plan = plan_promote(workspace, entry(workspace, 10), "flipped")
    path = workspace.runs / "voice-1" / "checkpoints" / "checkpoint-10" / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="differs from its hash"):
        carry_out(plan)
    path.write_bytes(b"cut")
    with pytest.raises(CheckpointError, match="has 3 of"):
        plan_promote(workspace, entry(workspace, 10), "cut")
    assert names(workspace.models) == {".shelf.lock"}


def test_a_full_disk_leaves_nothing_behind(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_promote(workspace, entry(workspace, 10), "full")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("engine.runs.promotion.shutil.copyfile", full)
        with pytest.raises(DiskFull):
            carry_out(plan)
    usage = shutil.disk_usage(workspace.path)
    monkeypatch.setattr("engine.runs.promotion.shutil.disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(DiskFull, match="needs 10 kB"):
        carry_out(plan)
    assert names(workspace.models) == {".shelf.lock"}


def test_there_is_nothing_to_roll_back_without_a_previous(workspace: Workspace) -> None:
    promote(workspace, 10)
    with pytest.raises(NotFound, match="no previous"):
        plan_rollback(workspace)
