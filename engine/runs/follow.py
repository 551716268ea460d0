"""Reading an event log that is still being written.

The reader keeps a byte offset and never reads a byte twice. What a crash can leave behind (a torn line, a block
of zeros, half a character) costs the damaged line and nothing after it.
"""

from __future__ import annotations

import json
import mmap
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from engine.errors import WorkspaceError
from engine.events import Event, StepFinished, from_json

LINE_LIMIT: Final = 1 << 20
"""Bytes. A longer line is skipped and counted as damaged, so that memory stays bounded."""
READ_BYTES: Final = 4 << 20
"""Bytes that one `read` takes at most: some 10,000 steps, 50 ms."""
_ANCHOR_BYTES: Final = 64
_INT64: Final = 1 << 63
_FLOAT: Final = frozenset({float})
_RECORD_START: Final = b'{"seq":'


class Record(NamedTuple):
    """One line of the log."""

    seq: int
    time: float
    """Unix seconds as the writer's clock had it. May jump both ways."""
    event: Event


class Unreadable(Enum):
    """Why a line gives no record."""

    DAMAGED = auto()
    """No JSON object, or one without `seq` and `time`."""
    UNKNOWN = auto()
    """An event of another version: nothing is wrong with the line."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What is new since the last read."""

    records: list[Record] = field(default_factory=list)
    """In the order of `seq`."""
    damaged: int = 0
    """Lines that could not be read. What surrounds them was."""
    unknown: int = 0
    """Events this version does not know."""
    missing: int = 0
    """Numbers that `seq` jumped over. Those of damaged lines are among them."""
    repeated: int = 0
    """Records whose `seq` is not above the one before it. They are kept."""
    restarted: bool = False
    """The file was truncated or replaced: forget everything read before; these records start at its beginning."""
    more: bool = False
    """The log has more than one read takes: read again."""


_NOTHING_NEW: Final = Batch()


class EventReader:
    """Reads an event log piece by piece.

    Args:
        path: The log. It need not exist yet.
        offset: Bytes somebody has read already (an index); must be the beginning of a line.
        seq: `seq` of the last record before `offset`, 0 when there is none.
    """

    def __init__(self, path: Path, *, offset: int = 0, seq: int = 0) -> None:
        self.path = path
        self.offset = offset
        """Bytes of the file that were read. A torn line at the end is among them and waits for its rest."""
        self.seq = seq
        self._file: tuple[int, int] | None = None
        self._gone = False  # it was there, and was not at the last look
        self._anchor = b""  # the bytes before `offset`: an inode number is used again soon after a file is deleted
        self._torn = b""
        self._skipping = False  # inside a line over the limit
        if offset:
            with path.open("rb") as log:
                status = os.fstat(log.fileno())
                self._file = (status.st_dev, status.st_ino)
                self._anchor = os.pread(log.fileno(), min(offset, _ANCHOR_BYTES), max(0, offset - _ANCHOR_BYTES))

    def read(self, max_bytes: int = READ_BYTES) -> Batch:
        """Return what was appended since the last call. One `stat` (2 us) when that is nothing.

        Raises:
            WorkspaceError: The log is there and cannot be read.
        """
        try:
            status = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            self._gone = self._file is not None
            return _NOTHING_NEW
        except OSError as error:
            raise _cannot_read(self.path, error) from error
        if status.st_size == self.offset and (status.st_dev, status.st_ino) == self._file and not self._gone:
            return _NOTHING_NEW
        if not stat.S_ISREG(status.st_mode):
            raise WorkspaceError(f"{self.path} is not a file.", remedy="Move it away: no event log can be there.")
        try:
            return self._read_file(max_bytes)
        except FileNotFoundError:  # deleted since the `stat`
            return _NOTHING_NEW
        except OSError as error:
            raise _cannot_read(self.path, error) from error

    def _read_file(self, max_bytes: int) -> Batch:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            before = self.offset - len(self._anchor)
            file = (status.st_dev, status.st_ino)
            restarted = self._gone or (self._file is not None and (file != self._file or status.st_size < self.offset))
            data = b"" if restarted else os.pread(descriptor, len(self._anchor) + max_bytes, before)
            if restarted or not data.startswith(self._anchor):
                restarted = True
                self._forget()
                data = os.pread(descriptor, max_bytes, 0)
            else:
                data = data[len(self._anchor) :]
            self._file, self._gone = file, False
        finally:
            os.close(descriptor)
        self.offset += len(data)
        self._anchor = (self._anchor + data[-_ANCHOR_BYTES:])[-_ANCHOR_BYTES:]
        return self._decode(data, restarted=restarted, more=bool(data) and self.offset < status.st_size)

    def _forget(self) -> None:
        self.offset = 0
        self.seq = 0
        self._anchor = self._torn = b""
        self._skipping = False

    def _decode(self, data: bytes, *, restarted: bool, more: bool) -> Batch:
        damaged = unknown = 0
        if self._skipping:
            end = data.find(b"\n")
            data = data[end + 1 :] if end >= 0 else b""
            self._skipping = end < 0
        *lines, self._torn = (self._torn + data).split(b"\n")
        if len(self._torn) > LINE_LIMIT:
            self._torn = b""
            self._skipping = True
            damaged += 1
        records: list[Record] = []
        for record in decode_lines(lines):
            if isinstance(record, Record):
                records.append(record)
            elif record is Unreadable.UNKNOWN:
                unknown += 1
            else:
                damaged += 1
        missing = repeated = 0
        if any(one.seq > other.seq for one, other in pairwise(records)):
            records.sort(key=lambda record: record.seq)
        for record in records:
            if record.seq > self.seq:
                missing += record.seq - self.seq - 1
                self.seq = record.seq
            else:
                repeated += 1
        return Batch(records, damaged, unknown, missing, repeated, restarted, more)


def decode(line: bytes) -> Record | Unreadable:
    """Return the record a line holds, or why it holds none."""
    if len(line) > LINE_LIMIT:
        return Unreadable.DAMAGED
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            # Half a surrogate pair and a bare NaN are no JSON, but other writers' standard library writes them.
            value = json.loads(line)
        except (ValueError, RecursionError):
            return Unreadable.DAMAGED
    if not isinstance(value, dict):
        return Unreadable.DAMAGED
    seq, time = value.get("seq"), value.get("time")
    if not (isinstance(seq, int) and 0 < seq < _INT64):
        return Unreadable.DAMAGED
    if not (isinstance(time, float | int) and -_INT64 < time < _INT64):
        return Unreadable.DAMAGED
    event = _step(value) or from_json(value)
    return Unreadable.UNKNOWN if event is None else Record(seq, float(time), event)


def decode_lines(lines: Iterable[bytes]) -> Iterator[Record | Unreadable]:
    """Yield what each line holds. A torn line may have another writer's whole one behind it: that is two."""
    for line in lines:
        if not line:  # the next writer ends a torn line before its own
            continue
        record = decode(line)
        yield record
        if record is Unreadable.DAMAGED:
            start = line.rfind(_RECORD_START)
            behind = decode(line[start:]) if start > 0 else record
            if isinstance(behind, Record):
                yield behind


def _step(value: dict[str, Any]) -> StepFinished | None:
    """Return what `from_json` would if all metrics are numbers, else None. Nearly all lines are that: 1 us, not 4."""
    if value.get("event") != "StepFinished":
        return None
    try:
        metrics = value["metrics"]
        if not _FLOAT.issuperset(map(type, metrics.values())):
            return None
        return StepFinished(value["step"], value["epoch"] + 0.0, value["num_tokens"], value["seconds"] + 0.0, metrics)
    except (KeyError, TypeError, AttributeError, OverflowError):  # an integer of a thousand digits
        return None


def head(path: Path, max_bytes: int = 16 << 10) -> list[Record]:
    """Return the records of the first `max_bytes`; none when there is no log."""
    return _records(path, 0, max_bytes)


def tail(path: Path, max_bytes: int = 64 << 10) -> list[Record]:
    """Return the records of the last `max_bytes`, some 150 steps; none when there is no log."""
    return _records(path, -max_bytes, max_bytes)


def newest(path: Path, name: str, *, since: int = 0) -> Record | None:
    """Return the last event of a name in a log, however far back it is: a second for some gigabytes.

    Args:
        path: The log.
        name: Of the event.
        since: Bytes at the beginning that are not looked at; the beginning of a line.

    Raises:
        WorkspaceError: The log is there and cannot be read.
    """
    wanted = f'"{name}"'.encode()
    try:
        with path.open("rb") as log:
            size = os.fstat(log.fileno()).st_size
            if size <= since:
                return None
            with mmap.mmap(log.fileno(), size, access=mmap.ACCESS_READ) as data:
                place = size
                while (place := data.rfind(wanted, since, place)) >= 0:
                    start, end = data.rfind(b"\n", since, place) + 1, data.find(b"\n", place)
                    record = decode(data[max(start, since) : end if end >= 0 else size])
                    if isinstance(record, Record) and type(record.event).__name__ == name:
                        return record  # else a text that looks like it
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _cannot_read(path, error) from error
    return None


def _records(path: Path, start: int, max_bytes: int) -> list[Record]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _cannot_read(path, error) from error
    try:
        if start < 0:
            start = max(0, os.fstat(descriptor).st_size + start)
        data = os.pread(descriptor, max_bytes, start)
    except OSError as error:
        raise _cannot_read(path, error) from error
    finally:
        os.close(descriptor)
    lines = data.split(b"\n")[1 if start else 0 : -1]
    return [record for record in decode_lines(lines) if isinstance(record, Record)]


def _cannot_read(path: Path, error: OSError) -> WorkspaceError:
    return WorkspaceError(
        f"{path} cannot be read: {error.strerror}.",
        remedy="Check who owns the run folder and that its disk is there.",
    )
