from __future__ import annotations

import os
import stat
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from benchmarks.synthetic import write_run
from engine.events import CheckpointSaved, RunCreated, RunEnded, StepFinished, TrainingStarted
from engine.runs.directory import RunDirectory
from engine.runs.follow import EventReader
from engine.runs.history_build import build
from engine.runs.history_index import (
    PREAMBLE,
    HistoryIndexFailed,
    build_index,
    index_paths,
    needs_index,
    open_history,
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    return RunDirectory(folder)


def with_header(data: bytes, old: bytes, new: bytes) -> bytes:
    """Return an index with another header, whose CRC is right."""
    magic, version, _, start, _ = PREAMBLE.unpack_from(data)
    header = data[start:].replace(old, new)
    assert header != data[start:]
    preamble = PREAMBLE.pack(magic, version, zlib.crc32(header), start, len(header))
    return preamble + data[PREAMBLE.size : start] + header


def test_a_run_without_an_index_opens_empty_and_is_read_from_its_beginning(run: RunDirectory) -> None:
    assert open_history(run).offset == 0
    write_run(run.path, 20)
    opened = open_history(run)

    assert (opened.offset, opened.seq, opened.records, len(opened.history.train)) == (0, 0, [], 0)
    assert isinstance(opened.reader.read().records[0].event, RunCreated)


def test_a_run_with_an_index_opens_with_its_past_and_goes_on_behind_it(run: RunDirectory) -> None:
    write_run(run.path, 2500, finished=False, spikes={1234: 99.5})
    size = run.events.stat().st_size
    build_index(run)
    write_run(run.path, 2510, total_steps=2500, spikes={1234: 99.5})
    opened = open_history(run)
    train = opened.history.train
    batch = opened.reader.read()

    assert (opened.offset, opened.damaged) == (size, 0)
    assert (len(train), train.last("loss") is not None, len(opened.history.evaluation)) == (2500, True, 2)
    assert max(column.high for column in train.columns("loss", "step", 0, 2501, 60) if column) == 99.5
    kinds = [type(record.event) for record in opened.records]
    assert kinds[0] is RunCreated
    assert (TrainingStarted in kinds, CheckpointSaved in kinds, kinds.count(StepFinished)) == (True, True, 1)
    assert [record.seq for record in opened.records] == sorted(record.seq for record in opened.records)
    assert (batch.restarted, batch.missing, batch.records[0].seq) == (False, 0, opened.seq + 1)
    assert isinstance(batch.records[-2].event, RunEnded)


def test_an_index_is_wanted_when_much_of_the_log_lies_behind_it(run: RunDirectory) -> None:
    assert not needs_index(run)
    write_run(run.path, 500, finished=False)
    size = run.events.stat().st_size
    assert needs_index(run, size - 1)
    assert not needs_index(run, size)
    build(run)
    assert not needs_index(run, 0)
    write_run(run.path, 1000, total_steps=500)
    assert needs_index(run, 1000)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-1], id="cut by a byte"),
        pytest.param(lambda data: data[: len(data) // 2], id="cut in half"),
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: bytes(len(data)), id="all zeros"),
        pytest.param(lambda data: data[:8] + b"\xff\0\0\0" + data[12:], id="another version"),
        pytest.param(lambda data: b"x" + data[1:], id="another magic"),
        pytest.param(lambda data: data.replace(b'"damaged":0', b'"damaged":7'), id="another header"),
        pytest.param(lambda data: data + b" ", id="longer"),
        pytest.param(lambda data: with_header(data, b'"blocks":[16', b'"blocks":[32'), id="other blocks"),
        pytest.param(lambda data: with_header(data, b'"loss":{"raw":', b'"loss":{"raw":9'), id="outside the file"),
        pytest.param(lambda data: with_header(data, b'"raw":', b'"row":'), id="a header without a key"),
        pytest.param(lambda data: b"not an index", id="something else"),
    ],
)
def test_a_damaged_index_is_not_used_and_is_made_anew(run: RunDirectory, damage: object) -> None:
    assert callable(damage)
    write_run(run.path, 300)
    build(run)
    path = run.path / "events.history"
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    opened = open_history(run)

    assert (opened.offset, len(opened.history.train)) == (0, 0)
    assert needs_index(run, 0)
    build(run)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("steps", [10, 5000])
def test_an_index_of_another_log_is_not_used(run: RunDirectory, steps: int) -> None:
    write_run(run.path, 1000, seed=1)
    build(run)
    write_run(run.path, steps, seed=2)

    assert open_history(run).offset == 0
    build(run)
    assert len(open_history(run).history.train) == steps


def test_a_run_that_was_copied_keeps_its_index(run: RunDirectory, tmp_path: Path) -> None:
    write_run(run.path, 300)
    build(run)
    copy = RunDirectory(tmp_path / "copy")
    copy.path.mkdir()
    for name in ("events.jsonl", "events.history"):
        (copy.path / name).write_bytes((run.path / name).read_bytes())

    assert len(open_history(copy).history.train) == 300


def test_the_index_is_private(run: RunDirectory) -> None:
    write_run(run.path, 300)
    before = os.umask(0)
    try:
        build_index(run)
    finally:
        os.umask(before)

    assert stat.S_IMODE((run.path / "events.history").stat().st_mode) == 0o600
    assert sorted(path.name for path in run.path.iterdir()) == ["events.history", "events.jsonl"]


def test_what_a_killed_indexer_left_is_removed_once_it_is_old(run: RunDirectory) -> None:
    write_run(run.path, 300)
    old, new = run.path / ".events.history.old", run.path / ".events.history.new"
    for path in (old, new):
        path.touch()
    os.utime(old, (1e9, 1e9))
    build(run)

    assert (old.exists(), new.exists()) == (False, True)


def test_the_index_of_a_folder_that_cannot_be_written_goes_to_the_cache(run: RunDirectory) -> None:
    write_run(run.path, 300)
    in_folder, in_cache = index_paths(run)
    in_folder.mkdir()  # no file can be put in its place, by root neither
    (in_folder / "x").touch()
    build_index(run)

    assert stat.S_IMODE(in_cache.stat().st_mode) == 0o600
    assert stat.S_IMODE(in_cache.parent.stat().st_mode) == 0o700
    assert len(open_history(run).history.train) == 300
    assert not needs_index(run, 0)


def test_a_run_without_a_log_cannot_be_indexed(run: RunDirectory) -> None:
    with pytest.raises(HistoryIndexFailed, match="is not there"):
        build_index(run)


def test_a_failing_process_is_an_error_with_its_last_words(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(run.path, 10)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(HistoryIndexFailed, match="exit status 1"):
        build_index(run)
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(HistoryIndexFailed, match="No such file"):
        build_index(run)


def test_an_unreadable_argument_is_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "engine.runs.history_index"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (2, "", "One run folder is needed.\n")


def test_opening_a_history_loads_no_heavy_library(run: RunDirectory) -> None:
    write_run(run.path, 300)
    build(run)
    script = (
        "import sys; from pathlib import Path; from engine.runs.directory import RunDirectory;"
        "from engine.runs.history_index import open_history, needs_index;"
        "run = RunDirectory(Path(sys.argv[1])); needs_index(run);"
        "train = open_history(run).history.train; train.columns('loss', 'step', 0, 301, 80);"
        "print(len(train), sorted({'numpy', 'pyarrow', 'torch', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script, run.path], capture_output=True, text=True, check=True)

    assert done.stdout == "300 []\n"


def test_reading_goes_on_after_a_resume_that_supersedes_indexed_steps(run: RunDirectory) -> None:
    write_run(run.path, 900, finished=False)
    build(run)
    write_run(run.path, 1000, total_steps=900, resumed_at={900: 600})
    opened = open_history(run)
    for record in opened.reader.read().records:
        opened.history.apply(record.time, record.event)
    whole = EventReader(run.events).read()

    assert opened.offset > 0
    assert len(opened.history.train) == 1000
    assert [row.step for row in opened.history.train.rows(595, 605)] == list(range(596, 606))
    assert sum(isinstance(record.event, StepFinished) for record in whole.records) == 1300
