"""What is kept of a bug: a private file with the traceback, and no values of variables.

Textual prints the local variables of every frame, among them whatever token a function was given.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path

from tui.settings import state_folder, write_private

KEPT = 20
"""Crash files kept; the oldest go."""


def where_it_failed(error: BaseException) -> str:
    """Return the class of `error`, and file and line, which tell one bug from another."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def write_crash(error: BaseException) -> Path | None:
    """Write the traceback of `error` where only its user reads it.

    Returns:
        The file, or None when nothing can be written.
    """
    # 4 ms, and most starts end without a crash.
    import platform
    from importlib.metadata import PackageNotFoundError, version

    try:
        ours = version("ftconsole")
    except PackageNotFoundError:
        ours = "from a checkout"
    report = "".join(
        [
            f"ftconsole {ours}, Textual {version('textual')}, Python {platform.python_version()}, {sys.platform}\n",
            f"{time.strftime('%Y-%m-%d %H:%M:%S %z')}, TERM={os.environ.get('TERM', '')}\n\n",
            *traceback.format_exception(error),
        ]
    )
    try:
        folder = state_folder()
        path = folder / f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{time.monotonic_ns() % 1000:03}.txt"
        write_private(path, report)
        for old in sorted(folder.glob("crash-*.txt"))[:-KEPT]:
            old.unlink(missing_ok=True)
    except OSError:
        return None
    return path
