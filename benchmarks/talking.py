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
from engine.chat.asking import SIDES
from engine.chat.chat_files import new_conversation
from engine.chat.conversation import Answer
from engine.workspace import Workspace

TOKENS_PER_SECOND = 50
SECONDS = 60
"""Of each answer."""
TURNS = 200
_IDLE_PERCENT = 5
_SETTLING = 10.0
"""Until what an answer needs once is there: in the first seconds 2 MB are allocated that never grow again."""


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


def long_talk() -> Iterator[Figure]:
    """A conversation of two hundred turns, opened again, in a terminal of 120x40."""
    with tempfile.TemporaryDirectory() as folder, speaking(Path(folder) / "log", 1) as port:
        place = Workspace(Path(folder))
        address = f"http://127.0.0.1:{port}/v1"
        kept = new_conversation(place, f"{address}#one", f"{address}#two")
        for turn in range(1, TURNS + 1):
            asked = kept.say(f"Question {turn}?")
            for side in SIDES:
                kept.take(asked.id, side, Answer(f"# {turn}\n\n" + "An answer in **Markdown**. " * 40, side, "stop"))
        kept.close()
        sides = ("--left", f"{address}#one", "--right", f"{address}#two")
        with Session(console(Path(folder), "chat", *sides)) as session:
            session.wait_for_text("Both answer behind")
            session.send("\x1b")
            session.wait_until_quiet(0.5)
            session.send("L")
            session.wait_for_text("Enter takes it")
            session.wait_until_quiet(0.5)
            pressed = time.monotonic() - session.started
            session.send("\r")
            shown = session.wait_for_text(f"Question {TURNS}") - pressed
            while session.usage(1.0).cpu_percent > _IDLE_PERCENT:  # the turns above are laid out
                pass
            scrolling = session.latencies(["k"], 60)
            session.send("i")
            session.wait_until_quiet(0.5)
            typing = session.latencies(["a"], 60)
    yield figure("long-talk.open", f"{TURNS} turns on screen", shown * 1000, "ms", "<= 1000")
    yield figure("long-talk.scroll-p95", "key to first byte", percentile(scrolling, 0.95), "ms", "<= 20")
    yield figure("long-talk.type-p95", "key to first byte", percentile(typing, 0.95), "ms", "<= 20")


BENCHMARKS: dict[str, Callable[[], Iterator[Figure]]] = {"stream-cost": stream_cost, "long-talk": long_talk}
