"""Real servers as fixtures of a whole session, for every test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Running:
    """A server that listens."""

    origin: str
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        return f"{self.origin}/v1"

    def end(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(30)
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextmanager
def running(script: str, *arguments: str, log: Path) -> Iterator[Running]:
    """Run a server of this folder that prints its address once it listens and ends with its stdin."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, str(HERE / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
        )
    assert process.stdout is not None
    origin = process.stdout.readline().strip()
    assert origin, log.read_text(errors="replace")[-2000:]
    server = Running(origin, process)
    try:
        yield server
    finally:
        server.end()


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in model as a GGUF file."""
    from tests.servers.tiny_gguf import write_tiny_gguf

    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="session")
def llama_server(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """llama.cpp's own server with the built-in model as "tiny"."""
    with running("llama_server.py", str(tiny_gguf), "tiny", log=tmp_path_factory.mktemp("llama") / "log") as server:
        yield server
