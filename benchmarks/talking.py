"""The chat while both sides stream: what the console costs, and what it costs the answers."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.console import console
from benchmarks.figures import Figure, figure
from benchmarks.pty_session import Session, percentile

TOKENS_PER_SECOND = 50
SECONDS = 60
"""Of each answer."""
_SETTLING = 4.0


@contextlib.contextmanager
def speaking(log: Path, seconds: int) -> Iterator[int]:
    """Serve answers of 50 tokens a second for so long, and write down how long each took; yields the port."""
    command = [sys.executable, "-m", "benchmarks.speaking_server", str(log), str(TOKENS_PER_SECOND), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.terminate()


def _read_bare(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/v1/chat/completions", "{}")
    connection.getresponse().read()
    connection.close()


def _rate(log: Path) -> float:
    """Return the tokens per second of the slower of the last two answers."""
    return min(json.loads(line)["tokens_per_second"] for line in log.read_text().splitlines()[-2:])


def stream_cost() -> Iterator[Figure]:
    """Both sides at 50 tokens/s, in a terminal of 120x40."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "answers.jsonl"
        with speaking(log, SECONDS) as port:
            alone = [threading.Thread(target=_read_bare, args=(port,)) for _ in range(2)]
            for thread in alone:
                thread.start()
            for thread in alone:
                thread.join()
            bare = _rate(log)
            address = f"http://127.0.0.1:{port}/v1"
            sides = ("--left", f"{address}#one", "--right", f"{address}#two", "--max-tokens", "100000")
            with Session(console(Path(folder), "chat", *sides)) as session:
                session.wait_for_text("Both answer behind")
                session.wait_until_quiet(0.5)
                session.send("Tell me everything.\r")
                session.wait_for_text("(?s)pieces/s.*pieces/s")
                time.sleep(_SETTLING)
                before = session.memory_bytes()
                usage = session.usage(SECONDS * 0.5)
                grown = (session.memory_bytes() - before) / 1e6
                keys = session.latencies(["a"], int(SECONDS * 0.6))
                session.wait_for_text("(?s)ended.*ended", SECONDS * 2)
            lost = 100 * max(0.0, 1 - _rate(log) / bare)
    yield figure("stream-cost.cpu", "two sides at 50 tokens/s", usage.cpu_percent, "% of a core", "<= 8")
    yield figure("stream-cost.bytes", "two sides at 50 tokens/s", usage.bytes_per_second / 1000, "kB/s", "<= 15")
    yield figure("stream-cost.key-p95", "key to first byte meanwhile", percentile(keys, 0.95), "ms", "<= 20")
    yield figure("stream-cost.memory", f"memory grown in {SECONDS // 2} s", grown, "MB", "<= 2")
    yield figure("stream-cost.lost", "tokens/s lost against no console", lost, "%", "<= 1")


BENCHMARKS: dict[str, Callable[[], Iterator[Figure]]] = {"stream-cost": stream_cost}
