"""What is left when work in the foreground is ended from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PATIENCE_SECONDS

WORK = """
import signal, sys
from pathlib import Path
from engine.export.beside import beside
from tui.cli.unwinding import unwinding
with unwinding(), beside(Path(sys.argv[1])):
    print("begun", flush=True)
    while True:
        signal.pause()
"""


def begun(target: Path, *, ignored: int | None = None) -> subprocess.Popen[bytes]:
    """Start work on a target, in a process in which a signal is ignored, whatever these tests were started with."""

    def place_signals() -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN if number == ignored else signal.SIG_DFL)

    process = subprocess.Popen(
        [sys.executable, "-c", WORK, str(target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=place_signals,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_it_puts_its_place_in_order_and_ends_by_the_signal(tmp_path: Path, number: int) -> None:
    process = begun(tmp_path / "out")
    assert len(os.listdir(tmp_path)) == 1
    process.send_signal(number)
    process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, os.listdir(tmp_path)) == (-number, [])


def test_what_was_started_with_nohup_goes_on_without_its_terminal(tmp_path: Path) -> None:
    process = begun(tmp_path / "out", ignored=signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == -signal.SIGTERM
