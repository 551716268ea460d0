"""Data files: the first page of 10 GB, the index and the statistics of 1 GB, pages among 10,000,000 rows."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.console import REPEATS, workspace
from benchmarks.figures import Figure, figure
from benchmarks.pty_session import percentile

CHAT_ROWS = 769_000
"""Some 1.3 kB each: 1.00 GB."""
MANY_ROWS = 10_000_000
"""Some 100 bytes each."""
WRITTEN_OF_SPARSE = 64 << 20
SPARSE_BYTES = 10_000_000_000
PAGE = 50
_FIRST = """
import sys, time
from pathlib import Path
began = time.perf_counter()
from engine.data.paging import Pages
imported = time.perf_counter()
rows = Pages(Path(sys.argv[1])).first(int(sys.argv[2]))
print(time.perf_counter() - began, time.perf_counter() - imported, len(rows))
"""
_INDEX = """
import resource, sys, time
from pathlib import Path
from engine.data.line_index import build_index, index_path
path = Path(sys.argv[1])
index_path(path).unlink(missing_ok=True)
began = time.perf_counter()
index = build_index(path)
took = time.perf_counter() - began
began = time.perf_counter()
again = build_index(path)
print(took, time.perf_counter() - began, index.num_lines, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
"""
_STATISTICS = """
import sys, time
from pathlib import Path
from engine.data.statistics import Request, count
began = time.perf_counter()
first = next(count(Request([Path(sys.argv[1])])))
file = first.files[0]
print(time.perf_counter() - began, file.usable, file.duplicates.rows, file.characters.quantiles["p50"])
"""
_LOAD_DATASET = """
import sys, time
from datasets import load_dataset
began = time.perf_counter()
rows = load_dataset("json", data_files=sys.argv[1], split="train", cache_dir=sys.argv[2])
print(time.perf_counter() - began, len(rows))
"""
_PAGES = """
import random, sys, time
from pathlib import Path
from engine.data.paging import Pages
pages = Pages(Path(sys.argv[1]))
pages.build_index()
picked = random.Random(1)
for _ in range(300):
    start = picked.randrange(1, pages.num_lines - 50)
    began = time.perf_counter()
    rows = pages.page(start, 50)
    took = time.perf_counter() - began
    assert rows[0].text.startswith(b'{"id":%d,' % start), rows[0]
    print(took)
"""


def first_page() -> Iterator[Figure]:
    """The first page of a file that is too large to be looked through."""
    path = workspace("data") / "sparse.jsonl"
    if not path.exists():
        chats(path, CHAT_ROWS, stop_bytes=WRITTEN_OF_SPARSE)
        os.truncate(path, SPARSE_BYTES)
    with_imports, alone = [], []
    for _ in range(3 * REPEATS):
        whole, page, rows = _numbers(_FIRST, str(path), str(PAGE))
        assert rows == PAGE
        with_imports.append(1000 * whole)
        alone.append(1000 * page)
    what = f"first {PAGE} rows of 10 GB (64 MB written, the rest a hole), p95"
    yield figure("first-page.page", what, percentile(sorted(alone), 0.95), "ms", "<= 50")
    what = "the same in a new process, imports included, p95"
    yield figure("first-page.process", what, percentile(sorted(with_imports), 0.95), "ms", "<= 300")


def index() -> Iterator[Figure]:
    """Count and remember the lines of a gigabyte that is in the page cache."""
    path = gigabyte()
    made, again, memory = [], [], []
    for _ in range(REPEATS):
        took, remembered, lines, resident = _numbers(_INDEX, str(path))
        assert lines == CHAT_ROWS
        made.append(took)
        again.append(1000 * remembered)
        memory.append(resident)
    yield figure("index.made", "index of 1 GB, warm, median", percentile(sorted(made), 0.5), "s", "<= 0.3", digits=3)
    yield figure("index.remembered", "the same, remembered", percentile(sorted(again), 0.5), "ms", "<= 10")
    yield figure("index.memory", "memory of the process that asks", max(memory), "MB", "<= 150", digits=1)


def statistics() -> Iterator[Figure]:
    """Quantiles, roles, kinds and exact duplicates of a gigabyte, and what only loading it takes elsewhere."""
    path = gigabyte()
    ours, theirs = [], []
    for _ in range(3):
        took, rows, duplicates, _ = _numbers(_STATISTICS, str(path))
        assert (rows, duplicates) == (CHAT_ROWS, CHAT_ROWS // 1000)
        ours.append(took)
        with tempfile.TemporaryDirectory(dir=path.parent) as cache:
            took, rows = _numbers(_LOAD_DATASET, str(path), cache)
        assert rows == CHAT_ROWS
        theirs.append(took)
    mine, other = percentile(sorted(ours), 0.5), percentile(sorted(theirs), 0.5)
    what = "quantiles and exact duplicates of 1 GB, median of 3"
    yield figure("statistics.seconds", what, mine, "s", "<= 2")
    yield figure(
        "statistics.against", "the same; against: datasets.load_dataset", mine, "s", "< against", against=other
    )


def page() -> Iterator[Figure]:
    """Pages at random places among 10,000,000 rows, and how long the file takes to open."""
    path = workspace("data") / "many.jsonl"
    if not path.exists():
        many(path)
    opened = [_numbers(_FIRST, str(path), str(PAGE))[0] for _ in range(REPEATS)]
    reply = subprocess.run([sys.executable, "-c", _PAGES, str(path)], check=True, capture_output=True, text=True)
    pages = sorted(1000 * float(line) for line in reply.stdout.split())
    yield figure("page.p95", "a page of 50 among 10,000,000 rows, p95", percentile(pages, 0.95), "ms", "<= 15")
    what = "open to first rows, imports included, median"
    yield figure("page.open", what, percentile(sorted(opened), 0.5), "s", "<= 0.3", digits=3)


def gigabyte() -> Path:
    """Return a gigabyte of chats, written once. Every thousandth row stands in it twice."""
    path = workspace("data") / "chats.jsonl"
    if not path.exists():
        chats(path, CHAT_ROWS)
    return path


def chats(path: Path, rows: int, stop_bytes: int | None = None) -> None:
    """Write rows of three messages, with a type and a category."""
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 10))) for _ in range(5000)]
    text = " ".join(chance.choices(words, k=200_000))
    with _written(path) as made, made.open("w", encoding="ascii", buffering=1 << 20) as file:
        for number in range(rows):
            if number % 1000 != 999:  # else the row before once more
                asked, said = chance.randrange(60, 500), chance.randrange(100, 1560)
                start = chance.randrange(len(text) - 2100)
                row = (
                    '{"messages":[{"role":"system","content":"You are a helpful assistant."},'
                    f'{{"role":"user","content":"{number} {text[start : start + asked]}"}},'
                    f'{{"role":"assistant","content":"{text[start + asked : start + asked + said]}"}}],"metadata":'
                    f'{{"dataset_type":"{("retain", "unlearn")[number % 2]}","category":"{words[number % 40]}"}}}}\n'
                )
            file.write(row)
            if stop_bytes is not None and file.tell() > stop_bytes:
                return


def many(path: Path) -> None:
    """Write short rows with their number."""
    rest = json.dumps({"question": "what", "answer": "x" * 45}, separators=(",", ":"))[1:]
    with _written(path) as made, made.open("w", encoding="ascii", buffering=1 << 20) as file:
        for begin in range(1, MANY_ROWS + 1, 10_000):
            file.write("".join(f'{{"id":{number},{rest}\n' for number in range(begin, begin + 10_000)))


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """Give a file to write that gets its name when it is whole."""
    made = path.with_suffix(".making")
    yield made
    made.replace(path)


def _numbers(code: str, *arguments: str) -> list[float]:
    """Run a program in a process of its own and return the numbers it prints."""
    reply = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)
    return [float(word) for word in reply.stdout.split()]


BENCHMARKS: dict[str, Callable[[], Iterator[Figure]]] = {
    "first-page": first_page,
    "index": index,
    "statistics": statistics,
    "page": page,
}
