"""Work in a process of its own: what it says, how it is ended, how it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.child import WorkCancelled, ask, raised
from engine.errors import DiskFull, EngineError, WorkerFailed


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module whose `work(say)` has the body given, and returns its name."""
    root = str(Path(__file__).resolve().parents[2])
    monkeypatch.setenv("PYTHONPATH", f"{root}:{tmp_path}")

    def write(body: str) -> str:
        head = "import json, os, signal, subprocess, sys, time\nfrom engine import child\nfrom engine.errors import *\n"
        work = "def work(say):\n" + textwrap.indent(textwrap.dedent(body), "    ")
        end = "\nif __name__ == '__main__':\n    sys.exit(child.answer(work))\n"
        (tmp_path / "working.py").write_text(head + work + end)
        return "working"

    return write


def ended(status: int, last: str) -> EngineError:
    return WorkerFailed(f"{status}: {last}")


def test_what_it_says_comes_back_whatever_the_libraries_print(module: Callable[[str], str]) -> None:
    name = module(
        """
        print("a stray line")
        os.system("echo another")
        sys.stderr.write("x" * 1_000_000)
        say({"read": json.loads(sys.stdin.read()), "argument": sys.argv[1]})
        """
    )
    said = list(ask(name, ["-x"], ended=ended, request={"long": "y" * 300_000}))
    assert said == [{"read": {"long": "y" * 300_000}, "argument": "-x"}]


def test_its_errors_are_raised_here_as_what_they_are(module: Callable[[str], str]) -> None:
    with pytest.raises(DiskFull, match=r"full of \[red\]") as error:
        list(ask(module("raise DiskFull('full of [red]', remedy='free some')"), ended=ended))
    assert error.value.remedy == "free some"


def test_an_error_that_is_not_known_here_keeps_its_code() -> None:
    error = raised({"code": "of-tomorrow", "message": "m", "remedy": "r", "exit_code": 77})
    assert (error.code, error.exit_code, EngineError.code) == ("of-tomorrow", 77, "engine-error")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise RuntimeError('about this')", "1: RuntimeError: about this"),
        ("sys.stderr.write('last words\\n'); os._exit(3)", "3: last words"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "-9: "),
    ],
)
def test_an_end_without_a_word_is_told_with_the_last_line(module: Callable[[str], str], body: str, said: str) -> None:
    with pytest.raises(WorkerFailed) as error:
        list(ask(module(body), ended=ended))
    assert error.value.message == said


def test_cancelled_it_ends_with_what_it_has_started(module: Callable[[str], str], wait_for: Callable[..., Any]) -> None:
    name = module(
        """
        inner = subprocess.Popen(["sleep", "600"])
        say({"pids": [os.getpid(), inner.pid]})
        inner.wait()
        """
    )
    pids: list[int] = []
    said = ask(name, ended=ended, cancelled=lambda: bool(pids))
    pids += next(said)["pids"]
    with pytest.raises(WorkCancelled):
        next(said)
    wait_for(lambda: not any(_alive(pid) for pid in pids), "the end of both")


def test_who_looks_away_ends_it(module: Callable[[str], str], wait_for: Callable[..., Any]) -> None:
    said = ask(module("say({'pid': os.getpid()}); time.sleep(600)"), ended=ended)
    pid = next(said)["pid"]
    said.close()  # type: ignore[attr-defined]  # a generator
    wait_for(lambda: not _alive(pid), "its end")


@pytest.mark.parametrize("holds", [False, True], ids=["its pipe closes", "another child holds the pipe open"])
def test_who_asked_is_killed_and_it_ends_with_what_it_has_started(
    module: Callable[[str], str], wait_for: Callable[..., Any], holds: bool
) -> None:
    name = module(
        """
        inner = subprocess.Popen(["sleep", "600"])
        say({"pids": [os.getpid(), inner.pid]})
        inner.wait()
        """
    )
    asking = f"""
import os, signal, threading
from engine.child import ask
def console():
    for said in ask({name!r}, ended=print):
        if {holds} and os.fork() == 0:
            signal.pause()
        print(*said["pids"], flush=True)
threading.Thread(target=console).start()
signal.pause()
"""
    console = subprocess.Popen([sys.executable, "-c", asking], stdout=subprocess.PIPE, start_new_session=True)
    assert console.stdout is not None
    with console.stdout:
        try:
            pids = [int(pid) for pid in console.stdout.readline().split()]
            console.kill()
            assert len(pids) == 2
            wait_for(lambda: not any(_alive(pid) for pid in pids), "the end of both")
        finally:
            os.killpg(console.pid, signal.SIGKILL)
            console.wait()


def test_what_it_prints_is_kept_where_that_is_wanted(module: Callable[[str], str], tmp_path: Path) -> None:
    list(ask(module("print('to be read later', flush=True)"), ended=ended, log=tmp_path / "log"))
    assert (tmp_path / "log").read_text() == "to be read later\n"


def _alive(pid: int) -> bool:
    try:
        return "Z" not in (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2][:3]
    except OSError:
        return False


def test_a_process_that_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", os.devnull)
    with pytest.raises(WorkerFailed, match="no process could be started"):
        list(ask("engine", ended=ended))
