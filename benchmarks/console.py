"""The console from outside: start, latency, cost at rest and at work, memory, mouse, a slow line."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import workspaces
from benchmarks.figures import Figure, figure
from benchmarks.pty_session import Session, percentile

FTCONSOLE = [str(Path(sys.executable).with_name("ftconsole"))]
STEPS = 10_000
MILLION = 1_000_000
REPEATS = 7
MOVES = ["j", "k"]


def workspace(name: str) -> Path:
    """Return a folder of this user's that later calls find again: a million steps take 5 s to write."""
    folder = Path(tempfile.gettempdir()) / f"ftconsole-bench-{Path.home().name}" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def console(folder: Path, *arguments: str) -> list[str]:
    return [*FTCONSOLE, "-w", str(folder), *arguments]


def help() -> Iterator[Figure]:  # noqa: A001 - the row's name
    """How long the commands take that people type without thinking."""
    folder = workspaces.finished_run(workspace("ten-thousand"), STEPS).parent.parent
    for name, command in (("help", [*FTCONSOLE, "--help"]), ("runs", console(folder, "runs"))):
        times = []
        for _ in range(2 * REPEATS):
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times.append(1000 * (time.perf_counter() - began))
        shown = "ftconsole --help" if name == "help" else "ftconsole runs"
        yield figure(f"help.{name}", f"{shown}, median wall time", percentile(sorted(times), 0.5), "ms", "<= 120")


def first_paint() -> Iterator[Figure]:
    """Cold start to the first paint, and to a usable screen with the last run drawn."""
    run = workspaces.finished_run(workspace("ten-thousand"), STEPS)
    folder = run.parent.parent
    painted, drawn = [], []
    for _ in range(REPEATS):
        with Session(console(folder)) as session:
            session.wait_for_text(r"10,?000")
            painted.append(1000 * (session.first_paint or 0.0))
        with Session(console(folder, "--run", run.name)) as session:
            # The chart has its axis labels when the curves are drawn.
            drawn.append(1000 * session.wait_for_text(r"loss(?s:.)*10k"))
    yield figure("first-paint.cold", "cold start to first paint", percentile(sorted(painted), 0.5), "ms", "<= 300")
    yield figure(
        "first-paint.usable", f"the last run drawn, {STEPS:,} x 8", percentile(sorted(drawn), 0.5), "ms", "<= 450"
    )


def key_latency() -> Iterator[Figure]:
    """Key to first byte on the list and on the live screen, while a run is at work."""
    folder = workspace("live-keys")
    for number in range(1, 6):  # else there is nothing to move to
        workspaces.finished_run(folder, 200, f"finished-{number}")
    with workspaces.live_run(folder, 10.0) as run:
        for name, arguments, keys in (("runs", (), MOVES), ("live", ("--run", run.name), ["tab"])):
            typed = ["\t"] if keys == ["tab"] else keys
            with Session(console(folder, *arguments)) as session:
                session.wait_for_text("live-run")
                session.wait_until_quiet(0.3, 3.0)
                found = session.latencies(typed, 60)
            for label, fraction, bar in (("p50", 0.5, "<= 8"), ("p95", 0.95, "<= 20")):
                value = percentile(found, fraction)
                yield figure(f"key-latency.{name}-{label}", f"key to first byte, {name} screen", value, "ms", bar)


def idle() -> Iterator[Figure]:
    """What a console costs that nobody touches and in which nothing happens."""
    folder = workspaces.finished_run(workspace("ten-thousand"), STEPS).parent.parent
    with Session(console(folder)) as session:
        session.wait_for_text("long-run")
        session.wait_until_quiet(1.0)
        usage = session.usage(20.0)
    yield figure("idle.cpu", "idle console", usage.cpu_percent, "% of a core", "<= 0.2")
    yield figure("idle.bytes", "idle console", usage.bytes_per_second, "B/s", "<= 0")
    yield figure("idle.wakeups", "idle console", usage.wakeups_per_second, "wake-ups/s", "<= 12", digits=1)


def live_cost() -> Iterator[Figure]:
    """The live screen of a run that logs ten steps a second."""
    folder = workspace("live-cost")
    with workspaces.live_run(folder, 10.0) as run:
        for size, bar in (((120, 40), "<= 1"), ((80, 24), "<= 0.5")):
            with Session(console(folder, "--run", run.name), size) as session:
                session.wait_for_text("loss")
                time.sleep(3.0)
                usage = session.usage(20.0)
            name = f"{size[0]}x{size[1]}"
            kilobytes = usage.bytes_per_second / 1000
            if size == (120, 40):
                yield figure("live-cost.cpu", f"live screen, {name}", usage.cpu_percent, "% of a core", "<= 1.5")
            yield figure(f"live-cost.bytes-{name}", f"live screen, {name}", kilobytes, "kB/s", bar)


def memory() -> Iterator[Figure]:
    """Resident memory of the console process."""
    idle_folder = workspaces.finished_run(workspace("ten-thousand"), STEPS).parent.parent
    with Session(console(idle_folder)) as session:
        session.wait_for_text("long-run")
        session.wait_until_quiet(1.0)
        yield figure("memory.idle", "idle console", session.memory_bytes() / 1e6, "MB", "<= 80", digits=1)
    run = workspaces.finished_run(workspace("million"), MILLION)
    with Session(console(run.parent.parent, "--run", run.name)) as session:
        session.wait_for_text(r"loss(?s:.)*1M", 120.0)
        session.wait_until_quiet(1.0)
        yield figure("memory.million", f"a run of {MILLION:,} steps open", session.memory_bytes() / 1e6, "MB", "<= 120")


def mouse() -> Iterator[Figure]:
    """A mouse swept over the screens at 60 Hz, as a terminal reports it if it was asked to."""
    folder = workspaces.finished_run(workspace("ten-thousand"), STEPS).parent.parent
    for name, arguments in (("runs", ()), ("live", ("--run", "long-run"))):
        with Session(console(folder, *arguments)) as session:
            session.wait_for_text("long-run")
            session.wait_until_quiet(1.0)
            asked_for_motion = session.asked_for_motion
            began = time.monotonic()
            for event in range(300):
                if asked_for_motion:  # a terminal that was not asked for motion sends none
                    session.send(f"\x1b[<35;{1 + event % 118};{1 + event // 3 % 38}M")
                time.sleep(1 / 60)
            spent = session.bytes_since(began) / (time.monotonic() - began) / 1000
        yield figure(f"mouse.{name}", f"mouse swept over the {name} screen at 60 Hz", spent, "kB/s", "<= 2")


def slow_link() -> Iterator[Figure]:
    """A line of 8 kB/s."""
    folder = workspace("slow-link")
    gap = folder / "gap"
    command = [sys.executable, "-m", "benchmarks.loop_gap", str(gap), "-w", str(folder)]
    with workspaces.live_run(folder, 10.0) as run, _slow([*command, "--run", run.name]) as session:
        session.wait_for_text("loss")
        for _ in range(8):
            session.send("\t")
            time.sleep(0.5)
        time.sleep(3.0)
        worst = float(gap.read_text())
        pressed = time.monotonic()
        session.send("q")
        time.sleep(0.05)
        session.send("q")
        while not session.ended and time.monotonic() - pressed < 10:
            time.sleep(0.01)
        obeyed = time.monotonic() - pressed
    yield figure("slow-link.gap", "8 kB/s: largest gap of the event loop", worst, "s", "<= 0.2", digits=3)
    yield figure("slow-link.quit", "8 kB/s: q to the end", obeyed, "s", "<= 1", digits=3)


def _slow(command: list[str]) -> Session:
    return Session(command, bytes_per_second=8_000)


BENCHMARKS: dict[str, Callable[[], Iterator[Figure]]] = {
    "help": help,
    "first-paint": first_paint,
    "key-latency": key_latency,
    "idle": idle,
    "live-cost": live_cost,
    "memory": memory,
    "mouse": mouse,
    "slow-link": slow_link,
}
