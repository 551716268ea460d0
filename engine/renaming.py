"""What was written beside gets its final name, so that a power cut leaves the old or the new. Standard library only."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

_AT_FDCWD, _RENAME_NOREPLACE, _RENAME_EXCHANGE = -100, 1, 2


def sync(path: Path) -> None:
    """Have the system write a file or folder to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_tree(folder: Path) -> None:
    """Have the system write a folder and all that is in it to the disk."""
    for path in sorted(folder.rglob("*")):
        if not path.is_symlink():
            sync(path)
    sync(folder)


def replace_file(path: Path, content: str | bytes) -> None:
    """Write a file beside and rename it over what is there: a reader sees the old or the new, never half of one.

    It is the user's alone (0600). Not synced: after a power cut it may be the old one.

    Raises:
        OSError: It cannot be written; nothing is left beside.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def exchange(one: Path, other: Path) -> bool:
    """Swap two files or folders in one step, so that no name is ever without one. False where the system cannot."""
    return _rename(one, other, _RENAME_EXCHANGE)


def rename_new(one: Path, other: Path) -> None:
    """Rename, and never over something that is there.

    Raises:
        FileExistsError: `other` is there.
        OSError: It cannot be renamed.
    """
    if _rename(one, other, _RENAME_NOREPLACE):
        return
    if os.path.lexists(other):
        raise FileExistsError(17, os.strerror(17), str(other))
    one.rename(other)  # a file system or kernel without renameat2


def _rename(one: Path, other: Path, flags: int) -> bool:
    import ctypes  # 5 ms, and every console imports this module

    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    done: int = renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), flags)
    return done == 0
