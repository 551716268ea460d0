"""The process below which pip downloads, so that it ends with who asked: `python -P -m engine.export.pip_worker`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from engine.child import Say, answer

_LOOK_SECONDS: Final = 0.1


def work(say: Say) -> None:
    """Run `pip` with the arguments behind the first, which is a folder; say how large the largest file in it is."""
    folder, *arguments = sys.argv[1:]
    pip = subprocess.Popen([sys.executable, "-m", "pip", *arguments], stdin=subprocess.DEVNULL)
    while pip.poll() is None:
        say({"bytes": _largest(Path(folder))})
        with contextlib.suppress(subprocess.TimeoutExpired):
            pip.wait(_LOOK_SECONDS)
    say({"status": pip.returncode})


def _largest(folder: Path) -> int:
    """Return the size of the largest file: the archive, while it arrives."""
    largest = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                largest = max(largest, os.lstat(os.path.join(path, name)).st_size)
    return largest


if __name__ == "__main__":
    sys.exit(answer(work))
