"""The keeper with real processes: who survives whom, and what is written about it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine import commands, events
from engine.errors import EngineError, NotRunning, RunBusy
from engine.launch import start as launching
from engine.launch.keeper import oom_kills
from engine.runs.directory import RunDirectory
from engine.runs.follow import Record
from engine.runs.identity import read_identity
from engine.runs.lifecycle import Lifecycle
from engine.runs.liveness import Life, liveness
from tests.conftest import Runs, read_records, wait_for

STEPS_FOREVER = """
    step = 0
    while True:
        step += 1
        say(events.StepFinished(step, step / 10, step * 8, 0.01, {"loss": 1.0 / step}))
        time.sleep(0.01)
"""
SLEEP = "time.sleep(600)"


def exited(run: RunDirectory) -> events.WorkerExited | None:
    last = read_records(run)[-1].event
    return last if isinstance(last, events.WorkerExited) else None


def steps(records: list[Record]) -> list[int]:
    return [record.event.step for record in records if isinstance(record.event, events.StepFinished)]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text()


def test_a_worker_that_ends_is_reported_with_its_exit_code(runs: Runs) -> None:
    run = runs.create()
    runs.start(run, "say(events.RunEnded('finished', 3, 1.0)); sys.exit(3)")
    ended = wait_for(lambda: exited(run))
    assert (ended.exit_code, ended.signal, ended.out_of_memory) == (3, None, False)
    wait_for(lambda: liveness(run.path).life is Life.DEAD)
    records = read_records(run)
    assert [record.seq for record in records] == list(range(1, len(records) + 1))


def test_a_run_outlives_the_process_that_started_it(runs: Runs) -> None:
    run = runs.create()
    worker = runs.worker(STEPS_FOREVER)
    console = subprocess.Popen(
        [sys.executable, "-c", f"""
import sys, time
from pathlib import Path
from engine.launch.start import start
from engine.runs.directory import RunDirectory
start(RunDirectory(Path({str(run.path)!r})), worker={worker!r})
print("started", flush=True)
time.sleep(600)
"""],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert console.stdout is not None
    assert console.stdout.readline() == b"started\n"
    before = wait_for(lambda: steps(read_records(run)))
    pid = read_identity(run.path / "worker.json")
    os.killpg(console.pid, signal.SIGKILL)
    console.wait()
    console.stdout.close()
    wait_for(lambda: len(steps(read_records(run))) > len(before) + 20)
    after = steps(read_records(run))
    assert after == list(range(1, len(after) + 1))  # no gap
    assert read_identity(run.path / "worker.json") == pid
    assert liveness(run.path).life is Life.ALIVE


def test_a_killed_worker_is_reported_with_its_signal_and_no_cause_is_invented(runs: Runs) -> None:
    run = runs.create()
    runs.start(run, STEPS_FOREVER)
    wait_for(lambda: steps(read_records(run)))
    worker = wait_for(lambda: read_identity(run.path / "worker.json"))
    os.kill(worker.pid, signal.SIGKILL)
    ended = wait_for(lambda: exited(run))
    assert (ended.exit_code, ended.signal, ended.out_of_memory) == (None, 9, False)
    lifecycle = Lifecycle()
    for record in read_records(run):
        lifecycle.apply(record.event)
    assert lifecycle.state(Life.DEAD) == "died"
    assert "signal 9" in lifecycle.explanation()
    assert "cause unknown" in lifecycle.explanation()


def test_children_of_a_killed_worker_are_ended_with_it(runs: Runs) -> None:
    run = runs.create()
    runs.start(
        run,
        """
        children = [subprocess.Popen([sys.executable, "-c", "import signal, time; "
                    "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"],
                    stdout=subprocess.PIPE, start_new_session=bool(n)) for n in range(2)]
        for child in children:
            child.stdout.readline()
        (run / "children").write_text(" ".join(str(child.pid) for child in children))
        time.sleep(600)
        """,
    )
    children = [int(pid) for pid in wait_for(lambda: _read(run.path / "children")).split()]
    worker = wait_for(lambda: read_identity(run.path / "worker.json"))
    os.kill(worker.pid, signal.SIGKILL)
    ended = wait_for(lambda: exited(run))
    assert ended.stray_processes == 2
    wait_for(lambda: not any(alive(pid) for pid in children))


def test_a_worker_outlives_its_keeper_and_nobody_else_can_start(runs: Runs) -> None:
    run = runs.create()
    runs.start(run, STEPS_FOREVER)
    wait_for(lambda: steps(read_records(run)))
    keeper = wait_for(lambda: read_identity(run.path / "keeper.json"))
    os.kill(keeper.pid, signal.SIGKILL)
    wait_for(lambda: not keeper.is_alive())
    before = len(steps(read_records(run)))
    wait_for(lambda: len(steps(read_records(run))) > before + 5)
    assert liveness(run.path).life is Life.ALIVE
    with pytest.raises(RunBusy):
        runs.start(run, SLEEP)


def test_twenty_starts_at_once_make_one_worker_and_nineteen_refusals(runs: Runs) -> None:
    run = runs.create()
    worker = runs.worker("open(run / 'workers', 'a').write('x'); time.sleep(600)")
    outcomes: list[str] = []

    def try_to_start() -> None:
        try:
            launching.start(run, worker=worker)
            outcomes.append("started")
        except RunBusy as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=try_to_start) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["run-busy"] * 19 + ["started"]
    assert wait_for(lambda: _read(run.path / "workers")) == "x"
    assert sum(isinstance(r.event, events.KeeperStarted) for r in read_records(run)) == 1


def test_a_worker_that_ignores_stop_now_is_killed_with_its_group_after_the_grace(runs: Runs) -> None:
    run = runs.create()
    runs.start(
        run,
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (run / "child").write_text(str(child.pid))
        time.sleep(600)
        """,
        grace_seconds=0.2,
    )
    child = int(wait_for(lambda: _read(run.path / "child")))
    launching.send(run, commands.Stop(save=False))
    ended = wait_for(lambda: exited(run))
    assert ended.signal == 9
    wait_for(lambda: not alive(child))
    confirmed = [r.event for r in read_records(run) if isinstance(r.event, events.CommandConfirmed)]
    assert [event.by for event in confirmed] == ["keeper"]


def test_a_worker_that_has_said_its_end_is_not_killed_for_a_slow_exit(runs: Runs) -> None:
    run = runs.create()
    runs.start(
        run,
        """
        while not (run / "commands.jsonl").exists():
            time.sleep(0.01)
        say(events.RunEnded("stopped", 1, 1.0))
        time.sleep(1.0)
        """,
        grace_seconds=0.2,
    )
    launching.send(run, commands.Stop(save=False))
    ended = wait_for(lambda: exited(run))
    assert (ended.exit_code, ended.signal) == (0, None)


def test_stop_with_saving_never_kills(runs: Runs) -> None:
    run = runs.create()
    runs.start(run, "time.sleep(1.0); say(events.RunEnded('stopped', 1, 1.0))", grace_seconds=0.1)
    launching.send(run, commands.Stop(save=True))
    ended = wait_for(lambda: exited(run))
    assert (ended.exit_code, ended.signal) == (0, None)


def test_a_keeper_told_to_terminate_lets_the_worker_save_first(runs: Runs) -> None:
    run = runs.create()
    runs.start(
        run,
        """
        def save(*_):
            say(events.CheckpointSaved(1, "checkpoints/checkpoint-1", 1, "stopping"))
            sys.exit(0)
        signal.signal(signal.SIGTERM, save)
        (run / "ready").write_text("1")
        time.sleep(600)
        """,
    )
    wait_for(lambda: _read(run.path / "ready"))
    keeper = wait_for(lambda: read_identity(run.path / "keeper.json"))
    os.kill(keeper.pid, signal.SIGTERM)
    ended = wait_for(lambda: exited(run))
    assert ended.exit_code == 0
    assert any(isinstance(record.event, events.CheckpointSaved) for record in read_records(run))


def test_a_noisy_worker_does_not_hang(runs: Runs) -> None:
    run = runs.create()
    runs.start(run, "sys.stderr.write('x' * 2_000_000); say(events.RunEnded('finished', 1, 1.0))")
    wait_for(lambda: exited(run))
    assert run.log.stat().st_size >= 2_000_000


def test_a_dead_run_is_told_nothing(runs: Runs) -> None:
    run = runs.create()
    with pytest.raises(NotRunning, match="resume"):
        launching.send(run, commands.Pause())
    assert not run.commands.exists()


@pytest.mark.parametrize("record", ["1", "0", "-1", "abc", "", "dir", "big"])
def test_a_damaged_record_signals_nobody_and_is_set_aside(runs: Runs, record: str) -> None:
    run = runs.create()
    path = run.path / "keeper.json"
    if record == "dir":
        path.mkdir()
    elif record == "big":
        with path.open("wb") as file:
            file.truncate(1 << 30)
    else:
        path.write_text(f'{{"pid": {record}}}' if record else "")
    assert liveness(run.path).life is Life.DEAD
    runs.start(run, "say(events.RunEnded('finished', 1, 1.0))")
    wait_for(lambda: exited(run))
    assert len(list(run.path.glob("keeper.json.damaged-*"))) == 1
    assert read_identity(path) is not None


def test_an_unwritable_run_is_refused_in_one_sentence(runs: Runs) -> None:
    run = runs.create()
    (run.path / "run.lock").mkdir()
    with pytest.raises(EngineError) as refused:
        runs.start(run, SLEEP)
    assert "run.lock" in str(refused.value)
    assert "Traceback" not in str(refused.value)


def test_an_out_of_memory_kill_is_claimed_only_with_the_kernels_count(tmp_path: Path) -> None:
    group = tmp_path / "job"
    group.mkdir()
    own = tmp_path / "cgroup"
    own.write_text("0::/job\n")
    assert oom_kills(tmp_path, own) == 0
    (group / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert oom_kills(tmp_path, own) == 2
    own.write_text("nonsense")
    assert oom_kills(tmp_path, own) == 0


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
