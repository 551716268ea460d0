"""Results written beside and put under their name when they are whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.errors import DiskFull, TargetExists, WorkspaceError
from engine.export import beside as module
from engine.export.beside import PARTIAL, beside, clear_abandoned, put
from tests.engine.faults import failing, python, small_disk


def fill(folder: Path, text: str = "new") -> Path:
    made = folder / "model"
    made.mkdir()
    (made / "weights").write_text(text)
    return made


def test_a_result_is_under_its_name_and_nothing_else_is_left(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"
    with beside(target) as folder:
        put(fill(folder), target)
    assert (target / "weights").read_text() == "new"
    assert os.listdir(target.parent) == ["out"]


def test_what_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def half() -> None:
        with beside(tmp_path / "out") as folder:
            fill(folder)
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert os.listdir(tmp_path) == []


def test_what_is_there_stays_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "mine").write_text("old")
    with beside(target) as folder, pytest.raises(TargetExists, match="there already"):
        put(fill(folder), target)
    assert (target / "mine").read_text() == "old"
    with beside(target) as folder:
        put(fill(folder), target, replace=True)
    assert os.listdir(target) == ["weights"]
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_replacing_works_where_names_cannot_be_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(module, "exchange", lambda *_: False)
    target = tmp_path / "out"
    with beside(target) as folder:
        put(fill(folder), target)
    with beside(target) as folder:
        made = fill(folder, "newer")
        put(made if kind == "folder" else made / "weights", target, replace=True)
    found = target / "weights" if kind == "folder" else target
    assert found.read_text() == "newer"
    assert os.listdir(tmp_path) == ["out"]


def test_what_a_killed_process_left_is_cleared_and_what_is_held_is_not(tmp_path: Path) -> None:
    (tmp_path / f"{PARTIAL}out-12345678").mkdir()
    (tmp_path / f"{PARTIAL}out-12345678" / "weights").write_text("half")
    with beside(tmp_path / "one") as held:
        assert os.listdir(tmp_path) == [held.name]
        assert clear_abandoned(tmp_path) == []
        assert held.is_dir()


def test_two_at_once_do_not_take_each_other_s_name(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with beside(target) as one, beside(target) as other:
        first, second = fill(one, "first"), fill(other, "second")
        put(first, target)
        with pytest.raises(TargetExists):
            put(second, target)
    assert (target / "weights").read_text() == "first"


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="cannot be written"), beside(tmp_path / "file" / "out"):
        raise AssertionError


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    reply = python(
        """
        import os, sys
        from pathlib import Path
        from engine.errors import DiskFull
        from engine.export.beside import beside, put, writing
        target = Path(sys.argv[1]) / "out"
        try:
            with beside(target) as folder, writing(target):
                (folder / "weights").write_bytes(bytes(1_000_000))
                put(folder / "weights", target)
        except DiskFull as error:
            print(error.message, os.listdir(target.parent))
        """,
        tmp_path / "small",
        before=small_disk(tmp_path / "small"),
    )
    assert "no room to write" in reply.stdout
    assert reply.stdout.strip().endswith("[]")


@pytest.mark.parametrize("call", ["fsync", "renameat2"])
def test_killed_at_the_last_moment_there_is_nothing_under_the_name(tmp_path: Path, call: str) -> None:
    script = """
        import sys
        from pathlib import Path
        from engine.export.beside import beside, put
        target = Path(sys.argv[1]) / "out"
        with beside(target) as folder:
            (folder / "weights").write_text("new")
            put(folder / "weights", target)
        """
    python(script, tmp_path, before=failing(f"{call}:signal=SIGKILL"))
    assert not (tmp_path / "out").exists()
    assert len(list(tmp_path.iterdir())) == 1
    python(script, tmp_path)
    assert os.listdir(tmp_path) == ["out"]


def test_errors_of_writing_are_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="no room"), module.writing(tmp_path / "out"):
        raise OSError(28, "No space left on device")
