"""The lock that lets one keeper work on a run, and only one.

`flock` on `run.lock`, held through a descriptor that the worker inherits: it is free exactly when keeper and worker
are both gone, however they went. On network file systems flock may be local to the client or missing (2,653
violations in 2,829 acquisitions were measured on an NFS mount with local locks), so there a folder made with
`mkdir`, which every server decides alone, takes its place. In it is the identity of the process that made it: a start
removes the folder only after that process, keeper and worker are all proven dead. Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from engine.errors import RunBusy
from engine.journal import write_error
from engine.runs.identity import ProcessIdentity, boot_id, read_identity, write_identity

NETWORK_FILE_SYSTEMS = frozenset({
    "nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs", "pvfs2",
    "orangefs", "panfs", "wekafs", "quobyte", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs",
    "fuse.gcsfuse", "fuse.juicefs", "9p",
})  # fmt: skip


class Held(Enum):
    """What an observer can say about a lock."""

    YES = "held"
    NO = "free"
    UNKNOWN = "cannot be told"


@dataclass(slots=True)
class RunLock:
    """A lock this process holds."""

    fd: int | None
    """Descriptor of `run.lock`, to be inherited by the worker; None when the folder is the lock."""
    owner: Path | None
    """The record in the lock folder; None when `run.lock` is the lock."""

    def release(self) -> None:
        """Let go. A descriptor inherited by the worker keeps the lock held."""
        if self.owner is not None:
            _remove_folder(self.owner)
        if self.fd is not None:
            os.close(self.fd)


def acquire(run: Path, *, wait_seconds: float = 2.0) -> RunLock:
    """Take the run's lock.

    Args:
        run: The run directory.
        wait_seconds: An observer holds the lock for some microseconds when it looks; so long is waited for it.

    Raises:
        RunBusy: Another keeper or worker holds it.
        WorkspaceError: The lock file cannot be made.
    """
    path = run / "run.lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise write_error(path, error) from error
    deadline = time.monotonic() + wait_seconds
    while not network_file_system(run):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return RunLock(fd, None)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                break  # ENOLCK, ENOTSUP: no flock here
        if time.monotonic() > deadline:
            os.close(fd)
            raise _busy(run)
        time.sleep(0.005)
    os.close(fd)
    return _acquire_folder(run)


def held(run: Path) -> Held:
    """Say whether anyone holds the run's lock, without waiting."""
    if _folder(run).is_dir():
        return Held.UNKNOWN  # a killed keeper leaves it: only its identity can tell
    try:
        fd = os.open(run / "run.lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return Held.NO
    except OSError:
        return Held.UNKNOWN
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return Held.YES if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else Held.UNKNOWN
    finally:
        os.close(fd)
    return Held.UNKNOWN if network_file_system(run) else Held.NO


def break_folder_lock(run: Path) -> None:
    """Remove the lock folder that dead processes left behind; nothing when one of them may live."""
    try:
        owners = [_folder(run) / name for name in os.listdir(_folder(run)) if name.endswith(".json")]
    except OSError:  # none, or another start has just removed it: taking the lock is what decides
        return
    owner = read_identity(owners[0]) if len(owners) == 1 else None
    if owner is None or not proven_gone(owner, run):
        return
    # Only now: the owner starts the keeper and lives until these are written.
    heirs = (read_identity(run / "keeper.json"), read_identity(run / "worker.json"))
    if all(heir is None or proven_gone(heir, run) for heir in heirs):
        _remove_folder(owners[0])


def proven_gone(identity: ProcessIdentity, run: Path) -> bool:
    """Whether a process that worked on `run` is gone for certain.

    What cannot be looked up from here is gone only if it was of an earlier boot and the folder is this machine's own.
    """
    if identity.is_here():
        return not identity.is_alive()
    return identity.boot_id != boot_id() and network_file_system(run) is None


def network_file_system(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Return the type of the network file system `path` is on; None when it is local or cannot be told."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError:
        return None
    target = os.path.realpath(path)
    best, kind = "", ""
    for line in lines:
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5 or not right:
            continue
        point = re.sub(
            r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]
        )  # space, tab, newline, backslash
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind if kind in NETWORK_FILE_SYSTEMS else None


def _acquire_folder(run: Path) -> RunLock:
    folder, owner = _folder(run), ProcessIdentity.of_this_process()
    record = folder / f"{owner.nonce}.json"
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise _busy(run, folder) from None
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        write_identity(record, owner)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)  # ours: what names no owner is removed by nobody else
        raise write_error(record, error) from error
    return RunLock(None, record)


def _remove_folder(owner: Path) -> None:
    """Remove a lock folder together with its owner's record. Of several that try, one can remove the record."""
    with contextlib.suppress(OSError):
        owner.unlink()
        owner.parent.rmdir()


def _folder(run: Path) -> Path:
    return run / "run.lock.d"


def _busy(run: Path, folder: Path | None = None) -> RunBusy:
    remedy = f"Watch it with `ftconsole watch {run.name}`, or stop it with `ftconsole stop {run.name}`."
    if folder is not None:
        remedy += f" If you know that no machine works on it, remove the folder {folder}."
    return RunBusy(f"Run {run.name} is being worked on by another process.", remedy=remedy)
