"""A copy as JSON lines of a file that has no lines of its own: Parquet, Arrow, CSV, JSON, and whatever is compressed.

Made once, in a process of its own, into the user's cache; believed as long as the file has the same size, time of
change, beginning and end. The oldest copies are removed when all of them take more than `_ALL_BYTES`.

    python -P -m engine.data.row_copy copy FILE
    python -P -m engine.data.row_copy first FILE COUNT
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from engine.data.data_worker import Cancelled, Progress, answer, ask, never, silent
from engine.data.line_index import cache_folder, open_data, prove
from engine.errors import DiskFull, WorkspaceError

_ALL_BYTES: Final = 20 << 30
_LEFT_BYTES: Final = 1 << 30
"""Free space that a copy leaves on the disk."""
_COMPRESSED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
_LOOK_ROWS: Final = 2_000
_ABANDONED_SECONDS: Final = 86_400


def is_copied(path: Path) -> bool:
    """Return whether a file has no lines to be read where they stand.

    Raises:
        NotFound, DataError: It cannot be read, or is of no format we know.
    """
    with open_data(path) as file:
        beginning = os.pread(file.fileno(), 64, 0)
    if beginning.startswith(_COMPRESSED):
        return True  # what is in it is looked at by the process that unpacks it: zstd needs pyarrow
    if path.suffix in (".jsonl", ".ndjson") and re.match(rb'\{\s*"', beginning.split(b"\n")[0]):
        return False  # without the readers of other formats, whose import takes 30 ms
    from engine.data.files import format_of

    return format_of(path) != "jsonl"


def first_records(path: Path, count: int) -> list[bytes]:
    """Return the first records as JSON, without a copy.

    Raises:
        NotFound, DataError: The file cannot be read.
    """
    found: list[bytes] = []
    for said in ask(__name__, ["first", os.fspath(path.absolute()), str(count)]):
        found += [text.encode() for text in said["records"]]
    return found


def copy_of(path: Path, progress: Progress = silent, cancelled: Cancelled = never) -> Path:
    """Return where the copy of a file is; make it when it is not there. Blocks: for a thread.

    Raises:
        NotFound, DataError: The file cannot be read.
        WorkspaceError: The copy cannot be written; `DiskFull` when there is no room.
        WorkCancelled: `cancelled` returned True.
    """
    kept = kept_copy(path)
    if kept is not None:
        return kept
    for said in ask(__name__, ["copy", os.fspath(path.absolute())], cancelled):
        if "copy" in said:
            return Path(said["copy"])
        progress(said["done"], said["total"])
    raise AssertionError("the process ended well without a copy")


def text_of(path: Path, progress: Progress = silent) -> Path:
    """Return where the rows of a file stand as JSON lines: itself, or its copy. For a process of its own.

    Raises: as `copy_of`.
    """
    return (kept_copy(path) or _make(path, progress)) if is_copied(path) else path


def numbers_path(copy: Path) -> Path:
    """Return the file that holds the number, in the file that was copied, of each record: unsigned, 64 bits."""
    return copy.with_suffix(".numbers")


def kept_copy(path: Path) -> Path | None:
    """Return the copy that fits a file as it is now."""
    copy = _copy_path(path)
    with open_data(path) as file, contextlib.suppress(OSError, ValueError):
        if json.loads(copy.with_suffix(".proof").read_bytes()) == prove(file.fileno()) and copy.exists():
            os.utime(copy)  # the last use, for what is removed first
            return copy
    return None


def _copy_path(path: Path) -> Path:
    name = hashlib.blake2b(os.fsencode(path.absolute()), digest_size=16).hexdigest()
    return cache_folder() / "rows" / f"{name}.jsonl"


def _make(path: Path, progress: Progress) -> Path:
    import orjson

    from engine.data.files import records

    copy = _copy_path(path)
    with open_data(path) as file:
        proof = prove(file.fileno())
    try:
        copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _clean(copy)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=copy.parent) as made:
            text, numbers = Path(made) / "rows.jsonl", array("Q")
            with text.open("wb", buffering=1 << 20) as out:
                for count, record in enumerate(records(path)):
                    numbers.append(record.line)
                    out.write(orjson.dumps(_value(record), default=str, option=orjson.OPT_NON_STR_KEYS) + b"\n")
                    if count % _LOOK_ROWS == 0:
                        _check_room(copy.parent)
                        progress(count, 0)
            (Path(made) / "rows.numbers").write_bytes(numbers.tobytes())
            # Without its proof a copy is not believed: it goes first and comes last.
            copy.with_suffix(".proof").unlink(missing_ok=True)
            text.replace(copy)
            (Path(made) / "rows.numbers").replace(numbers_path(copy))
            (Path(made) / "proof").write_text(json.dumps(proof))
            (Path(made) / "proof").replace(copy.with_suffix(".proof"))
    except OSError as error:
        raise WorkspaceError(
            f"A copy of {path.name} could not be written to {copy.parent}: {error.strerror}.",
            remedy="Set XDG_CACHE_HOME to a folder with room.",
        ) from error
    return copy


def _value(record: Any) -> Any:
    """Return the row, or as text why it is none."""
    return record.value if hasattr(record, "value") else record.reason


def _check_room(folder: Path) -> None:
    if shutil.disk_usage(folder).free < _LEFT_BYTES:
        raise DiskFull(
            f"There is no room for a copy of the rows in {folder}.",
            remedy="Free some space, or set XDG_CACHE_HOME to a folder with room.",
        )


def _clean(wanted: Path) -> None:
    """Remove what a killed process left, and the copies used longest ago when all take too much room."""
    kept = 0
    for left in wanted.parent.glob(".making-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(left)
    copies = []
    for copy in wanted.parent.glob("*.jsonl"):
        with contextlib.suppress(OSError):
            copies.append((copy.stat().st_mtime, copy.stat().st_size, copy))
    for _, size, copy in sorted(copies, reverse=True):
        kept += size
        if kept > _ALL_BYTES:
            for part in (copy.with_suffix(".proof"), copy, numbers_path(copy)):
                with contextlib.suppress(OSError):
                    part.unlink()


def _work(arguments: list[str], say: Callable[[dict[str, Any]], None]) -> None:
    import orjson

    from engine.data.files import records

    path = Path(arguments[1])
    if arguments[0] == "first":
        for record in records(path, limit=int(arguments[2])):
            text = orjson.dumps(_value(record), default=str, option=orjson.OPT_NON_STR_KEYS).decode()
            say({"records": [text]})
        return
    told = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told > 0.05:
            told = time.monotonic()
            say({"done": done, "total": total})

    say({"copy": os.fspath(kept_copy(path) or _make(path, progress))})


if __name__ == "__main__":
    sys.exit(answer(_work))
