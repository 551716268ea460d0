"""Making the index of an event log, on all cores.

The log is cut into pieces at line ends, the pieces are parsed in threads (pyarrow releases the interpreter lock),
and their rows are put together in order: what a resume supersedes is dropped, times become seconds at work.
Exactly what `RunHistory.apply` makes of the same events one by one.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from engine.errors import NotFound
from engine.events import DeviceMeasured, EvaluationFinished, TrainingStarted, to_json
from engine.journal import write_error
from engine.runs.directory import RunDirectory
from engine.runs.follow import LINE_LIMIT, Record
from engine.runs.history import WorkClock, plausible
from engine.runs.history_index import ALIGNMENT, MAGIC, PREAMBLE, VERSION, Index, index_paths, prove, read_index
from engine.runs.segment import AXES, AXIS_TYPES, BLOCK, FACTOR, LEVELS, MAX_METRICS, Axis, Segment
from engine.runs.step_lines import Piece, parse, rows_of
from engine.runs.step_table import Floats, Rows

_PIECE_BYTES: Final = 2 << 20
"""Two threads took 0.80 s for a million lines with 2 MB, 0.85 s with 4 MB (caches), 1.15 s with 1 MB (hand-overs)."""
_MAX_THREADS: Final = 8
_POLITE_ABOVE_BYTES: Final = 32 << 20
_NICE: Final = 5
_ABANDONED_SECONDS: Final = 3600
"""Age of a temporary file whose writer must have died."""
_MAX_STEP: Final = (1 << 63) - 1


def build(run: RunDirectory) -> None:
    """Make the index of a run's log, or extend the one it has by what was appended since.

    Raises:
        NotFound: There is no log.
        WorkspaceError: The index can be written neither in the run's folder nor in the cache.
    """
    index = read_index(run)
    start: int = index.header["log"]["offset"] if index is not None else 0
    try:
        log = run.events.open("rb")
    except FileNotFoundError:
        raise NotFound(f"{run.events} is not there.", remedy="Nothing to do: the run has not begun.") from None
    with log:
        descriptor = log.fileno()
        size = os.fstat(descriptor).st_size
        if size - start > _POLITE_ABOVE_BYTES:
            with contextlib.suppress(OSError):  # training on the same cores comes first
                os.nice(_NICE)
        parts = list(_cuts(descriptor, start, size))
        if not parts:
            return
        past = _Past(index)
        # pyarrow starts a thread per piece, and its own allocator gives each fresh pages: 0.4 s per million lines.
        pa.set_memory_pool(pa.system_memory_pool())
        with ThreadPoolExecutor(min(_MAX_THREADS, _cores())) as pool:
            for piece in pool.map(lambda part: _read(descriptor, *part), parts):
                past.add(piece)
            proof = prove(descriptor, parts[-1][1], past.seq)
            _write(run, past, proof, pool)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cuts(log: int, start: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield where pieces of whole lines begin and end. A torn last line belongs to none."""
    while start < size:
        stop = _line_end(log, min(start + _PIECE_BYTES, size) - 1, size)
        if stop is None:
            stop = start + os.pread(log, min(_PIECE_BYTES, size - start), start).rfind(b"\n") + 1
            if stop > start:
                yield start, stop
            return
        yield start, stop
        start = stop


def _line_end(log: int, position: int, size: int) -> int | None:
    """Return the position after the first newline from `position` on, None when there is none before `size`."""
    while position < size:
        data = os.pread(log, min(4096, size - position), position)
        found = data.find(b"\n")
        if found >= 0:
            return position + found + 1
        if not data:  # truncated meanwhile
            return None
        position += len(data)
    return None


def _read(log: int, start: int, stop: int) -> Piece:
    if stop - start <= _PIECE_BYTES + LINE_LIMIT:
        return parse(os.pread(log, stop - start, start))
    # What follows the last newline of the first `_PIECE_BYTES` is one line over the limit.
    data = os.pread(log, _PIECE_BYTES, start)
    piece = parse(data[: data.rfind(b"\n") + 1])
    piece.damaged += 1
    return piece


class _Columns:
    """The rows of one history, in pieces."""

    def __init__(self, base: Segment | None) -> None:
        self.names: dict[str, None] = {}
        self.pieces: list[Rows] = []
        if base is not None and base.rows:
            self.add(_rows_of_segment(base))

    def add(self, rows: Rows) -> None:
        """Append rows whose `time` is seconds at work."""
        start = 0
        for stop in [*(np.flatnonzero(np.diff(rows.step) < 0) + 1), len(rows)]:
            self._add_ascending(rows[start:stop])
            start = stop

    def _add_ascending(self, rows: Rows) -> None:
        if self.pieces and rows.step[0] < self.pieces[-1].step[-1]:
            self.truncate_after(int(rows.step[0]) - 1)
        epoch = np.where(np.isfinite(rows.epoch), rows.epoch, -np.inf)
        if self.pieces:
            last = self.pieces[-1]
            least = (last.epoch[-1], last.num_tokens[-1], last.time[-1])
        else:
            least = (epoch[0] if np.isfinite(epoch[0]) else 0.0, rows.num_tokens[0], rows.time[0])
        self.names.update(dict.fromkeys(rows.metrics))
        self.pieces.append(
            replace(
                rows,
                epoch=np.maximum.accumulate(np.maximum(epoch, least[0])),
                num_tokens=np.maximum.accumulate(np.maximum(rows.num_tokens, least[1])),
                time=np.maximum(rows.time, least[2]),
            )
        )

    def truncate_after(self, step: int) -> None:
        while self.pieces and self.pieces[-1].step[0] > step:
            self.pieces.pop()
        if self.pieces:
            last = self.pieces[-1]
            self.pieces[-1] = last[: int(np.searchsorted(last.step, step, "right"))]

    def metric(self, name: str) -> NDArray[np.float32]:
        return np.concatenate(
            [piece.metrics.get(name, np.full(len(piece), np.nan, np.float32)) for piece in self.pieces]
            or [np.empty(0, np.float32)]
        )

    def axis(self, axis: Axis) -> NDArray[Any]:
        empty = np.empty(0, AXIS_TYPES[axis])
        return np.concatenate([getattr(piece, axis) for piece in self.pieces] or [empty])


def _rows_of_segment(segment: Segment) -> Rows:
    metrics = {}
    for name, metric in segment.metrics.items():
        values = np.asarray(metric.raw)
        if len(metric.non_finite):
            values = values.copy()
            values[np.asarray(metric.non_finite)] = np.inf
        metrics[name] = values
    axes = {axis: np.asarray(numbers) for axis, numbers in segment.axes.items()}
    return Rows(axes["step"], axes["epoch"], axes["num_tokens"], axes["time"], metrics)


class _Past:
    """Everything an index holds, grown piece by piece.

    Args:
        index: What is indexed already.
    """

    def __init__(self, index: Index | None) -> None:
        self.train = _Columns(index.segment("train") if index is not None else None)
        self.evaluation = _Columns(index.segment("evaluation") if index is not None else None)
        self.clock = index.clock if index is not None else WorkClock()
        self.lines = [index.lines] if index is not None else []
        self.latest = dict(index.latest) if index is not None else {}
        self.damaged: int = index.header["damaged"] if index is not None else 0
        self.seq: int = index.header["log"]["seq"] if index is not None else 0

    def add(self, piece: Piece) -> None:
        """Append what the next lines of the log hold."""
        done = 0
        evaluations: list[tuple[int, Record]] = []
        for row, record in piece.others:
            event = record.event
            if isinstance(event, DeviceMeasured):
                self.latest["DeviceMeasured"] = _line(record)
                continue
            self.lines.append(_line(record).encode() + b"\n")
            if isinstance(event, EvaluationFinished) and plausible(event):
                evaluations.append((row - done, record))
            elif isinstance(event, TrainingStarted) and isinstance(event.resumed_from_step, int):
                self._add_rows(piece.rows[done:row], evaluations)
                self._restart(record.time, min(event.resumed_from_step, _MAX_STEP))
                done, evaluations = row, []
        self._add_rows(piece.rows[done:], evaluations)
        self.damaged += piece.damaged
        self.seq = max(self.seq, piece.seq)
        if piece.last_step:
            self.latest["StepFinished"] = piece.last_step.decode(errors="replace")

    def _add_rows(self, steps: Rows, evaluations: list[tuple[int, Record]]) -> None:
        """Append steps, and the evaluations that stand before the steps they are numbered with."""
        places = np.array([place for place, _ in evaluations], np.intp)
        times = np.insert(steps.time, places, [record.time for _, record in evaluations])
        if not len(times):
            return
        seconds = _at_work(self.clock, times)
        places += np.arange(len(places))
        if len(steps):
            self.train.add(replace(steps, time=np.delete(seconds, places)))
        if evaluations:
            events = [record.event for _, record in evaluations if isinstance(record.event, EvaluationFinished)]
            self.evaluation.add(rows_of(list(zip(seconds[places].tolist(), events, strict=True))))

    def _restart(self, time: float, step: int) -> None:
        self.clock.restart(time)
        self.train.truncate_after(step)
        self.evaluation.truncate_after(step)


def _line(record: Record) -> str:
    return json.dumps({"seq": record.seq, "time": record.time, **to_json(record.event)}, separators=(",", ":"))


def _at_work(clock: WorkClock, times: Floats) -> Floats:
    """Return what `clock.advance` returns for each of `times`."""
    before = clock.last if clock.last is not None else times[0]
    added = np.maximum(np.diff(times, prepend=before), 0.0)
    # One running sum, in the order in which the clock adds: bit for bit the same seconds.
    seconds = np.cumsum(np.concatenate([[clock.seconds], added]))[1:]
    clock.seconds, clock.last = float(seconds[-1]), float(times[-1])
    return seconds


def _write(run: RunDirectory, past: _Past, proof: dict[str, Any], pool: ThreadPoolExecutor) -> None:
    """Write the index beside its place and rename it: readers see the old one or the new one, whole."""
    error: OSError | None = None
    for path in index_paths(run):
        try:
            if path.parent != run.path:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_abandoned(path)
            descriptor, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
            try:
                with open(descriptor, "wb") as file:
                    _write_sections(file, past, proof, pool)
                    file.flush()
                    os.fsync(file.fileno())
                Path(beside).replace(path)
            except BaseException:
                Path(beside).unlink(missing_ok=True)
                raise
        except OSError as problem:
            error = error or problem
        else:
            return
    assert error is not None
    raise write_error(index_paths(run)[0], error) from error


def _remove_abandoned(path: Path) -> None:
    for beside in path.parent.glob(f".{path.name}.*"):
        with contextlib.suppress(OSError):
            if time.time() - beside.lstat().st_mtime > _ABANDONED_SECONDS:
                beside.unlink()


class _Sections:
    """Places sections in a file, and writes them in the threads of a pool."""

    def __init__(self, file: IO[bytes], pool: ThreadPoolExecutor) -> None:
        self._descriptor = file.fileno()
        self._pool = pool
        self._writing: list[Future[None]] = []
        self.end = PREAMBLE.size

    def place(self, num_bytes: int) -> int:
        """Return the offset of a section of that length."""
        start = -(-self.end // ALIGNMENT) * ALIGNMENT
        self.end = start + num_bytes
        return start

    def write(self, start: int, data: NDArray[Any] | bytes) -> None:
        """Write a section that has its place."""
        view = memoryview(data if isinstance(data, bytes) else np.ascontiguousarray(data).view(np.uint8).data)
        while view:
            written = os.pwrite(self._descriptor, view, start)
            view, start = view[written:], start + written

    def add(self, data: NDArray[Any] | bytes) -> int:
        """Place and write a section; return where."""
        start = self.place(len(data) if isinstance(data, bytes) else data.nbytes)
        self.write(start, data)
        return start

    def later(self, work: Callable[[], None]) -> None:
        """Have a thread do something that writes."""
        self._writing.append(self._pool.submit(work))

    def wait(self) -> None:
        """Wait for all threads, which must not write once the file is closed; raises what one of them raised."""
        wait(self._writing)
        for written in self._writing:
            written.result()
        self._writing = []


def _write_sections(file: IO[bytes], past: _Past, proof: dict[str, Any], pool: ThreadPoolExecutor) -> None:
    sections = _Sections(file, pool)
    lines = b"".join(past.lines)
    header: dict[str, Any] = {
        "byteorder": sys.byteorder,
        "blocks": [FACTOR, LEVELS, BLOCK],
        "log": proof,
        "damaged": past.damaged,
        "clock": [past.clock.seconds, past.clock.last],
        "lines": [sections.add(lines), len(lines)],
        "latest": past.latest,
        "train": _write_history(sections, past.train),
        "evaluation": _write_history(sections, past.evaluation),
    }
    text = orjson.dumps(header)
    start = sections.end
    sections.write(start, text)
    sections.write(0, PREAMBLE.pack(MAGIC, VERSION, zlib.crc32(text), start, len(text)))


def _write_history(sections: _Sections, columns: _Columns) -> dict[str, Any]:
    """Write one history and return its part of the header."""
    rows = sum(len(piece) for piece in columns.pieces)
    non_finite: dict[str, NDArray[np.int64]] = {}

    def write_axis(axis: Axis, start: int) -> None:
        sections.write(start, columns.axis(axis))

    def write_metric(name: str, raw: int, levels: list[int]) -> None:
        values, blocks, non_finite[name] = _metric(columns.metric(name))
        sections.write(raw, values)
        for start, level in zip(levels, blocks, strict=True):
            sections.write(start, level)

    axes: dict[str, int] = {}
    metrics: dict[str, dict[str, Any]] = {}
    for axis in AXES:
        axes[axis] = sections.place(8 * rows)
        sections.later(partial(write_axis, axis, axes[axis]))
    for name in list(columns.names)[:MAX_METRICS]:
        raw = sections.place(4 * rows)
        levels = [sections.place(8 * BLOCK * (rows // FACTOR ** (level + 1))) for level in range(LEVELS)]
        metrics[name] = {"raw": raw, "levels": levels}
        sections.later(partial(write_metric, name, raw, levels))
    sections.wait()
    for name, places in metrics.items():
        places["non_finite"] = [sections.add(non_finite[name]), len(non_finite[name])]
    return {"rows": rows, "axes": axes, "metrics": metrics}


def _metric(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], list[Floats], NDArray[np.int64]]:
    """Return a metric's raw values with gaps as NaN, its blocks, and the rows that were not finite."""
    non_finite = np.flatnonzero(np.isinf(values))
    values[non_finite] = np.nan
    whole = values[: len(values) // FACTOR * FACTOR].reshape(-1, FACTOR)
    gaps = np.isnan(whole)
    level = np.empty((len(whole), BLOCK))
    level[:, 0] = np.where(gaps, np.inf, whole).min(axis=1, initial=np.inf)
    level[:, 1] = np.where(gaps, -np.inf, whole).max(axis=1, initial=-np.inf)
    level[:, 2] = np.where(gaps, 0.0, whole).sum(axis=1, dtype=np.float64)
    level[:, 3] = FACTOR - gaps.sum(axis=1)
    levels = [level]
    while len(levels) < LEVELS:
        below = level[: len(level) // FACTOR * FACTOR].reshape(-1, FACTOR, BLOCK)
        level = np.empty((len(below), BLOCK))
        level[:, 0] = below[:, :, 0].min(axis=1, initial=np.inf)
        level[:, 1] = below[:, :, 1].max(axis=1, initial=-np.inf)
        level[:, 2:] = below[:, :, 2:].sum(axis=1)
        levels.append(level)
    return values, levels, non_finite
