"""Try a configuration for two steps in a process of its own: what memory it takes, how fast it is, what still fits.

The process is `engine.training.probe`. It prints one JSON object per line; batch sizes after the first are written to
its stdin, so that the model is loaded once.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.config.arguments import device_environment
from engine.config.methods import sequences_per_row
from engine.config.model import settled
from engine.errors import EngineError, NothingToLearn, WorkerFailed
from engine.hardware import measured
from engine.hardware.machine import Room, room
from engine.hardware.memory import NOTHING_MEASURED, Batch, Estimate, estimate
from engine.hardware.model_shape import ModelShape
from engine.launch.prepare import Settled
from engine.launch.several import processes_here
from engine.runs.provenance import cached_commit

_MOST_ROWS = 512
_HEADROOM = 0.95
"""Of what is free: another process may want a little, and the next batch may be a little longer."""
_POLL_SECONDS = 0.25
_TRIALS = 8
_SHORTEST = 32
"""Tokens: below it a row holds no answer."""


_NO_MEMORY = ("Cannot allocate memory", "MemoryError", "bad_alloc", "can't allocate memory")
"""What a process may print that could not even say what happened."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Two steps with one batch size."""

    rows: int
    fits: bool
    length: int = 0
    """Tokens of the longest row in the batch; 0 when it did not fit."""
    peak_bytes: int = 0
    tokens_per_second: float | None = None
    """Padding included, of which the longest rows have next to none."""
    step_seconds: float = 0.0
    trained_share: float = 1.0
    wall_seconds: float = 0.0
    max_length: int = 0
    """What rows were cut to; 0: as configured."""


@dataclass(slots=True)
class Probed:
    """What was found out."""

    room: Room
    """What was free before."""
    trials: list[Trial] = field(default_factory=list)
    """In the order tried; the first is the configured batch."""
    context_bytes: int = 0
    weight_bytes: int = 0
    adapter_bytes: int = 0
    optimizer_bytes: int = 0
    largest_rows: int = 0
    """Rows per batch that fit, of those tried and what follows from them; 0 when not even one does. Where one row does
    only when it is cut, 1; then `best` says the length."""
    proven: bool = False
    """Whether exactly so many rows were tried, or follow from the others' memory by a straight line."""
    said: str = ""
    """Why the search ended early; empty when it did not."""

    @property
    def first(self) -> Trial | None:
        """The batch as configured; None when it could not be tried."""
        return self.trials[0] if self.trials else None

    @property
    def fits(self) -> bool:
        return self.first is not None and self.first.fits

    @property
    def best(self) -> Trial | None:
        """The batch as configured, or the largest that fits where that does not."""
        fitting = [trial for trial in self.trials if trial.fits]
        return self.first if self.fits else max(fitting, key=lambda trial: trial.rows, default=None)


def probe(
    given: Settled,
    *,
    search: bool = True,
    budget_seconds: float = 180.0,
    progress: Callable[[str], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Probed:
    """Try the configured batch for two steps, then look for the largest that fits.

    Args:
        given: A settled configuration; nothing of a run is made.
        search: False tries the configured batch only.
        budget_seconds: A further trial that would take longer than what is left is not made.
        progress: Told what is being done, in words.
        cancelled: Asked four times a second; true ends the process, and what was found so far is returned.

    Raises:
        EngineError: It could not be tried: no model, a fault. That a batch, or the model itself, does not fit is an
            answer and no error.
    """
    config = given.resolved.config
    found = Probed(room(config.model.device))
    known = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ftconsole-probe-") as folder:
        process = _Process(_specification(given, found.room), Path(folder), _environment(given), cancelled)
        try:
            for event in process.events():
                kind = event.pop("event")
                if kind == "stage":
                    progress(str(event["name"]))
                elif kind == "context":
                    found.context_bytes = int(event["bytes"])
                elif kind == "loaded":
                    found.weight_bytes = int(event["weight_bytes"])
                elif kind == "failed":
                    _failed(found, event, process)
                    break
                elif kind == "trial":
                    _take(found, event)
                    left = budget_seconds - (time.monotonic() - known)
                    rows = _next(found, given, left) if search else None
                    shorter = _shorter(found, given) if search and rows is None else None
                    if rows is None and shorter is None:
                        break
                    process.ask(rows or 1, shorter or 0)
            else:
                _ended(found, process)
        finally:
            process.end()
    _conclude(found, given)
    return found


def remember(found: Probed, given: Settled, shape: ModelShape, *, now: float) -> None:
    """Keep every trial that fitted beside what was predicted for it, on this machine."""
    config = given.resolved.config
    for trial in found.trials:
        if trial.fits and found.context_bytes:
            batch = Batch(trial.rows * sequences_per_row(config), trial.length, trial.trained_share)
            measured.remember(
                config,
                estimate(config, shape, kind=found.room.kind, batch=batch, frozen=_frozen(given)),
                device=found.room.device,
                peak_bytes=trial.peak_bytes,
                context_bytes=found.context_bytes,
                now=now,
            )


def predict(given: Settled, shape: ModelShape, batch: Batch, *, corrected: bool = True) -> Estimate:
    """Return the prediction for a batch on this machine, corrected by what was measured here before."""
    config = given.resolved.config
    there = room(config.model.device)
    known = measured.correction(config, there.device) if corrected else NOTHING_MEASURED
    share = 1 if there.kind == "cuda" else processes_here(config)  # each has a GPU of its own; main memory is one
    return estimate(
        config,
        shape,
        kind=there.kind,
        batch=batch,
        frozen=_frozen(given),
        free_bytes=there.free_bytes // share if there.free_bytes is not None else None,
        device_bytes=there.total_bytes,
        correction=known,
    )


def _frozen(given: Settled) -> int:
    """Return the numbers of an earlier adapter that acts beside the trained one."""
    stacked = given.resolved.config.model.adapter_mode == "stack"
    return given.start.num_parameters if stacked and given.start is not None else 0


def _specification(given: Settled, there: Room) -> dict[str, Any]:
    config, model = given.resolved.config, given.model
    return {
        "config": given.resolved.to_yaml(),
        "source": model.source,
        "commit": cached_commit(model.source, config.model.revision) or None if model.kind == "hub" else None,
        "files": [
            {"path": file.path, "limit": config.data.limit, "mapping": config.data.mapping or None}
            for file in given.data
            if file.role == "train"
        ],
        "beside": given.start.source.path if _frozen(given) and given.start is not None else None,
        "rows": settled(config.training.per_device_train_batch_size),
        "free_bytes": there.free_bytes,
    }


def _environment(given: Settled) -> dict[str, str]:
    own = {
        "GOMP_SPINCOUNT": "20000",
        "TOKENIZERS_PARALLELISM": "true",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    return {**own, **os.environ, **device_environment(given.resolved)}


def _take(found: Probed, event: dict[str, Any]) -> None:
    event.pop("said", None)
    found.context_bytes = event.pop("context_bytes", found.context_bytes)
    found.adapter_bytes = event.pop("adapter_bytes", found.adapter_bytes)
    found.optimizer_bytes = event.pop("optimizer_bytes", found.optimizer_bytes)
    trial = Trial(**event)
    free = found.room.free_bytes
    if trial.fits and free is not None and trial.peak_bytes > free:
        trial = Trial(**{**event, "fits": False})  # it went into swap, or took what others gave up
    found.trials.append(trial)


def _next(found: Probed, given: Settled, seconds_left: float) -> int | None:
    """Return the batch size to try next; None when enough is known."""
    if len(found.trials) >= _TRIALS:
        return None
    fitting = {trial.rows: trial for trial in found.trials if trial.fits}
    failing = [trial.rows for trial in found.trials if not trial.fits]
    most = min([_MOST_ROWS, max(1, given.facts.num_train_examples), *(rows - 1 for rows in failing)])
    wanted: int | None
    if not fitting:
        wanted = min(failing) // 2
    elif len(fitting) == 1:
        only = next(iter(fitting))
        wanted = 2 * only if not failing else (only + min(failing)) // 2
    else:
        wanted = _by_a_line(found)
        if wanted is None or (failing and wanted >= min(failing)):
            wanted = (max(fitting) + min(failing)) // 2 if failing else None
    if wanted is None:
        return None
    wanted = min(wanted, most)
    if wanted < 1 or wanted in fitting or (fitting and wanted < max(fitting)):
        return None
    last = found.trials[-1]
    per_row = (fitting[max(fitting)].wall_seconds / max(fitting)) if fitting else last.wall_seconds / last.rows
    if wanted * per_row > seconds_left:
        found.said = f"{wanted} rows were not tried: two steps of them would take some {wanted * per_row:.0f} s"
        return None
    return wanted


def _shorter(found: Probed, given: Settled) -> int | None:
    """Return the maximum length to try one row with, half of the last; None unless one row did not fit."""
    last = found.trials[-1]
    if last.fits or last.rows > 1 or len(found.trials) >= _TRIALS or any(trial.fits for trial in found.trials):
        return None
    length = (last.max_length or largest_length(given)) // 2
    return length if length >= _SHORTEST else None


def largest_length(given: Settled) -> int:
    """Return the tokens of the longest row there will be: of those sampled, at most `data.max_length`."""
    config = given.resolved.config
    length = settled(config.data.max_length)
    if given.facts.lengths is not None and not config.data.packing:
        length = min(length, given.facts.lengths.longest)
    return length


def _by_a_line(found: Probed) -> int | None:
    """Return how many rows should fit, from the two largest batches that did; None when memory does not tell."""
    whole = (trial for trial in found.trials if trial.fits and not trial.max_length)
    fitting = sorted(whole, key=lambda trial: trial.rows)
    free = found.room.free_bytes
    if len(fitting) < 2 or free is None:
        return None
    small, large = fitting[-2:]
    per_row = (large.peak_bytes - small.peak_bytes) / (large.rows - small.rows)
    if per_row <= 0:
        return None
    return int(large.rows + (free * _HEADROOM - large.peak_bytes) / per_row)


def _conclude(found: Probed, given: Settled) -> None:
    fitting = [trial.rows for trial in found.trials if trial.fits]
    failing = [trial.rows for trial in found.trials if not trial.fits]
    found.largest_rows = max(fitting, default=0)
    found.proven = True
    if fitting and len(found.trials) > 1 and (line := _by_a_line(found)) is not None:
        most = min([_MOST_ROWS, given.facts.num_train_examples, *(rows - 1 for rows in failing)])
        expected = max(found.largest_rows, min(line, most))
        if found.said:
            found.proven = expected == found.largest_rows
            found.largest_rows = expected


def _failed(found: Probed, event: dict[str, Any], process: _Process) -> None:
    if event["out_of_memory"] and process.asked:
        found.trials.append(Trial(process.asked, fits=False))
        found.said = str(event["message"])
        return
    if event["code"] == NothingToLearn.code and found.trials:  # rows cut so short have no answer left
        found.said = "rows that are cut shorter have nothing left to learn"
        return
    kinds = {kind.code: kind for kind in _all_errors()}
    kind = kinds.get(str(event["code"]), WorkerFailed)
    remedy = str(event["remedy"])
    if kind is WorkerFailed:
        remedy = f"The end of what it printed: {process.last_words()}"
    raise _made(kind, str(event["message"]), remedy)


def _ended(found: Probed, process: _Process) -> None:
    """Judge a process that closed its output without saying why."""
    if process.was_cancelled:
        found.said = "cancelled"
        return
    code = process.wait()
    if found.trials and not found.trials[-1].fits:
        return
    words = process.last_words()
    # SIGABRT and SEGV: libraries that do not expect an allocation to fail, which it does at our limit. Python itself
    # ends with 1 there, and sometimes cannot say more than that.
    if code in (-signal.SIGKILL, -signal.SIGABRT, -signal.SIGSEGV) or any(said in words for said in _NO_MEMORY):
        how = f"ended by {signal.Signals(-code).name}, most likely for its memory" if code < 0 else "out of memory"
        found.trials.append(Trial(process.asked, fits=False))
        found.said = f"the process was {how}" + ("" if process.loaded else " while it was loading the model")
        return
    raise WorkerFailed(
        f"The trial ended with exit code {code} and said nothing.", remedy=f"The end of what it printed: {words}"
    )


def _made(kind: type[EngineError], message: str, remedy: str) -> EngineError:
    try:
        return kind(message, remedy=remedy)
    except TypeError:  # an error with arguments of its own
        return WorkerFailed(message, remedy=remedy)


def _all_errors() -> Iterator[type[EngineError]]:
    waiting: list[type[EngineError]] = [EngineError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        yield kind


class _Process:
    """The worker, its lines, and what it was asked."""

    def __init__(
        self, specification: dict[str, Any], folder: Path, environment: dict[str, str], cancelled: Callable[[], bool]
    ) -> None:
        path = folder / "specification.json"
        path.write_text(json.dumps(specification), "utf-8")
        self.log = folder / "log"
        self.asked = int(specification["rows"])
        self.cancelled = cancelled
        self.was_cancelled = self.loaded = False
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "engine.training.probe", str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,  # never a pipe: a library that prints much would wait for ever
                cwd=folder,
                env=environment,
                start_new_session=True,
            )

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield what it says until it ends or is cancelled."""
        assert self.process.stdout is not None
        buffered = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while True:
                if self.cancelled():
                    self.was_cancelled = True
                    return
                if not selector.select(_POLL_SECONDS):
                    continue
                piece = os.read(self.process.stdout.fileno(), 65_536)
                if not piece:
                    return
                *lines, buffered = (buffered + piece).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    self.loaded = self.loaded or event["event"] == "loaded"
                    yield event

    def ask(self, rows: int, max_length: int) -> None:
        """Have `rows` rows tried, cut to `max_length`; 0 leaves them as configured."""
        assert self.process.stdin is not None
        self.asked = rows
        with contextlib.suppress(BrokenPipeError):  # its end is seen on stdout
            self.process.stdin.write(f"{rows} {max_length}\n".encode())
            self.process.stdin.flush()

    def wait(self) -> int:
        return self.process.wait()

    def last_words(self) -> str:
        """Return the last line it printed."""
        lines = self.log.read_text("utf-8", errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "nothing"

    def end(self) -> None:
        """End it and whatever it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
