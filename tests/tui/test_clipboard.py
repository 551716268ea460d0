"""Copying says where the text went, and never waits for a tmux that hangs."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tui import clipboard
from tui.clipboard import OSC_52_MAX_BYTES, copy


@pytest.fixture
def sent() -> list[str]:
    return []


def fake_tmux(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tmux = folder / "tmux"
    tmux.write_text(f"#!/bin/sh\n{body}\n")
    tmux.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


async def test_outside_of_tmux_the_terminal_is_offered_the_text(tmp_path: Path, sent: list[str]) -> None:
    where = await copy("é\x1b]", sent.append, {"XDG_STATE_HOME": str(tmp_path)})
    assert sent == ["\x1b]52;c;" + base64.b64encode("é\x1b]".encode()).decode() + "\x07"]
    file = tmp_path / "ftconsole" / "clip.txt"
    assert file.read_text() == "é\x1b]"
    assert str(where) == f"Copied to terminal clipboard, if it allows that and {file}."


async def test_tmux_is_asked_itself(tmp_path: Path, sent: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tmux(tmp_path, f'echo "$@" > {tmp_path}/asked; cat > {tmp_path}/taken', monkeypatch)
    where = await copy("text", sent.append, {"XDG_STATE_HOME": str(tmp_path), "TMUX": "x"})
    assert sent == []
    assert (tmp_path / "asked").read_text() == "load-buffer -w -\n"
    assert (tmp_path / "taken").read_text() == "text"
    assert "tmux buffer" in str(where)


@pytest.mark.parametrize("body", ["exit 1", "exec sleep 60", None], ids=["refuses", "hangs", "missing"])
async def test_a_tmux_that_does_not_help_is_gone_round(
    tmp_path: Path, sent: list[str], monkeypatch: pytest.MonkeyPatch, body: str | None
) -> None:
    monkeypatch.setattr(clipboard, "TMUX_SECONDS", 0.2)
    if body is None:
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        fake_tmux(tmp_path, body, monkeypatch)
    where = await copy("x" * 200_000 if body else "x", sent.append, {"XDG_STATE_HOME": str(tmp_path), "TMUX": "x"})
    assert where.tmux is False
    assert where.file is not None


async def test_a_long_text_goes_to_the_file_only_and_that_is_said(tmp_path: Path, sent: list[str]) -> None:
    where = await copy("x" * (OSC_52_MAX_BYTES + 1), sent.append, {"XDG_STATE_HOME": str(tmp_path)})
    assert sent == []
    assert "too long" in str(where)


async def test_gnu_screen_passes_nothing_on(tmp_path: Path, sent: list[str]) -> None:
    where = await copy("x", sent.append, {"XDG_STATE_HOME": str(tmp_path), "STY": "1.pts"})
    assert sent == []
    assert str(where).startswith("Copied to /")


async def test_when_nothing_takes_the_text_that_is_said(tmp_path: Path, sent: list[str]) -> None:
    (tmp_path / "ftconsole").write_text("a file where a folder should be")
    where = await copy("x", sent.append, {"XDG_STATE_HOME": str(tmp_path), "STY": "1.pts"})
    assert str(where).startswith("Nothing could be copied")
