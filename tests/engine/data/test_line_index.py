from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.data import line_index
from engine.data.data_worker import WorkCancelled
from engine.data.line_index import BLOCK, LineIndex, build_index, count_here, index_path
from engine.errors import DataError, NotFound


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    return path


def of_a_file(path: Path) -> LineIndex:
    with path.open("rb") as file:
        return count_here(file.fileno())


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"a", id="one line without its end"),
        pytest.param(b"a\n\nb\n", id="a blank line"),
        pytest.param(
            b"x" * 40_000 + b"\n" + b"y" * 200_000 + b"\n" + (b"z" * 99 + b"\n") * 1500 + b"end", id="over many blocks"
        ),
        pytest.param(b"x" * (BLOCK - 1) + b"\n" + b"y" * (BLOCK - 1) + b"\n", id="lines that fill blocks"),
        pytest.param(b"a\rb\rc", id="carriage returns alone"),
    ],
)
def test_every_line_is_found_where_it_begins(tmp_path: Path, data: bytes) -> None:
    path = written(tmp_path, data)
    index = of_a_file(path)
    lines = data.replace(b"\r", b"\n").split(b"\n")
    if not lines[-1]:
        lines.pop()
    begins = [0]
    for line in lines:
        begins.append(begins[-1] + len(line) + 1)

    assert (index.num_lines, index.size) == (len(lines), len(data))
    with path.open("rb") as file:
        found = [index.offset(file.fileno(), number) for number in range(1, len(lines) + 1)]
        assert found == begins[:-1]
        assert index.offset(file.fileno(), len(lines) + 1) == len(data)


@pytest.mark.parametrize("width", [30, 3000], ids=["short", "long"])
def test_several_processes_count_what_one_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    path = written(tmp_path, b"".join(b"x" * (n * 7919 % width) + b"\n" for n in range(20_000)) + b"torn")
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(line_index, "OWN_PROCESS_ABOVE", 0)

    assert build_index(path, lambda *progress: told.append(progress)) == of_a_file(path)
    assert told[0] == (0, path.stat().st_size)


def test_a_large_file_is_indexed_once_and_again_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_index, "OWN_PROCESS_ABOVE", 0)
    path = written(tmp_path, b"one\ntwo\n" * 50_000)
    first = build_index(path)
    remembered = index_path(path)
    before = remembered.stat()
    os.utime(remembered, ns=(0, 0))

    assert first.num_lines == 100_000
    assert build_index(path) == first
    assert remembered.stat().st_mtime_ns == 0  # read, not written
    with path.open("ab") as file:
        file.write(b"three\n")
    assert build_index(path).num_lines == 100_001
    assert (remembered.stat().st_ino, remembered.stat().st_mode) != (before.st_ino, 0)


def test_a_damaged_index_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_index, "OWN_PROCESS_ABOVE", 0)
    path = written(tmp_path, b"line\n" * 100_000)
    index = build_index(path)
    data = bytearray(index_path(path).read_bytes())
    data[-1] ^= 1
    index_path(path).write_bytes(data)

    assert build_index(path) == index


def test_a_cache_that_cannot_be_written_costs_only_the_memory_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_index, "OWN_PROCESS_ABOVE", 0)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    assert build_index(written(tmp_path, b"a\nb\n")).num_lines == 2


def test_indexing_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, b"a\n" * 10)
    with pytest.raises(WorkCancelled):
        build_index(path, cancelled=lambda: True)
    monkeypatch.setattr(line_index, "OWN_PROCESS_ABOVE", 0)
    with pytest.raises(WorkCancelled):
        build_index(path, cancelled=lambda: True)


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no data file"):
        build_index(tmp_path / "missing.jsonl")
    with pytest.raises(DataError, match="is a folder"):
        build_index(tmp_path)
