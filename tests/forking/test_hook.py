"""Programs that are forked instead of started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.forking import hook

pytestmark = pytest.mark.skipif(hook.placed() is None, reason="programs are forked on Linux without a GPU only")
COMMAND = [sys.executable, "-P", "-m", "tui.cli.main", "no-such-command"]


def ran(folder: Path, **environment: str) -> tuple[int, bytes, bytes]:
    environment = {**os.environ, **environment}
    reply = subprocess.run(COMMAND, cwd=folder, env=environment, capture_output=True, timeout=90, check=False)
    return reply.returncode, reply.stdout, reply.stderr


def never(*_: Any) -> int:
    raise AssertionError("the other way was taken")


def test_what_is_forked_ends_as_its_command_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran(tmp_path)  # the server itself is started by its command
    with monkeypatch.context() as patch:
        patch.setattr(hook.placed(), "real", never)
        forked = ran(tmp_path)
    monkeypatch.setattr(hook.Server, "_ask", never)
    monkeypatch.setattr(hook.placed(), "is_off", 1)
    assert forked == ran(tmp_path)
    assert forked[0] == 2


@pytest.mark.usefixtures("real_commands")
def test_a_test_may_ask_for_the_command_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook.Server, "_ask", never)
    assert ran(tmp_path)[0] == 2


def test_another_interpreter_than_the_servers_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran(tmp_path)
    monkeypatch.setattr(hook.Server, "_ask", never)
    assert ran(tmp_path, PYTHONHASHSEED="1")[0] == 2


def test_what_is_forked_is_a_child_and_is_ended_by_its_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "asks.py").write_text("import os, sys\nprint(os.getppid(), os.getsid(0) == os.getpid())\ninput()\n")
    monkeypatch.setattr(hook, "CONSOLE", hook.Server((), ("asks",)))
    monkeypatch.setattr(hook.placed(), "servers", (hook.CONSOLE,))
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "asks"], env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    with process.stdin, process.stdout:
        assert process.stdout.readline().split() == [str(os.getpid()).encode(), b"True"]
        process.kill()
        assert process.wait(90) == -9
    hook.CONSOLE.end()


def test_a_server_that_is_gone_is_told_and_another_one_forks(tmp_path: Path) -> None:
    first = ran(tmp_path)
    process = hook.CONSOLE._process
    assert process is not None
    process.kill()
    process.wait()
    with pytest.warns(UserWarning, match="is gone"):
        by_its_command = ran(tmp_path)
    assert first == by_its_command == ran(tmp_path)
    assert hook.CONSOLE._process not in (None, process)
