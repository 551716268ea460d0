"""The console in a real terminal: what it writes, what it survives, and how it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Open = Callable[..., Any]
"""See `open_pty` in conftest.py."""


def test_q_on_the_first_screen_leaves_and_says_what_goes_on(open_pty: Open) -> None:
    terminal = open_pty()
    terminal.wait_for_text("all is well")
    terminal.send("q")
    assert terminal.wait_for_end() == 0
    terminal.wait_for_last_words("Still running: run-1. `ftconsole` shows it again.")
    terminal.left_properly()


def test_only_clicks_are_asked_for(open_pty: Open) -> None:
    terminal = open_pty()
    terminal.wait_for_text("all is well")
    assert b"\x1b[?1000h" in terminal.raw
    assert b"\x1b[?1006h" in terminal.raw
    assert b"\x1b[?1003h" not in terminal.raw
    assert b"\x1b[?1015h" not in terminal.raw


def test_the_mouse_can_be_left_to_the_terminal(open_pty: Open) -> None:
    terminal = open_pty(env={"FTCONSOLE_MOUSE": "off"})
    terminal.wait_for_text("all is well")
    assert not [mode for mode in (b"1000", b"1002", b"1003", b"1006") if b"\x1b[?" + mode + b"h" in terminal.raw]


def test_motion_over_a_table_sends_nothing(open_pty: Open) -> None:
    terminal = open_pty()
    terminal.wait_for_text("run-12")
    terminal.send("\x1b[<35;10;9M", "\x1b[<35;12;12M", "\x1b[<35;14;15M")
    terminal.send("\x1b[<0;5;12M", "\x1b[<0;5;12m")  # a click, which is answered
    before = len(terminal.raw)
    terminal.wait(lambda: len(terminal.raw) > before, "the answer to a click")
    assert len(terminal.raw) - before < 8_000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_gives_the_terminal_back(open_pty: Open, number: int) -> None:
    terminal = open_pty()
    terminal.wait_for_text("all is well")
    assert terminal.modes != terminal.termios_before
    terminal.kill(number)
    assert terminal.wait_for_end() == 128 + number
    terminal.left_properly()


def test_a_signal_gives_the_terminal_back_while_the_event_loop_is_stuck(open_pty: Open) -> None:
    terminal = open_pty()
    terminal.wait_for_text("all is well")
    terminal.send("8")
    terminal.kill(signal.SIGTERM)
    assert terminal.wait_for_end() == 128 + signal.SIGTERM
    terminal.left_properly()


def test_closing_the_terminal_ends_the_console(open_pty: Open) -> None:
    terminal = open_pty()
    terminal.wait_for_text("all is well")
    terminal.hang_up()
    terminal.wait(terminal.has_ended, "the end")
    assert terminal.exit_code == 128 + signal.SIGHUP


def test_ctrl_z_gives_the_terminal_back_and_fg_draws_everything_again(open_pty: Open) -> None:
    terminal = open_pty()
    terminal.wait_for_text("all is well")
    terminal.send("ctrl+z")
    terminal.wait_until_stopped()
    terminal.left_properly()
    start = len(terminal.raw)
    terminal.kill(signal.SIGCONT)
    terminal.wait_for_raw(b"\x1b[?1049h", start)
    terminal.wait_for_raw(b"all is well", start)
    terminal.send("q")
    assert terminal.wait_for_end() == 0
    assert terminal.modes == terminal.termios_before


def test_a_stop_that_nobody_announced_is_survived(open_pty: Open) -> None:
    terminal = open_pty()
    terminal.wait_for_text("all is well")
    terminal.kill(signal.SIGSTOP)
    terminal.wait_until_stopped()
    start = len(terminal.raw)
    terminal.kill(signal.SIGCONT)
    terminal.wait_for_raw(b"\x1b[?1049h", start)
    terminal.send("q")
    assert terminal.wait_for_end() == 0
    assert terminal.modes == terminal.termios_before


# A terminal that does not read


def beats(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def test_a_stalled_terminal_stops_neither_the_event_loop_nor_sigterm(open_pty: Open, tmp_path: Path) -> None:
    heartbeat = tmp_path / "heartbeat"
    terminal = open_pty(env={"HEARTBEAT": str(heartbeat)}, size=(200, 50))
    terminal.wait_for_text("all is well")
    terminal.stall()
    terminal.send("9")
    # Textual's own driver stopped after 30 writes.
    now = beats(heartbeat)
    terminal.wait(lambda: beats(heartbeat) > now + 200, "the event loop to go on")
    terminal.kill(signal.SIGTERM)
    assert terminal.wait_for_end() == 128 + signal.SIGTERM
    terminal.left_properly()


def test_a_terminal_that_reads_again_shows_the_present(open_pty: Open, tmp_path: Path) -> None:
    heartbeat = tmp_path / "heartbeat"
    terminal = open_pty(env={"HEARTBEAT": str(heartbeat)}, size=(200, 50))
    terminal.wait_for_text("all is well")
    terminal.stall()
    terminal.send("9")
    now = beats(heartbeat)
    terminal.wait(lambda: beats(heartbeat) > now + 200, "some frames")
    start = len(terminal.raw)
    terminal.drain()
    terminal.wait(lambda: "frame " in terminal.display and _frame(terminal.display) > 50, "a late frame")
    # The frames between were not queued: 200 of them would be megabytes.
    assert len(terminal.raw) - start < 400_000


def _frame(display: str) -> int:
    return int(display.partition("frame ")[2].split()[0])


def test_on_a_slow_line_q_is_obeyed_before_the_frames_that_wait(open_pty: Open) -> None:
    terminal = open_pty(size=(120, 40))
    terminal.wait_for_text("all is well")
    terminal.slow_down(8_000)
    terminal.send("9")
    terminal.wait_for_text("frame ")
    start = len(terminal.raw)
    terminal.send("q")
    terminal.wait(terminal.has_ended, "the end")
    terminal.left_properly()
    # What a pty holds after it was told to forget: 4 kB. Half a second.
    assert len(terminal.raw) - start < 12_000


# Where it is drawn


def test_without_colour_no_colour_is_sent(open_pty: Open, colours_in: Callable[[bytes], list[bytes]]) -> None:
    for env in ({"NO_COLOR": "1"}, {"FTCONSOLE_NO_COLOR": "1"}, {"FTCONSOLE_COLOUR": "none"}):
        terminal = open_pty(env={**env, "COLORTERM": "truecolor"})
        terminal.wait_for_text("all is well")
        terminal.send("1")
        terminal.wait_for_text("A part of this screen failed")
        terminal.send("?")
        terminal.wait_for_text("Esc closes")
        assert colours_in(bytes(terminal.raw)) == []
        terminal.end()


@pytest.mark.parametrize(
    ("env", "sign"),
    [
        ({"COLORTERM": "truecolor"}, b"38;2;"),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, b"38;5;"),
        ({"TERM": "xterm"}, b"\x1b["),
    ],
    ids=["truecolor", "256", "16"],
)
def test_colours_have_the_depth_of_the_terminal(
    open_pty: Open, colours_in: Callable[[bytes], list[bytes]], env: dict[str, str], sign: bytes
) -> None:
    terminal = open_pty(env=env)
    terminal.wait_for_text("all is well")
    found = colours_in(bytes(terminal.raw))
    assert found
    assert any(sign in sequence for sequence in found)
    deeper = {b"38;2;": (), b"38;5;": (b"8;2;",), b"\x1b[": (b"8;2;", b"8;5;")}[sign]
    assert not [sequence for sequence in found if any(depth in sequence for depth in deeper)]


@pytest.mark.parametrize("term", ["dumb", "", None], ids=["dumb", "empty", "unset"])
def test_a_terminal_without_cursor_movement_is_refused(open_pty: Open, term: str | None) -> None:
    terminal = open_pty(env={"TERM": term})
    assert terminal.wait_for_end() == 2
    terminal.wait_for_last_words("`ftconsole watch RUN`")
    assert b"\x1b" not in terminal.raw


def test_without_a_terminal_it_is_refused_and_pointed_to_plain_text(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "tests/tui/programs/console.py"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": ".", "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "needs a terminal" in ended.stderr
    assert "`ftconsole runs`" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("locale", ["en_US.ISO-8859-1", "ru_RU.KOI8-R", "xx_XX.unknown"])
def test_another_charset_gets_letters_it_has_and_drawings_in_ascii(open_pty: Open, locale: str) -> None:
    terminal = open_pty(env={"LANG": None, "LC_ALL": locale, "FOREIGN": "naïve 日本 │ \x9b2J"})
    terminal.wait_for_raw(b"run-12")
    raw = bytes(terminal.raw)
    assert b"\\u" not in raw
    assert "naïve".encode("iso-8859-1") in raw or b"na?ve" in raw
    assert rb"???? | \x9b2J" in raw
    assert not [byte for byte in raw if 0x80 <= byte < 0xA0]
    terminal.send("q")
    assert terminal.wait_for_end() == 0


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8", None])
def test_a_locale_that_says_nothing_is_utf_8(open_pty: Open, locale: str | None) -> None:
    terminal = open_pty(env={"LANG": None, "LC_ALL": locale, "FOREIGN": "naïve 日本"})
    terminal.wait_for_text("naïve")
    assert "日本".encode() in terminal.raw


def test_ascii_drawings_can_be_chosen(open_pty: Open) -> None:
    terminal = open_pty(env={"FTCONSOLE_GLYPHS": "ascii", "FOREIGN": "naïve │ ⠿"})
    terminal.wait_for_text("naïve | #")
    assert "╭".encode() not in terminal.raw
    assert "+---" in terminal.display


def test_a_storm_of_resizes_down_to_one_cell_is_survived(open_pty: Open) -> None:
    terminal = open_pty()
    terminal.wait_for_text("all is well")
    for size in [(1, 1), (200, 60), (2, 1), (40, 10), (1, 50), (1000, 200), (60, 15), (79, 23), (3, 3)] * 4:
        terminal.resize(*size)
        terminal.send("?")
    terminal.send("escape")
    terminal.resize(100, 30)
    terminal.wait_for_text("all is well")
    assert not (Path(terminal.environment["XDG_STATE_HOME"]) / "ftconsole").exists()


def test_a_window_that_changes_while_its_size_is_read_ends_at_the_newest_size(open_pty: Open) -> None:
    script = """
import os, runpy, sys, termios
read = os.get_terminal_size
def read_and_change(*descriptor):
    size = read(*descriptor)
    if size == (90, 20):
        termios.tcsetwinsize(0, (30, 100))  # the next signal comes before this size is told
    return size
os.get_terminal_size = read_and_change
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    program = str(Path(__file__).parent / "programs" / "console.py")
    terminal = open_pty(command=[sys.executable, "-c", script, program])
    terminal.wait_for_text("all is well")
    terminal.resize(90, 20)
    terminal.wait_for_raw(b"\x1b[30;1H")  # the key line, in the last row


def test_what_a_row_says_reaches_the_terminal_as_text_only(open_pty: Open) -> None:
    terminal = open_pty(
        size=(120, 24), env={"FOREIGN": "\x1b]0;OWNED\x07\x1b]52;c;eA==\x07\x1b[2J\x9b3J\u202e [INST] [/INST]"}
    )
    terminal.wait_for_text(r"\x1b]0;OWNED\x07\x1b]52;c;eA==\x07\x1b[2J\x9b3J\u202e [INST] [/INST]")
    for acts in (b"\x1b]0;", b"\x1b]52;", b"\x1b[2J", b"\xc2\x9b", "\u202e".encode()):
        assert acts not in terminal.raw


# Mistakes


def crash_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "state" / "ftconsole").glob("crash-*.txt"))


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("1", "ValueError in small_screens.py"),
        ("2", "ValueError in small_screens.py"),
        ("3", "ValueError in small_screens.py"),
        ("4", "ZeroDivisionError in small_screens.py"),
        ("5", "RuntimeError in small_screens.py"),
        ("6", "There is no run called 'x'."),
    ],
    ids=["action", "async worker", "thread worker", "thread", "drawing", "engine error"],
)
def test_a_mistake_is_shown_and_the_console_lives(open_pty: Open, tmp_path: Path, key: str, sentence: str) -> None:
    terminal = open_pty()
    terminal.wait_for_text("all is well")
    terminal.send(key)
    terminal.wait_for_text(sentence)
    terminal.send("9")
    terminal.wait(lambda: "frame 3" in terminal.display, "the screen to be drawn on")
    terminal.send("o")
    terminal.wait_for_text("live view of run-[/s]")
    files = crash_files(tmp_path)
    assert len(files) == (key != "6")
    for file in files:
        assert file.stat().st_mode & 0o777 == 0o600
        assert "Traceback" in file.read_text()
        assert "canary" not in file.read_text()
    assert b"canary" not in terminal.raw
    terminal.send("Q")
    assert terminal.wait_for_end() == 0


@pytest.mark.parametrize("run", ["broken", "missing"])
def test_a_screen_that_cannot_be_opened_at_the_start(open_pty: Open, tmp_path: Path, run: str) -> None:
    terminal = open_pty(run)
    if run == "broken":
        terminal.wait_for_text("RuntimeError in small_screens.py")
        terminal.send("q")
        terminal.wait_for_text("all is well")
        terminal.send("q")
        assert terminal.wait_for_end() == 0
    else:
        assert terminal.wait_for_end() == 3
        assert not crash_files(tmp_path)
        terminal.wait_for_last_words("There is no run called 'missing'.")
    assert b"canary" not in terminal.raw
    terminal.left_properly()


def test_a_mistake_without_end_ends_the_console_and_prints_no_values(open_pty: Open, tmp_path: Path) -> None:
    terminal = open_pty()
    terminal.wait_for_text("all is well")
    terminal.send("7")
    assert terminal.wait_for_end() == 1
    terminal.wait_for_last_words("stopped because of a mistake in it")
    terminal.left_properly()
    (file,) = crash_files(tmp_path)
    assert str(file)[-40:].strip() in terminal.display.replace("\n", "")
    assert b"canary" not in terminal.raw
    assert b"Traceback" not in terminal.raw


def test_a_widget_whose_own_handler_fails_goes_and_the_rest_stays(open_pty: Open) -> None:
    terminal = open_pty()
    terminal.wait_for_text("fragile panel")
    row = next(y for y, line in enumerate(terminal.display.splitlines(), 1) if "fragile panel" in line)
    terminal.send(f"\x1b[<0;3;{row}M", f"\x1b[<0;3;{row}m")
    terminal.wait_for_text("KeyError in small_screens.py")
    terminal.wait(lambda: "fragile panel" not in terminal.display, "the panel to go")
    terminal.send("o")
    terminal.wait_for_text("live view of run-[/s]")
    terminal.send("Q")
    assert terminal.wait_for_end() == 0
