"""Programs that the tests start begin with their libraries imported, where a fork can do what the command would.

`subprocess` asks a server (`tests.forking.server`) instead of starting an interpreter: the process it gets is a child
of this one, with the same descriptors, session, folder and environment, and runs the same module as `__main__`. A test
that is about the command itself takes the fixture `real_commands`; there is one at least for each program here.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.forking.server import MAX_REQUEST_BYTES, Asked, Program

_PR_SET_CHILD_SUBREAPER = 36
_GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/xpu")
"""With one, importing may start its driver, which a fork cannot use."""
_READ_AT_START = ("LANG", "LC_", "PYTHON", "OMP_", "MKL_", "OPENBLAS_", "HF_HOME", "HF_HUB_OFFLINE", "TRANSFORMERS_")
"""Beginnings of what an interpreter and the libraries read only when they are started."""
_READ_LATER = ("PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")
"""What the server does in the place of an interpreter."""
_OF_THE_SERVER = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""What a worker tells its libraries; and that Arrow's allocator shall begin no thread."""
_KEEPER, _WORKER, _COMMAND = "engine.launch.keeper", "engine.training", "tui.cli.main"
# A program that quantises needs bitsandbytes, and its test `real_commands`; the others do without, as a user's do.
_IMPORTS_TRAINING = ("-bitsandbytes", "engine.training.worker", "engine.data.preparing", "engine.chat.batch", "trl")
_IMPORTS_CONSOLE = (
    "tui.cli.app", "tui.cli.train", "tui.cli.configuration", "tui.cli.checkpoints", "tui.cli.plot", "tui.cli.watch",
    "engine.launch.prepare", "engine.runs.catalogue", "engine.data.lengths", "engine.data.statistics", "jinja2",
    "plotext", "typer._adapters",
)  # fmt: skip


@dataclass
class Server:
    """A server of one set of libraries, started when it is first needed."""

    imports: tuple[str, ...]
    programs: tuple[str, ...]
    forked_children: tuple[str, ...] = ()
    """What the programs start by forking themselves."""
    _socket: socket.socket | None = None
    _process: subprocess.Popen[bytes] | None = None
    _environment: dict[str, str] = field(default_factory=dict)
    _refused: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fork(self, asked: Asked) -> int | None:
        """Return the number of the child; None when the command must be run."""
        program = asked.program(self.programs, self.forked_children)
        if program is None or asked.kept or self._refused:
            return None
        if program.module == _KEEPER and f"--worker={_WORKER}" not in program.arguments:
            return None
        with self._lock:
            if self._process is None:
                self._start(program.environment)
            if self._refused or _at_start(program.environment) != self._environment:
                return None
            try:
                return self._ask(program, asked.streams)
            except OSError as error:
                self._lost(error)
                return None

    def _start(self, environment: Mapping[str, str]) -> None:
        self._environment = _at_start(environment)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = ours
        with theirs:
            command = [sys.executable, "-P", str(Path(__file__).with_name("server.py")), str(theirs.fileno())]
            self._process = subprocess.Popen(
                [*command, *self.imports],
                env={**environment, **_OF_THE_SERVER, "XDG_CACHE_HOME": tempfile.gettempdir()},
                cwd="/",
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
        threads = json.loads(ours.recv(MAX_REQUEST_BYTES) or b"0")
        self._refused = threads != 1

    def _ask(self, program: Program, streams: list[int]) -> int | None:
        assert self._socket is not None
        text = json.dumps(asdict(program)).encode()
        if len(text) > MAX_REQUEST_BYTES:
            return None
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            socket.send_fds(self._socket, [text], streams)
            pid = json.loads(self._socket.recv(MAX_REQUEST_BYTES) or b"0")
        finally:
            prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        if not pid:
            raise ConnectionResetError(f"the server could not fork for {program.module}")
        return int(pid)

    def _lost(self, error: OSError) -> None:
        """Say that the server is gone, and how; the next program is forked by another one."""
        process = self._process
        self.end()
        how = None if process is None else process.returncode
        warnings.warn(f"the server that forks for the tests is gone ({how}): {error}", stacklevel=2)
        self._process = self._socket = None

    def end(self) -> None:
        if self._process is not None and self._socket is not None:
            self._socket.close()
            self._process.wait()


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(_READ_AT_START) and name not in _READ_LATER
    }


# What the tests start once or twice (merge, parity, evaluation) is started by its command.
_WITH_WEIGHTS = (
    _KEEPER, _WORKER, "engine.training.probe", "engine.data.microscope_worker", "engine.chat.worker",
)  # fmt: skip
TRAINING = Server(_IMPORTS_TRAINING, programs=(*_WITH_WEIGHTS, _COMMAND), forked_children=_WITH_WEIGHTS)
CONSOLE = Server(_IMPORTS_CONSOLE, programs=(_COMMAND,))


class Hook:
    """In the place of `subprocess._fork_exec`."""

    def __init__(self, real: Any, servers: tuple[Server, ...]) -> None:
        self.real, self.servers = real, servers
        self.is_off = 0

    def __call__(self, *given: Any) -> int:
        if not self.is_off and len(given) == Asked.COUNT and given[0] and os.fsdecode(given[0][0]) == sys.executable:
            asked = Asked(*given)
            server = next((each for each in self.servers if asked.program(each.programs)), None)
            pid = server.fork(asked) if server is not None else None
            if pid is not None:
                return pid
        return int(self.real(*given))


_hook: Hook | None = None


def placed() -> Hook | None:
    """Return the hook; None where programs are started by their commands."""
    return _hook


@contextlib.contextmanager
def with_training_libraries() -> Iterator[None]:
    """Have `ftconsole` run where the libraries are imported: what it starts is then forked as well."""
    if _hook is None:
        yield
        return
    _hook.servers = (TRAINING, CONSOLE)
    yield
    _hook.servers = (CONSOLE, TRAINING)


def pytest_configure(config: pytest.Config) -> None:
    """Put the hook in its place, where a fork does what the command does."""
    global _hook
    if sys.platform == "linux" and not any(Path(place).exists() for place in _GPUS):
        _hook = Hook(subprocess._fork_exec, (CONSOLE, TRAINING))  # type: ignore[attr-defined]
        subprocess._fork_exec = _hook  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the servers."""
    if _hook is not None:
        subprocess._fork_exec = _hook.real  # type: ignore[attr-defined]
        for server in _hook.servers:
            with contextlib.suppress(OSError):
                server.end()


@pytest.fixture
def real_commands() -> Iterator[None]:
    """Every program is started by its command, as a user's is."""
    if _hook is None:
        yield
        return
    _hook.is_off += 1
    yield
    _hook.is_off -= 1
