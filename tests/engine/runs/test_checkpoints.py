"""Checkpoints on disk: what is damaged, foreign or unfinished is never chosen, and what is foreign never deleted."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.errors import CheckpointError, NotFound
from engine.runs import checkpoints
from engine.runs.checkpoints import (
    RESUME_FILES,
    all_checkpoints,
    clear_partials,
    fault,
    find_checkpoint,
    newest_valid,
    read_checkpoint,
    remove_checkpoint,
    resumable_checkpoint,
    run_id,
)
from engine.runs.directory import RunDirectory
from tests.engine.faults import permissions_hold
from tests.engine.saved import OTHER_ID, RUN_ID, SAVED, edit_manifest, make_run, write

EVERY_FILE = [*SAVED, "metadata.json"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a tenth of a second for each checkpoint; no power is cut here
    return make_run(tmp_path / "runs")


def chosen(run: RunDirectory) -> tuple[str | None, dict[str, str]]:
    """Return the name of the checkpoint a resume takes, and why others were passed over."""
    checkpoint, skipped = newest_valid(run)
    return checkpoint.path.name if checkpoint else None, {c.path.name: reason for c, reason in skipped}


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# -- trust ---------------------------------------------------------------------------------------------------


def test_the_newest_is_chosen_by_number_not_by_name(run: RunDirectory) -> None:
    for step in (9, 10, 100):
        write(run, step)
    assert [c.step for c in all_checkpoints(run)] == [100, 10, 9]
    assert chosen(run) == ("checkpoint-100", {})


def test_a_run_without_checkpoints_has_none_to_go_on_from(run: RunDirectory) -> None:
    assert chosen(run) == (None, {})
    shutil.rmtree(run.checkpoints)
    assert chosen(run) == (None, {})


@pytest.mark.parametrize("name", EVERY_FILE)
@pytest.mark.parametrize("damage", ["half", "empty", "missing", "one bit", "longer", "a folder"])
def test_the_one_before_is_chosen_when_a_file_is_damaged(run: RunDirectory, name: str, damage: str) -> None:
    write(run, 10)
    file = write(run, 20).path / name
    content = file.read_bytes()
    if damage in ("missing", "a folder"):
        file.unlink()
    if damage == "a folder":
        file.mkdir()
    elif damage != "missing":
        flipped = bytes([content[0] ^ 1]) + content[1:]
        file.write_bytes(
            {"half": content[: len(content) // 2], "empty": b"", "one bit": flipped}.get(damage, content * 2)
        )
    name_chosen, skipped = chosen(run)
    assert name_chosen == "checkpoint-10"
    (reason,) = skipped.values()
    assert reason.startswith(name)
    said = {"missing": "is missing", "one bit": "differs from its hash"}.get(damage, f"of {len(content)} bytes")
    assert said in reason


@pytest.mark.parametrize(
    "content", ["half", "empty", "missing", "a list", "a deep nest", "a folder", "a pipe", "too big"]
)
def test_the_one_before_is_chosen_when_the_manifest_is_damaged(run: RunDirectory, content: str) -> None:
    write(run, 10)
    manifest = write(run, 20).path / "manifest.json"
    text = manifest.read_bytes()
    manifest.unlink()
    if content == "a folder":
        manifest.mkdir()
    elif content == "a pipe":
        os.mkfifo(manifest)
    elif content == "too big":
        with manifest.open("wb") as file:
            file.truncate(1 << 40)
    elif content != "missing":
        manifest.write_bytes(
            {"half": text[: len(text) // 2], "empty": b"", "a list": b"[]"}.get(content, b"[" * 90_000)
        )
    assert chosen(run) == (
        "checkpoint-10",
        {"checkpoint-20": "it has no manifest, so it was not finished or not made by this run"},
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"run_id": OTHER_ID}, "its manifest names another run"),
        ({"run_id": 7}, "it has no manifest, so it was not finished or not made by this run"),
        ({"step": 7}, "its manifest names step 7"),
        ({"step": None}, "its manifest names step None"),
        ({"files": {}}, "its manifest lists no files"),
        ({"files": []}, "its manifest lists no files"),
        ({"files": {"optimizer.pt": 1}}, "its manifest lists no files"),
    ],
    ids=str,
)
def test_a_manifest_that_proves_nothing_is_not_believed(
    run: RunDirectory, changes: dict[str, Any], reason: str
) -> None:
    write(run, 10)
    edit_manifest(write(run, 20).path, **changes)
    assert chosen(run) == ("checkpoint-10", {"checkpoint-20": reason})


@pytest.mark.parametrize("name", ["../../../canary", "a/../../../../canary", "/etc/passwd"])
def test_a_manifest_cannot_point_out_of_its_folder(run: RunDirectory, name: str) -> None:
    checkpoint = write(run, 10)
    edit_manifest(checkpoint.path, files={name: {"size": 5, "sha256": "0"}})
    read = read_checkpoint(checkpoint.path)
    assert read is not None
    assert fault(read, RUN_ID) == "its manifest names files outside of it"


@pytest.mark.parametrize("entry", [{}, {"size": "5"}, {"size": None, "sha256": None}, {"size": 1e300}], ids=str)
def test_an_odd_entry_of_a_manifest_is_a_fault_and_no_error(run: RunDirectory, entry: dict[str, Any]) -> None:
    checkpoint = write(run, 10)
    edit_manifest(checkpoint.path, files={"optimizer.pt": entry})
    read = read_checkpoint(checkpoint.path)
    assert read is not None
    assert read.used_bytes == 0
    assert "optimizer.pt has" in (fault(read, RUN_ID) or "")


@pytest.mark.parametrize("name", RESUME_FILES)
def test_going_on_needs_more_than_weights(run: RunDirectory, name: str) -> None:
    checkpoint = write(run, 10)
    files = {k: v for k, v in checkpoint.files.items() if k != name}
    edit_manifest(checkpoint.path, files=files)
    read = read_checkpoint(checkpoint.path)
    assert read is not None
    assert fault(read, RUN_ID) is None
    assert fault(read, RUN_ID, to_resume=True) == f"{name} is not in its manifest, so going on would not be exact"


def test_generators_of_several_processes_stand_in_for_one(run: RunDirectory) -> None:
    checkpoint = write(run, 10)
    (checkpoint.path / "rng_state.pth").rename(checkpoint.path / "rng_state_0.pth")
    files = {k.replace("rng_state", "rng_state_0"): v for k, v in checkpoint.files.items()}
    edit_manifest(checkpoint.path, files=files)
    assert chosen(run) == ("checkpoint-10", {})


@pytest.mark.parametrize("instead", ["optimizer.bin", "global_step10/mp_rank_00_model_states.pt"])
def test_the_optimizer_of_a_model_cut_up_stands_in_for_one(run: RunDirectory, instead: str) -> None:
    checkpoint = write(run, 10)
    (checkpoint.path / instead).parent.mkdir(exist_ok=True)
    (checkpoint.path / "optimizer.pt").rename(checkpoint.path / instead)
    edit_manifest(checkpoint.path, files={k.replace("optimizer.pt", instead): v for k, v in checkpoint.files.items()})
    assert chosen(run) == ("checkpoint-10", {})


def test_sizes_alone_are_compared_when_hashes_would_take_too_long(run: RunDirectory) -> None:
    checkpoint = write(run, 10)
    file = checkpoint.path / "optimizer.pt"
    file.write_bytes(file.read_bytes()[::-1])
    assert fault(checkpoint, RUN_ID, hashes=False) is None
    assert fault(checkpoint, RUN_ID) == "optimizer.pt differs from its hash"


def test_a_file_that_may_not_be_read_is_a_fault(run: RunDirectory) -> None:
    checkpoint = write(run, 10)
    (checkpoint.path / "optimizer.pt").chmod(0o000)
    with permissions_hold():
        assert fault(checkpoint, RUN_ID) == "optimizer.pt cannot be read: Permission denied"


def test_a_foreign_higher_checkpoint_is_never_chosen(run: RunDirectory) -> None:
    write(run, 10)
    write(run, 1000, run_id=OTHER_ID)
    foreign = run.checkpoints / "checkpoint-2000"
    foreign.mkdir()
    (foreign / "adapter_model.safetensors").write_bytes(b"weights of another tool")
    assert chosen(run) == (
        "checkpoint-10",
        {
            "checkpoint-1000": "its manifest names another run",
            "checkpoint-2000": "it has no manifest, so it was not finished or not made by this run",
        },
    )


def test_a_copy_under_a_higher_number_is_not_what_its_name_says(run: RunDirectory) -> None:
    shutil.copytree(write(run, 10).path, run.checkpoints / "checkpoint-1000")
    assert chosen(run) == ("checkpoint-10", {"checkpoint-1000": "its manifest names step 10"})


def test_after_going_back_the_newest_is_the_one_written_last(run: RunDirectory) -> None:
    for step in (10, 20, 30):
        write(run, step)
    write(run, 15)  # the run was sent back to step 10
    assert chosen(run) == ("checkpoint-15", {})
    write(run, 20)
    assert chosen(run) == ("checkpoint-20", {})
    assert sorted(c.sequence for c in all_checkpoints(run)) == [1, 3, 4, 5]


@pytest.mark.parametrize("name", ["checkpoint-", "checkpoint-x", "checkpoint--5", "checkpoint-5.not-ours-0",
                                  "checkpoint-٣", ".partial-checkpoint-5-0", "checkpoint-5\n",
                                  "checkpoint-" + "9" * 13])  # fmt: skip
def test_what_has_another_name_is_no_checkpoint(run: RunDirectory, name: str) -> None:
    (run.checkpoints / name).mkdir()
    assert all_checkpoints(run) == []


def test_a_link_is_no_checkpoint(run: RunDirectory, tmp_path: Path) -> None:
    elsewhere = make_run(tmp_path / "elsewhere")
    (run.checkpoints / "checkpoint-50").symlink_to(write(elsewhere, 50).path)
    assert chosen(run) == (None, {})
    assert read_checkpoint(run.checkpoints / "checkpoint-50") is None


def test_what_a_checkpoint_says_of_itself_is_read(run: RunDirectory) -> None:
    checkpoint = read_checkpoint(write(run, 10).path)
    assert checkpoint is not None
    assert checkpoint.metadata["epoch"] == 1.0
    assert checkpoint.used_bytes == sum(len((checkpoint.path / name).read_bytes()) for name in EVERY_FILE)
    assert sorted(checkpoint.files) == sorted(EVERY_FILE)


# -- by name -------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_found_by_step_and_by_name(run: RunDirectory) -> None:
    write(run, 10)
    write(run, 10, target=run.best)
    write(run, 20, target=run.final)
    assert find_checkpoint(run, "10").path == find_checkpoint(run, "checkpoint-10").path
    assert find_checkpoint(run, "best").step == 10
    assert find_checkpoint(run, "final").step == 20
    assert fault(find_checkpoint(run, "final"), RUN_ID) is None


@pytest.mark.parametrize("name", ["11", "", ".", "..", "../best", "/etc", "checkpoint-10/../..", "checkpoint-١٠", "١٠",
                                  "a\0b", "x" * 300, "-rf", "latest"], ids=ascii)  # fmt: skip
def test_what_is_not_there_is_refused_with_what_is(run: RunDirectory, name: str) -> None:
    write(run, 10)
    write(run, 10, target=run.best)
    with pytest.raises(NotFound) as missing:
        find_checkpoint(run, name)
    assert missing.value.remedy == "It has checkpoint-10, best."
    assert len(missing.value.message) < 400


def test_a_run_without_checkpoints_says_so(run: RunDirectory) -> None:
    with pytest.raises(NotFound) as missing:
        find_checkpoint(run, "best")
    assert missing.value.remedy == "It has none yet."


def test_a_named_checkpoint_is_proven_before_it_is_used(run: RunDirectory) -> None:
    write(run, 10)
    assert resumable_checkpoint(run, "10").step == 10
    (run.checkpoints / "checkpoint-10" / "optimizer.pt").unlink()
    with pytest.raises(CheckpointError, match=r"cannot go on from checkpoint-10: optimizer\.pt is missing") as refused:
        resumable_checkpoint(run, "10")
    assert "--from" in refused.value.remedy


@pytest.mark.parametrize("content", ["", "{}", '{"run_id": ""}', '{"run_id": 7}', "[1]", None], ids=str)
def test_without_the_runs_id_nothing_is_proven(run: RunDirectory, content: str | None) -> None:
    write(run, 10)
    run.provenance.unlink()
    if content is not None:
        run.provenance.write_text(content)
    with pytest.raises(CheckpointError, match="does not say this run's id"):
        newest_valid(run)
    with pytest.raises(CheckpointError):
        run_id(run)


# -- removing ------------------------------------------------------------------------------------------------


def test_ours_is_removed_whole(run: RunDirectory) -> None:
    checkpoint = write(run, 10)
    assert remove_checkpoint(checkpoint, RUN_ID)
    assert listing(run.checkpoints) == []


@pytest.mark.parametrize("kind", ["another run's", "without a manifest", "gone"])
def test_what_is_not_proven_ours_is_not_removed(run: RunDirectory, kind: str) -> None:
    checkpoint = write(run, 10, run_id=OTHER_ID if kind == "another run's" else RUN_ID)
    if kind == "without a manifest":
        (checkpoint.path / "manifest.json").unlink()
        unproven = read_checkpoint(checkpoint.path)
        assert unproven is not None
        checkpoint = unproven
    elif kind == "gone":
        shutil.rmtree(checkpoint.path)
    before = listing(run.checkpoints)
    assert not remove_checkpoint(checkpoint, RUN_ID)
    assert listing(run.checkpoints) == before


@pytest.mark.parametrize("swap", ["a foreign folder", "a link to elsewhere"])
def test_a_folder_exchanged_after_it_was_read_is_not_removed(run: RunDirectory, tmp_path: Path, swap: str) -> None:
    checkpoint = write(run, 10)
    canary = tmp_path / "outside"
    canary.mkdir()
    (canary / "alive").touch()
    shutil.rmtree(checkpoint.path)
    if swap == "a foreign folder":
        shutil.copytree(canary, checkpoint.path)
    else:
        checkpoint.path.symlink_to(canary)
    before = listing(run.checkpoints)
    assert not remove_checkpoint(checkpoint, RUN_ID)
    assert listing(run.checkpoints) == before
    assert listing(canary) == ["alive"]


def test_links_inside_a_checkpoint_are_removed_but_not_followed(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "alive").touch()
    checkpoint = write(run, 10)
    (checkpoint.path / "link").symlink_to(tmp_path / "outside")
    assert remove_checkpoint(checkpoint, RUN_ID)
    assert listing(tmp_path / "outside") == ["alive"]


# -- leftovers -----------------------------------------------------------------------------------------------


def test_what_was_interrupted_is_cleared_and_nothing_else(run: RunDirectory) -> None:
    write(run, 10)
    write(run, 10, target=run.best)
    for name in ("checkpoint-20", "removed-checkpoint-5"):
        (run.checkpoints / f".partial-{name}-0a1b2c3d" / "deep").mkdir(parents=True)
    for name in ("best", "old-best"):
        (run.path / f".partial-{name}-0a1b2c3d" / "deep").mkdir(parents=True)
    (run.path / "notes").mkdir()
    assert sorted(clear_partials(run)) == [
        ".partial-best-0a1b2c3d",
        ".partial-checkpoint-20-0a1b2c3d",
        ".partial-old-best-0a1b2c3d",
        ".partial-removed-checkpoint-5-0a1b2c3d",
    ]
    assert sorted(os.listdir(run.checkpoints)) == ["checkpoint-10"]
    assert sorted(os.listdir(run.path)) == ["best", "checkpoints", "events.jsonl", "notes", "provenance.json"]
    assert clear_partials(run) == []


def test_what_was_moved_away_for_a_new_one_that_never_came_goes_back(run: RunDirectory) -> None:
    write(run, 10, target=run.best)
    write(run, 20)
    run.best.rename(run.path / ".partial-old-best-0a1b2c3d")
    (run.checkpoints / "checkpoint-20").rename(run.checkpoints / ".partial-old-checkpoint-20-0a1b2c3d")
    (run.path / ".partial-best-4e5f6a7b").mkdir()
    assert clear_partials(run) == [".partial-best-4e5f6a7b"]
    assert fault(find_checkpoint(run, "best"), RUN_ID) is None
    assert chosen(run) == ("checkpoint-20", {})


def test_links_among_the_leftovers_are_not_followed(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "alive").touch()
    (run.checkpoints / ".partial-checkpoint-20-0a1b2c3d").symlink_to(tmp_path / "outside")
    clear_partials(run)
    assert listing(tmp_path / "outside") == ["alive"]


def test_a_run_without_its_folder_has_nothing_to_clear(tmp_path: Path) -> None:
    assert clear_partials(RunDirectory(tmp_path / "gone")) == []


def test_a_hash_is_the_files_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert checkpoints.sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_manifest_is_strict_json(run: RunDirectory) -> None:
    text = (write(run, 10).path / "manifest.json").read_text()
    assert set(json.loads(text)) == {"version", "run_id", "step", "sequence", "files"}
