"""What the console costs a run: the same training with a bare TRL script, in pairs; and one event appended."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.console import FTCONSOLE
from benchmarks.figures import Figure, figure
from benchmarks.pty_session import Session
from engine import events
from engine.journal import Journal
from engine.runs.directory import RunDirectory
from engine.runs.follow import EventReader

PAIRS = 5
STEPS = 60
SKIPPED = 5
"""Steps not counted: allocators and caches warm up in them."""
SETTINGS = {
    "training.max_steps": STEPS,
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
    """Steps per second of a run under an open console, over those of a bare TRL script with the same settings."""
    with tempfile.TemporaryDirectory(prefix="ftconsole-bench-") as folder:
        ours, bare = [], []
        for pair in range(PAIRS):
            first, second = (_ours, _bare) if pair % 2 else (_bare, _ours)
            for measure in (first, second):
                (ours if measure is _ours else bare).append(measure(Path(folder), f"pair-{pair}"))
        ratios = sorted(a / b for a, b in zip(ours, bare, strict=True))
        yield figure(
            "overhead",
            f"steps/s under an open console / bare TRL, {PAIRS} pairs, {ratios[0]:.3f} to {ratios[-1]:.3f}",
            statistics.median(ratios),
            "",
            ">= 0.99",
            digits=3,
        )


def _ours(folder: Path, name: str) -> float:
    command = [*FTCONSOLE, "-w", str(folder), "train", "--preset", "demo", "--name", name]
    for key, value in SETTINGS.items():
        command += ["--set", f"{key}={value}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run = RunDirectory(folder / "runs" / name)
    reader, steps = EventReader(run.events), list[tuple[int, float]]()
    with Session([*FTCONSOLE, "-w", str(folder), "--run", name]):
        while True:
            for record in reader.read().records:
                if isinstance(record.event, events.StepFinished):
                    steps.append((record.event.step, record.time))
                elif isinstance(record.event, events.WorkerExited):
                    (first, began), (last, ended) = steps[SKIPPED - 1], steps[-1]
                    return (last - first) / (ended - began)
            time.sleep(0.5)


def _bare(folder: Path, name: str) -> float:
    out = folder / f"bare-{name}"
    reply = subprocess.run(
        [sys.executable, "-m", "benchmarks.bare_trl", str(out), json.dumps({"steps": STEPS, "skipped": SKIPPED})],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return float(reply.stdout.splitlines()[-1])


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
