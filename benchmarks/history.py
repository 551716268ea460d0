"""Opening a run of a million steps: without its index on disk, with it, and whether every spike is kept."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator

from benchmarks.console import MILLION, REPEATS, workspace
from benchmarks.figures import Figure, figure
from benchmarks.pty_session import percentile
from benchmarks.synthetic import write_run
from benchmarks.workspaces import complete

WIDTH = 240
"""Pixel columns of a plot that is 120 cells wide."""
SPIKES = {123_457: 97.5, 500_000: -3.25, 999_999: 55.0}
_OPEN = """
import sys, time
from pathlib import Path
began = time.perf_counter()
from engine.runs.directory import RunDirectory
from engine.runs.history_index import build_index, needs_index, open_history
run = RunDirectory(Path(sys.argv[1]))
if needs_index(run):
    build_index(run)
opened = open_history(run)
train = opened.history.train
first, last = train.x_range("step")
drawn = {metric: train.columns(metric, "step", first, last + 1, int(sys.argv[2])) for metric in train.metrics}
took = time.perf_counter() - began
loss = [column for column in drawn["loss"] if column is not None]
print(took, len(train), max(c.high for c in loss), min(c.low for c in loss))
"""


def million_steps() -> Iterator[Figure]:
    """Import, index or map, and draw all eight metrics, in a fresh process each time."""
    run = workspace("million-spikes") / "runs" / "long-run"
    if not (run / "events.jsonl").exists():
        write_run(run, MILLION, spikes=SPIKES)
        complete(run)
    cold, warm, kept = [], [], True
    for number in range(2 * REPEATS):
        if number % 2 == 0:
            (run / "events.history").unlink(missing_ok=True)
        reply = subprocess.run(
            [sys.executable, "-c", _OPEN, str(run), str(WIDTH)], check=True, capture_output=True, text=True
        )
        took, rows, high, low = (float(word) for word in reply.stdout.split())
        (warm if number % 2 else cold).append(took)
        exact = math.isclose(high, max(SPIKES.values())) and math.isclose(low, min(SPIKES.values()))
        kept &= rows == MILLION and exact
    yield figure("million-steps.cold", "1,000,000 x 8, no index yet", percentile(sorted(cold), 0.5), "s", "<= 1.2")
    yield figure(
        "million-steps.indexed", "1,000,000 x 8, index on disk", percentile(sorted(warm), 0.5), "s", "<= 0.1", digits=3
    )
    yield figure("million-steps.spikes", "every spike kept (1: yes)", float(kept), "", ">= 1", digits=0)


BENCHMARKS: dict[str, Callable[[], Iterator[Figure]]] = {"million-steps": million_steps}
