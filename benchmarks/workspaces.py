"""Workspaces to measure on: one with a run of 10,000 steps, one with a million, one with a run at work."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.synthetic import write_run
from engine import events
from engine.journal import Journal
from engine.launch.keeper import INDEXED_BYTES
from engine.runs.directory import RunDirectory
from engine.runs.history_index import build_index, needs_index
from engine.runs.identity import ProcessIdentity, write_identity
from engine.runs.liveness import beat


def finished_run(folder: Path, steps: int, name: str = "long-run") -> Path:
    """Write a workspace with one finished run and return the run's folder."""
    run = folder / "runs" / name
    if not (run / "events.jsonl").exists():
        write_run(run, steps)
        complete(run)
    return indexed(run)


def complete(run: Path) -> None:
    """Add what a run folder holds besides its log."""
    (run / "checkpoints").mkdir(exist_ok=True)
    (run / "provenance.json").write_text(json.dumps({"run_id": "0" * 32}) + "\n")


def indexed(run: Path) -> Path:
    """Index a finished run as its keeper does at its end."""
    if needs_index(RunDirectory(run), INDEXED_BYTES):
        build_index(RunDirectory(run))
    return run


@contextmanager
def live_run(folder: Path, steps_per_second: float, *, before: int = 2_000) -> Iterator[Path]:
    """Give a run that is at work: this process holds its lock and appends steps until the block is left.

    Args:
        folder: The workspace.
        steps_per_second: Logged.
        before: Steps that are there already.
    """
    run = folder / "runs" / "live-run"
    write_run(run, before, total_steps=before * 10, finished=False)
    complete(run)
    lock = os.open(run / "run.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    me = ProcessIdentity.of_this_process()
    write_identity(run / "keeper.json", me, attempt=1)
    write_identity(run / "worker.json", me)
    journal, over = Journal(run / "events.jsonl"), threading.Event()

    def work() -> None:
        step = before
        began = time.monotonic()
        while not over.wait(max(0.0, began + (step - before + 1) / steps_per_second - time.monotonic())):
            step += 1
            loss = 2.0 / (1 + step / 4000) + 0.2 * ((step * 7919) % 1000 / 1000)
            metrics = {
                "loss": loss, "grad_norm": 0.5 + ((step * 104729) % 1000) / 1000, "learning_rate": 2e-4,
                "entropy": 1.0, "mean_token_accuracy": 0.7, "tokens_per_second": 40000 + (step * 31) % 3000,
                "retain_loss": loss, "unlearn_loss": loss / 2,
            }  # fmt: skip
            epoch = step / 5000
            event = events.StepFinished(step, epoch, step * 4096, 1 / steps_per_second, metrics)
            journal.append(events.to_json(event))
            if step % 50 == 0:
                reading = events.DeviceMeasured("cpu", (1 << 30) + step * 4096, 1 << 34, None, 0.9, None, None)
                journal.append(events.to_json(reading))
            if step % 20 == 0:
                beat(run, me.nonce, step)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield run
    finally:
        over.set()
        thread.join()
        journal.close()
        os.close(lock)
