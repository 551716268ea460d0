"""What is printed, and in which form."""

from __future__ import annotations

import io
import json
import math

import pytest

from engine.errors import ConfigError, DiskFull, NotFound
from tui.cli import output
from tui.cli.control import NotConfirmed


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (80, "1 min 20 s"), (3600, "1 h"), (3660, "1 h 1 min"),
     (3601, "1 h"), (90_000, "1 d 1 h"), (-5, "0 s")],
)  # fmt: skip
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert output.duration(seconds) == text


def test_json_is_strict_and_ascii() -> None:
    text = output.json_text({"name": "\x1b\x7f\x9b\u202eé"}, lines=True)
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text) == {"name": "\x1b\x7f\x9b\u202eé"}
    with pytest.raises(ValueError, match="JSON"):
        output.json_text(math.nan)


def stream(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


def test_what_acts_is_spelled_out_and_what_a_stream_lacks_is_replaced() -> None:
    assert output.printable("a\x1b[2Jb\u202e", stream("utf-8")) == "a\\x1b[2Jb\\u202e"
    assert output.printable("… ─ é", stream("latin-1")) == ". - é"
    assert output.printable("… ─ é", stream("ascii")) == ". - \\xe9"


def test_an_error_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert output.report(NotFound("There is no run \x1b[2J.", remedy="Look."), as_json=False) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: There is no run \\x1b[2J.\n  Look.\n"


def test_an_error_as_json_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert output.report(ConfigError(["a is wrong", "b too"], remedy="Mend."), as_json=True) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    error = json.loads(captured.err)["error"]
    assert error["code"] == "invalid-config"
    assert error["problems"] == ["a is wrong", "b too"]
    assert error["remedy"] == "Mend."


def test_problems_stand_on_lines_of_their_own_and_a_single_one_is_the_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.report(ConfigError(["a is wrong", "b too"]), as_json=False)
    assert "\n  - a is wrong\n  - b too\n" in capsys.readouterr().err
    output.report(ConfigError(["a is wrong"]), as_json=False)
    assert capsys.readouterr().err.startswith("error: a is wrong.\n")


def test_every_exit_code_of_ours_is_one_of_the_documented() -> None:
    assert NotConfirmed.exit_code == 11
    assert DiskFull.exit_code == 7


def test_a_closed_stream_takes_everything() -> None:
    output.write(None, "text")
    output.write_raw(None, "text")
    assert not output.is_terminal(None)
    gone = stream("utf-8")
    gone.close()
    assert not output.is_terminal(gone)


class Full(io.StringIO):
    """A stream on a full disk."""

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_said_to_be_one() -> None:
    with pytest.raises(DiskFull, match="No space left"):
        output.write(Full(), "text")
