"""What the console costs a run: the same training with a bare TRL script, by turns; and one event appended."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from benchmarks.console import FTCONSOLE
from benchmarks.figures import Figure, figure
from benchmarks.pty_session import Session
from engine import events
from engine.journal import Journal
from engine.runs.directory import RunDirectory
from engine.runs.follow import EventReader
from engine.runs.identity import read_identity

TURNS = 24
TURN_SECONDS = 4.0
"""Short beside the minutes in which a shared machine becomes slower and faster: identical runs of 60 steps, one after
the other, differed by a fifth."""
SKIPPED = 5
"""Steps not counted: allocators and caches warm up in them."""
SETTINGS = {
    "training.max_steps": 100_000,
    "training.per_device_train_batch_size": 16,
    "training.gradient_accumulation_steps": 1,
    "training.warmup_steps": 0,
    "evaluation.eval_steps": "null",
    "evaluation.behaviour": "false",
    "evaluation.prompts": "[]",
    "saving.save_steps": "null",
    "saving.save_best": "false",
}
ROOT = Path(__file__).resolve().parent.parent


def overhead() -> Iterator[Figure]:
    """Steps per second of a run under an open console, over those of a bare TRL script with the same settings.

    Both train at once, and all but one are stopped (SIGSTOP) by turns. A turn's figure is the mean time of the steps
    that lie in it whole.
    """
    with tempfile.TemporaryDirectory(prefix="ftconsole-bench-") as name:
        folder = Path(name)
        ends = folder / "bare-ends"
        bare = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.bare_trl", str(folder / "bare"), str(ends)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT,
        )  # fmt: skip
        try:
            _until(lambda: len(_bare_ends(ends)) > SKIPPED, bare)
            os.kill(bare.pid, signal.SIGSTOP)
            run = _start(folder)
            with Session([*FTCONSOLE, "-w", str(folder), "--run", run.name]):
                _until(lambda: len(_our_ends(run)) > SKIPPED, bare)
                ratios = list(_turns(run, ends, bare.pid))
        finally:
            bare.kill()
            bare.wait()
            subprocess.run(
                [*FTCONSOLE, "-w", name, "stop", "compared", "--now", "--yes"], check=False,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
    low, _, high = statistics.quantiles(ratios, n=4)
    yield figure(
        "overhead",
        f"steps/s under an open console / bare TRL, {len(ratios)} pairs of turns, half of them {low:.2f} to {high:.2f}",
        statistics.median(ratios),
        "",
        ">= 0.99",
        digits=3,
    )


def _start(folder: Path) -> RunDirectory:
    command = [*FTCONSOLE, "-w", str(folder), "train", "--preset", "demo", "--name", "compared"]
    for key, value in SETTINGS.items():
        command += ["--set", f"{key}={value}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return RunDirectory(folder / "runs" / "compared")


def _turns(run: RunDirectory, ends: Path, bare: int) -> Iterator[float]:
    """Let them train by turns, and yield our speed over the other's for each pair."""
    worker = read_identity(run.path / "worker.json")
    assert worker is not None
    ours: list[tuple[float, float]] = []
    others: list[tuple[float, float]] = []
    for turn in range(2 * TURNS):
        # Which goes first changes from pair to pair.
        ours_now = (turn + turn // 2) % 2 == 0
        os.kill(worker.pid, signal.SIGCONT if ours_now else signal.SIGSTOP)
        os.kill(bare, signal.SIGSTOP if ours_now else signal.SIGCONT)
        began = time.time()
        time.sleep(TURN_SECONDS)
        (ours if ours_now else others).append((began, time.time()))
    os.kill(worker.pid, signal.SIGCONT)
    mine, bares = _our_ends(run), _bare_ends(ends)
    for ours_turn, others_turn in zip(ours, others, strict=True):
        yield _seconds_per_step(bares, others_turn) / _seconds_per_step(mine, ours_turn)


def _seconds_per_step(ends: list[float], turn: tuple[float, float]) -> float:
    inside = [end for end in ends if turn[0] <= end <= turn[1]]
    return statistics.mean(later - earlier for earlier, later in pairwise(inside))


def _our_ends(run: RunDirectory) -> list[float]:
    reader = EventReader(run.events)
    return [record.time for record in reader.read().records if isinstance(record.event, events.StepFinished)]


def _bare_ends(path: Path) -> list[float]:
    return [float(line) for line in path.read_text().splitlines()] if path.exists() else []


def _until(condition: Callable[[], bool], needed: subprocess.Popen[bytes]) -> None:
    while not condition():
        if needed.poll() is not None:
            raise RuntimeError("the bare script ended: run `python -m benchmarks.bare_trl OUT ENDS` to see why")
        time.sleep(0.1)


def event_append() -> Iterator[Figure]:
    """One step's event, appended as the worker does."""
    with tempfile.TemporaryDirectory(prefix="ftconsole-bench-") as folder:
        journal = Journal(Path(folder) / "events.jsonl")
        metrics = {"loss": 1.2345, "grad_norm": 0.321, "learning_rate": 2e-4, "entropy": 1.1, "tokens_per_second": 1e4}
        times = []
        for step in range(20_000):
            event = events.StepFinished(step, step / 100, step * 512, 0.05, metrics)
            began = time.perf_counter()
            journal.append(events.to_json(event))
            times.append(1e6 * (time.perf_counter() - began))
        journal.close()
        size = os.stat(Path(folder) / "events.jsonl").st_size
    yield figure(
        "event-append", f"event append, median of {len(times):,} ({size / len(times):.0f} B each)",
        statistics.median(times), "us", "<= 50", digits=1,
    )  # fmt: skip


BENCHMARKS: dict[str, Callable[[], Iterator[Figure]]] = {"overhead": overhead, "event-append": event_append}
