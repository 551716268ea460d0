"""The console inside a real tmux, with its default settings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
Tmux = Callable[..., str]


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    """Return a function that asks a server of our own."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "TMUX_TMPDIR": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
    }

    def ask(*arguments: str) -> str:
        return subprocess.run(
            ["tmux", "-f", "/dev/null", *arguments],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        ).stdout

    yield ask
    ask("kill-server")


def test_copying_fills_the_buffer_of_tmux(tmux: Tmux, wait_for: Callable[..., object]) -> None:
    tmux("new-session", "-d", "-x", "100", "-y", "30", sys.executable, "tests/tui/programs/console.py")
    wait_for(lambda: "all is well" in tmux("capture-pane", "-p"), "the first screen")
    tmux("send-keys", "P")
    wait_for(lambda: "all is well" in tmux("show-buffer"), "the buffer")
    wait_for(lambda: "tmux buffer" in tmux("capture-pane", "-p"), "the note")
    shown = tmux("capture-pane", "-p")
    assert "╭" in shown
    assert "_" * 5 not in shown
    tmux("send-keys", "Q")
    wait_for(lambda: "all is well" not in tmux("capture-pane", "-p"), "the end")
