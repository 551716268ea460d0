"""A workspace for the command line, and runs in it that nobody works on."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from engine import events
from engine.events import Event
from engine.runs.directory import RunDirectory, create_run
from tests.tui.cli.command_line import CommandLine, Here, MakeRun, Reply, say
from tui.cli import main


@pytest.fixture
def cli(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """The command line; its workspace is where the fixture `runs` makes its runs."""
    return CommandLine(tmp_path, tmp_path_factory.mktemp("home"))


@pytest.fixture
def here(cli: CommandLine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """The command line in this process: one of its own takes a second of a core, the most of it imports."""
    monkeypatch.chdir(cli.workspace)
    monkeypatch.setenv("HOME", str(cli.home))
    monkeypatch.setenv("XDG_STATE_HOME", str(cli.home))

    def run(*arguments: str, stdin: str = "", **environment: str) -> Reply:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["ftconsole", *arguments])
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            for name, value in environment.items():
                patch.setenv(name, value)
            code = main.main()
        said = capsys.readouterr()
        return Reply(code, said.out, said.err)

    return run


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
