"""What every test may use: waiting for conditions, runs without training, workers of a few lines."""

from __future__ import annotations

import gc
import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from engine import events
from engine.commands import Stop
from engine.launch import start as launching
from engine.runs.directory import RunDirectory, create_run
from engine.runs.follow import EventReader, Record
from engine.runs.liveness import Life, liveness

# One thread per process: two workers of pytest and torch's own threads on two cores made tests eight times slower.
os.environ["OMP_NUM_THREADS"] = "1"

pytest_plugins = ["tests.forking.hook", "tests.parsed_sheets", "tests.servers.running", "tests.llama_cpp"]

PATIENCE_SECONDS = 90.0
"""How long a condition is waited for. Reached only when something is broken: the machines are shared."""

_MANY_MODULES = 500

T = TypeVar("T")


def pytest_runtest_setup() -> None:
    """Keep what was imported out of the collector's sight.

    With torch and TRL imported a full collection looks at a million objects, in 0.5 s, and a training asks for one.
    """
    global _modules_seen
    if len(sys.modules) > _modules_seen + _MANY_MODULES:
        _modules_seen = len(sys.modules)
        gc.collect()
        gc.freeze()


_modules_seen = 0


@pytest.fixture(autouse=True)
def _terminal_is_as_it_was() -> Iterator[None]:
    """Take back what a command told the programs it starts: `--no-color` is read by every app of this process."""
    before = {name: value for name, value in os.environ.items() if _of_the_terminal(name)}
    yield
    for name in [name for name in os.environ if _of_the_terminal(name)]:
        if name not in before:
            del os.environ[name]
    os.environ.update(before)


def _of_the_terminal(name: str) -> bool:
    return name in ("NO_COLOR", "ESCDELAY", "COLUMNS", "LINES") or name.startswith("TEXTUAL_")


def wait_for(condition: Callable[[], T | None], what: str = "") -> T:
    """Return the first true value of `condition`."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE_SECONDS:.0f} s in vain for {what or condition}")
        time.sleep(0.02)


@pytest.fixture(name="wait_for")
def wait_for_fixture() -> Callable[..., object]:
    return wait_for


def read_records(run: RunDirectory) -> list[Record]:
    """Return the whole log of a run."""
    reader, found = EventReader(run.events), list[Record]()
    while True:
        batch = reader.read()
        found += batch.records
        if not batch.more:
            return found


@dataclass
class Runs:
    """Makes runs whose worker is a script of a few lines, and ends what is left of them."""

    folder: Path
    scripts: Path
    environment: pytest.MonkeyPatch

    def create(self, name: str = "run-1") -> RunDirectory:
        created = events.RunCreated(name=name, method="sft", model="tiny", parent=None)
        files = {"run.yaml": "{}\n", "provenance.json": '{"run_id": "0123456789abcdef"}\n'}
        return create_run(self.folder, name, created=created, files=files)

    def worker(self, body: str) -> str:
        """Write a worker module and return its name. `body` sees `run` (Path), `journal` and `events`."""
        head = """
            import json, os, signal, subprocess, sys, time
            from pathlib import Path
            from engine import events
            from engine.journal import Journal
            run = Path(sys.argv[1])
            journal = Journal(run / "events.jsonl")
            def say(event):
                journal.append(events.to_json(event))
            """
        name = f"worker_{len(list(self.scripts.glob('*.py')))}"
        (self.scripts / f"{name}.py").write_text(textwrap.dedent(head) + textwrap.dedent(body))
        return name

    def start(self, run: RunDirectory, body: str, *, grace_seconds: float = 10.0) -> None:
        launching.start(run, worker=self.worker(body), grace_seconds=grace_seconds)

    def end_all(self) -> None:
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            run = RunDirectory(path)
            if liveness(path).life is Life.ALIVE:
                run.tell(Stop(save=False))
                found = liveness(path)
                for identity in (found.worker, found.keeper):
                    if identity is not None:
                        identity.send(9)  # type: ignore[arg-type]
                wait_for(lambda path=path: liveness(path).life is not Life.ALIVE, f"the end of {path.name}")  # type: ignore[misc]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    """A `runs` folder, with workers of a few lines."""
    scripts = tmp_path / "workers"
    scripts.mkdir()
    root = str(Path(__file__).resolve().parent.parent)
    monkeypatch.setenv("PYTHONPATH", f"{root}:{scripts}")
    made = Runs(tmp_path / "runs", scripts, monkeypatch)
    yield made
    made.end_all()
