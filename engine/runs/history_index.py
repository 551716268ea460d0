"""The index of a long event log: its numbers, memory-mapped in a millisecond instead of parsed in a second.

`<run>/events.history` (or a file in the user's cache, where the run's folder cannot be written) covers the log up
to an offset and can be deleted at any time. It holds the columns and blocks of both histories, and the lines that
are neither steps nor device measurements, of which there are few. What makes it is `history_build`, in a process
of its own.

Layout: a preamble (see `PREAMBLE`); sections, each at a multiple of 64 bytes, in this machine's byte order; a JSON
header that says where they are, at the end.

    python -P -m engine.runs.history_index RUN_DIR
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from engine.errors import EngineError, UsageError
from engine.runs.directory import RunDirectory
from engine.runs.follow import EventReader, Record, decode_lines
from engine.runs.history import MetricHistory, RunHistory, WorkClock
from engine.runs.segment import AXES, AXIS_TYPES, BLOCK, FACTOR, LEVELS, MAX_METRICS, Metric, Segment

MAGIC: Final = b"ftchist\n"
VERSION: Final = 1
PREAMBLE: Final = struct.Struct("=8sIIQQ")
"""Magic, version, CRC-32 of the header, offset and length of the header."""
ALIGNMENT: Final = 64
PROOF_BYTES: Final = 4096
"""How much of the log's beginning, and of what stands before the offset, the index keeps a hash of."""
WORTH_INDEXING_BYTES: Final = 4 << 20
"""Some 10,000 steps: 60 ms to read without an index."""
_BUILD_SECONDS: Final = 600


class HistoryIndexFailed(EngineError):
    """The index of an event log could not be made. The run can be read without it, slowly."""

    code = "history-index"


class OpenedHistory(NamedTuple):
    """A run's past, and where its log goes on."""

    history: RunHistory
    records: list[Record]
    """Every indexed event that is not a step or a device measurement, and the last of both, in the order of
    `seq`. Their numbers are in `history` already."""
    damaged: int
    """Damaged lines before `offset`."""
    offset: int
    """Bytes of the log that are covered; 0 without a valid index."""
    seq: int
    reader: EventReader
    """Reads what follows."""


@dataclass(frozen=True, slots=True)
class Index:
    """A valid index file, mapped."""

    header: dict[str, Any]
    data: memoryview
    mapping: mmap.mmap

    def history(self, name: str) -> MetricHistory:
        """Return the "train" or "evaluation" history."""
        return MetricHistory(self.segment(name))

    def segment(self, name: str) -> Segment:
        part = self.header[name]
        rows: int = part["rows"]
        metrics = {
            metric: Metric(
                self._numbers(place["raw"], rows, "f"),
                [
                    self._numbers(start, rows // FACTOR ** (level + 1) * BLOCK, "d")
                    for level, start in enumerate(place["levels"])
                ],
                self._numbers(place["non_finite"][0], place["non_finite"][1], "q"),
            )
            for metric, place in part["metrics"].items()
        }
        axes = {axis: self._numbers(part["axes"][axis], rows, AXIS_TYPES[axis]) for axis in AXES}
        if len(metrics) > MAX_METRICS or any(len(metric.levels) != LEVELS for metric in metrics.values()):
            raise ValueError("not the layout of this version")
        return Segment(rows, axes, metrics, self._release)

    def _release(self) -> None:
        # The kernel maps 16 pages around each one that is read: four plots of a million rows made 27 MB resident.
        if hasattr(mmap, "MADV_DONTNEED"):
            self.mapping.madvise(mmap.MADV_DONTNEED)

    @property
    def clock(self) -> WorkClock:
        return WorkClock(*self.header["clock"])

    @property
    def lines(self) -> bytes:
        """The events that are neither steps nor device measurements, as lines that end with a newline."""
        start, length = self.header["lines"]
        return bytes(self._numbers(start, length, "B"))

    @property
    def latest(self) -> dict[str, str]:
        """The last line of a step and of a device measurement, by the event's name. Either may be missing."""
        return self.header["latest"]  # type: ignore[no-any-return]

    def _numbers(self, start: int, count: int, code: str) -> memoryview[Any]:
        stop = start + count * struct.calcsize(code)
        if start % ALIGNMENT or not 0 <= start <= stop <= len(self.data):
            raise ValueError("a section lies outside the file")
        return self.data[start:stop].cast(code)  # type: ignore[call-overload, no-any-return]


def open_history(run: RunDirectory) -> OpenedHistory:
    """Return what the index knows of the run, which is nothing without a valid one, and the reader for the rest."""
    index = read_index(run)
    if index is not None:
        try:
            return _opened(run, index)
        except (KeyError, TypeError, ValueError, OSError):  # what a header that its CRC vouches for cannot cause
            pass
    return OpenedHistory(RunHistory(), [], 0, 0, 0, EventReader(run.events))


def _opened(run: RunDirectory, index: Index) -> OpenedHistory:
    history = RunHistory(index.history("train"), index.history("evaluation"), index.clock)
    lines = index.lines.split(b"\n") + [line.encode() for line in index.latest.values()]
    decoded = (record for record in decode_lines(lines) if isinstance(record, Record))
    records = sorted(decoded, key=lambda record: record.seq)
    log = index.header["log"]
    reader = EventReader(run.events, offset=log["offset"], seq=log["seq"])
    return OpenedHistory(history, records, index.header["damaged"], log["offset"], log["seq"], reader)


def needs_index(run: RunDirectory, threshold_bytes: int = WORTH_INDEXING_BYTES) -> bool:
    """Return whether more of the log than `threshold_bytes` lies behind the index."""
    try:
        size = run.events.stat().st_size
    except OSError:
        return False
    if size <= threshold_bytes:
        return False
    index = read_index(run)
    return size - (index.header["log"]["offset"] if index is not None else 0) > threshold_bytes


def build_index(run: RunDirectory) -> None:
    """Make or extend the index, in a process of its own; returns when it is on disk.

    A million steps take about a second of two cores.

    Raises:
        HistoryIndexFailed: The process failed; its last words are in the message.
    """
    command = [sys.executable, "-P", "-m", __name__, os.fspath(run.path.absolute())]
    with tempfile.TemporaryFile() as words:
        try:
            status = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=words, stderr=words, timeout=_BUILD_SECONDS, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            status = -1
        except OSError as error:
            raise _failed(run, str(error)) from error
        if status:
            words.seek(max(0, words.tell() - 2000))
            said = words.read().decode(errors="replace").strip()
            raise _failed(run, said.splitlines()[-1] if said else f"exit status {status}")


def _failed(run: RunDirectory, why: str) -> HistoryIndexFailed:
    return HistoryIndexFailed(
        f"The event log of {run.name} could not be indexed: {why}",
        remedy="Nothing of the run is lost. Its log is read from the beginning, which takes longer.",
    )


def index_paths(run: RunDirectory) -> list[Path]:
    """Return where an index may be: in the run's folder, or in the cache of a user who cannot write there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.blake2b(os.fsencode(run.path.absolute()), digest_size=16).hexdigest()
    return [run.path / "events.history", cache / "ftconsole" / "history" / f"{name}.history"]


def read_index(run: RunDirectory) -> Index | None:
    """Return the index that fits the run's log furthest, None when there is none."""
    found = []
    for path in index_paths(run):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, struct.error):
            index = _map(path)
            if fits(index.header["log"], run.events):
                found.append(index)
    return max(found, key=lambda index: int(index.header["log"]["offset"]), default=None)


def _map(path: Path) -> Index:
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    data = memoryview(mapping)
    magic, version, crc, start, length = PREAMBLE.unpack_from(data)
    text = data[start:]
    if (magic, version) != (MAGIC, VERSION) or len(text) != length or zlib.crc32(text) != crc:
        raise ValueError("not a whole index of this version")
    header = json.loads(bytes(text))
    if header["byteorder"] != sys.byteorder or header["blocks"] != [FACTOR, LEVELS, BLOCK]:
        raise ValueError("an index of another machine, or with other blocks")
    index = Index(header, data, mapping)
    for name in ("train", "evaluation"):
        index.segment(name)  # all sections are inside the file
    return index


def fits(proof: dict[str, Any], log: Path) -> bool:
    """Return whether the log begins with what was indexed. Its inode does not matter: runs are copied."""
    with log.open("rb") as file:
        return bool(proof == prove(file.fileno(), proof["offset"], proof["seq"]))


def prove(log: int, offset: int, seq: int) -> dict[str, Any]:
    """Return what tells the first `offset` bytes of a log from another's.

    Args:
        log: File descriptor.
        offset: End of a line.
        seq: Of the last record before it.
    """
    length = min(offset, PROOF_BYTES)
    ends = os.pread(log, length, 0) + os.pread(log, length, offset - length)
    digest = hashlib.blake2b(ends, digest_size=16).hexdigest()
    return {"offset": offset, "seq": seq, "hash": digest, "bytes": len(ends)}


def main(arguments: list[str]) -> int:
    """Make or extend the index of the run in the folder that is the only argument."""
    try:
        if len(arguments) != 1:
            raise UsageError("One run folder is needed.")
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads would do nothing, and take 50 ms to start
        from engine.runs.history_build import build  # numpy and pyarrow: 0.1 s

        build(RunDirectory(Path(arguments[0])))
    except EngineError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(error, file=sys.stderr)
        return EngineError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
