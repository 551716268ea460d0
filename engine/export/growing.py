"""Tell how far a library is that writes one file and says nothing: by the size of the file."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

from engine.export.progress import Progress, Tell

_LOOK_SECONDS: Final = 0.25


@contextlib.contextmanager
def growing(asked: Mapping[str, Any], tell: Tell) -> Iterator[None]:
    """Tell four times a second how much there is of the file, until the block is left.

    Args:
        asked: With `out`, `expected_bytes` and `stage` in words.
        tell: Told of it.
    """
    stage, expected_bytes = str(asked["stage"]), int(asked["expected_bytes"])
    done = threading.Event()

    def watch() -> None:
        before = -1
        while not done.wait(_LOOK_SECONDS):
            try:
                size = os.stat(asked["out"]).st_size
            except OSError:
                size = 0
            if size != before:
                before = size
                tell(Progress(stage, min(size, expected_bytes), expected_bytes, "bytes"))

    tell(Progress(stage, 0, expected_bytes, "bytes"))
    watcher = threading.Thread(target=watch, name="growing", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
