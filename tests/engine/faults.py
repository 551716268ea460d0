"""Faults that tests inject: a disk that is too small, permissions that hold for root too, system calls that fail."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_CAPABILITY_VERSION_3 = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1 << 1, 1 << 2


def python(
    code: str, *arguments: object, before: Sequence[str] = (), timeout_seconds: float = 90
) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own and return what it said.

    Args:
        code: May import the engine; is dedented.
        arguments: Become `sys.argv[1:]`.
        before: Command that starts it, such as `small_disk(...)` or `failing(...)`.
        timeout_seconds: Reached only when something hangs.
    """
    return subprocess.run(
        [*before, sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def small_disk(folder: Path, options: str = "size=64k") -> list[str]:
    """Return the start of a command that sees a tmpfs of its own at `folder`. Skips where that is not allowed."""
    if not _may_mount():
        pytest.skip("needs user namespaces: unshare -Urm")
    folder.mkdir(parents=True, exist_ok=True)
    return ["unshare", "-Urm", "sh", "-c", 'mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@"', "sh",
            options, str(folder)]  # fmt: skip


def in_memory(folder: Path) -> list[str]:
    """Return the start of a command for which `folder` is in memory where that is allowed: many files, no waiting."""
    return small_disk(folder, "size=256m") if _may_mount() else []


def failing(injection: str) -> list[str]:
    """Return the start of a command whose system calls fail as strace is told. Skips where strace cannot be used.

    Args:
        injection: Such as "flock:error=ENOLCK" or "rename:signal=SIGKILL:when=2".
    """
    if not _may_trace():
        pytest.skip("needs strace and permission to trace")
    call = injection.partition(":")[0]
    return ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={injection}"]


@contextlib.contextmanager
def permissions_hold() -> Iterator[None]:
    """Take from this thread, for a while, root's power to pass over file permissions. Others have none."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    before = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 bits
    if libc.capget(header, before) != 0:
        pytest.skip("capabilities cannot be read")
    fewer = type(before)(*before)
    fewer[0] &= ~(_DAC_OVERRIDE | _DAC_READ_SEARCH)
    assert libc.capset(header, fewer) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0


@functools.cache
def _may_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "-Urm", "sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@functools.cache
def _may_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0
