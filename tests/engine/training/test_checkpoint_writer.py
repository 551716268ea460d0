"""Writing checkpoints: complete under their name or not there, wherever the process dies or the disk ends."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from engine.errors import DiskFull, WorkspaceError
from engine.runs import checkpoints
from engine.runs.checkpoints import clear_partials, fault, find_checkpoint, newest_valid
from engine.runs.directory import RunDirectory
from engine.training import checkpoint_writer
from engine.training.checkpoint_writer import rotate, write_checkpoint
from tests.engine.faults import ROOT, failing, in_memory, permissions_hold, python, small_disk
from tests.engine.saved import OTHER_ID, RUN_ID, SAVED, make_run, saver, write


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a tenth of a second for each checkpoint; no power is cut here
    return make_run(tmp_path / "runs")


def save_nothing(folder: Path) -> NoReturn:
    pytest.fail(f"saving into {folder} began")


def save(run: RunDirectory, filling: Callable[[Path], None], **more: Any) -> checkpoints.Checkpoint:
    return write_checkpoint(run.checkpoints / "checkpoint-20", filling, run_id=RUN_ID, step=20, metadata={}, **more)


def hidden(run: RunDirectory) -> list[str]:
    return [path.name for folder in (run.path, run.checkpoints) for path in folder.glob(".*")]


def steps(run: RunDirectory) -> list[int]:
    return sorted(checkpoint.step for checkpoint in checkpoints.all_checkpoints(run))


# -- what is written -----------------------------------------------------------------------------------------


def test_a_checkpoint_holds_what_was_saved_and_proves_it(run: RunDirectory) -> None:
    written = write(run, 20)
    assert sorted(os.listdir(written.path)) == sorted([*SAVED, "manifest.json", "metadata.json"])
    assert (written.path / "optimizer.pt").read_bytes() == SAVED["optimizer.pt"]
    assert fault(written, RUN_ID, to_resume=True) is None
    assert (written.step, written.run_id, written.metadata["epoch"], written.metadata["step"]) == (20, RUN_ID, 1.0, 20)
    assert hidden(run) == []


def test_folders_are_0700_and_files_0600_whatever_the_umask(run: RunDirectory) -> None:
    def nested(folder: Path) -> None:
        saver(1)(folder)
        (folder / "runs" / "deep").mkdir(parents=True)
        (folder / "runs" / "deep" / "events").write_text("x")

    before = os.umask(0)
    try:
        written = save(run, nested)
    finally:
        os.umask(before)
    for path in (written.path, *written.path.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    assert "runs/deep/events" in written.files


@pytest.mark.parametrize("place", ["training_args.bin", "deep/training_args.bin"])
def test_the_pickle_that_holds_the_token_is_never_kept(run: RunDirectory, place: str) -> None:
    def careless(folder: Path) -> None:
        saver(1)(folder)
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_bytes(b"hub_token")

    written = save(run, careless)
    assert not list(written.path.rglob("training_args.bin"))
    assert fault(written, RUN_ID) is None


def test_everything_is_synced_before_it_gets_its_name_and_the_name_after(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    rename = Path.rename

    def record_rename(self: Path, target: Path) -> Path:
        done.append("renamed")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", lambda fd: done.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name))
    monkeypatch.setattr(Path, "rename", record_rename)

    def nested(folder: Path) -> None:
        saver(1)(folder)
        (folder / "deep").mkdir()
        (folder / "deep" / "file").touch()

    save(run, nested)
    *before, renamed, after = done
    assert (renamed, after) == ("renamed", "checkpoints")
    partial = next(name for name in before if name.startswith(".partial-checkpoint-20-"))
    assert sorted(before) == sorted([*SAVED, "metadata.json", "manifest.json", "deep", "file", partial])


def test_a_link_that_was_saved_keeps_what_it_leads_to_as_it_is(run: RunDirectory, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("shared")
    outside.chmod(0o644)

    def linked(folder: Path) -> None:
        saver(1)(folder)
        (folder / "link").symlink_to(outside)
        (folder / "dangling").symlink_to(tmp_path / "gone")

    assert fault(save(run, linked), RUN_ID) is None
    assert outside.stat().st_mode & 0o777 == 0o644


# -- failures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        pytest.param(OSError(errno.ENOSPC, "No space left on device"), DiskFull, id="disk full"),
        pytest.param(OSError(errno.EIO, "Input/output error"), WorkspaceError, id="broken disk"),
        pytest.param(RuntimeError("unexpected pos 52032 vs 51920"), RuntimeError, id="of the library"),
        pytest.param(KeyboardInterrupt(), KeyboardInterrupt, id="interrupt"),
    ],
)
def test_a_save_that_fails_leaves_nothing_and_what_was_there_stays(
    run: RunDirectory, raised: BaseException, seen: type[BaseException]
) -> None:
    write(run, 10)
    write(run, 20)

    def fail(folder: Path) -> None:
        (folder / "optimizer.pt").write_bytes(b"half")
        raise raised

    with pytest.raises(seen) as error:
        save(run, fail)
    assert type(error.value) is seen
    assert hidden(run) == []
    assert [(c.step, fault(c, RUN_ID)) for c in checkpoints.all_checkpoints(run)] == [(20, None), (10, None)]


def test_too_little_room_is_refused_before_anything_is_saved(run: RunDirectory) -> None:
    with pytest.raises(DiskFull, match=r"checkpoint-20 needs about 1000000000000\.0 MB and \S+checkpoints has") as full:
        save(run, save_nothing, expected_bytes=10**18)
    assert "resume" in full.value.remedy
    assert hidden(run) == []


def test_a_disk_too_small_costs_nothing_that_was_there_and_serves_again_once_there_is_room(tmp_path: Path) -> None:
    # A checkpoint takes some 70 kB. The room left moves the end of the disk over each of its files.
    reply = python(
        """
        import shutil, sys
        from pathlib import Path
        from engine.errors import DiskFull
        from engine.runs.checkpoints import newest_valid
        from tests.engine.saved import make_run, write
        run, ballast, refused = make_run(Path(sys.argv[1])), Path(sys.argv[1]) / "ballast", 0
        write(run, 10)
        for pages in range(1, 100):
            ballast.write_bytes(bytes(shutil.disk_usage(run.path).free - 4096 * pages))
            try:
                write(run, 20)
                break
            except DiskFull as error:
                refused += 1
                assert "No room to write" in error.message, error
            chosen, skipped = newest_valid(run)
            assert chosen is not None and chosen.step == 10 and not skipped, (pages, skipped)
            assert [p.name for p in run.checkpoints.glob(".*")] == [], pages
            ballast.unlink()
        print(refused, newest_valid(run)[0].step)
        """,
        tmp_path / "disk",
        before=small_disk(tmp_path / "disk", "size=400k"),
    )
    assert reply.returncode == 0, reply.stderr
    refused, step = map(int, reply.stdout.split())
    assert refused > len(SAVED)
    assert step == 20


def test_a_folder_that_may_not_be_written_is_refused(run: RunDirectory) -> None:
    run.checkpoints.chmod(0o500)
    with permissions_hold(), pytest.raises(WorkspaceError, match="Permission denied"):
        save(run, save_nothing)
    run.checkpoints.chmod(0o700)


# -- replacing -----------------------------------------------------------------------------------------------


@pytest.fixture(params=["in one step", "in two steps"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to replace a folder: where the system can exchange two names, and where it cannot."""
    if request.param == "in two steps":
        monkeypatch.setattr(checkpoint_writer, "exchange", lambda *_: False)
    return str(request.param)


@pytest.mark.usefixtures("way")
def test_a_folder_of_ours_is_replaced_and_deleted(run: RunDirectory) -> None:
    write(run, 10, target=run.best)
    assert write(run, 20, target=run.best).step == 20
    assert fault(find_checkpoint(run, "best"), RUN_ID) is None
    assert sorted(os.listdir(run.path)) == ["best", "checkpoints", "events.jsonl", "provenance.json"]


def test_while_best_is_replaced_there_is_always_one(run: RunDirectory) -> None:
    if sys.platform != "linux":
        pytest.skip("two names are exchanged in one step on Linux only")
    write(run, 0, target=run.best)
    ended, seen, missing = threading.Event(), set[int](), list[str]()

    def watch() -> None:
        while not ended.is_set():
            found = checkpoints.read_checkpoint(run.best)
            if found is None:
                missing.append("best")
            elif found.run_id is not None:  # None: it was replaced while its manifest was opened
                seen.add(found.step)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for step in range(1, 25):
            write(run, step, target=run.best)
    finally:
        ended.set()
        watcher.join()
    assert missing == []
    assert len(seen) > 1


def test_a_replacement_that_fails_brings_the_old_one_back(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_writer, "exchange", lambda *_: False)
    write(run, 10, target=run.best)
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if target == run.best and not self.name.startswith(checkpoints.REPLACED):
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", fail)
        with pytest.raises(WorkspaceError):
            write(run, 20, target=run.best)
    assert find_checkpoint(run, "best").step == 10
    assert hidden(run) == []


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("kind", ["another run's", "of another tool", "a file", "a link", "a dangling link"])
def test_what_is_not_ours_is_kept_beside(run: RunDirectory, tmp_path: Path, kind: str) -> None:
    target = run.checkpoints / "checkpoint-20"
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "alive").touch()
    if kind == "another run's":
        write(run, 20, run_id=OTHER_ID)
    elif kind == "of another tool":
        target.mkdir()
        (target / "weights").touch()
    elif kind == "a file":
        target.write_text("mine")
    else:
        target.symlink_to(outside if kind == "a link" else tmp_path / "gone")
    before = target.lstat().st_ino
    assert fault(write(run, 20), RUN_ID) is None
    (kept,) = run.checkpoints.glob("checkpoint-20.not-ours-*")
    assert kept.lstat().st_ino == before
    assert os.listdir(outside) == ["alive"]
    assert steps(run) == [20]
    clear_partials(run)
    assert os.path.lexists(kept)


# -- kills ---------------------------------------------------------------------------------------------------

EVERY_POINT = """
    import os, signal, shutil, sys
    from pathlib import Path
    from engine.runs.checkpoints import all_checkpoints, clear_partials, fault, find_checkpoint, newest_valid
    from engine.runs.directory import RunDirectory
    from engine.training import checkpoint_writer
    from engine.training.checkpoint_writer import rotate
    from tests.engine.saved import RUN_ID, make_run, write

    os.fsync = lambda _: None  # the process is killed, not the power
    if sys.argv[2] == "in two steps":
        checkpoint_writer.exchange = lambda *_: False
    template = make_run(Path(sys.argv[1]), "template")
    for step in (10, 20):
        write(template, step)
    write(template, 20, target=template.best)
    touches = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree", "ctypes.dlsym"}

    def work(run, point, said):
        left = point
        def hook(event, arguments):
            nonlocal left
            if event in touches or event == "open" and arguments[2] & os.O_ACCMODE:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        write(run, 30)
        os.write(said, b"c")
        rotate(run, RUN_ID, 1, keep=[run.checkpoints / "checkpoint-30"])
        write(run, 30, target=run.best)
        os.write(said, b"b")
        os._exit(0)

    point, killed = 0, 1
    while killed:
        point += 1
        run = RunDirectory(template.path.with_name(f"run-{point}"))
        shutil.copytree(template.path, run.path)
        hear, say = os.pipe()
        pid = os.fork()
        if pid == 0:
            work(run, point, say)
        os.close(say)
        killed = os.WTERMSIG(os.waitpid(pid, 0)[1])
        said = os.read(hear, 9)
        os.close(hear)
        where = f"{sys.argv[2]}, killed at point {point} after {said}"
        chosen, skipped = newest_valid(run)
        assert chosen is not None and not skipped, (where, skipped)
        assert chosen.step in ((30,) if said else (20, 30)), where
        if sys.argv[2] == "in one step":
            assert fault(find_checkpoint(run, "best"), RUN_ID) is None, where
        clear_partials(run)
        assert not [p for f in (run.path, run.checkpoints) for p in f.glob(".*")], where
        best = find_checkpoint(run, "best")
        assert fault(best, RUN_ID) is None, where
        assert best.step in ((30,) if b"b" in said else (20, 30)), where
        assert newest_valid(run)[0] == chosen, where
        assert sum(fault(c, RUN_ID) is None for c in all_checkpoints(run)) >= 2, where
        write(run, 40)
        assert newest_valid(run)[0].step == 40, where
        shutil.rmtree(run.path)
    print(point)
"""


@pytest.mark.parametrize("way", ["in one step", "in two steps"])
def test_killed_at_any_point_there_is_a_whole_checkpoint_and_a_best(tmp_path: Path, way: str) -> None:
    reply = python(EVERY_POINT, tmp_path / "runs", way, before=in_memory(tmp_path / "runs"))
    assert reply.returncode == 0, reply.stderr
    assert int(reply.stdout) > 60, reply.stdout


def test_killed_at_random_again_and_again_the_run_always_goes_on(tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from engine.runs.checkpoints import clear_partials, newest_valid
from engine.runs.directory import RunDirectory
from engine.training.checkpoint_writer import rotate
from tests.engine.saved import RUN_ID, write
os.fsync = lambda _: None
run = RunDirectory(Path(sys.argv[1]))
clear_partials(run)
chosen, skipped = newest_valid(run)
assert not skipped, skipped
step = chosen.step if chosen else 0
print(step, flush=True)
while True:
    step += 1
    write(run, step)
    print(step, flush=True)
    rotate(run, RUN_ID, 2)
    write(run, step, target=run.best)
"""
    run, last, dice = make_run(tmp_path / "runs"), 0, random.Random(7)
    for _ in range(8):
        worker = subprocess.Popen([sys.executable, "-c", script, str(run.path)], stdout=subprocess.PIPE, cwd=ROOT)
        assert worker.stdout is not None
        resumed = int(worker.stdout.readline())
        assert resumed >= last
        for _ in range(dice.randrange(1, 6)):
            last = int(worker.stdout.readline())
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
    chosen, skipped = newest_valid(run)
    assert chosen is not None
    assert chosen.step >= last
    assert skipped == []
    rotate(run, RUN_ID, 2)
    assert steps(run) == [chosen.step - 1, chosen.step]


@pytest.mark.parametrize("call", ["rename:signal=SIGKILL:when=1", "fsync:signal=SIGKILL:when=4"])
def test_a_kill_by_the_kernel_between_write_and_rename_costs_the_new_one_only(tmp_path: Path, call: str) -> None:
    run = make_run(tmp_path / "runs")
    write(run, 10)
    script = """
        import sys
        sys.dont_write_bytecode = True
        from pathlib import Path
        from engine.runs.directory import RunDirectory
        from tests.engine.saved import write
        write(RunDirectory(Path(sys.argv[1])), 20)
    """
    assert python(script, run.path, before=failing(call)).returncode != 0
    chosen, skipped = newest_valid(run)
    assert chosen is not None
    assert (chosen.step, skipped) == (10, [])
    (partial,) = run.checkpoints.glob(".partial-*")
    assert clear_partials(run) == [partial.name]


def test_a_sync_that_fails_is_told_and_the_checkpoint_does_not_count(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs")
    script = """
        import sys
        sys.dont_write_bytecode = True
        from pathlib import Path
        from engine.errors import WorkspaceError
        from engine.runs.directory import RunDirectory
        from tests.engine.saved import write
        try:
            write(RunDirectory(Path(sys.argv[1])), 20)
        except WorkspaceError as error:
            print(error.message)
    """
    reply = python(script, run.path, before=failing("fsync:error=EIO:when=3"))
    assert reply.stdout == f"Cannot write {run.checkpoints / 'checkpoint-20'}: Input/output error.\n", reply.stderr
    assert os.listdir(run.checkpoints) == []


# -- rotation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        (None, [10, 20, 30, 40, 50]),
        (0, [40, 50]),
        (1, [40, 50]),
        (2, [40, 50]),
        (3, [30, 40, 50]),
        (9, [10, 20, 30, 40, 50]),
    ],
    ids=str,
)
def test_the_newest_are_kept_and_never_fewer_than_two(run: RunDirectory, limit: int | None, kept: list[int]) -> None:
    for step in (10, 20, 30, 40, 50):
        write(run, step)
    removed = rotate(run, RUN_ID, limit)
    assert steps(run) == kept
    assert sorted([*(c.step for c in removed), *kept]) == [10, 20, 30, 40, 50]


def test_rotation_touches_nothing_that_is_not_ours(run: RunDirectory) -> None:
    for step in (10, 20, 30):
        write(run, step)
    write(run, 5, run_id=OTHER_ID)
    write(run, 1000, run_id=OTHER_ID)
    (run.checkpoints / "checkpoint-7").mkdir()
    write(run, 10, target=run.best)
    write(run, 10, target=run.final)
    assert [c.step for c in rotate(run, RUN_ID, 2)] == [10]
    assert steps(run) == [5, 7, 20, 30, 1000]
    assert find_checkpoint(run, "best").step == find_checkpoint(run, "final").step == 10


def test_what_must_stay_stays_whatever_its_age(run: RunDirectory) -> None:
    for step in (10, 20, 30):
        write(run, step)
    assert rotate(run, RUN_ID, 1, keep=[run.checkpoints / "checkpoint-10"]) == []
    assert steps(run) == [10, 20, 30]


def test_damaged_ones_are_not_counted_among_the_kept(run: RunDirectory) -> None:
    for step in (10, 20, 30, 40):
        write(run, step)
    for step in (20, 40):
        (run.checkpoints / f"checkpoint-{step}" / "optimizer.pt").write_bytes(b"half")
    assert rotate(run, RUN_ID, 2) == []
    write(run, 50)
    assert [c.step for c in rotate(run, RUN_ID, 2)] == [20, 10]
    assert steps(run) == [30, 40, 50]


def test_after_going_back_what_was_left_behind_goes_first(run: RunDirectory) -> None:
    for step in (10, 20, 30):
        write(run, step)
    shutil.rmtree(run.checkpoints / "checkpoint-20")
    write(run, 15)  # the run was sent back to step 10
    assert [c.step for c in rotate(run, RUN_ID, 2)] == [10]
    write(run, 16)
    assert [c.step for c in rotate(run, RUN_ID, 2)] == [30]
    assert steps(run) == [15, 16]


def test_a_checkpoint_that_cannot_be_removed_is_not_reported_as_removed(run: RunDirectory) -> None:
    for step in (10, 20, 30):
        write(run, step)
    run.checkpoints.chmod(0o500)
    with permissions_hold():
        assert rotate(run, RUN_ID, 2) == []
    run.checkpoints.chmod(0o700)
    assert steps(run) == [10, 20, 30]
