"""A process that has imported libraries and forks for programs: `python -P server.py FD MODULE ...`.

Importing TRL takes 12 s of a core, and the tests start a training some hundred times. A fork of a process that has
imported it needs none of them. What is forked here is a child of who asked: who asked is a subreaper while it waits for
the answer, and the process in between ends.

Nothing runs here beside the loop: forking a process of several threads is not safe, so that one is refused.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

MAX_REQUEST_BYTES = 1 << 17
"""An environment and a command line; what is longer is started in the usual way."""
_PATIENCE_SECONDS = 60.0

ForkExec = Callable[..., int]


@dataclass(frozen=True)
class Program:
    """What `python -P -m module arguments` would run, and the process it would run in."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    cwd: str
    new_session: bool
    process_group: int
    """-1 stays in the parent's."""
    umask: int
    forked_children: list[str]
    """Modules that this program, when it starts them, gets by a fork of itself."""


def program_of(command: Sequence[str], modules: Collection[str]) -> tuple[str, list[str]] | None:
    """Return module and arguments of `python -P -m MODULE ...` if it is one of `modules`."""
    if len(command) < 4 or list(command[:3]) != [sys.executable, "-P", "-m"] or command[3] not in modules:
        return None
    return command[3], list(command[4:])


def open_descriptors() -> set[int]:
    """Return the numbers of what this process has open."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # that of the listing itself
            os.fstat(int(name))
            found.add(int(name))
    return found


def become(program: Program, streams: Sequence[int], keep: Collection[int]) -> NoReturn:
    """Be that program from here on.

    Args:
        program: What to run.
        streams: Descriptors of its stdin, stdout and stderr.
        keep: Descriptors that stay open beside them; all others are closed, as exec closes them.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for told in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(told, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    spare = [os.dup(descriptor) for descriptor in streams]  # above 2, whatever they were
    for number, descriptor in enumerate(spare):
        os.dup2(descriptor, number)
    for descriptor in open_descriptors() - {0, 1, 2} - set(keep):
        os.close(descriptor)
    os.chdir(program.cwd)
    os.umask(program.umask)
    sys.path[: len(_named_paths())] = _named_paths(program.environment)
    os.environ.clear()
    os.environ.update(program.environment)
    sys.dont_write_bytecode = bool(program.environment.get("PYTHONDONTWRITEBYTECODE"))
    time.tzset()
    sys.stdin, sys.stdout, sys.stderr = _text(0, "r"), _text(1, "w"), _text(2, "w")
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    sys.argv = [program.module, *program.arguments]
    sys.orig_argv = [sys.executable, "-P", "-m", program.module, *program.arguments]
    if program.forked_children:
        subprocess._fork_exec = forks_itself(subprocess._fork_exec, program.forked_children, keep)  # type: ignore[attr-defined]
    os._exit(_run(program.module))


def forks_itself(real: ForkExec, modules: Sequence[str], libraries: Collection[int]) -> ForkExec:
    """Return what to put in the place of `subprocess._fork_exec`, so that `modules` begin as a fork of this process."""

    def fork_exec(*given: Any) -> int:
        asked = Asked(*given)
        found = asked.program(modules, modules)
        if found is None:
            return real(*given)
        pid = os.fork()
        if pid == 0:
            _join(found)
            _forget_what_is_left_to_do()
            become(found, asked.streams, {*libraries, *asked.kept})
        return pid

    return fork_exec


def _forget_what_is_left_to_do() -> None:
    """Drop what the parent will do when it ends: its temporary folders are not this process's to remove."""
    atexit._clear()
    weakref.finalize._registry.clear()  # type: ignore[attr-defined]
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]


class Asked:
    """The arguments of `_posixsubprocess.fork_exec`, of Python 3.11 to 3.13."""

    COUNT = 23

    def __init__(self, *given: Any) -> None:
        self.command = [os.fsdecode(argument) for argument in given[0]]
        self.cwd = os.getcwd() if given[4] is None else os.fsdecode(given[4])
        self.environment = dict(os.environ)
        if given[5] is not None:
            self.environment = dict(os.fsdecode(line).split("=", 1) for line in given[5])
        read, write, errors = given[6], given[9], given[11]
        self.streams = [own if told == -1 else told for own, told in ((0, read), (1, write), (2, errors))]
        self.new_session, self.process_group = bool(given[15]), int(given[16])
        self.kept = [descriptor for descriptor in given[3] if descriptor != given[13]]
        """What `pass_fds` named. The other is the pipe through which the start of a program reports its failure."""
        self.is_plain = len(given) == self.COUNT and bool(given[2]) and given[17:19] == (None, None)
        self.is_plain = self.is_plain and given[19] is None and given[20] == -1 and given[21] is None

    def program(self, modules: Sequence[str], forked_children: Sequence[str] = ()) -> Program | None:
        """Return what is started; None when it is not one of `modules` or in a way that a fork cannot do."""
        found = program_of(self.command, modules)
        if found is None or not self.is_plain:
            return None
        return Program(
            *found,
            environment=self.environment,
            cwd=self.cwd,
            new_session=self.new_session,
            process_group=self.process_group,
            umask=_own_umask(),
            forked_children=list(forked_children),
        )


def _own_umask() -> int:
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return next(int(line.split()[1], 8) for line in status if line.startswith("Umask:"))


def _join(program: Program) -> None:
    if program.new_session:
        os.setsid()
    elif program.process_group != -1:
        os.setpgid(0, program.process_group)


def _named_paths(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return where an environment has modules looked for first."""
    return [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]


def _text(descriptor: int, mode: str) -> io.TextIOWrapper:
    """Return a standard stream as the interpreter makes it."""
    like = {0: sys.stdin, 1: sys.stdout, 2: sys.stderr}[descriptor]
    binary = open(descriptor, mode + "b", closefd=False)  # noqa: SIM115
    unbuffered = mode == "w" and bool(os.environ.get("PYTHONUNBUFFERED"))
    lines = descriptor == 2 or os.isatty(descriptor)
    return io.TextIOWrapper(
        binary, like.encoding, like.errors, line_buffering=lines or unbuffered, write_through=unbuffered
    )


def _run(module: str) -> int:
    """Run a module as the interpreter does, to the end of its threads and exit handlers; return the exit status."""
    status = 0
    sys.modules.pop(module, None)  # imported by another as well, as it is when it is run by its command
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - the boundary of the process
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]  # as multiprocessing does in what it forks
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return status & 0xFF


def serve(asked: socket.socket, libraries: Collection[int]) -> None:
    """Fork for each request until the other side is gone."""
    while True:
        text, descriptors, _, _ = socket.recv_fds(asked, MAX_REQUEST_BYTES, 3)
        if not text:
            return
        try:
            pid = _fork(Program(**json.loads(text)), descriptors, asked, libraries)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        asked.send(json.dumps(pid).encode())


def _fork(program: Program, streams: Sequence[int], asked: socket.socket, libraries: Collection[int]) -> int:
    """Return the number of a process that runs `program` and is a child of who asked; 0 when it could not be made."""
    read, write = os.pipe()
    between = os.fork()
    if between == 0:
        between = os.getpid()
        if os.fork() > 0:
            os._exit(0)
        _join(program)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while os.getppid() == between and time.monotonic() < deadline:
            time.sleep(0.0005)
        os.write(write, str(os.getpid()).encode())
        become(program, streams, libraries)
    os.close(write)
    os.waitpid(between, 0)
    with open(read, encoding="ascii") as answer:
        return int(answer.read(20) or 0)


def main() -> None:
    """Import what is named, have what is named behind a minus be as if it was not installed, and serve."""
    asked = socket.socket(fileno=int(sys.argv[1]))
    before = open_descriptors()
    for name in sys.argv[2:]:
        if name.startswith("-"):
            sys.modules[name[1:]] = None  # type: ignore[assignment]
        else:
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    asked.send(json.dumps(len(os.listdir("/proc/self/task"))).encode())
    serve(asked, open_descriptors() - before)


if __name__ == "__main__":
    main()
