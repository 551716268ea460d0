"""Verbs on checkpoints: what a plan says, what is done of it, and what is left alone whatever happens in between."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import events
from engine.errors import CheckpointError, UsageError, WorkspaceError
from engine.journal import Journal
from engine.runs import shelf
from engine.runs.catalogue import read_run
from engine.runs.checkpoints import PINNED, fault, newest_valid, read_checkpoint
from engine.runs.directory import RunDirectory, whoami
from engine.runs.entries import CheckpointEntry
from engine.runs.follow import EventReader
from engine.runs.liveness import Life, Liveness
from engine.runs.plan import Done, Plan, size_text
from engine.runs.shelf import carry_out, plan_delete, plan_drop_optimizer, plan_pin, plan_prune, plan_unpin
from engine.runs.summary import summarise
from engine.training.checkpoint_writer import rotate, write_checkpoint
from tests.engine.faults import permissions_hold
from tests.engine.saved import OTHER_ID, RUN_ID, SAVED, edit_manifest, make_run, saver, write


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    made = make_run(tmp_path / "runs", "voice-1")
    for step in (10, 20, 30, 40):
        metrics = {"eval_loss": {10: 3.0, 20: 1.0, 30: 2.0, 40: 2.5}[step]}
        folder = made.checkpoints / f"checkpoint-{step}"
        write_checkpoint(folder, saver(step), run_id=RUN_ID, step=step, metadata={"epoch": 1.0, "metrics": metrics})
    return made


def entry(run: RunDirectory, name: str) -> CheckpointEntry:
    return next(one for one in read_run(run).checkpoints if one.name == name)


def entries(run: RunDirectory, *steps: int) -> list[CheckpointEntry]:
    return [entry(run, f"checkpoint-{step}") for step in steps]


def there(run: RunDirectory) -> list[int]:
    return sorted(int(path.name[11:]) for path in run.checkpoints.glob("checkpoint-*"))


def hidden(run: RunDirectory) -> list[str]:
    return [path.name for path in run.checkpoints.iterdir() if path.name.startswith(".")]


def say(run: RunDirectory, *said: events.Event) -> None:
    journal = Journal(run.events)
    for event in said:
        journal.append(events.to_json(event))
    journal.close()


@pytest.fixture
def alive(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """The run, at work as far as anybody can tell."""
    say(run, events.KeeperStarted(1, 1, None), events.TrainingStarted(100, 1.0, 0, 1, 1, "cpu", "float32"))
    living = Liveness(Life.ALIVE, "a test says so")
    monkeypatch.setattr("engine.runs.shelf.liveness", lambda _: living)
    monkeypatch.setattr("engine.runs.summary.liveness", lambda _: living)
    return run


# -- plans ---------------------------------------------------------------------------------------------------


def test_a_plan_touches_nothing_and_says_what_is_lost(run: RunDirectory) -> None:
    plan = plan_delete(entries(run, 20, 40))
    assert there(run) == [10, 20, 30, 40]
    assert plan.title == "Delete 2 checkpoints"
    assert plan.freed_bytes == sum(one.used_bytes for one in entries(run, 20, 40))
    assert plan.lost == (
        f"2 checkpoints of voice-1 are gone for good: checkpoint-20 and checkpoint-40, {size_text(plan.freed_bytes)}.",
        "checkpoint-20 is the best by eval_loss.",
        "A resume of voice-1 would go on from checkpoint-30: 10 steps are trained again.",
    )
    assert plan.kept == (run.checkpoints / "checkpoint-30",)


def test_what_was_confirmed_is_deleted_and_nothing_else(run: RunDirectory) -> None:
    done = carry_out(plan_delete(entries(run, 10, 30)))
    assert [action.path.name for action in done.done] == ["checkpoint-10", "checkpoint-30"]
    assert done.freed_bytes > 0
    assert there(run) == [20, 40]
    assert not hidden(run)


def test_a_deletion_is_told_in_the_log_and_is_no_sign_of_life(run: RunDirectory) -> None:
    say(run, events.RunEnded("finished", 40, 1.0))
    before = summarise(run)
    carry_out(plan_delete(entries(run, 10, 20)))
    said = [record.event for record in EventReader(run.events).read().records][-2:]
    assert said == [
        events.CheckpointRemoved(step, f"checkpoints/checkpoint-{step}", f"deleted by {whoami()}") for step in (10, 20)
    ]
    assert summarise(run) == before


def test_a_deletion_that_cannot_be_told_is_one_all_the_same(run: RunDirectory) -> None:
    plan = plan_delete(entries(run, 10))
    run.events.unlink()
    run.events.mkdir()
    assert len(carry_out(plan).done) == 1
    assert there(run) == [20, 30, 40]


def test_deleting_the_last_says_that_nothing_is_left(run: RunDirectory) -> None:
    plan = plan_delete(entries(run, 10, 20, 30, 40))
    assert "Nothing is left to resume voice-1 from: it would begin again at step 0." in plan.lost
    carry_out(plan)
    assert there(run) == []


def test_prune_keeps_the_newest_the_best_and_the_pinned(run: RunDirectory) -> None:
    carry_out(plan_pin(entries(run, 10)))
    plan = plan_prune(run, keep=1, best_by="eval_loss")
    assert [action.path.name for action in plan.actions] == ["checkpoint-30"]
    assert plan.notes == ("checkpoint-40, checkpoint-20 and checkpoint-10 stay.",)
    carry_out(plan)
    assert there(run) == [10, 20, 40]


def test_prune_does_not_count_what_is_damaged(run: RunDirectory) -> None:
    (run.checkpoints / "checkpoint-40" / "adapter_model.safetensors").write_bytes(b"")
    carry_out(plan_prune(run, keep=2))
    assert there(run) == [20, 30]


def test_prune_leaves_one_to_resume_from(run: RunDirectory) -> None:
    for step in (30, 40):
        (run.checkpoints / f"checkpoint-{step}" / "optimizer.pt").unlink()
    plan = plan_prune(run, keep=2)
    assert [action.path.name for action in plan.actions] == ["checkpoint-10"]
    assert len(plan.lost) == 1


def test_prune_refuses_to_keep_none_and_figures_there_are_not(run: RunDirectory) -> None:
    with pytest.raises(UsageError, match="At least one"):
        plan_prune(run, keep=0)
    with pytest.raises(UsageError) as caught:
        plan_prune(run, best_by="accuracy")
    assert caught.value.remedy == "There are eval_loss."


def test_a_deletion_cut_short_is_finished_by_the_next(run: RunDirectory, tmp_path: Path) -> None:
    cut = run.checkpoints / ".partial-removed-checkpoint-5-0123abcd"
    shutil.copytree(run.checkpoints / "checkpoint-10", cut)
    (cut / "manifest.json").unlink()
    foreign = run.checkpoints / ".partial-removed-checkpoint-6-0123abcd"
    shutil.copytree(run.checkpoints / "checkpoint-10", foreign)
    edit_manifest(foreign, run_id=OTHER_ID)
    (run.checkpoints / ".partial-removed-checkpoint-7-0123abcd").symlink_to(tmp_path)
    carry_out(plan_delete(entries(run, 10)))
    assert there(run) == [6, 7, 20, 30, 40]
    assert not hidden(run)
    assert tmp_path.is_dir()


# -- pins ----------------------------------------------------------------------------------------------------


def test_a_pin_holds_against_prune_delete_drop_and_rotation(run: RunDirectory) -> None:
    carry_out(plan_pin(entries(run, 10)))
    assert entry(run, "checkpoint-10").pinned
    assert entry(run, "checkpoint-10").fault is None
    for plan in (plan_delete(entries(run, 10)), plan_drop_optimizer(entries(run, 10))):
        assert plan.actions == ()
        assert plan.refused == ("voice-1@checkpoint-10 is pinned; unpin it first.",)
    removed = rotate(run, RUN_ID, 2)
    assert [checkpoint.step for checkpoint in removed] == [20]
    assert there(run) == [10, 30, 40]
    carry_out(plan_unpin(entries(run, 10)))
    assert [checkpoint.step for checkpoint in rotate(run, RUN_ID, 2)] == [10]


def test_a_pin_set_after_the_plan_holds(run: RunDirectory) -> None:
    plan = plan_prune(run, keep=1)
    carry_out(plan_pin(entries(run, 20)))
    done = carry_out(plan)
    assert [(action.path.name, why) for action, why in done.skipped] == [("checkpoint-20", "it is pinned")]
    assert there(run) == [20, 40]


def test_best_is_not_pinned_but_promoted(run: RunDirectory) -> None:
    write(run, 20, target=run.best)
    (said,) = plan_pin([entry(run, "best")]).refused
    assert "promote it" in said


# -- optimizer state -----------------------------------------------------------------------------------------


def test_dropping_the_optimizer_leaves_the_rest_proven(run: RunDirectory) -> None:
    before = entry(run, "checkpoint-40")
    plan = plan_drop_optimizer([before])
    assert plan.lost == (
        "voice-1 can no longer go on exactly from checkpoint-40; its weights stay.",
        "A resume of voice-1 would go on from checkpoint-30: 10 steps are trained again.",
    )
    assert carry_out(plan).freed_bytes == before.optimizer_bytes
    after = read_checkpoint(before.path)
    assert after is not None
    assert fault(after, RUN_ID) is None
    assert fault(after, RUN_ID, to_resume=True) == (
        "optimizer.pt was dropped to save room, so going on would not be exact"
    )
    assert not (before.path / "optimizer.pt").exists()
    chosen, skipped = newest_valid(run)
    assert chosen is not None
    assert chosen.step == 30
    assert [why for _, why in skipped] == ["optimizer.pt was dropped to save room, so going on would not be exact"]


def test_a_drop_cut_short_can_be_done_again(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_drop_optimizer(entries(run, 40))
    with monkeypatch.context() as cut:
        cut.setattr(os, "unlink", _raises(PermissionError(1, "no")))
        with pytest.raises(WorkspaceError):
            carry_out(plan)
    assert entry(run, "checkpoint-40").fault is None
    assert entry(run, "checkpoint-40").optimizer_bytes
    carry_out(plan_drop_optimizer(entries(run, 40)))
    assert not entry(run, "checkpoint-40").optimizer_bytes
    assert entry(run, "checkpoint-40").fault is None


def test_a_full_disk_leaves_the_manifest_as_it_was(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_drop_optimizer(entries(run, 40))
    monkeypatch.setattr(os, "fsync", _raises(OSError(28, "No space left on device")))
    with pytest.raises(WorkspaceError) as caught:
        carry_out(plan)
    assert caught.value.code == "disk-full"
    assert entry(run, "checkpoint-40").resumable
    assert sorted(path.name for path in (run.checkpoints / "checkpoint-40").iterdir()) == sorted(
        [*SAVED, "manifest.json", "metadata.json"]
    )


# -- what is not ours ----------------------------------------------------------------------------------------


def test_what_is_not_ours_is_never_in_a_plan(run: RunDirectory) -> None:
    edit_manifest(run.checkpoints / "checkpoint-10", run_id=OTHER_ID)
    (run.checkpoints / "checkpoint-20" / "manifest.json").unlink()
    plan = plan_prune(run, keep=1)
    assert [action.path.name for action in plan.actions] == ["checkpoint-30"]
    assert len(plan.refused) == 2
    assert plan_delete(entries(run, 10, 20)).actions == ()


def test_files_that_somebody_put_into_a_checkpoint_keep_it(run: RunDirectory) -> None:
    (run.checkpoints / "checkpoint-10" / "notes.txt").write_text("mine")
    plan = plan_delete(entries(run, 10))
    assert plan.actions == ()
    assert plan.refused == ("voice-1@checkpoint-10 is left alone: notes.txt in it is not of the run's making.",)


@pytest.mark.parametrize("swap", ["a link", "another run's", "another checkpoint", "nothing"])
def test_a_folder_exchanged_after_the_plan_is_left_alone(run: RunDirectory, tmp_path: Path, swap: str) -> None:
    plan = plan_delete(entries(run, 10))
    folder, canary = run.checkpoints / "checkpoint-10", tmp_path / "canary"
    shutil.copytree(folder, canary)
    if swap == "another run's":
        edit_manifest(folder, run_id=OTHER_ID)
    else:
        shutil.rmtree(folder)
    if swap == "a link":
        folder.symlink_to(canary)
    elif swap == "another checkpoint":
        write(run, 10)
    (skipped,) = carry_out(plan).skipped
    assert (
        skipped[1]
        == {
            "a link": "it is a link or no folder",
            "another run's": "its manifest does not name this run",
            "another checkpoint": "it has changed since it was looked at",
            "nothing": "it is gone already",
        }[swap]
    )
    assert sorted(path.name for path in canary.iterdir()) == sorted([*SAVED, "manifest.json", "metadata.json"])
    assert os.path.lexists(folder) is (swap != "nothing")
    assert not hidden(run)


@pytest.mark.parametrize("make", [plan_pin, plan_drop_optimizer])
def test_pins_and_drops_do_not_follow_a_link(
    run: RunDirectory, tmp_path: Path, make: Callable[[list[CheckpointEntry]], Plan]
) -> None:
    plan = make(entries(run, 10))
    folder = run.checkpoints / "checkpoint-10"
    folder.rename(tmp_path / "canary")
    folder.symlink_to(tmp_path / "canary")
    (skipped,) = carry_out(plan).skipped
    assert skipped[1] == "it is a link or no folder"
    assert (tmp_path / "canary" / "optimizer.pt").exists()
    assert not (tmp_path / "canary" / PINNED).exists()


def test_nothing_is_deleted_when_what_was_to_stay_is_damaged(run: RunDirectory) -> None:
    plan = plan_prune(run, keep=1)
    weights = run.checkpoints / "checkpoint-40" / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[7] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"was to stay .* Nothing was deleted"):
        carry_out(plan)
    assert there(run) == [10, 20, 30, 40]


# -- company -------------------------------------------------------------------------------------------------


def test_two_consoles_that_prune_at_once_delete_each_checkpoint_once(run: RunDirectory) -> None:
    plans = [plan_prune(run, keep=1), plan_prune(run, keep=2)]
    found: list[Done] = []
    threads = [threading.Thread(target=lambda plan=plan: found.append(carry_out(plan))) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deleted = [action.path.name for done in found for action in done.done]
    assert sorted(deleted) == ["checkpoint-10", "checkpoint-20", "checkpoint-30"]
    assert {why for done in found for _, why in done.skipped} == {"it is gone already"}
    assert there(run) == [40]


def test_two_consoles_that_each_keep_what_the_other_deletes_leave_one(run: RunDirectory) -> None:
    one, other = plan_delete(entries(run, 20, 30, 40)), plan_delete(entries(run, 10, 30))
    carry_out(one)
    with pytest.raises(CheckpointError, match="it is gone"):
        carry_out(other)
    assert there(run) == [10]


def test_of_a_run_at_work_only_what_its_rotation_may_remove_goes(alive: RunDirectory) -> None:
    write(alive, 20, target=alive.best)
    plan = plan_delete([entry(alive, "best"), *entries(alive, 10, 20, 30, 40)])
    assert [action.path.name for action in plan.actions] == ["checkpoint-10", "checkpoint-20"]
    assert len(plan.refused) == 3
    assert "voice-1 is running" in plan.refused[0]
    assert [a.path.name for a in plan_prune(alive, keep=1).actions] == ["checkpoint-20", "checkpoint-10"]


def test_of_a_run_that_is_starting_nothing_goes(alive: RunDirectory) -> None:
    say(alive, events.KeeperStarted(2, 1, "checkpoints/checkpoint-10"))
    plan = plan_delete(entries(alive, 10))
    assert plan.actions == ()
    assert "it is starting" in plan.refused[0]


def test_a_run_that_was_started_since_the_plan_is_left_alone(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_prune(run, keep=1)
    living = Liveness(Life.ALIVE, "a test says so")
    monkeypatch.setattr("engine.runs.shelf.liveness", lambda _: living)
    monkeypatch.setattr("engine.runs.summary.liveness", lambda _: living)
    say(run, events.KeeperStarted(1, 1, "checkpoints/checkpoint-10"))
    done = carry_out(plan)
    assert not done.done
    assert there(run) == [10, 20, 30, 40]


def test_a_read_only_disk_is_an_error_and_deletes_nothing(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_delete(entries(run, 10))
    monkeypatch.setattr("engine.runs.checkpoints.os.rename", _raises(OSError(30, "Read-only file system")))
    with pytest.raises(WorkspaceError, match="Read-only"):
        carry_out(plan)
    assert there(run) == [10, 20, 30, 40]


def test_a_folder_that_may_not_be_written_is_an_error(run: RunDirectory) -> None:
    plan = plan_delete(entries(run, 10))
    run.checkpoints.chmod(0o500)
    try:
        with permissions_hold(), pytest.raises(WorkspaceError):
            carry_out(plan)
    finally:
        run.checkpoints.chmod(0o700)
    assert there(run) == [10, 20, 30, 40]


def test_a_lock_that_another_holds_is_waited_for_and_then_told(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "_LOCK_SECONDS", 0.0)
    with shelf.locked(run.path), pytest.raises(Exception, match="Another console") as caught:
        carry_out(plan_delete(entries(run, 10)))
    assert getattr(caught.value, "code", "") == "run-busy"
    assert there(run) == [10, 20, 30, 40]


def _raises(error: OSError) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail
