"""The lock: one holder whatever happens, with flock and where there is none."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from engine.errors import RunBusy, WorkspaceError
from engine.runs import lock
from engine.runs.identity import ProcessIdentity, read_identity, write_identity
from engine.runs.liveness import Life, liveness
from engine.runs.lock import Held, acquire, break_folder_lock, held, network_file_system
from tests.conftest import Runs, wait_for
from tests.engine.faults import ROOT, failing, permissions_hold, python

ANOTHER_BOOT = "00000000-0000-0000-0000-000000000000"
HOLD = """
import sys
from pathlib import Path
from engine.runs.lock import acquire
held = acquire(Path(sys.argv[1]), wait_seconds=0)
print("held", flush=True)
sys.stdin.read()
"""
RACE = """
    import os, sys, traceback
    from pathlib import Path
    from engine.errors import RunBusy
    from engine.runs.lock import acquire, break_folder_lock
    run, children = Path(sys.argv[1]), 20
    go, started = os.pipe()
    results, say = os.pipe()
    over, end = os.pipe()
    for _ in range(children):
        if os.fork() == 0:
            os.close(started)
            os.close(end)
            os.read(go, 1)  # all at once, when the parent closes its end
            try:
                break_folder_lock(run)  # as every start does that found nobody alive
                held = acquire(run, wait_seconds=0)
                os.write(say, b"1")
            except RunBusy:
                os.write(say, b"0")
            except BaseException:
                traceback.print_exc()
                os.write(say, b"!")
            os.read(over, 1)  # the winner holds it until everybody has tried
            os._exit(0)
    os.close(started)
    answers = b""
    while len(answers) < children:
        answers += os.read(results, children)
    print(answers.count(b"1"), answers.count(b"0"))
"""
"""Twenty processes try to take the lock of argv[1] at once; says how many did and how many were refused.

One that fails in any other way is neither, and says why on stderr.
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run-1"
    path.mkdir(mode=0o700)
    return path


def no_flock(*_: object) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


@pytest.fixture
def without_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", no_flock)


@pytest.fixture
def holder(run: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Return a function that starts a process which holds the lock until it is ended."""
    started: list[subprocess.Popen[bytes]] = []

    def hold(head: str = "") -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", head + HOLD, str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        return process

    yield hold
    for process in started:
        process.communicate()


WITHOUT_FLOCK = """
import errno, fcntl
def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
"""


def dead_identity() -> ProcessIdentity:
    """Return the identity of a process of this boot that is gone."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = ProcessIdentity.of(process.pid, "0" * 32)
    process.communicate()
    return identity


def left_by(run: Path, owner: ProcessIdentity | None) -> Path:
    """Make a lock folder as a process left it that was killed; None leaves no record in it."""
    folder = run / "run.lock.d"
    folder.mkdir()
    if owner is not None:
        write_identity(folder / f"{owner.nonce}.json", owner)
    return folder


# -- flock ---------------------------------------------------------------------------------------------------


def test_a_lock_is_free_held_and_free_again(run: Path) -> None:
    assert held(run) is Held.NO
    mine = acquire(run)
    assert held(run) is Held.YES
    assert mine.owner is None
    mine.release()
    assert held(run) is Held.NO
    acquire(run, wait_seconds=0).release()
    assert (run / "run.lock").stat().st_mode & 0o777 == 0o600


def test_a_second_taker_is_refused_with_what_to_do(run: Path, holder: Callable[..., subprocess.Popen[bytes]]) -> None:
    holder()
    with pytest.raises(RunBusy, match="run-1 is being worked on by another process") as refused:
        acquire(run, wait_seconds=0)
    assert "ftconsole stop run-1" in refused.value.remedy


def test_a_killed_holder_frees_the_lock(run: Path, holder: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = holder()
    process.send_signal(signal.SIGKILL)
    process.wait()
    acquire(run, wait_seconds=0).release()


def test_the_lock_lives_as_long_as_a_child_that_inherited_it(run: Path) -> None:
    script = f"""
import subprocess, sys
from pathlib import Path
from engine.runs.lock import acquire
held = acquire(Path({str(run)!r}))
child = subprocess.Popen(["sleep", "600"], pass_fds=[held.fd], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(child.pid, flush=True)
"""
    parent = subprocess.run([sys.executable, "-c", script], capture_output=True, cwd=ROOT, check=True)
    assert held(run) is Held.YES
    os.kill(int(parent.stdout), signal.SIGKILL)
    wait_for(lambda: held(run) is Held.NO)


def test_of_twenty_that_try_at_once_one_takes_the_lock(run: Path) -> None:
    reply = python(RACE, run)
    assert reply.stdout == "1 19\n", reply.stderr


def test_observers_who_look_all_the_time_never_refuse_a_start(run: Path) -> None:
    script = f"""
from pathlib import Path
from engine.runs.lock import held
while True:
    held(Path({str(run)!r}))
    print(flush=True)
"""
    observers = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT) for _ in range(2)]
    try:
        for _ in range(40):
            acquire(run, wait_seconds=60).release()
            for observer in observers:
                assert observer.stdout is not None
                observer.stdout.readline()  # they look while we take it; a full pipe would stop them
    finally:
        for observer in observers:
            observer.kill()
            observer.communicate()


def test_a_starter_waits_for_an_observer_in_the_act(run: Path) -> None:
    (run / "run.lock").touch()
    looking = os.open(run / "run.lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    refused: list[str] = []

    def start() -> None:
        try:
            acquire(run, wait_seconds=60).release()
        except RunBusy as error:
            refused.append(error.code)

    starter = threading.Thread(target=start)
    starter.start()
    os.close(looking)
    starter.join()
    assert refused == []


def test_a_folder_in_the_place_of_the_lock_is_refused(run: Path) -> None:
    (run / "run.lock").mkdir()
    with pytest.raises(WorkspaceError, match=r"run\.lock: Is a directory"):
        acquire(run)


def test_a_run_that_may_not_be_written_is_refused(run: Path) -> None:
    run.chmod(0o500)
    with permissions_hold(), pytest.raises(WorkspaceError, match="Permission denied"):
        acquire(run)


def test_a_lock_that_may_not_be_looked_at_says_nothing(run: Path) -> None:
    (run / "run.lock").touch(0o000)
    with permissions_hold():
        assert held(run) is Held.UNKNOWN


def test_a_pipe_in_the_place_of_the_lock_does_not_block(run: Path) -> None:
    os.mkfifo(run / "run.lock")
    assert held(run) in Held
    acquire(run, wait_seconds=0).release()


# -- a folder, where flock is missing or means nothing -------------------------------------------------------


@pytest.mark.usefixtures("without_flock")
def test_without_flock_a_folder_is_the_lock(run: Path) -> None:
    mine = acquire(run)
    assert mine.fd is None
    assert mine.owner is not None
    assert read_identity(mine.owner) is not None
    assert mine.owner.parent.stat().st_mode & 0o777 == 0o700
    assert held(run) is Held.UNKNOWN  # only the identity of its owner can tell
    with pytest.raises(RunBusy, match="is being worked on") as refused:
        acquire(run)
    assert str(run / "run.lock.d") in refused.value.remedy
    mine.release()
    assert not (run / "run.lock.d").exists()
    acquire(run).release()


def test_without_flock_nothing_can_be_said_of_a_lock(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acquire(run).release()
    monkeypatch.setattr(fcntl, "flock", no_flock)
    assert held(run) is Held.UNKNOWN


def test_on_a_network_file_system_flock_is_not_believed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "network_file_system", lambda _: "nfs4")
    mine = acquire(run)
    assert mine.fd is None
    assert held(run) is Held.UNKNOWN
    mine.release()
    assert held(run) is Held.UNKNOWN


def test_of_twenty_without_flock_one_takes_the_lock(run: Path) -> None:
    reply = python(RACE, run, before=failing("flock:error=ENOLCK"))
    assert reply.stdout == "1 19\n", reply.stderr
    assert len(list((run / "run.lock.d").glob("*.json"))) == 1


def test_of_twenty_that_break_a_dead_ones_lock_one_takes_it(run: Path) -> None:
    for _ in range(4):
        left_by(run, dead_identity())
        reply = python(WITHOUT_FLOCK.replace("\n", "\n    ") + RACE, run)
        assert reply.stdout == "1 19\n", reply.stderr
        (winner,) = (run / "run.lock.d").iterdir()
        winner.unlink()
        winner.parent.rmdir()


def test_a_folder_that_somebody_else_breaks_first_is_no_mistake(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = left_by(run, dead_identity())

    def look(real: Callable[[Path], object], path: Path) -> object:
        monkeypatch.undo()
        break_folder_lock(run)
        return real(path)

    monkeypatch.setattr(os, "scandir", partial(look, os.scandir))
    monkeypatch.setattr(os, "listdir", partial(look, os.listdir))
    break_folder_lock(run)
    assert not folder.exists()


@pytest.mark.usefixtures("without_flock")
def test_a_killed_holders_folder_is_broken_at_the_next_start(
    run: Path, holder: Callable[..., subprocess.Popen[bytes]]
) -> None:
    process = holder(WITHOUT_FLOCK)
    break_folder_lock(run)
    with pytest.raises(RunBusy):
        acquire(run)
    process.send_signal(signal.SIGKILL)
    process.wait()
    break_folder_lock(run)
    acquire(run).release()


@pytest.mark.usefixtures("without_flock")
def test_who_decided_too_early_that_nobody_lives_does_not_break_a_new_lock(run: Path) -> None:
    assert liveness(run).life is Life.DEAD
    theirs = acquire(run)
    break_folder_lock(run)
    with pytest.raises(RunBusy):
        acquire(run)
    theirs.release()


@pytest.mark.parametrize("record", ["keeper.json", "worker.json"])
def test_a_folder_is_not_broken_while_keeper_or_worker_lives(run: Path, record: str) -> None:
    folder = left_by(run, dead_identity())
    write_identity(run / "keeper.json", dead_identity())
    write_identity(run / record, ProcessIdentity.of_this_process())
    break_folder_lock(run)
    assert folder.is_dir()
    write_identity(run / record, dead_identity())
    break_folder_lock(run)
    assert not folder.exists()


def test_a_folder_of_an_earlier_boot_is_broken_on_a_disk_of_this_machine_only(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = left_by(run, replace(ProcessIdentity.of_this_process(), boot_id=ANOTHER_BOOT, host="elsewhere"))
    with monkeypatch.context() as network:
        network.setattr(lock, "network_file_system", lambda _: "nfs4")
        break_folder_lock(run)
        assert folder.is_dir()
    break_folder_lock(run)
    assert not folder.exists()


def test_a_folder_of_another_container_is_left_alone(run: Path) -> None:
    folder = left_by(run, replace(dead_identity(), pid_namespace="pid:[1]"))
    break_folder_lock(run)
    assert folder.is_dir()


@pytest.mark.parametrize("content", [None, b"", b"{}"], ids=["no record", "empty", "damaged"])
@pytest.mark.usefixtures("without_flock")
def test_a_folder_that_names_nobody_is_left_to_the_user(run: Path, content: bytes | None) -> None:
    folder = left_by(run, None)
    if content is not None:
        (folder / "0.json").write_bytes(content)
    break_folder_lock(run)
    with pytest.raises(RunBusy) as refused:
        acquire(run)
    assert f"remove the folder {folder}" in refused.value.remedy


@pytest.mark.usefixtures("without_flock")
def test_a_lock_that_cannot_say_whose_it_is_is_given_back(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, _: object) -> None:
        path.with_name(".half").touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(lock, "write_identity", full)
    with pytest.raises(WorkspaceError, match="No room to write"):
        acquire(run)
    assert not (run / "run.lock.d").exists()


@pytest.mark.usefixtures("without_flock")
def test_a_lock_that_somebody_removed_by_hand_is_released_without_an_error(run: Path) -> None:
    mine = acquire(run)
    assert mine.owner is not None
    mine.owner.unlink()
    mine.owner.parent.rmdir()
    mine.release()


def test_keepers_without_flock_keep_each_other_out_and_clean_up(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    (runs.scripts / "sitecustomize.py").write_text(WITHOUT_FLOCK)
    monkeypatch.setattr(fcntl, "flock", no_flock)
    run = runs.create()
    runs.start(run, "time.sleep(600)")
    assert liveness(run.path).life is Life.ALIVE
    with pytest.raises(RunBusy):
        runs.start(run, "time.sleep(600)")
    for name in ("keeper.json", "worker.json"):
        identity = read_identity(run.path / name)
        assert identity is not None
        assert identity.send(signal.SIGKILL)
        wait_for(lambda identity=identity: not identity.is_alive())  # type: ignore[misc]
    assert (run.path / "run.lock.d").is_dir()
    assert liveness(run.path).life is Life.DEAD
    runs.start(run, "say(events.RunEnded('finished', 1, 1.0))")
    wait_for(lambda: not (run.path / "run.lock.d").exists(), "the second keeper to let go")


# -- which file system ---------------------------------------------------------------------------------------


def mountinfo(tmp_path: Path, *mounts: tuple[str, str]) -> Path:
    path = tmp_path / "mountinfo"
    lines = [f"{n} 1 0:{n} / {point} rw,relatime shared:1 - {kind} source rw" for n, (point, kind) in enumerate(mounts)]
    path.write_bytes(("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))
    return path


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/run", None),
        ("/data/run", "nfs4"),
        ("/data", "nfs4"),
        ("/data-local/run", None),
        ("/data/scratch/run", None),
        ("/my disk/run", "cifs"),
        ("/tab\tand\\back/run", "lustre"),
        ("/caf\udce9/run", "fuse.sshfs"),
        ("/twice/run", "9p"),
    ],
)
def test_the_innermost_mount_decides(tmp_path: Path, path: str, kind: str | None) -> None:
    mounts = mountinfo(
        tmp_path,
        ("/", "ext4"),
        ("/data", "nfs4"),
        ("/data/scratch", "xfs"),
        (r"/my\040disk", "cifs"),
        (r"/tab\011and\134back", "lustre"),
        ("/caf\udce9", "fuse.sshfs"),
        ("/twice", "ext4"),
        ("/twice", "9p"),
    )
    assert network_file_system(Path(path), mounts) == kind


def test_a_link_is_followed_to_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to(tmp_path / "far")
    mounts = mountinfo(tmp_path, ("/", "ext4"), (os.path.realpath(tmp_path / "far"), "nfs"))
    assert network_file_system(tmp_path / "near", mounts) == "nfs"


def test_what_cannot_be_told_counts_as_local(tmp_path: Path) -> None:
    (tmp_path / "odd").write_text("\n1 2 3\nnonsense - nfs\n - \n")
    assert network_file_system(tmp_path, tmp_path / "missing") is None
    assert network_file_system(tmp_path, tmp_path / "odd") is None
