"""Identities: the recorded process is told from every stranger, and strangers get no signal."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from engine.runs import identity as identities
from engine.runs.identity import ProcessIdentity, read_identity, set_aside_damaged, start_time, write_identity
from tests.conftest import wait_for

ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"


class Child:
    """A process that says back what it is told, so that it can prove that it lives."""

    def __init__(self, *, leads_group: bool = False) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", ECHO],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0 if leads_group else None,
        )
        assert self.answers()
        self.identity = ProcessIdentity.of(self.process.pid, "0" * 32)

    def answers(self) -> bool:
        """Whether it lives: a signal that ends it is delivered before it can read on."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(b"ping\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return False
        return self.process.stdout.readline() == b"ping\n"

    def end(self) -> None:
        """End it without a signal: it leaves at the end of its input."""
        self.process.communicate()


@pytest.fixture
def child() -> Iterator[Child]:
    made = Child()
    yield made
    made.end()


@pytest.fixture
def leader() -> Iterator[Child]:
    made = Child(leads_group=True)
    yield made
    made.end()


@pytest.fixture
def no_signal_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every way to send a signal a failure of the test."""

    def refuse(*arguments: object) -> NoReturn:
        pytest.fail(f"a signal was sent: {arguments}")

    for place, name in ((os, "kill"), (os, "killpg"), (signal, "pidfd_send_signal")):
        monkeypatch.setattr(place, name, refuse)


def a_record(**changes: Any) -> dict[str, Any]:
    """Return the JSON form of this process's identity, with some values of another kind."""
    me = ProcessIdentity.of_this_process()
    return {**{name: getattr(me, name) for name in ProcessIdentity.__slots__}, **changes}


def test_this_process_is_here_and_alive() -> None:
    me = ProcessIdentity.of_this_process()
    assert me.pid == os.getpid()
    assert me.is_here()
    assert me.is_alive()


def test_every_identity_has_a_nonce_of_its_own_unless_one_is_given() -> None:
    one, other = ProcessIdentity.of_this_process(), ProcessIdentity.of_this_process()
    assert one.nonce != other.nonce
    assert len(one.nonce) == 32
    assert ProcessIdentity.of_this_process("mine").nonce == "mine"


def test_the_recorded_process_gets_its_signal(child: Child) -> None:
    assert child.identity.send(signal.SIGTERM)
    assert child.process.wait() == -signal.SIGTERM


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"boot_id": "00000000-0000-0000-0000-000000000000"}, id="of an earlier boot"),
        pytest.param({"boot_id": ""}, id="of a system without boot ids"),
        pytest.param({"pid_namespace": "pid:[1]"}, id="of another container"),
        pytest.param({"start_time": "1"}, id="started at another time: the number was used again"),
        pytest.param({"start_time": ""}, id="of unknown age"),
    ],
)
@pytest.mark.parametrize("group", [False, True], ids=["process", "group"])
@pytest.mark.usefixtures("no_signal_leaves")
def test_a_stranger_with_the_recorded_number_gets_no_signal(
    leader: Child, changed: dict[str, str], group: bool
) -> None:
    recorded = replace(leader.identity, **changed)  # type: ignore[arg-type]
    assert not (recorded.is_here() and recorded.is_alive())
    assert not recorded.send(signal.SIGKILL, group=group)
    assert leader.answers()


@pytest.mark.parametrize("pid", [1, 0, -1, True, os.getppid() * -1, 10**30], ids=str)
@pytest.mark.parametrize("group", [False, True], ids=["process", "group"])
@pytest.mark.usefixtures("no_signal_leaves")
def test_a_number_that_means_everybody_or_nobody_gets_no_signal(pid: int, group: bool) -> None:
    recorded = replace(ProcessIdentity.of_this_process(), pid=pid, start_time=start_time(1) or "1")
    assert not recorded.is_alive()
    assert not recorded.send(signal.SIGKILL, group=group)


def test_a_zombie_is_dead(child: Child) -> None:
    child.process.kill()
    stat = Path(f"/proc/{child.process.pid}/stat")
    wait_for(lambda: ") Z " in stat.read_text(), "the zombie")
    assert start_time(child.process.pid) is None
    assert not child.identity.is_alive()
    assert not child.identity.send(signal.SIGTERM)


def test_a_process_that_is_gone_is_dead(child: Child) -> None:
    child.end()
    assert start_time(child.process.pid) is None
    assert not child.identity.is_alive()
    assert not child.identity.send(signal.SIGTERM)


def test_a_process_that_ends_before_its_signal_is_no_error(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_late(*_: object) -> None:
        raise ProcessLookupError(errno.ESRCH, "No such process")

    monkeypatch.setattr(signal, "pidfd_send_signal", too_late)
    assert not child.identity.send(signal.SIGTERM)


def test_another_users_process_is_left_alone_without_an_error(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_permitted(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(signal, "pidfd_send_signal", not_permitted)
    assert not child.identity.send(signal.SIGTERM)


def test_where_processes_cannot_be_pinned_nobody_is_signalled(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    assert not child.identity.send(signal.SIGKILL)
    assert child.answers()


def test_a_group_is_not_signalled_through_one_of_its_members(child: Child) -> None:
    assert os.getpgid(child.process.pid) != child.process.pid
    assert not child.identity.send(signal.SIGKILL, group=True)
    assert child.answers()


@pytest.mark.parametrize("kernel", ["this", "before 6.9"])
def test_a_leader_is_signalled_with_its_group(leader: Child, monkeypatch: pytest.MonkeyPatch, kernel: str) -> None:
    if kernel != "this":

        def knows_no_groups(*arguments: Any) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

        monkeypatch.setattr(signal, "pidfd_send_signal", knows_no_groups)
    member = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], process_group=leader.process.pid)
    assert leader.identity.send(signal.SIGTERM, group=True)
    assert (leader.process.wait(), member.wait()) == (-signal.SIGTERM, -signal.SIGTERM)


def test_a_process_may_be_called_anything() -> None:
    name = ") Z 1 1"
    renamed = subprocess.Popen(
        [sys.executable, "-c", f"import ctypes; ctypes.CDLL(None).prctl(15, {name.encode()!r}, 0, 0, 0)\n{ECHO}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert renamed.stdin is not None
    before = start_time(renamed.pid)
    comm = Path(f"/proc/{renamed.pid}/comm")
    wait_for(lambda: comm.read_text() == name + "\n", "the new name")
    assert before is not None
    assert start_time(renamed.pid) == before
    renamed.communicate()


@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps")
def test_without_proc_the_start_time_is_what_ps_says(child: Child) -> None:
    by_ps = identities._start_time_by_ps
    said = by_ps(child.process.pid)
    assert said
    assert by_ps(child.process.pid) == said
    child.process.kill()
    wait_for(lambda: by_ps(child.process.pid) is None, "the zombie")
    child.end()
    assert by_ps(child.process.pid) is None


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path, me = tmp_path / "keeper.json", ProcessIdentity.of_this_process()
    before = os.umask(0)
    try:
        write_identity(path, me, attempt=3)
    finally:
        os.umask(before)
    assert read_identity(path) == me
    assert json.loads(path.read_text())["attempt"] == 3
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["keeper.json"]


def test_a_record_is_replaced_whole(tmp_path: Path) -> None:
    path, me = tmp_path / "keeper.json", ProcessIdentity.of_this_process()
    path.write_text("x" * 10_000)
    write_identity(path, me)
    assert read_identity(path) == me


NO_PIDS: tuple[object, ...] = (1, 0, -1, True, "4711", 2.5, None, [])
MALFORMED = {
    "empty": b"",
    "no JSON": b"abc",
    "half": json.dumps(a_record()).encode()[:40],
    "zeros": bytes(300),
    "no UTF-8": b'{"pid": "\xff"}',
    "a list": b"[1, 2]",
    "null": b"null",
    "a deep nest": b"[" * 60_000,
    "nothing in it": b"{}",
    "a field missing": json.dumps({"pid": os.getpid(), "start_time": "1"}).encode(),
    "a number for text": json.dumps(a_record(boot_id=7)).encode(),
    "null for text": json.dumps(a_record(host=None)).encode(),
    "no start time": json.dumps(a_record(start_time="")).encode(),
    **{f"pid {pid!r}": json.dumps(a_record(pid=pid)).encode() for pid in NO_PIDS},
}
DAMAGED = pytest.mark.parametrize("content", list(MALFORMED.values()), ids=list(MALFORMED))


@DAMAGED
def test_a_malformed_record_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keeper.json"
    path.write_bytes(content)
    assert read_identity(path) is None


@DAMAGED
def test_a_malformed_record_is_set_aside_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keeper.json"
    path.write_bytes(content)
    set_aside_damaged(path)
    assert not path.exists()
    (kept,) = tmp_path.glob("keeper.json.damaged-*")
    assert kept.read_bytes() == content


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "dangling link", "loop", "a gigabyte"])
def test_what_is_no_file_of_ours_is_no_record_and_does_not_block(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "keeper.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "gone")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "a gigabyte":
        with path.open("wb") as file:
            file.truncate(1 << 30)
    assert read_identity(path) is None
    set_aside_damaged(path)
    assert not os.path.lexists(path)
    assert len(os.listdir(tmp_path)) == (kind != "missing")


def test_a_good_record_is_not_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "keeper.json"
    write_identity(path, ProcessIdentity.of_this_process())
    set_aside_damaged(path)
    assert os.listdir(tmp_path) == ["keeper.json"]


def test_fields_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "keeper.json"
    path.write_text(json.dumps(a_record(colour="red")))
    assert read_identity(path) is not None
