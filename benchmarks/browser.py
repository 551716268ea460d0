"""Browsing 200 runs with 50 checkpoints each: how long the catalogue takes to read, the screen to open, a key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.console import MOVES, console, workspace
from benchmarks.figures import Figure, figure
from benchmarks.pty_session import Session, percentile
from benchmarks.shelves import write_shelves

NUM_RUNS, NUM_CHECKPOINTS = 200, 50
_READINGS = 5
_SCRIPT = """
import json, sys, time
from pathlib import Path
from engine.runs.catalogue import read_catalogue
took = []
for _ in range(int(sys.argv[3])):
    began = time.perf_counter()
    found = read_catalogue(Path(sys.argv[1]), cache=Path(sys.argv[2]))
    took.append(1000 * (time.perf_counter() - began))
print(json.dumps([took, sum(len(run.checkpoints) for run in found.runs)]))
"""


def browser() -> Iterator[Figure]:
    """Read the catalogue in a fresh process: the first time, and again when it is remembered."""
    runs = write_shelves(workspace("shelves"), NUM_RUNS, NUM_CHECKPOINTS) / "runs"
    with tempfile.TemporaryDirectory() as cache:
        (first,), count = _read(runs, cache, 1)
        again = [_read(runs, cache, 1)[0][0] for _ in range(_READINGS)]
    what = f"{NUM_RUNS} runs, {count:,} checkpoints"
    yield figure("browser.first", f"{what}: read for the first time", first, "ms", "<= 5000", digits=0)
    yield figure("browser.remembered", f"{what}: read again, median", sorted(again)[_READINGS // 2], "ms", "<= 350",
                 digits=0)  # fmt: skip
    yield from _screen(runs.parent, what)


def _screen(folder: Path, what: str) -> Iterator[Figure]:
    """Open the screen from the list of runs until all are counted, then move the cursor.

    The first time, in which nothing is remembered yet, is not counted: the figures before this one tell of it.
    """
    opened: list[float] = []
    for _ in range(_READINGS + 1):
        with Session(console(folder), (120, 40)) as session:
            session.wait_for_text("200 runs")
            session.wait_until_quiet(0.5, 20.0)
            began = time.monotonic()
            session.send("c")
            session.wait_for_text(r"10,400 checkpoints of 200 runs")
            opened.append(1000 * (time.monotonic() - began))
            session.wait_until_quiet(0.5, 20.0)
            latencies = session.latencies(MOVES, 60)
    median = percentile(sorted(opened[1:]), 0.5)
    yield figure("browser.open", f"{what}: the screen open, median", median, "ms", "<= 500", digits=0)
    for label, fraction, bar in (("p50", 0.5, "<= 8"), ("p95", 0.95, "<= 20")):
        yield figure(
            f"browser.key-{label}", "key to first byte, checkpoints", percentile(latencies, fraction), "ms", bar
        )


def _read(runs: Path, cache: str, times: int) -> tuple[list[float], int]:
    reply = subprocess.run(
        [sys.executable, "-P", "-c", _SCRIPT, str(runs), cache, str(times)],
        check=True, stdout=subprocess.PIPE, text=True, env=_environment(),
    )  # fmt: skip
    took, count = json.loads(reply.stdout)
    return took, count


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}


BENCHMARKS: dict[str, Callable[[], Iterator[Figure]]] = {"browser": browser}
