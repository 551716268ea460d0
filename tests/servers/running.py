"""Real servers as fixtures of a whole session, for every test."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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


class _Kept:
    """One server for a whole session, started anew if it is gone: llama.cpp's own has ended by itself before."""

    def __init__(self, file: Path, logs: Path) -> None:
        self._file, self._logs = file, logs
        self._stack = ExitStack()
        self._server: Running | None = None
        self._started = 0

    def listening(self) -> Running:
        """The server, which answered just now."""
        if self._server is not None and not _answers(self._server):
            said = (self._logs / f"{self._started}.log").read_text(errors="replace")[-2000:]
            warnings.warn(f"llama.cpp's server ended ({self._server.process.poll()}): {said}", stacklevel=2)
            self.close()
        if self._server is None:
            self._started += 1
            log = self._logs / f"{self._started}.log"
            self._server = self._stack.enter_context(running("llama_server.py", str(self._file), "tiny", log=log))
        return self._server

    def close(self) -> None:
        self._server = None
        self._stack.close()


def _answers(server: Running) -> bool:
    """Whether the server says within ten seconds that it is well."""
    host, _, port = server.origin.removeprefix("http://").rpartition(":")
    asked = http.client.HTTPConnection(host, int(port), timeout=10)
    try:
        asked.request("GET", "/health")
        return asked.getresponse().status == 200
    except OSError:
        return False
    finally:
        asked.close()


@pytest.fixture(scope="session")
def kept_llama_server(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Kept]:
    """What starts llama.cpp's own server and keeps it."""
    kept = _Kept(tiny_gguf, tmp_path_factory.mktemp("llama"))
    try:
        yield kept
    finally:
        kept.close()


@pytest.fixture
def llama_server(kept_llama_server: _Kept) -> Running:
    """llama.cpp's own server with the built-in model as "tiny"."""
    return kept_llama_server.listening()
