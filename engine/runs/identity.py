"""Who a process is, so that nobody ever signals a stranger who got its number.

A process is the same one only if the kernel's boot, its pid and its start time all agree: pids are reused, after
a reboot at the latest. The nonce ties the record to one launch. Standard library only.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import signal
import socket
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.renaming import replace_file

_MAX_RECORD_BYTES = 65_536
"""A record is some 300 bytes; a bigger file is not one of ours and is not read into memory."""
_PIDFD_SIGNAL_PROCESS_GROUP = 4
"""Linux 6.9: the group that the pinned process leads, without looking its number up again."""


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process of one boot of one machine."""

    pid: int
    start_time: str
    """Clock ticks after boot (Linux), or what `ps` prints. Compared, never computed with."""
    boot_id: str
    """Empty where the system has none."""
    host: str
    pid_namespace: str
    """Pids can be looked up only from inside the same namespace (container)."""
    nonce: str
    """Random; made for one launch."""

    @classmethod
    def of_this_process(cls, nonce: str | None = None) -> ProcessIdentity:
        """Return the identity of the calling process, with a new nonce unless one is given."""
        return cls.of(os.getpid(), nonce or secrets.token_hex(16))

    @classmethod
    def of(cls, pid: int, nonce: str) -> ProcessIdentity:
        """Return the identity of a process known to live now, such as a child not yet waited for."""
        return cls(pid, start_time(pid) or "", boot_id(), socket.gethostname(), pid_namespace(), nonce)

    def is_here(self) -> bool:
        """Whether this machine, since its last boot, can look the process up."""
        return self.boot_id == boot_id() and self.pid_namespace == pid_namespace() and bool(self.boot_id)

    def is_alive(self) -> bool:
        """Whether exactly this process lives. Only meaningful when `is_here()`."""
        return self.pid > 1 and bool(self.start_time) and start_time(self.pid) == self.start_time

    def send(self, number: signal.Signals, *, group: bool = False) -> bool:
        """Signal this process (or the group it leads) if it is proven to be this one; return whether it was sent.

        The proof is made after the process is pinned by a pidfd, so who gets its number later gets no signal.
        False as well when it may not be signalled: it is another user's.
        """
        if not self.is_here() or not self.is_alive():
            return False
        try:
            pin = os.pidfd_open(self.pid)
        except (OSError, AttributeError):
            return False
        try:
            if not self.is_alive():
                return False
            if not group:
                signal.pidfd_send_signal(pin, number)
            elif os.getpgid(self.pid) == self.pid:
                _signal_group(pin, self.pid, number)
            else:
                return False
        except (ProcessLookupError, PermissionError):
            return False
        finally:
            os.close(pin)
        return True


def _signal_group(pin: int, leader: int, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(pin, number, None, _PIDFD_SIGNAL_PROCESS_GROUP)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        os.killpg(leader, number)  # Linux before 6.9


def write_identity(path: Path, identity: ProcessIdentity, **more: object) -> None:
    """Write the record beside and rename it, so that no reader sees half of it. `more` is kept for people."""
    replace_file(path, json.dumps({**asdict(identity), **more}) + "\n")


def read_identity(path: Path) -> ProcessIdentity | None:
    """Return the record; None when it is missing or malformed in any way (a directory, a pipe, a gigabyte, pid -1)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a named pipe must not make us wait
        try:
            raw = json.loads(os.read(descriptor, _MAX_RECORD_BYTES))
        finally:
            os.close(descriptor)
        identity = ProcessIdentity(**{name: raw[name] for name in ProcessIdentity.__slots__})
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    texts = (identity.start_time, identity.boot_id, identity.host, identity.pid_namespace, identity.nonce)
    if not isinstance(identity.pid, int) or isinstance(identity.pid, bool) or identity.pid <= 1:
        return None
    return identity if all(isinstance(text, str) for text in texts) and identity.start_time else None


def set_aside_damaged(path: Path) -> None:
    """Rename what stands in a record's place but is none, so that nothing is lost and a new one can be written."""
    if (path.exists() or path.is_symlink()) and read_identity(path) is None:
        path.rename(path.with_name(f"{path.name}.damaged-{secrets.token_hex(4)}"))


def start_time(pid: int) -> str | None:
    """Return when the process started, as the system tells it; None when it is gone or only a zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _start_time_by_ps(pid)
    except (OSError, ValueError):
        return None
    after_name = status.rpartition(")")[2].split()
    return None if after_name[0] in "ZX" else after_name[19]


def _start_time_by_ps(pid: int) -> str | None:
    try:
        reply = subprocess.run(
            ["ps", "-o", "stat=,lstart=", "-p", str(pid)],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    state, _, started = reply.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


def boot_id() -> str:
    """Return the kernel's identifier of this boot; on systems without one, when the machine booted."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        pass
    try:
        reply = subprocess.run(
            ["sysctl", "-n", "kern.boottime"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return reply.stdout.strip()


def pid_namespace() -> str:
    """Return the name of the pid namespace, empty where there are none."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
