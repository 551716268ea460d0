"""W&B's terminal viewer (`wandb leet`) and our console on the same histories, side by side in one call.

The viewer is installed from the wandb package into an environment of its own, in the user's cache folder.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import workspaces
from benchmarks.console import STEPS, console, workspace
from benchmarks.figures import Figure, figure
from benchmarks.pty_session import Session, percentile

WANDB = "wandb==0.31.0"
REPEATS = 5
_WRITER = """
import math, random, sys, time, wandb
steps, per_second, metrics = int(sys.argv[2]), float(sys.argv[3]), sys.argv[4].split(",")
run = wandb.init(mode="offline", project="bench", dir=sys.argv[1],
                 settings=wandb.Settings(console="off", x_disable_stats=not per_second))
random.seed(0)
def row(step):
    return {name: 2.0 / (1 + step / 4000) + 0.2 * random.random() for name in metrics}
for step in range(steps):
    run.log(row(step))
print("written", flush=True)
began, step = time.monotonic(), 0
while per_second:
    step += 1
    time.sleep(max(0.0, began + step / per_second - time.monotonic()))
    run.log(row(steps + step))
run.finish()
"""


def leet() -> Iterator[Figure]:
    """Start, latency, memory and cost of both."""
    from benchmarks.synthetic import METRICS

    viewer = _install()
    names = ",".join(METRICS)
    history = workspace("leet") / "finished"
    if not list(history.glob("wandb/offline-run-*")):
        history.mkdir(exist_ok=True)
        subprocess.run(_write(viewer, history, STEPS, 0, names), check=True, stdout=subprocess.DEVNULL, cwd=history)
    run = workspaces.finished_run(workspace("ten-thousand"), STEPS)
    theirs = [str(viewer / "wandb"), "leet", str(next(history.glob("wandb/offline-run-*")))]
    ours = console(run.parent.parent, "--run", run.name)
    first: dict[str, list[float]] = {"ours": [], "theirs": []}
    ready: dict[str, list[float]] = {"ours": [], "theirs": []}
    latency: dict[str, list[float]] = {"ours": [], "theirs": []}
    memory: dict[str, float] = {}
    for _ in range(REPEATS):
        for who, command, keys in (("theirs", theirs, ["\t"]), ("ours", ours, ["\t"])):
            with Session(command) as session:
                ready[who].append(1000 * session.wait_until_quiet(0.6))
                first[who].append(1000 * (session.first_paint or 0.0))
                latency[who] += session.latencies(keys, 10)
                memory[who] = session.memory_bytes() / 1e6
    for name, what, measured in (("first-paint", "first paint", first), ("ready", "history drawn", ready)):
        middle = {who: percentile(sorted(values), 0.5) for who, values in measured.items()}
        yield figure(
            f"leet.{name}", f"{what}, {STEPS:,} x 8", middle["ours"], "ms", "< against", against=middle["theirs"]
        )
    for label, fraction in (("p50", 0.5), ("p95", 0.95)):
        values = {who: percentile(sorted(found), fraction) for who, found in latency.items()}
        yield figure(
            f"leet.key-{label}", f"key to first byte, {label}", values["ours"], "ms", "< against",
            against=values["theirs"],
        )  # fmt: skip
    yield figure(
        "leet.memory", "memory, history open", memory["ours"], "MB", "< against", against=memory["theirs"], digits=1
    )
    yield from _live(viewer, names)


def _live(viewer: Path, names: str) -> Iterator[Figure]:
    """Both on a run that logs ten rows a second."""
    with _live_wandb(viewer, names) as path, Session([str(viewer / "wandb"), "leet", str(path)]) as session:
        session.wait_until_quiet(0.05, 10.0)
        time.sleep(5.0)
        theirs = session.usage(20.0)
    folder = workspace("leet-live")
    with workspaces.live_run(folder, 10.0) as run, Session(console(folder, "--run", run.name)) as session:
        session.wait_for_text("loss")
        time.sleep(5.0)
        ours = session.usage(20.0)
    for name, what, mine, other, unit in (
        ("cpu", "processor", ours.cpu_percent, theirs.cpu_percent, "% of a core"),
        ("bytes", "output", ours.bytes_per_second / 1000, theirs.bytes_per_second / 1000, "kB/s"),
        ("wakeups", "wake-ups", ours.wakeups_per_second, theirs.wakeups_per_second, "/s"),
    ):
        yield figure(f"leet.live-{name}", f"live run, 10 rows/s: {what}", mine, unit, "< against", against=other)


@contextmanager
def _live_wandb(viewer: Path, names: str) -> Iterator[Path]:
    folder = workspace("leet") / "live"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    writer = subprocess.Popen(_write(viewer, folder, 2_000, 10.0, names), stdout=subprocess.PIPE, text=True, cwd=folder)
    try:
        assert writer.stdout is not None
        while "written" not in (line := writer.stdout.readline()):
            if not line:
                raise RuntimeError("the wandb run could not be written")
        yield next(folder.glob("wandb/offline-run-*"))
    finally:
        writer.kill()
        writer.wait()
        if writer.stdout is not None:
            writer.stdout.close()


def _write(viewer: Path, folder: Path, steps: int, per_second: float, names: str) -> list[str]:
    return [str(viewer / "python"), "-c", _WRITER, str(folder), str(steps), str(per_second), names]


def _install() -> Path:
    """Return the `bin` folder of an environment with wandb, made once."""
    environment = workspace("leet") / "environment"
    if not (environment / "bin" / "wandb").exists():
        print("Installing wandb into an environment of its own, once", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        subprocess.run([str(environment / "bin" / "python"), "-m", "pip", "install", "-q", WANDB], check=True)
    return environment / "bin"


BENCHMARKS: dict[str, Callable[[], Iterator[Figure]]] = {"leet": leet}
