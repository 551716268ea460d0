"""Liveness: every way to be alive, dead or unknown, and that nothing is touched by looking."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.runs import lock
from engine.runs.identity import ProcessIdentity, write_identity
from engine.runs.liveness import STALE_SECONDS, Life, beat, liveness

HOUR, DAY = 3600.0, 86_400.0
ANOTHER_BOOT = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run-1"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def gone() -> ProcessIdentity:
    """A process of this boot that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = ProcessIdentity.of(process.pid, "0" * 32)
    process.communicate()
    return identity


@pytest.fixture
def this() -> ProcessIdentity:
    return ProcessIdentity.of_this_process()


@pytest.fixture
def locked(run: Path) -> Iterator[None]:
    """Hold the lock of the run, through a description of its own: to an observer that is another process."""
    descriptor = os.open(run / "run.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
    os.close(descriptor)


@pytest.fixture
def folder(run: Path) -> Path:
    """Leave a lock folder, of which only the records can tell whether somebody holds it."""
    path = run / "run.lock.d"
    path.mkdir()
    return path


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "network_file_system", lambda _: "nfs4")


def heartbeat(run: Path, age: float) -> None:
    """Leave a heartbeat that is `age` seconds old; below 0 the clock was set back since."""
    beat(run, "0" * 32, 5)
    then = time.time() - age
    os.utime(run / "heartbeat", (then, then))


def test_a_run_that_never_started_is_dead(run: Path) -> None:
    assert liveness(run).life is Life.DEAD


@pytest.mark.usefixtures("network")
def test_a_run_on_a_network_disk_that_never_started_is_dead(run: Path) -> None:
    (run / "run.lock").touch()
    found = liveness(run)
    assert (found.life, found.reason) == (Life.DEAD, "it was never started")


@pytest.mark.parametrize("record", ["keeper.json", "worker.json"])
def test_a_process_proven_to_be_the_recorded_one_is_alive_whatever_the_lock_says(
    run: Path, this: ProcessIdentity, gone: ProcessIdentity, record: str
) -> None:
    for name in ("keeper.json", "worker.json"):
        write_identity(run / name, this if name == record else gone)
    found = liveness(run)
    assert (found.life, found.reason) == (Life.ALIVE, f"process {this.pid} works on it")
    assert (found.keeper, found.worker) == ((this, gone) if record == "keeper.json" else (gone, this))


@pytest.mark.usefixtures("locked")
def test_a_held_lock_with_a_heartbeat_is_alive(run: Path, gone: ProcessIdentity) -> None:
    write_identity(run / "keeper.json", gone)
    heartbeat(run, 3)
    found = liveness(run)
    assert (found.life, found.reason) == (Life.ALIVE, "its lock is held and its heartbeat moves")


@pytest.mark.usefixtures("locked")
@pytest.mark.parametrize("age", [None, STALE_SECONDS + 1, DAY], ids=["none", "stale", "a day old"])
def test_a_held_lock_without_a_heartbeat_is_unknown(run: Path, age: float | None) -> None:
    if age is not None:
        heartbeat(run, age)
    found = liveness(run)
    assert (found.life, found.reason) == (Life.UNKNOWN, "its lock is held by a process that cannot be identified")


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"boot_id": ANOTHER_BOOT}, id="of an earlier boot"),
        pytest.param({"start_time": "1"}, id="whose number was used again"),
        pytest.param({"pid_namespace": "pid:[1]"}, id="of a container that is gone"),
    ],
)
def test_a_free_lock_is_dead_though_a_stranger_has_the_recorded_number(
    run: Path, this: ProcessIdentity, changed: dict[str, str]
) -> None:
    (run / "run.lock").touch()
    write_identity(run / "keeper.json", replace(this, **changed))  # type: ignore[arg-type]
    heartbeat(run, 1)
    found = liveness(run)
    assert (found.life, found.reason) == (Life.DEAD, "nobody holds its lock")


@pytest.mark.usefixtures("folder")
def test_a_lock_folder_whose_processes_are_gone_is_dead(run: Path, gone: ProcessIdentity) -> None:
    write_identity(run / "keeper.json", gone)
    write_identity(run / "worker.json", gone)
    heartbeat(run, 1)
    found = liveness(run)
    assert (found.life, found.reason) == (Life.DEAD, f"process {gone.pid} is gone")


@pytest.mark.usefixtures("folder")
def test_a_lock_folder_of_an_earlier_boot_is_dead_on_a_disk_of_this_machine(run: Path, this: ProcessIdentity) -> None:
    write_identity(run / "keeper.json", replace(this, boot_id=ANOTHER_BOOT))
    found = liveness(run)
    assert (found.life, found.reason) == (Life.DEAD, "the machine was started anew since")


@pytest.mark.usefixtures("folder")
def test_a_keeper_of_an_earlier_boot_and_a_worker_that_is_gone_are_dead(
    run: Path, this: ProcessIdentity, gone: ProcessIdentity
) -> None:
    write_identity(run / "keeper.json", replace(this, boot_id=ANOTHER_BOOT))
    write_identity(run / "worker.json", gone)
    assert liveness(run).life is Life.DEAD


@pytest.mark.usefixtures("folder", "network")
@pytest.mark.parametrize(
    ("age", "life", "reason"),
    [
        (None, Life.UNKNOWN, "it was started on node7"),
        (STALE_SECONDS + 1, Life.UNKNOWN, "it was started on node7"),
        (5.0, Life.ALIVE, "its heartbeat moves on node7"),
    ],
    ids=["none", "stale", "fresh"],
)
def test_another_machines_run_is_known_by_its_heartbeat_only(
    run: Path, this: ProcessIdentity, age: float | None, life: Life, reason: str
) -> None:
    write_identity(run / "keeper.json", replace(this, boot_id=ANOTHER_BOOT, host="node7"))
    if age is not None:
        heartbeat(run, age)
    found = liveness(run)
    assert (found.life, found.reason) == (life, reason)


@pytest.mark.usefixtures("folder")
def test_another_containers_run_of_this_boot_is_unknown(run: Path, gone: ProcessIdentity) -> None:
    write_identity(run / "keeper.json", replace(gone, pid_namespace="pid:[1]"))
    assert liveness(run).life is Life.UNKNOWN


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("age", "life", "reason"),
    [
        (None, Life.UNKNOWN, "it was started on an unknown machine"),
        (5.0, Life.ALIVE, "its heartbeat moves on another machine"),
    ],
    ids=["none", "fresh"],
)
def test_a_lock_folder_without_records_is_known_by_its_heartbeat_only(
    run: Path, age: float | None, life: Life, reason: str
) -> None:
    if age is not None:
        heartbeat(run, age)
    found = liveness(run)
    assert (found.life, found.reason) == (life, reason)


@pytest.mark.parametrize("jump", [-HOUR, DAY], ids=["an hour back", "a day ahead"])
def test_a_clock_that_jumps_makes_no_living_process_dead(run: Path, this: ProcessIdentity, jump: float) -> None:
    write_identity(run / "keeper.json", this)
    heartbeat(run, jump)
    assert liveness(run).life is Life.ALIVE


@pytest.mark.usefixtures("locked")
@pytest.mark.parametrize(
    ("jump", "life"), [(-HOUR, Life.ALIVE), (DAY, Life.UNKNOWN)], ids=["an hour back", "a day ahead"]
)
def test_a_clock_that_jumps_makes_no_held_lock_dead(run: Path, jump: float, life: Life) -> None:
    heartbeat(run, jump)
    assert liveness(run).life is life


def test_a_damaged_record_is_no_record(run: Path, this: ProcessIdentity) -> None:
    (run / "keeper.json").write_text(f'{{"pid": {this.pid}}}')
    found = liveness(run)
    assert (found.life, found.keeper) == (Life.DEAD, None)


@pytest.mark.usefixtures("locked")
def test_looking_touches_nothing(run: Path, gone: ProcessIdentity) -> None:
    write_identity(run / "keeper.json", gone)
    heartbeat(run, 100)

    def listing() -> dict[str, tuple[int, int]]:
        return {p.name: (p.stat().st_size, p.stat().st_mtime_ns) for p in [run, *run.iterdir()]}

    before = listing()
    liveness(run)
    assert listing() == before


def test_a_folder_that_is_not_there_is_dead(tmp_path: Path) -> None:
    assert liveness(tmp_path / "gone").life is Life.DEAD
