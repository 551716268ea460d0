"""The keeper: a small process that outlives the console, holds the run's lock and sees the worker to its end.

`python -P -m engine.launch.keeper RUN [--resume CHECKPOINT]` takes the lock, detaches and exits 0 when the worker
has been started, or exits 75 with one line of JSON on stderr when the run is busy. The detached process:

- is a subreaper, so that loader workers of a crashed worker (which may hold device memory) come back to it;
- writes a heartbeat, and how the worker ended: exit code, signal, evidence of an out-of-memory kill;
- ends a worker that does not obey "stop now" within the grace time.

It never restarts anything. Standard library only, some 12 MB resident.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from engine import commands, events
from engine.errors import EngineError, RunBusy
from engine.journal import RESUME, Journal
from engine.runs import lock
from engine.runs.identity import ProcessIdentity, set_aside_damaged, write_identity
from engine.runs.liveness import HEARTBEAT_SECONDS, Life, beat, liveness

EX_TEMPFAIL = 75
"""Exit status when the run is busy or cannot be started; the reason is on stderr."""
_PR_SET_CHILD_SUBREAPER = 36
INDEXED_BYTES = 512 << 10
"""Some 1,500 steps. Without an index a console reads 10,000 steps in 150 ms, with one in 1 ms."""
_TEARDOWN_SECONDS = 60.0
_WATCHED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP)


def main(arguments: list[str] | None = None) -> int:
    """Take the lock, detach, keep. Returns in the foreground process only."""
    parser = argparse.ArgumentParser(prog="python -m engine.launch.keeper")
    parser.add_argument("run", type=Path)
    parser.add_argument("--resume", metavar="CHECKPOINT", help="checkpoint folder relative to the run")
    parser.add_argument("--grace-seconds", type=float, default=10.0, help="before a stop-now kills")
    parser.add_argument("--worker", default="engine.training", help="the module to run; another one in tests")
    options = parser.parse_args(arguments)
    run: Path = options.run.resolve()
    os.umask(0o077)
    try:
        before = liveness(run)
        if before.life is Life.DEAD:
            lock.break_folder_lock(run)
        held = lock.acquire(run)
        if before.life is not Life.DEAD:
            held.release()  # a lock folder left behind would lock out the machine that works on it
        if before.life is Life.ALIVE:  # its processes live although its lock file is gone
            raise RunBusy(f"Run {run.name} is being worked on: {before.reason}.")
        if before.life is Life.UNKNOWN:
            raise RunBusy(
                f"Run {run.name} may still be alive: {before.reason}.",
                remedy="Look on that machine. It is left alone until it is proven dead.",
            )
    except EngineError as error:
        print(json.dumps(error.as_dict()), file=sys.stderr)
        return EX_TEMPFAIL
    ready, tell_ready = os.pipe()
    if os.fork() > 0:
        os.close(tell_ready)
        return 0 if os.read(ready, 1) else EX_TEMPFAIL
    os.close(ready)
    os.setsid()
    _detach_streams(run / "keeper.log")
    keeper = Keeper(run, held, options.resume, options.grace_seconds, options.worker)
    keeper.start()
    os.write(tell_ready, b"1")
    os.close(tell_ready)
    keeper.keep()
    os._exit(0)


@dataclass(slots=True)
class Keeper:
    """Keeps one worker of one run."""

    run: Path
    held: lock.RunLock
    resume: str | None
    grace_seconds: float
    worker_module: str = "engine.training"
    nonce: str = ""
    worker: subprocess.Popen[bytes] | None = None
    journal: Journal = field(init=False)
    kill_at: float | None = None
    """Monotonic time at which a worker that was told to stop now is killed."""
    killed: bool = False
    signals: int = -1
    """Descriptor from which the numbers of signals that came are read."""
    ending: bool = False
    """The worker has said that it ended; its process has not gone yet."""
    _commands_offset: int = 0
    _oom_kills_before: int = 0

    def start(self) -> None:
        """Write who we are and start the worker."""
        self.signals = _watch_signals()
        _become_subreaper()
        me = ProcessIdentity.of_this_process()
        self.nonce = me.nonce
        self.journal = Journal(self.run / "events.jsonl", then=RESUME)
        commands_path = self.run / "commands.jsonl"
        # What was said before this start was said to an earlier worker.
        self._commands_offset = commands_path.stat().st_size if commands_path.exists() else 0
        self._oom_kills_before = oom_kills()
        attempt = 1 + _previous_attempt(self.run / "keeper.json")
        for record in ("keeper.json", "worker.json"):
            set_aside_damaged(self.run / record)
        write_identity(self.run / "keeper.json", me, attempt=attempt)
        beat(self.run, self.nonce, 0)
        self.journal.append(
            events.to_json(events.KeeperStarted(attempt=attempt, pid=me.pid, resumed_from=self.resume)), durable=True
        )
        command = [sys.executable, "-P", "-m", self.worker_module, str(self.run)]
        command += ["--commands-from", str(self._commands_offset)]
        if self.resume is not None:
            command += ["--resume", self.resume]
        fds = () if self.held.fd is None else (self.held.fd,)
        log = os.open(self.run / "worker.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.worker = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            pass_fds=fds,
            process_group=0,
        )
        os.close(log)
        write_identity(self.run / "worker.json", ProcessIdentity.of(self.worker.pid, self.nonce))

    def keep(self) -> None:
        """Watch until the worker has ended, then write how, end its children and let go."""
        assert self.worker is not None
        count = 0
        while self.worker.poll() is None:
            count += 1
            with contextlib.suppress(OSError):  # a full disk must not end the keeper
                beat(self.run, self.nonce, count)
            self._hear_commands()
            if self.kill_at is not None and time.monotonic() >= self.kill_at:
                self._kill_worker()
            if signal.SIGTERM in _wait_for_signals(self.signals, self._patience()):
                self.worker.terminate()  # the machine goes down: the worker saves and stops
        strays = end_strays(self.worker.pid)
        code = self.worker.returncode
        ended = events.WorkerExited(
            exit_code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            out_of_memory=oom_kills() > self._oom_kills_before,
            stray_processes=strays,
        )
        with contextlib.suppress(EngineError):
            self.journal.append(events.to_json(ended), durable=True)
        self.held.release()
        self._index_history()

    def _index_history(self) -> None:
        """Have the history indexed, so that whoever opens the run finds it drawn. Nobody waits for that."""
        with contextlib.suppress(OSError):
            if (self.run / "events.jsonl").stat().st_size > INDEXED_BYTES:
                subprocess.Popen(
                    [sys.executable, "-P", "-m", "engine.runs.history_index", str(self.run)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    start_new_session=True,
                )

    def _patience(self) -> float:
        if self.kill_at is None:
            return HEARTBEAT_SECONDS
        return max(0.05, min(HEARTBEAT_SECONDS, self.kill_at - time.monotonic()))

    def _hear_commands(self) -> None:
        """Read what was told since the last look; only "stop now" concerns the keeper."""
        try:
            with (self.run / "commands.jsonl").open("rb") as file:
                file.seek(self._commands_offset)
                said = file.read(1 << 20)
        except OSError:
            return
        whole, newline, _ = said.rpartition(b"\n")
        if not newline:
            if len(said) == 1 << 20:
                self._commands_offset += len(said)  # a megabyte without an end is nothing we wrote
            return
        self._commands_offset += len(whole) + 1
        for line in whole.split(b"\n"):
            with contextlib.suppress(ValueError, TypeError, AttributeError, RecursionError):
                command = commands.from_json(json.loads(line))
                if command == commands.Stop(save=False) and self.kill_at is None:
                    self.kill_at = time.monotonic() + self.grace_seconds

    def _kill_worker(self) -> None:
        assert self.worker is not None
        if self.killed:
            return
        if not self.ending and b'"event":"RunEnded"' in _last_bytes(self.run / "events.jsonl"):
            # It has obeyed and is only taking its libraries down, which needs 10 s on a busy machine.
            self.ending, self.kill_at = True, time.monotonic() + _TEARDOWN_SECONDS
            return
        self.killed = True
        confirmed = events.CommandConfirmed(
            command_id="",
            command="Stop",
            accepted=True,
            detail=f"the worker did not end within {self.grace_seconds:g} s and was killed",
            by="keeper",
        )
        with contextlib.suppress(EngineError):
            self.journal.append(events.to_json(confirmed))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.worker.pid, signal.SIGKILL)


def end_strays(group: int, *, patience_seconds: float = 2.0) -> int:
    """End what the worker left behind and return how many processes that were.

    Children of a dead worker come to the keeper, its subreaper; where the system has none, the worker's process
    group is ended.
    """
    strays = _children()
    for pid in strays:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + patience_seconds
    while _reap() and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in _children():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if sys.platform != "linux":  # elsewhere the worker's number, free again, could be a stranger's by now
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    deadline = time.monotonic() + patience_seconds
    while _reap() and time.monotonic() < deadline:
        time.sleep(0.02)
    return len(strays)


def oom_kills(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Return how many processes of our cgroup the kernel killed for memory; 0 where that is not told.

    Exit by signal 9 alone proves nothing: anyone may have sent it.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        group = own.read_text(encoding="utf-8").splitlines()[-1].split(":", 2)[2].lstrip("/")
        for line in (root / group / "memory.events").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0


def _previous_attempt(record: Path) -> int:
    """Return the number of the last start; 0 when there was none or its record is damaged."""
    try:
        with record.open("rb") as file:
            attempt = json.loads(file.read(65_536))["attempt"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return 0
    return attempt if isinstance(attempt, int) and attempt > 0 else 0


def _last_bytes(path: Path, count: int = 4096) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - count))
            return file.read(count)
    except OSError:
        return b""


def _children() -> list[int]:
    try:
        text = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [int(pid) for pid in text.split()]


def _reap() -> bool:
    """Collect ended children; return whether any is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0] > 0:
            pass
    except ChildProcessError:
        return False
    return True


def _become_subreaper() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _watch_signals() -> int:
    """Have the numbers of the watched signals written to a pipe; return its other end. `sigtimedwait` is not on macOS.

    A handler is replaced by the default action in what is started with exec, an ignored signal would stay ignored.
    """
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in _WATCHED:
        signal.signal(number, lambda *_: None)
    return read


def _wait_for_signals(pipe: int, seconds: float) -> bytes:
    """Wait until a watched signal has come, at most so long, and return the numbers of those that came."""
    if not select.select([pipe], [], [], seconds)[0]:
        return b""
    with contextlib.suppress(BlockingIOError):
        return os.read(pipe, 4096)
    return b""


def _detach_streams(log: Path) -> None:
    """Point 0 at nothing and 1 and 2 at a file: no pipe of ours can fill, and none keeps a caller waiting."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(nothing, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(nothing)
    os.close(out)


if __name__ == "__main__":
    sys.exit(main())
