"""The real command line in a process of its own, and what runs say that it looks at."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from engine import events
from engine.events import Event
from engine.journal import Journal
from engine.runs.directory import RunDirectory
from tests.forking.hook import with_training_libraries

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 120


@dataclass(frozen=True)
class Reply:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Stdout as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> dict[str, Any]:
        """The error object of `--json`, which must be all there is on stderr."""
        found: dict[str, Any] = json.loads(self.err)["error"]
        return found


Here: TypeAlias = Callable[..., Reply]
"""Runs `ftconsole` in this process: `here(*arguments, stdin="", **environment)`."""


@dataclass(frozen=True)
class CommandLine:
    """Runs `ftconsole` in a workspace of its own, with a home of its own."""

    workspace: Path
    home: Path

    @property
    def runs(self) -> Path:
        return self.workspace / "runs"

    def environment(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "OMP_NUM_THREADS", "TMPDIR")}
        kept["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [kept.get("PYTHONPATH")])])
        return {**kept, "HOME": str(self.home), "TERM": "xterm-256color", "LANG": "C.UTF-8", **more}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "tui.cli.main", *arguments]

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command whose output is read from pipes while it goes on. `environment` is added to a clean one."""
        return self._start(arguments, environment, _obey_ctrl_c)

    def _start(
        self, arguments: Sequence[str], environment: dict[str, str], before: Callable[[], None] | None = None
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.workspace,
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            preexec_fn=before,
        )

    def __call__(self, *arguments: str, **environment: str) -> Reply:
        """Run a command to its end, in a fork of a process that has imported it: see `tests.forking.hook`."""
        process = self._start(arguments, environment)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert "Traceback" not in out + err
        return Reply(process.returncode, out, err)

    def with_weights(self, *arguments: str, **environment: str) -> Reply:
        """Run a command that starts work with weights: as above, in a process that has imported what that needs."""
        with with_training_libraries():
            return self(*arguments, **environment)

    def on_terminal(self, *arguments: str, columns: int = 80, lines: int = 24, **environment: str) -> tuple[int, str]:
        """Run a command in a terminal of its own; return its exit code and everything it wrote there."""
        return self.open_terminal(*arguments, columns=columns, lines=lines, **environment).finish()

    def open_terminal(self, *arguments: str, columns: int = 80, lines: int = 24, **environment: str) -> Terminal:
        """Start a command in a terminal of its own."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        process = subprocess.Popen(
            self.command(*arguments),
            cwd=self.workspace,
            env=self.environment(**environment),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_obey_ctrl_c,
        )
        os.close(theirs)
        return Terminal(process, ours)


@dataclass
class Terminal:
    """A pty with a command in it."""

    process: subprocess.Popen[bytes]
    descriptor: int
    written: bytes = b""

    @property
    def text(self) -> str:
        return self.written.decode("utf-8", "replace")

    def read_until(self, expected: str) -> None:
        """Read until the command has written this."""
        while expected not in self.text:
            assert self._read(), f"{expected!r} never came: {self.text!r}"

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def finish(self) -> tuple[int, str]:
        """Return exit code and everything written."""
        while self._read():
            pass
        os.close(self.descriptor)
        assert "Traceback" not in self.text
        return self.process.wait(PATIENCE_SECONDS), self.text

    def _read(self) -> bool:
        ready, _, _ = select.select([self.descriptor], [], [], PATIENCE_SECONDS)
        assert ready, f"nothing more came: {self.text!r}"
        try:
            piece = os.read(self.descriptor, 65_536)
        except OSError:  # EIO: the last process that had the terminal open has ended
            return False
        self.written += piece
        return bool(piece)


def _obey_ctrl_c() -> None:
    """A shell without job control has its background commands ignore SIGINT, and what they start inherits that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


MakeRun: TypeAlias = Callable[..., RunDirectory]
"""The fixture `make_run`."""


def say(run: RunDirectory, said: Iterable[Event]) -> None:
    """Append events to a run's log."""
    journal = Journal(run.events)
    for event in said:
        journal.append(events.to_json(event))
    journal.close()


def training(steps: int, *, losses: Iterable[float] = ()) -> list[Event]:
    """Return what a run says from its start to step `steps` of `steps`, its losses falling from 2 unless given."""
    values = list(losses) or [2.0 - step / steps for step in range(1, steps + 1)]
    said: list[Event] = [
        events.KeeperStarted(attempt=1, pid=4711, resumed_from=None),
        events.TrainingStarted(steps, 1.0, 0, 3_000_000, 10_000, "cpu", "float32"),
    ]
    for step, loss in enumerate(values, 1):
        said.append(events.StepFinished(step, step / steps, step * 100, 0.5, {"loss": loss, "learning_rate": 1e-4}))
    return said


def ending(step: int, outcome: str = "finished", *, detail: str = "", code: str = "") -> list[Event]:
    """Return the last words of a worker and its keeper."""
    exit_code = 0 if outcome != "failed" else 10
    return [
        events.RunEnded(outcome, step, 12.0, detail=detail, code=code),
        events.WorkerExited(exit_code=exit_code, signal=None, out_of_memory=False, stray_processes=0),
    ]


def killed(number: int = 9) -> Event:
    """Return what a keeper says of a worker that a signal ended."""
    return events.WorkerExited(exit_code=None, signal=number, out_of_memory=False, stray_processes=0)
