"""A crash is written down without the values of variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from tui import crash
from tui.crash import where_it_failed, write_crash


def failed() -> Exception:
    token = "hf_canary"
    try:
        raise KeyError(len(token))
    except KeyError as error:
        return error


def test_the_file_is_private_and_has_the_traceback_but_no_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = write_crash(failed())
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o600
    assert "in failed" in path.read_text()
    assert "canary" not in path.read_text().replace('token = "hf_canary"', "")


def test_only_the_newest_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(crash, "KEPT", 3)
    written = [write_crash(failed()) for _ in range(6)]
    kept = sorted((tmp_path / "ftconsole").glob("crash-*"))
    assert len(kept) == 3
    assert written[0] is not None


def test_where_nothing_can_be_written_there_is_no_second_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ftconsole").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert write_crash(failed()) is None


def test_one_bug_is_told_from_another_by_file_and_line() -> None:
    assert where_it_failed(failed()).startswith("KeyError in test_crash.py, line ")
    assert where_it_failed(ValueError()) == "ValueError"
