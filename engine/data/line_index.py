"""Where the lines of a file are: how many end in each 64 kB of it, so that any line is found by reading that much.

A gigabyte has 128 kB of index. It is remembered in the user's cache and believed as long as the file has the same
size, time of change, beginning and end; it can be deleted at any time.

Layout: a preamble (see `PREAMBLE`), a JSON header, and the counts as unsigned 32-bit numbers in this machine's byte
order.
What makes it for a large file is a process of its own:

    python -P -m engine.data.line_index FILE OUTPUT
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import struct
import sys
import tempfile
import time
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from engine.data.data_worker import Cancelled, Progress, WorkCancelled, answer, ask, never, silent
from engine.errors import DataError, NotFound

BLOCK: Final = 1 << 16
MAGIC: Final = b"ftlines\n"
VERSION: Final = 1
PREAMBLE: Final = struct.Struct("=8sIIQQ")
"""Magic, version, CRC-32 of all that follows, length of the header, number of counts."""
PROOF_BYTES: Final = 4096
OWN_PROCESS_ABOVE: Final = 8 << 20
"""So many bytes are counted here in 7 ms; a process of its own takes 50 ms to begin."""
_CHUNK: Final = 2 * BLOCK
"""What is read at once stays in the cache of a core."""
_FEW: Final = 150
"""Lines in a block up to which the next block's are found one by one: those of 440 bytes and more."""
_MAX_PROCESSES: Final = 4
_TELL_SECONDS: Final = 0.05
_MAX_SIZE: Final = 1 << 46
_LARGEST_WITH_CR: Final = 64 << 20
_ABANDONED_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class LineIndex:
    """The lines of a file as it was when it was counted."""

    ends: array[int]
    """Separators before the end of each block, from the file's beginning; one number per block."""
    size: int
    """Of the file, in bytes."""
    num_lines: int
    """A last line without a separator behind it counts; what follows the last separator does not when it is empty."""
    separator: bytes = b"\n"
    """`\\r` in a file that has no `\\n`."""

    def offset(self, file: int, number: int) -> int:
        """Return where line `number` begins; 1 is the first. The size of the file for a line behind the last.

        Args:
            file: Descriptor.
            number: From 1.

        Raises:
            DataError: The file is no longer the one that was counted.
        """
        before = number - 1
        if before <= 0:
            return 0
        block = bisect_left(self.ends, before)
        if block >= len(self.ends):
            return self.size
        left = before - (self.ends[block - 1] if block else 0)
        data = os.pread(file, BLOCK, block * BLOCK)
        position = -1
        for _ in range(left):
            position = data.find(self.separator, position + 1)
            if position < 0:
                raise changed()
        return block * BLOCK + position + 1


def changed() -> DataError:
    """Return the error for a file that is no longer the one that was counted."""
    return DataError("The file was changed while it was looked at.", remedy="Open it again.")


def build_index(path: Path, progress: Progress = silent, cancelled: Cancelled = never) -> LineIndex:
    """Return the index of a file: the remembered one, or a new one. Blocks; call it in a thread.

    Args:
        path: Of the file.
        progress: In bytes.
        cancelled: See there.

    Raises:
        NotFound: There is no such file.
        DataError: It cannot be read.
        WorkCancelled: `cancelled` returned True.
    """
    with open_data(path) as file:
        remembered = read_index(path, file.fileno())
        if remembered is not None:
            return remembered
        size = os.fstat(file.fileno()).st_size
        if size <= OWN_PROCESS_ABOVE:
            return count_here(file.fileno(), cancelled)
        try:
            kept = index_path(path)
            kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder: Path | None = kept.parent
        except OSError:
            folder = None
        with tempfile.TemporaryDirectory(prefix=".making-", dir=folder) as made:
            output = Path(made) / "index"
            for said in ask(__name__, [os.fspath(path.absolute()), os.fspath(output)], cancelled):
                progress(said["done"], said["total"])
            proof, index = _load(output)
            if folder is not None and proof == prove(file.fileno()):
                with contextlib.suppress(OSError):
                    output.replace(kept)
                _clean(kept.parent)
            return index


def open_data(path: Path) -> Any:
    """Open a file to read bytes from it, or raise what a user can act on.

    Raises:
        NotFound: There is no such file.
        DataError: It is a folder, or cannot be read.
    """
    try:
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        raise NotFound(f"There is no data file {path}.", remedy="Check the path.") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder, not a file.", remedy="Name one of the files in it.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", remedy="Check its permissions.") from error


def index_path(path: Path) -> Path:
    """Return where the index of a file is remembered."""
    name = hashlib.blake2b(os.fsencode(path.absolute()), digest_size=16).hexdigest()
    return cache_folder() / "lines" / f"{name}.lines"


def cache_folder() -> Path:
    """Return the user's cache folder of ftconsole, which may not be there yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ftconsole"


def prove(file: int) -> dict[str, Any]:
    """Return what tells the state of a file from others': size, time of change, a hash of its two ends."""
    status = os.fstat(file)
    length = min(status.st_size, PROOF_BYTES)
    ends = os.pread(file, length, 0) + os.pread(file, length, status.st_size - length)
    return {
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "hash": hashlib.blake2b(ends, digest_size=16).hexdigest(),
    }


def read_index(path: Path, file: int) -> LineIndex | None:
    """Return the remembered index of a file if it fits the file as it is now."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, struct.error):
        proof, index = _load(index_path(path))
        if proof == prove(file):
            return index
    return None


def write_index(path: Path, proof: dict[str, Any], index: LineIndex) -> None:
    """Write an index to `path`."""
    header = json.dumps(
        {"proof": proof, "num_lines": index.num_lines, "separator": ord(index.separator), "byteorder": sys.byteorder}
    ).encode()
    counts = array("I", (end - start for start, end in itertools.pairwise([0, *index.ends])))
    body = header + counts.tobytes()
    path.write_bytes(PREAMBLE.pack(MAGIC, VERSION, zlib.crc32(body), len(header), len(counts)) + body)


def _load(path: Path) -> tuple[dict[str, Any], LineIndex]:
    data = path.read_bytes()
    magic, version, crc, length, blocks = PREAMBLE.unpack_from(data)
    body = data[PREAMBLE.size :]
    if (magic, version) != (MAGIC, VERSION) or zlib.crc32(body) != crc:
        raise ValueError("not a whole index of this version")
    header = json.loads(body[:length])
    counts = array("I", body[length:])
    if header["byteorder"] != sys.byteorder or len(counts) != blocks:
        raise ValueError("an index of another machine")
    ends = array("Q", itertools.accumulate(counts))
    return header["proof"], LineIndex(ends, header["proof"]["size"], header["num_lines"], bytes([header["separator"]]))


def count_here(file: int, cancelled: Cancelled = never) -> LineIndex:
    """Count the lines of a small file in this thread."""
    size = os.fstat(file).st_size

    def look(_: int) -> None:
        if cancelled():
            raise WorkCancelled

    return _finish(file, size, lambda separator: _count(file, 0, size, separator, look))


def _count(file: int, start: int, stop: int, separator: bytes, look: Callable[[int], None]) -> array[int]:
    """Return how many separators are in each block between two positions; `look` is called with each position.

    Raises:
        DataError: The file has become shorter.
    """
    counts, buffer, few = array("I"), bytearray(_CHUNK), True
    for at in range(start, stop, _CHUNK):
        look(at)
        wanted = min(_CHUNK, stop - at)
        if os.preadv(file, [memoryview(buffer)[:wanted]], at) < wanted:
            raise changed()
        for begin in range(0, wanted, BLOCK):
            end, number = min(begin + BLOCK, wanted), 0
            if few:
                place = buffer.find(separator, begin, end)
                while place >= 0:
                    number += 1
                    place = buffer.find(separator, place + 1, end)
            else:
                number = buffer.count(separator, begin, end)
            # To find one takes 0.1 microseconds, to count them all in 64 kB takes 20.
            few = number < _FEW
            counts.append(number)
    return counts


def count_in_processes(file: int, progress: Progress) -> LineIndex:
    """Count the lines of a large file on several cores. For a process without threads: it forks."""
    size, told = os.fstat(file).st_size, 0.0
    if size > _MAX_SIZE:
        raise DataError(f"The file says it has {size:,} bytes.", remedy="Check the file.")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    part = max(1, -(-size // (BLOCK * min(_MAX_PROCESSES, cores)))) * BLOCK

    def look(at: int) -> None:
        nonlocal told
        if time.monotonic() - told > _TELL_SECONDS:
            told = time.monotonic()
            progress(min(size, at * size // part), size)  # the others are as far in their parts

    def count(separator: bytes) -> array[int]:
        with contextlib.ExitStack() as stack:
            others = [
                (stack.enter_context(tempfile.TemporaryFile()), start, min(start + part, size))
                for start in range(part, size, part)
            ]
            children = [_fork_count(file, *each, separator) for each in others]
            counts = _count(file, 0, min(part, size), separator, look)
            failed = [child for child in children if os.waitpid(child, 0)[1]]
            if failed:
                raise changed()
            for result, _, _ in others:
                result.seek(0)
                counts.frombytes(result.read())
            return counts

    return _finish(file, size, count)


def _fork_count(file: int, result: IO[bytes], start: int, stop: int, separator: bytes) -> int:
    """Count in a process of its own, into a file. Returns the process's id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        result.write(_count(file, start, stop, separator, lambda _: None).tobytes())
        result.flush()
        status = 0
    finally:
        os._exit(status)


def _finish(file: int, size: int, count: Callable[[bytes], array[int]]) -> LineIndex:
    separator, counts = b"\n", count(b"\n")
    if size <= _LARGEST_WITH_CR and not any(counts) and b"\r" in os.pread(file, BLOCK, 0).rstrip():
        separator, counts = b"\r", count(b"\r")
    ends = array("Q", itertools.accumulate(counts))
    open_end = size > 0 and os.pread(file, 1, size - 1) != separator
    return LineIndex(ends, size, (ends[-1] if ends else 0) + open_end, separator)


def _clean(folder: Path) -> None:
    """Remove what a killed process left, and indexes nobody has used for long is left to the cache's owner."""
    for left in _abandoned(folder):
        with contextlib.suppress(OSError):
            for file in left.iterdir():
                file.unlink()
            left.rmdir()


def _abandoned(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        for found in folder.glob(".making-*"):
            with contextlib.suppress(OSError):
                if time.time() - found.stat().st_mtime > _ABANDONED_SECONDS:
                    yield found


def _make(arguments: list[str], say: Callable[[dict[str, Any]], None]) -> None:
    path, output = Path(arguments[0]), Path(arguments[1])
    with open_data(path) as file:
        proof = prove(file.fileno())
        index = count_in_processes(file.fileno(), lambda done, total: say({"done": done, "total": total}))
        write_index(output, proof, index)


if __name__ == "__main__":
    sys.exit(answer(_make))
