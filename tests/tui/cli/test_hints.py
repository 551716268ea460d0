"""What is suggested and warned of when a run starts."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from engine.hardware.logout import Logout
from engine.runs.directory import RunDirectory
from tui.cli import hints
from tui.cli.cautions import warn_of_endings


def test_a_suggested_command_can_be_typed_where_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "my runs; here"
    (place / "runs" / "voice-1").mkdir(parents=True)
    run = RunDirectory(place / "runs" / "voice-1")
    monkeypatch.chdir(tmp_path)
    assert shlex.split(hints.command("watch", run)) == ["ftconsole", "-w", str(place), "watch", "voice-1"]
    assert shlex.split(hints.console(run)) == ["ftconsole", "-w", str(place), "--run", "voice-1"]
    monkeypatch.chdir(place)
    assert hints.command("watch", run) == "ftconsole watch voice-1"
    assert hints.console(run) == "ftconsole --run voice-1"


def test_two_models_are_named_as_chat_takes_them() -> None:
    words = ["ftconsole", "chat", "--left", "voice-1@best", "--right", "lmstudio:my voice"]
    assert shlex.split(hints.chat("voice-1@best", "lmstudio:my voice")) == words


@pytest.mark.parametrize("ends", [True, False, None])
def test_a_login_that_ends_runs_is_warned_of_when_one_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ends: bool | None
) -> None:
    monkeypatch.setattr("engine.hardware.logout.logout", lambda: Logout(ends, "logind does", "Linger."))
    warn_of_endings(tmp_path)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == ("warning: a logout would end this run: logind does. Linger.\n" if ends else "")


def test_a_network_file_system_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("engine.runs.lock.network_file_system", lambda path: "nfs4")
    monkeypatch.setattr("engine.hardware.logout.logout", lambda: Logout(False, "nothing"))
    warn_of_endings(tmp_path)
    assert "nfs4" in capsys.readouterr().err
