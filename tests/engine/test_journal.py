"""The journal: numbers without gaps over all writers, and every way a disk can refuse a line."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from engine.errors import DiskFull, WorkspaceError
from engine.journal import RESUME, Journal, last_seq, write_error
from tests.conftest import wait_for
from tests.engine.faults import ROOT, permissions_hold, python, small_disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines as a strict reader takes them; what is no JSON is passed over."""
    found = []
    for line in path.read_bytes().split(b"\n"):
        try:
            found.append(json.loads(line))
        except (ValueError, RecursionError):
            continue
    return found


def numbers(path: Path) -> list[int]:
    return [line["seq"] for line in lines(path)]


def test_lines_are_numbered_from_one_and_carry_the_time(path: Path) -> None:
    journal = Journal(path)
    assert [journal.append({"event": name}) for name in "abc"] == [1, 2, 3]
    assert [line["event"] for line in lines(path)] == ["a", "b", "c"]
    times = [line["time"] for line in lines(path)]
    assert times == sorted(times)
    assert path.read_bytes().endswith(b"}\n")
    assert journal.size == path.stat().st_size


def test_a_later_writer_goes_on_where_the_last_one_ended(path: Path) -> None:
    first = Journal(path)
    first.append({"event": "a"})
    first.close()
    assert Journal(path).append({"event": "b"}) == 2


def test_two_writers_that_take_turns_number_without_gaps(path: Path) -> None:
    one, other = Journal(path), Journal(path)
    assert [writer.append({"event": "a"}) for writer in (one, other, other, one, other)] == [1, 2, 3, 4, 5]


def test_threads_and_processes_that_write_at_once_number_without_gaps(path: Path) -> None:
    script = """
        import sys, threading
        from pathlib import Path
        from engine.journal import RESUME, Journal
        journal = Journal(Path(sys.argv[1]))
        def write(name):
            for number in range(100):
                journal.append({"event": name, "filling": "x" * (number * 7)})
        threads = [threading.Thread(target=write, args=(str(n),)) for n in range(2)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    """
    threads = [threading.Thread(target=python, args=(script, path)) for _ in range(3)]
    for thread in threads:
        thread.start()
    own = Journal(path)
    for _ in range(100):
        own.append({"event": "own"})
    for thread in threads:
        thread.join()
    assert path.read_bytes().count(b"\n") == 700
    assert numbers(path) == list(range(1, 701))


@pytest.mark.parametrize(
    ("tail", "begins_on_own_line"),
    [
        pytest.param(b'{"seq":3,"time":1.0,"event":"St', b"\n", id="half a line"),
        pytest.param(b'{"seq":3,"time":1.0,"event":"\xc3', b"\n", id="half a character"),
        pytest.param(bytes(4096), b"\n", id="a block of zeros"),
        pytest.param(bytes(3 << 20), b"\n", id="three megabytes of zeros"),
        pytest.param(b"[" * 60_000, b"\n", id="a deep nest"),
        pytest.param(b"x" * 100_000 + b"\n", b"", id="a long foreign line"),
        pytest.param(b'"seq"\n[1]\n{"seq":"9"}\n{}\n\n', b"", id="JSON that is no record"),
        pytest.param(b'{"a":{"seq":9}', b"\n", id="a number that is not the line's"),
    ],
)
def test_a_damaged_tail_stays_and_the_next_line_goes_on_after_it(
    path: Path, tail: bytes, begins_on_own_line: bytes
) -> None:
    writer = Journal(path)
    writer.append({"event": "a"})
    writer.append({"event": "b"})
    writer.close()
    before = path.read_bytes()
    path.write_bytes(before + tail)
    assert Journal(path).append({"event": "c"}) == 3
    assert path.read_bytes().startswith(before + tail + begins_on_own_line + b'{"seq":3,')
    assert [line["seq"] for line in lines(path) if isinstance(line, dict) and "event" in line] == [1, 2, 3]


def test_a_line_longer_than_the_tail_that_is_looked_at_keeps_its_number(path: Path) -> None:
    Journal(path).append({"event": "a"})
    Journal(path).append({"event": "b", "filling": [{"seq": 77}] * 20_000})
    assert Journal(path).append({"event": "c"}) == 3


def test_a_line_whose_newline_alone_was_lost_counts(path: Path) -> None:
    Journal(path).append({"event": "a"})
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert Journal(path).append({"event": "b"}) == 2
    assert numbers(path) == [1, 2]


def test_a_writer_that_is_killed_leaves_a_journal_that_goes_on(path: Path) -> None:
    script = f"""
from pathlib import Path
from engine.journal import RESUME, Journal
journal = Journal(Path({str(path)!r}))
while True:
    journal.append({{"event": "a", "filling": "x" * 5000}})
"""
    for _ in range(5):
        before = path.stat().st_size if path.exists() else 0
        writer = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
        wait_for(lambda before=before: path.exists() and path.stat().st_size > before + 50_000)  # type: ignore[misc]
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    Journal(path).append({"event": "last"})
    assert numbers(path) == list(range(1, len(numbers(path)) + 1))


def test_the_file_is_for_its_owner_alone_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        Journal(path).append({"event": "a"})
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"loss": float("nan")}], ids=repr)
def test_a_number_that_json_cannot_hold_is_refused_and_nothing_is_written(path: Path, value: object) -> None:
    journal = Journal(path)
    with pytest.raises(ValueError, match="JSON compliant"):
        journal.append({"event": "a", "value": value})
    assert path.read_bytes() == b""
    assert journal.append({"event": "b"}) == 1


def test_any_text_is_one_line_of_utf8(path: Path) -> None:
    text = "naïve 東京 🙂 \u202e\u2028\x85\r\n\x00\x1b[2J"
    Journal(path).append({"event": text})
    Journal(path).append({"event": "half \ud83d a pair"})
    assert path.read_bytes().count(b"\n") == 2
    assert [line["event"] for line in lines(path)] == [text, "half ? a pair"]


def test_a_durable_line_is_synced_and_others_are_not(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    journal = Journal(path)
    journal.append({"event": "a"})
    assert not synced
    journal.append({"event": "b"}, durable=True)
    assert len(synced) == 1


def test_where_the_file_system_has_no_locks_lines_are_written_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_lock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_lock)
    assert [Journal(path).append({"event": "a"}) for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize(("told", "said"), [({}, "try again"), ({"then": RESUME}, "`ftconsole resume`")])
def test_a_full_disk_is_named_with_what_is_free_and_what_to_do_then(told: dict[str, str], said: str) -> None:
    with pytest.raises(DiskFull, match=r"No room to write /dev/full: [0-9.]+ MB free") as refused:
        Journal(Path("/dev/full"), **told).append({"event": "a"})
    assert refused.value.remedy.endswith(f"{said}.")


def test_a_disk_that_fills_up_costs_one_line_and_is_used_again_when_there_is_room(tmp_path: Path) -> None:
    reply = python(
        """
        import os, sys
        from pathlib import Path
        from engine.errors import DiskFull
        from engine.journal import RESUME, Journal
        folder = Path(sys.argv[1])
        (folder / "ballast").write_bytes(bytes(20_000))
        journal, written = Journal(folder / "events.jsonl"), 0
        try:
            while True:
                written = journal.append({"event": "a", "filling": "x" * 700})
        except DiskFull as error:
            print(error.message)
        os.unlink(folder / "ballast")
        assert journal.append({"event": "b"}) == written + 1
        assert Journal(folder / "events.jsonl").append({"event": "c"}) == written + 2
        sys.stdout.write((folder / "events.jsonl").read_text())
        """,
        tmp_path / "disk",
        before=small_disk(tmp_path / "disk"),
    )
    assert reply.returncode == 0, reply.stderr
    message, _, log = reply.stdout.partition("\n")
    assert "0.0 MB free" in message
    (tmp_path / "copy").write_text(log)
    found = numbers(tmp_path / "copy")
    assert len(found) > 20
    assert found == list(range(1, len(found) + 1))


def test_a_limit_on_the_size_of_files_is_not_called_a_full_disk(path: Path) -> None:
    reply = python(
        """
        import resource, sys
        from pathlib import Path
        from engine.errors import DiskFull, WorkspaceError
        from engine.journal import RESUME, Journal
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, resource.RLIM_INFINITY))
        journal = Journal(Path(sys.argv[1]))
        try:
            while True:
                journal.append({"event": "a"})
        except DiskFull:
            raise
        except WorkspaceError as error:
            print(error.message)
        """,
        path,
    )
    assert reply.stdout == f"Cannot write {path}: File too large.\n", reply.stderr


def test_a_short_write_is_completed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: whole(fd, data[:7]))
    assert [Journal(path).append({"event": "a"}) for _ in range(2)] == [1, 2]
    assert numbers(path) == [1, 2]


@pytest.mark.parametrize(
    ("number", "kind", "said"),
    [
        (errno.ENOSPC, DiskFull, r"No room to write \S+: [0-9.]+ MB free on its file system\."),
        (errno.EDQUOT, DiskFull, r"No room to write \S+: Disk quota exceeded, [0-9.]+ MB free on its file system\."),
        (errno.EIO, WorkspaceError, r"Cannot write \S+: Input/output error\."),
        (errno.EROFS, WorkspaceError, r"Cannot write \S+: Read-only file system\."),
    ],
    ids=["full", "quota", "broken", "read-only"],
)
def test_an_error_of_the_system_becomes_a_sentence_and_a_remedy(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[WorkspaceError], said: str
) -> None:
    journal = Journal(path)
    journal.append({"event": "a"})

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", fail)
        with pytest.raises(WorkspaceError) as refused:
            journal.append({"event": "b"})
    assert type(refused.value) is kind
    assert re.fullmatch(said, refused.value.message)
    assert refused.value.remedy
    assert journal.append({"event": "c"}) == 2


def test_a_full_disk_is_named_even_when_its_folder_is_gone(tmp_path: Path) -> None:
    error = write_error(tmp_path / "gone" / "events.jsonl", OSError(errno.ENOSPC, "full"))
    assert isinstance(error, DiskFull)
    assert "an unknown amount free" in error.message


def test_a_folder_that_may_not_be_written_is_refused_with_a_remedy(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with permissions_hold(), pytest.raises(WorkspaceError, match="Permission denied") as refused:
        Journal(tmp_path / "events.jsonl")
    assert str(tmp_path) in refused.value.message
    assert "permissions" in refused.value.remedy


@pytest.mark.parametrize("place", ["missing/events.jsonl", "."], ids=["no folder", "a folder"])
def test_a_place_that_cannot_be_a_file_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(WorkspaceError, match="Cannot write"):
        Journal(tmp_path / place)


def test_an_empty_file_has_no_last_number(path: Path) -> None:
    path.touch()
    fd = os.open(path, os.O_RDONLY)
    try:
        assert last_seq(fd, 0) == (0, True)
    finally:
        os.close(fd)
