"""Results written beside their final name and put there when they are whole. Standard library only.

Folders in the making are called `.ftconsole-partial-*` and locked while somebody writes in them; one that nobody
holds was left by a process that was killed, and is cleared by the next work in the same place.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from engine.errors import DiskFull, TargetExists, WorkspaceError
from engine.renaming import exchange, rename_new, sync, sync_tree

PARTIAL = ".ftconsole-partial-"


@contextlib.contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Yield an empty folder next to `target`, which is gone afterwards with all that was left in it.

    Call it where the writing is done, so that the lock is held by who writes.

    Raises:
        DiskFull, WorkspaceError: There is no room, or it cannot be written.
    """
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        clear_abandoned(target.parent)
        made, lock = _made_and_held(target)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(lock)


def put(made: Path, target: Path, *, replace: bool = False) -> None:
    """Give a finished file or folder its final name, on the disk before it is under it.

    Args:
        made: In a folder of `beside`, or that folder itself.
        target: Its final name, in the same file system.
        replace: Whether what is there goes. It goes only once the new one is in its place.

    Raises:
        TargetExists: Something is there and `replace` is false.
        DiskFull, WorkspaceError: It cannot be written.
    """
    with writing(target):
        sync_tree(made) if made.is_dir() else sync(made)
        if made.is_dir() and target.is_dir() and not target.is_symlink():
            with contextlib.suppress(OSError):  # an empty folder made for it stands for its name
                target.rmdir()
        if not replace or not os.path.lexists(target):
            try:
                rename_new(made, target)
            except FileExistsError:
                raise exists(target) from None
        elif not exchange(made, target):  # else the old one is under the name of the new, and goes with its folder
            old = target.with_name(f"{PARTIAL}old-{target.name[:80]}-{secrets.token_hex(4)}")
            target.rename(old)
            made.rename(target)
            shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink()
        sync(target.parent)


def exists(target: Path) -> TargetExists:
    """Return the error of a name that is taken."""
    return TargetExists(f"{target} is there already.", remedy="Choose another -o, or replace it with --force.")


def clear_abandoned(parent: Path) -> list[str]:
    """Remove what killed processes left in a folder, and return its names. What somebody holds stays."""
    cleared = []
    for path in parent.glob(f"{PARTIAL}*"):
        try:
            if path.is_symlink() or not path.is_dir():
                continue
            lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
            cleared.append(path.name)
        except OSError:
            pass
        finally:
            os.close(lock)
    return cleared


def _made_and_held(target: Path) -> tuple[Path, int]:
    """Return a new folder and the descriptor that holds its lock."""
    while True:
        made = target.with_name(f"{PARTIAL}{target.name[:80]}-{secrets.token_hex(4)}")
        made.mkdir(mode=0o700)
        try:
            lock = os.open(made, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        with contextlib.suppress(OSError):  # a file system without locks: `clear_abandoned` leaves it alone there
            fcntl.flock(lock, fcntl.LOCK_EX)
        if made.is_dir():  # else somebody took it for abandoned before it was held
            return made, lock
        os.close(lock)


@contextlib.contextmanager
def writing(target: Path) -> Iterator[None]:
    """Raise what a failed write to `target` means, in words.

    Raises:
        DiskFull, WorkspaceError: Instead of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"There is no room to write {target}: {error.strerror}.",
                remedy="Free some space there and start again; nothing was left under that name.",
            ) from error
        raise WorkspaceError(
            f"{target} cannot be written: {error.strerror}.",
            remedy="Choose another place for it, or check its permissions.",
        ) from error
