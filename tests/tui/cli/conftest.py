"""A workspace for the command line, and runs in it that nobody works on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from engine import events
from engine.events import Event
from engine.runs.directory import RunDirectory, create_run
from tests.tui.cli.command_line import CommandLine, MakeRun, say


@pytest.fixture
def cli(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """The command line; its workspace is where the fixture `runs` makes its runs."""
    return CommandLine(tmp_path, tmp_path_factory.mktemp("home"))


@pytest.fixture
def make_run(cli: CommandLine) -> MakeRun:
    """Make a run: `make_run("name", [events])`."""

    def make(name: str = "run-1", said: Iterable[Event] = (), *, model: str = "tiny") -> RunDirectory:
        created = events.RunCreated(name=name, method="sft", model=model, parent=None)
        files = {"run.yaml": "{}\n", "provenance.json": '{"run_id": "0123456789abcdef"}\n'}
        run = create_run(cli.runs, name, created=created, files=files)
        say(run, said)
        return run

    return make
