"""An append-only file of numbered JSON lines that several processes may write.

`events.jsonl` and `commands.jsonl` are journals. One `write` per line, under a lock, so that two writers never
mix; a line torn by a crash stays where it is and the next writer starts on a line of its own. Standard library
only: the keeper writes one too.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.errors import DiskFull, WorkspaceError

_TAIL_BYTES = 65_536
"""How far back the last complete line is looked for at first. The longest line we write is some 10 kB, but a power
cut can leave megabytes of zeros behind it."""
RESUME = "go on with `ftconsole resume`"
"""What to do once there is room again where a run has ended for the want of it."""


class Journal:
    """Appends lines to one file and numbers them.

    The number of the next line is the last line's plus one. As long as nobody else wrote, which is nearly
    always so, that is known without reading: the file is as long as this process left it.

    Args:
        path: Created with mode 0600 when it is missing. Its folder must exist.
        then: What to do once a full disk has room again.
    """

    def __init__(self, path: Path, *, then: str = "try again") -> None:
        self.path = path
        self._then = then
        self._fd = _open(path, then)
        self._size = -1
        self._seq = 0
        self._threads = threading.Lock()  # the file's lock is the process's, not the thread's

    def append(self, record: dict[str, Any], *, durable: bool = False) -> int:
        """Append one line and return its `seq`.

        Args:
            record: JSON-ready; must not hold `seq` or `time`.
            durable: Whether the line must survive a power cut (an fsync, some milliseconds).

        Raises:
            DiskFull: There is no room; nothing, or a torn line that readers skip, was written.
            WorkspaceError: The file cannot be written for another reason.
        """
        try:
            with self._threads, _locked(self._fd):
                size = os.fstat(self._fd).st_size
                start = b""
                if size != self._size:
                    self._seq, complete = last_seq(self._fd, size)
                    start = b"" if complete else b"\n"
                head = f'{{"seq":{self._seq + 1},"time":{time.time():.3f},'
                body = json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
                line = start + (head + body[1:] + "\n").encode("utf-8", "replace")
                self._size = -1  # unknown until the whole line is there
                written = os.write(self._fd, line)
                while written < len(line):  # the disk is full or a limit is reached; the next write says which
                    written += os.write(self._fd, line[written:])
                self._seq += 1
                self._size = size + written
            if durable:
                os.fsync(self._fd)
        except OSError as error:
            raise write_error(self.path, error, then=self._then) from error
        return self._seq

    @property
    def size(self) -> int:
        """Length of the file in bytes at this moment."""
        return os.fstat(self._fd).st_size

    @property
    def deleted(self) -> bool:
        """Whether the file is gone from its folder, so that what is appended reaches nobody."""
        return os.fstat(self._fd).st_nlink == 0

    def close(self) -> None:
        """Close the file. Appending afterwards is an error."""
        os.close(self._fd)


def append_lines(path: Path, lines: Iterable[Mapping[str, Any]], *, then: str = RESUME) -> None:
    """Append JSON lines that one process alone writes and nobody numbers; the file is made when it is missing.

    Raises:
        DiskFull: What was written of them may be there, the last one torn.
        WorkspaceError: The file cannot be written for another reason.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8", errors="replace") as file:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                file.write("\n")  # a process was killed in the middle of a line: it must not swallow the next one
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    except OSError as error:
        raise write_error(path, error, then=then) from error


def write_error(path: Path, error: OSError, *, then: str = "try again") -> WorkspaceError:
    """Return the error a user can act on behind an `OSError` of a write to `path`.

    Args:
        path: Of the file or folder.
        error: What the system said.
        then: What to do once a full disk has room again.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        folder = path.parent
        try:
            status = os.statvfs(folder)
            free = f"{status.f_bavail * status.f_frsize / 1e6:.1f} MB"
        except OSError:
            free = "an unknown amount"
        why = "" if error.errno == errno.ENOSPC else f"{error.strerror}, "
        return DiskFull(
            f"No room to write {path}: {why}{free} free on its file system.",
            remedy=f"Free some space there, then {then}.",
        )
    return WorkspaceError(
        f"Cannot write {path}: {error.strerror}.",
        remedy="Check the folder's owner and permissions, or choose another workspace with -w.",
    )


def last_seq(fd: int, size: int) -> tuple[int, bool]:
    """Return the number of the last whole line (0 when there is none) and whether the file ends with a newline."""
    reach = _TAIL_BYTES
    while True:
        start = max(0, size - reach)
        tail = os.pread(fd, size - start, start)
        complete = not tail or tail.endswith(b"\n")
        # What precedes the first newline is the rest of a longer line, unless the file begins there.
        for line in reversed(tail.split(b"\n")[1 if start else 0 :]):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict) and isinstance(record.get("seq"), int):
                return record["seq"], complete
        if not start:
            return 0, complete
        reach *= 8


def _open(path: Path, then: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise write_error(path, error, then=then) from error


@contextlib.contextmanager
def _locked(fd: int) -> Iterator[None]:
    """Hold the file's lock. Where the file system has none, go on: one O_APPEND write is all we do."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError:
        yield
        return
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)
