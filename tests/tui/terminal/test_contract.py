"""What is drawn with, by terminal, environment and choice."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import TerminalError
from tui.settings import Settings
from tui.terminal.contract import Terminal, examine, terminal_charset, textual_environment


def found(settings: Settings = Settings(), /, **environ: str) -> Terminal:  # noqa: B008
    return examine(settings, {"TERM": "xterm-256color", **environ}, interactive=True)


@pytest.mark.parametrize(
    ("environ", "colour"),
    [
        ({"COLORTERM": "truecolor"}, "truecolor"),
        ({"COLORTERM": "24bit", "TERM": "xterm"}, "truecolor"),
        ({"TERM": "tmux-direct"}, "truecolor"),
        ({}, "256"),
        ({"TERM": "screen-256color"}, "256"),
        ({"TERM": "xterm-kitty"}, "256"),
        ({"TERM": "screen"}, "16"),
        ({"TERM": "linux"}, "16"),
        ({"TERM": "vt100", "COLORTERM": ""}, "16"),
    ],
)
def test_colours_are_as_deep_as_the_terminal_says(environ: dict[str, str], colour: str) -> None:
    assert found(**environ).colour == colour


def test_choices_win_over_what_is_found() -> None:
    chosen = found(
        Settings(colour="16", glyphs="block", fps=7, theme="nord"), COLORTERM="truecolor", SSH_TTY="/dev/pts/1"
    )
    assert chosen == Terminal(colour="16", glyphs="block", fps=7, theme="nord")


def test_without_colour_there_is_one_theme() -> None:
    assert found(Settings(colour="none", theme="nord")).theme == "ftconsole-plain"


@pytest.mark.parametrize(
    ("environ", "glyphs"),
    [
        ({}, "braille"),
        ({"TERM": "linux"}, "block"),
        ({"LC_ALL": "en_US.ISO-8859-1"}, "ascii"),
        ({"LANG": "C"}, "braille"),
    ],
)
def test_glyphs_are_what_the_font_and_the_charset_have(environ: dict[str, str], glyphs: str) -> None:
    assert found(**environ).glyphs == glyphs


def test_glyphs_that_the_charset_lacks_cannot_be_chosen() -> None:
    assert found(Settings(glyphs="braille"), LC_ALL="de_DE.ISO-8859-15").glyphs == "ascii"


def test_frames_are_fewer_over_ssh() -> None:
    assert found().fps == 60
    assert found(SSH_CONNECTION="1 2 3 4").fps == 15


@pytest.mark.parametrize(
    ("environ", "charset"),
    [
        ({}, "utf-8"),
        ({"LANG": "C"}, "utf-8"),
        ({"LC_ALL": "", "LC_CTYPE": "POSIX", "LANG": "de_DE.ISO-8859-1"}, "utf-8"),
        ({"LANG": "de_DE.UTF-8"}, "utf-8"),
        ({"LANG": "de_DE.utf8@euro"}, "utf-8"),
        ({"LC_ALL": "de_DE.ISO-8859-15@euro", "LANG": "C.UTF-8"}, "iso8859-15"),
        ({"LANG": "ja_JP.eucJP"}, "euc_jp"),
        ({"LANG": "xx_XX.nonsense"}, "ascii"),
    ],
)
def test_the_locale_says_the_charset(environ: dict[str, str], charset: str) -> None:
    assert terminal_charset(environ) == charset


@pytest.mark.parametrize(
    ("body", "charset"), [("echo 0", "ascii"), ("echo 1", "utf-8"), ("exit 1", "utf-8"), ("exec sleep 60", "utf-8")]
)
def test_tmux_knows_whether_its_client_shows_utf_8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, charset: str
) -> None:
    tmux = tmp_path / "tmux"
    tmux.write_text(f"#!/bin/sh\n{body}\n")
    tmux.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("tui.terminal.contract.TMUX_SECONDS", 0.3)
    assert terminal_charset({"TMUX": "x"}) == charset
    assert terminal_charset({"TMUX": "x", "LANG": "C.UTF-8"}) == "utf-8"


@pytest.mark.parametrize("term", ["dumb", "unknown", ""])
def test_a_terminal_that_cannot_be_drawn_on_is_refused(term: str) -> None:
    with pytest.raises(TerminalError, match="ftconsole watch RUN") as caught:
        found(TERM=term)
    assert caught.value.exit_code == 2


def test_no_terminal_is_refused() -> None:
    with pytest.raises(TerminalError, match="needs a terminal"):
        examine(Settings(), {"TERM": "xterm"}, interactive=False)


def test_an_empty_no_color_is_taken_away_because_textual_would_obey_it() -> None:
    assert textual_environment(Terminal())["NO_COLOR"] is None
    assert textual_environment(Terminal(colour="none"))["NO_COLOR"] == "1"
