"""Run folders: names that cannot leave, runs that are whole or not there, and what a shared box may see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from engine import commands, events
from engine.commands import Pause, Stop
from engine.errors import DiskFull, InvalidName, NotFound, TargetExists, WorkspaceError
from engine.events import RunCreated
from engine.runs.directory import RunDirectory, all_runs, check_name, create_run, find_run, free_name, whoami
from tests.engine.faults import failing, permissions_hold, python, small_disk

CREATED = RunCreated(name="", method="sft", model="tiny", parent=None)
FILES = {"run.yaml": "method: sft\n", "provenance.json": '{"run_id": "0123456789abcdef"}\n'}
CREATE = """
    import sys
    from pathlib import Path
    from engine.errors import EngineError
    from engine.events import RunCreated
    from engine.runs.directory import create_run
    try:
        create_run(Path(sys.argv[1]), sys.argv[2], created=RunCreated("", "sft", "tiny", None),
                   files={"run.yaml": "x" * int(sys.argv[3]), "provenance.json": "{}"})
    except EngineError as error:
        print(error.code)
"""
BAD_NAMES = [
    "", ".", "..", "../x", "/abs", "a/b", "a/../b", "-rf", "--help", "_a", ".hidden", "a\nb", "a\n", "a b", "a\0b",
    "a\x1b[2J", "x" * 65, "x" * 300, "a..b", "..a", "a\\b", "a:b", "a*", "~", "~root", "$HOME", "ä", "東京",
    "a\u202eb", "a\u200bb", "\udc80", "a\x7f", "a/", "./a",
]  # fmt: skip
GOOD_NAMES = ["a", "9", "run-1", "sft-tiny-3", "A.b_c-D", "x" * 64, "checkpoint-5", "a.", "CON"]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "workspace" / "runs"


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file outside of the workspace that must never change."""
    path = tmp_path / "canary"
    path.write_text("alive")
    return path


def create(runs: Path, name: str = "run-1") -> RunDirectory:
    return create_run(runs, name, created=CREATED, files=FILES)


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# -- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_plain_name_is_allowed(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_a_name_that_could_leave_its_folder_or_deceive_is_refused_everywhere(
    runs: Path, canary: Path, name: str
) -> None:
    create(runs)
    before = everything(runs.parent.parent)
    with pytest.raises(InvalidName) as refused:
        check_name(name)
    assert refused.value.remedy
    with pytest.raises(InvalidName):
        create(runs, name)
    with pytest.raises(InvalidName):
        find_run(runs, name)
    assert everything(runs.parent.parent) == before
    assert canary.read_text() == "alive"


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_a_refusal_can_be_shown(name: str) -> None:
    with pytest.raises(InvalidName) as refused:
        check_name(name)
    assert len(refused.value.message) < 500
    assert refused.value.message.isprintable()


# -- making --------------------------------------------------------------------------------------------------


def test_a_new_run_is_whole(runs: Path) -> None:
    run = create(runs)
    assert run.path == runs / "run-1"
    assert everything(run.path) == ["checkpoints", "events.jsonl", "provenance.json", "run.yaml"]
    assert run.config.read_text() == FILES["run.yaml"]
    (line,) = run.events.read_text().splitlines()
    assert json.loads(line)["seq"] == 1
    assert events.from_json(json.loads(line)) == RunCreated("run-1", "sft", "tiny", None)
    assert os.listdir(runs) == ["run-1"]


def test_folders_are_0700_and_files_0600_whatever_the_umask(runs: Path) -> None:
    before = os.umask(0)
    try:
        run = create(runs)
        run.tell(Pause())
    finally:
        os.umask(before)
    for path in (runs, run.path, *run.path.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("what", ["run", "empty folder", "file", "dangling link", "link to a folder"])
def test_a_name_that_is_taken_is_refused_and_what_is_there_stays(runs: Path, tmp_path: Path, what: str) -> None:
    path = runs / "run-1"
    runs.mkdir(parents=True)
    if what == "run":
        create(runs)
        (path / "notes.txt").write_text("mine")
    elif what == "empty folder":
        path.mkdir()
    elif what == "file":
        path.write_text("mine")
    else:
        path.symlink_to(tmp_path if what == "link to a folder" else tmp_path / "gone")
    before = everything(runs)
    with pytest.raises(TargetExists, match="There is already a run run-1") as refused:
        create(runs)
    assert "--name" in refused.value.remedy
    assert everything(runs) == before


def test_of_many_that_take_one_name_at_once_one_makes_the_run(runs: Path) -> None:
    outcomes: list[str] = []

    def take() -> None:
        try:
            create(runs)
            outcomes.append("made")
        except TargetExists as error:
            outcomes.append(error.message)

    threads = [threading.Thread(target=take) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [f"There is already a run run-1 in {runs}."] * 15 + ["made"]
    assert os.listdir(runs) == ["run-1"]
    assert len((runs / "run-1" / "events.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("call", ["mkdir:signal=SIGKILL:when=3", "fsync:signal=SIGKILL:when=1",
                                  "fsync:signal=SIGKILL:when=3", "rename:signal=SIGKILL:when=1"])  # fmt: skip
def test_a_crash_on_the_way_leaves_no_run_and_the_name_stays_free(runs: Path, call: str) -> None:
    runs.mkdir(parents=True)
    # No bytecode is written, so that the calls counted are those of `create_run` alone.
    script = "import sys\nsys.dont_write_bytecode = True\n" + _dedented(CREATE)
    assert python(script, runs, "run-1", 10, before=failing(call)).returncode != 0
    assert [name.startswith(".creating-") for name in os.listdir(runs)] == [True]
    assert all_runs(runs) == []
    create(runs)
    assert [run.name for run in all_runs(runs)] == ["run-1"]


def test_what_a_crash_left_is_cleared_by_a_later_start_but_not_a_run_in_the_making(runs: Path, canary: Path) -> None:
    for name in ("old", "new"):
        (runs / f".creating-{name}" / "checkpoints").mkdir(parents=True)
    (runs / ".creating-link").symlink_to(canary.parent)
    long_ago = time.time() - 4000
    os.utime(runs / ".creating-old", (long_ago, long_ago))
    os.utime(runs / ".creating-link", (long_ago, long_ago), follow_symlinks=False)
    create(runs)
    assert sorted(os.listdir(runs)) == [".creating-link", ".creating-new", "run-1"]
    assert canary.read_text() == "alive"


def test_a_full_disk_leaves_nothing(runs: Path) -> None:
    reply = python(_dedented(CREATE) + "import os\nprint(os.listdir(sys.argv[1]))", runs, "run-1", 100_000,
                   before=small_disk(runs))  # fmt: skip
    assert reply.stdout == f"{DiskFull.code}\n[]\n", reply.stderr


def test_a_workspace_that_may_not_be_written_is_refused_with_a_remedy(runs: Path) -> None:
    runs.mkdir(parents=True)
    runs.chmod(0o500)
    with permissions_hold(), pytest.raises(WorkspaceError, match="Permission denied") as refused:
        create(runs)
    assert "-w" in refused.value.remedy
    runs.chmod(0o600)
    with permissions_hold(), pytest.raises(WorkspaceError, match="Permission denied"):
        create(runs)
    runs.chmod(0o700)


def test_a_file_in_the_place_of_the_runs_folder_is_refused(runs: Path) -> None:
    runs.parent.mkdir()
    runs.write_text("mine")
    with pytest.raises(WorkspaceError, match="Cannot write"):
        create(runs)
    assert runs.read_text() == "mine"


# -- finding -------------------------------------------------------------------------------------------------


def test_a_run_is_found_by_its_name_and_by_a_path_to_it(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create(runs)
    for name in ("run-1", str(run.path), f"{run.path}/", f"{runs}/../runs/run-1"):
        assert find_run(runs, name) == run
    monkeypatch.chdir(run.path)
    for name in (".", "../run-1", "./"):
        assert find_run(runs, name) == run


def test_a_run_that_is_not_there_names_the_nearest(runs: Path) -> None:
    create(runs, "answers-1")
    with pytest.raises(NotFound, match="no run answer-1") as missing:
        find_run(runs, "answer-1")
    assert "Did you mean answers-1?" in missing.value.remedy
    with pytest.raises(NotFound) as missing:
        find_run(runs, "zzz")
    assert "Did you mean" not in missing.value.remedy
    with pytest.raises(NotFound, match="no run gone-1"):
        find_run(runs, f"{runs}/gone-1")


def test_a_link_in_the_place_of_a_run_is_not_followed(runs: Path, tmp_path: Path) -> None:
    runs.mkdir(parents=True)
    outside = create(tmp_path / "elsewhere", "real")
    (runs / "link").symlink_to(outside.path)
    assert all_runs(runs) == []
    with pytest.raises(NotFound):
        find_run(runs, "link")
    with pytest.raises((NotFound, InvalidName)):
        find_run(runs, str(runs / "link"))


@pytest.mark.parametrize(
    "path", ["/etc", "/etc/passwd", "runs-evil/run-1", "a\0b/c", "x/" + "y" * 300, "loop/x", "loop"]
)
def test_a_path_to_elsewhere_is_no_run(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    create(runs)
    create(runs.parent / "runs-evil")
    monkeypatch.chdir(runs.parent)
    (runs.parent / "loop").symlink_to("loop")
    with pytest.raises((InvalidName, NotFound)):
        find_run(runs, path)


def test_only_folders_with_an_event_log_are_runs(runs: Path) -> None:
    create(runs, "a")
    create(runs, "b")
    (runs / "notes").mkdir()
    (runs / "file").touch()
    (runs / "odd").mkdir()
    (runs / "odd" / "events.jsonl").mkdir()
    (runs / "a b").mkdir()
    (runs / "a b" / "events.jsonl").touch()
    assert sorted(run.name for run in all_runs(runs)) == ["a", "b"]
    assert all_runs(runs / "missing") == []


def test_another_users_run_does_not_hide_ours(runs: Path) -> None:
    create(runs, "ours")
    theirs = create(runs, "theirs")
    theirs.path.chmod(0o000)
    with permissions_hold():
        assert [run.name for run in all_runs(runs)] == ["ours"]
        assert find_run(runs, "theirs") == theirs
        with pytest.raises(NotFound):
            find_run(runs, "gone")
    theirs.path.chmod(0o700)


# -- free names ----------------------------------------------------------------------------------------------


def test_a_free_name_is_one_above_the_highest(runs: Path) -> None:
    assert free_name(runs, "sft-tiny") == "sft-tiny-1"
    for name in ("sft-tiny-1", "sft-tiny-9", "sft-tiny-10", "sft-tiny-x", "sft-11", "other-40"):
        (runs / name).mkdir(parents=True)
    assert free_name(runs, "sft-tiny") == "sft-tiny-11"


@pytest.mark.parametrize(
    "stem", ["", "-", "...", "a...b", "....a....", "_x", "-rf", "../../etc/passwd", "東京", "a b\nc", "x" * 300,
             "x." * 60, "Llama-3.1-8B", "a\0b", "\u202e"], ids=ascii)  # fmt: skip
def test_a_free_name_is_always_a_name(runs: Path, stem: str) -> None:
    name = free_name(runs, stem)
    assert check_name(name) == name
    (runs / name).mkdir(parents=True)
    assert free_name(runs, stem) != name


# -- telling -------------------------------------------------------------------------------------------------


def test_what_a_run_is_told_is_written_with_who_said_it(runs: Path) -> None:
    run = create(runs)
    ids = [run.tell(Pause()), run.tell(Stop(save=False))]
    lines = [json.loads(line) for line in run.commands.read_text().splitlines()]
    assert [line["id"] for line in lines] == ids
    assert len(set(ids)) == 2
    assert [line["by"] for line in lines] == [whoami()] * 2
    assert [commands.from_json(line) for line in lines] == [Pause(), Stop(save=False)]


def test_a_run_that_may_not_be_told_says_so(runs: Path) -> None:
    run = create(runs)
    run.path.chmod(0o500)
    with permissions_hold(), pytest.raises(WorkspaceError, match=r"commands\.jsonl: Permission denied"):
        run.tell(Pause())


def test_telling_leaves_no_file_open(runs: Path) -> None:
    run = create(runs)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        run.tell(Pause())
    assert len(os.listdir("/proc/self/fd")) == before


def test_someone_without_a_name_is_told_by_number() -> None:
    script = "import os; os.environ.clear(); import pwd; pwd.getpwuid = lambda _: {}[0]\n"
    script += "from engine.runs.directory import whoami; print(whoami())"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"{os.getuid()}@")


def _dedented(code: str) -> str:
    return "\n".join(line.removeprefix("    ") for line in code.splitlines()) + "\n"
