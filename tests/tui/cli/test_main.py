"""Where the command line begins and where its errors end."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.tui.cli.command_line import CommandLine, MakeRun, ending, training
from tui.cli import main

HEAVY = {"textual", "torch", "transformers", "rich", "numpy", "pyarrow", "plotext"}


def loaded_by(cli: CommandLine, *arguments: str) -> set[str]:
    """Return the top-level names a fresh interpreter has loaded once the command is done."""
    script = (
        "import sys, json\n"
        f"sys.argv = ['ftconsole', *{list(arguments)!r}]\n"
        "from tui.cli.main import main\n"
        "main()\n"
        "print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))\n"
    )
    reply = subprocess.run(
        [sys.executable, "-P", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=cli.workspace,
        env=cli.environment(),
    )
    return set(json.loads(reply.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["--help"], ["runs"], ["runs", "--json"], ["train", "--help"]], ids=" ".join)
def test_what_must_answer_at_once_loads_nothing_heavy(
    cli: CommandLine, make_run: MakeRun, arguments: list[str]
) -> None:
    make_run(said=[*training(5), *ending(5)])
    assert not loaded_by(cli, *arguments) & HEAVY


def test_a_list_of_runs_does_not_even_need_typer(cli: CommandLine, make_run: MakeRun) -> None:
    make_run()
    assert not loaded_by(cli, "runs") & {"typer", "pydantic"}
    assert "typer" in loaded_by(cli, "--no-color", "runs")


def test_a_list_of_runs_is_the_same_with_and_without_typer(cli: CommandLine, make_run: MakeRun) -> None:
    make_run(said=[*training(5), *ending(5)])
    quick = cli("runs", "--json")
    # --no-color is not among what is recognised without typer.
    parsed = cli("--no-color", "runs", "--json")
    assert quick == parsed
    quick, parsed = cli("-w", ".", "runs"), cli("--workspace", ".", "--no-color", "runs")
    assert (quick.code, quick.err) == (parsed.code, parsed.err)
    shown = [re.sub(r"\d+ (s|min) ago", "", reply.out).split() for reply in (quick, parsed)]
    assert shown[0] == shown[1]


def test_help_lists_every_command(cli: CommandLine) -> None:
    reply = cli("--help")
    assert reply.code == 0
    for name in ("demo", "train", "resume", "runs", "watch", "plot", "pause", "unpause", "save", "stop", "set-lr"):
        assert f"\n  {name} " in reply.out
    assert "\n  doctor " in reply.out
    assert reply.err == ""


@pytest.mark.parametrize(
    "command",
    ["demo", "train", "resume", "runs", "watch", "plot", "pause", "unpause", "save", "stop", "set-lr", "doctor"],
)
def test_every_command_has_help_and_json(cli: CommandLine, command: str) -> None:
    reply = cli(command, "--help")
    assert reply.code == 0
    assert "--json" in reply.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["frobnicate"], "frobnicate", id="no such command"),
        pytest.param(["runs", "--jsno"], "--jsno", id="no such option"),
        pytest.param(["watch"], "RUN", id="a missing argument"),
        pytest.param(["watch", "a", "b"], "b", id="one argument too many"),
        pytest.param(["watch", "run-1", "--tail", "few"], "few", id="no number"),
        pytest.param(["pause", "run-1", "--timeout", "-1"], "-1", id="a number out of range"),
        pytest.param(["watch", "run-1", "--tail"], "--tail", id="an option without its value"),
    ],
)
def test_wrong_usage_is_one_sentence_and_a_remedy(cli: CommandLine, arguments: list[str], said: str) -> None:
    reply = cli(*arguments)
    assert reply.code == 2
    assert reply.out == ""
    error, remedy = reply.err.splitlines()
    assert error.startswith("error: ")
    assert said in error
    assert "--help" in remedy
    as_json = cli(arguments[0], "--json", *arguments[1:])
    assert as_json.code == 2
    assert as_json.error["code"] == "usage"


def test_the_workspace_option_is_missed_where_people_put_it_last(cli: CommandLine) -> None:
    reply = cli("runs", "-w", "elsewhere")
    assert reply.code == 2
    assert "ftconsole -w PATH COMMAND" in reply.err


@pytest.mark.parametrize("workspace", ["missing", "a-file"])
def test_a_workspace_that_is_none_is_refused(cli: CommandLine, workspace: str) -> None:
    (cli.workspace / "a-file").write_text("")
    for arguments in (["runs"], ["watch", "run-1"], ["doctor"], ["demo"], ["train", "--preset", "demo"]):
        reply = cli("-w", workspace, *arguments)
        assert reply.code in (3, 7)
        assert workspace in reply.err
        assert "-w" in reply.err
    assert sorted(path.name for path in cli.workspace.iterdir()) == ["a-file"]


@pytest.mark.parametrize("name", ["../x", "/etc", "-rf", "a b", "x" * 300, "\x1b[2J", "."])
def test_no_run_can_have_a_dangerous_name(cli: CommandLine, name: str) -> None:
    for command in ("watch", "plot", "pause", "resume"):
        reply = cli(command, "--json", "--", name)
        assert reply.code == 2
        assert reply.error["code"] == "invalid-name"
        assert reply.error["remedy"]
        assert "\x1b" not in reply.err


def test_a_missing_run_is_told_with_the_nearest_name(cli: CommandLine, make_run: MakeRun) -> None:
    make_run("voice-1")
    reply = cli("watch", "voice-2")
    assert reply.code == 3
    assert "Did you mean voice-1?" in reply.err


def test_without_a_terminal_the_console_points_to_the_text_commands(cli: CommandLine) -> None:
    reply = cli()
    assert reply.code == 2
    assert "terminal" in reply.err
    assert "ftconsole watch" in reply.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--glyphs", "runes"], "runes"),
        (["--mouse", "wild"], "wild"),
        (["--fps", "1000"], "1000"),
    ],
)
def test_wrong_settings_of_the_console_are_refused(cli: CommandLine, options: list[str], said: str) -> None:
    reply = cli(*options)
    assert reply.code == 4
    assert said in reply.err


def test_run_opens_the_console_and_is_no_option_of_commands(cli: CommandLine, make_run: MakeRun) -> None:
    make_run("voice-1")
    assert "Did you mean voice-1" in cli("--run", "voice-2").err
    reply = cli("--run", "voice-1", "watch", "voice-1")
    assert reply.code == 2
    assert "ftconsole watch RUN" in reply.err


def test_who_closes_the_pipe_early_sees_no_error(cli: CommandLine, make_run: MakeRun) -> None:
    for number in range(3):
        make_run(f"run-{number}", [*training(2000), *ending(2000)])
    shell = " ".join(cli.command("watch", "run-1", "--json")) + " | head -n 1; echo ${PIPESTATUS[0]}"
    reply = subprocess.run(
        ["bash", "-c", shell], capture_output=True, text=True, check=True, cwd=cli.workspace, env=cli.environment()
    )
    first, code = reply.stdout.splitlines()
    assert json.loads(first)["event"] == "RunCreated"
    assert code == "0"
    assert reply.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_an_error(cli: CommandLine, make_run: MakeRun) -> None:
    make_run()
    with open("/dev/full", "w") as full:
        reply = subprocess.run(
            cli.command("runs"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=cli.workspace,
            env=cli.environment(),
        )
    assert reply.returncode == 7
    assert "standard output" in reply.stderr
    assert "Traceback" not in reply.stderr
    assert "Exception ignored" not in reply.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_are_no_reason_to_fail(cli: CommandLine, make_run: MakeRun, closed: str) -> None:
    make_run()
    shell = " ".join(cli.command("runs")) + " " + closed
    reply = subprocess.run(
        ["bash", "-c", shell], capture_output=True, text=True, check=False, cwd=cli.workspace, env=cli.environment()
    )
    assert reply.returncode == 0
    assert reply.stderr == ""


MISTAKE = """
import sys
import tui.cli.runs

def show(workspace, as_json):
    token = "hf_secret"
    raise KeyError("\\x1b[2Jnot " + "there")

tui.cli.runs.show = show
sys.argv = ["ftconsole", "runs", *sys.argv[1:]]
from tui.cli.main import main
sys.exit(main())
"""


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_a_mistake_of_ours_ends_with_a_line_and_a_private_file(cli: CommandLine, options: list[str]) -> None:
    reply = subprocess.run(
        [sys.executable, "-P", "-c", MISTAKE, *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=cli.workspace,
        env=cli.environment(),
    )
    assert reply.returncode == 1
    assert reply.stdout == ""
    assert "KeyError" in reply.stderr
    assert "Traceback" not in reply.stderr
    assert "\x1b" not in reply.stderr
    (crash,) = (cli.home / ".local/state/ftconsole").glob("crash-*.txt")
    assert str(crash) in reply.stderr
    assert stat.S_IMODE(crash.stat().st_mode) == 0o600
    assert "in show" in crash.read_text()


def test_colours_are_for_terminals_only(cli: CommandLine, make_run: MakeRun) -> None:
    make_run(said=[*training(3), *ending(3, "failed", detail="out of memory")])
    assert "\x1b" not in cli("runs").out
    assert "\x1b" not in cli("watch", "run-1").out
    assert "\x1b" not in cli("watch", "nothing").err


def test_a_locale_without_utf8_gets_ascii(cli: CommandLine, make_run: MakeRun) -> None:
    make_run(said=[*training(30), *ending(30)])
    process = cli.start("plot", "run-1", PYTHONIOENCODING="latin-1")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.isascii()
    assert os.linesep in out


def test_version(cli: CommandLine) -> None:
    reply = cli("--version")
    assert reply.code == 0
    assert reply.out.startswith("ftconsole")


@pytest.mark.parametrize(
    ("arguments", "workspace", "run"),
    [
        ([], None, None),
        (["-w", "place"], "place", None),
        (["--workspace", "place", "--run", "run-1"], "place", "run-1"),
        (["--run", "run-1"], None, "run-1"),
    ],
)
def test_the_console_opens_without_the_parser_as_with_it(
    arguments: list[str], workspace: str | None, run: str | None
) -> None:
    from tui.cli import app
    from tui.cli import console as opening

    quick, parsed = main.plain(arguments), app.parse(arguments)
    assert isinstance(quick, partial)
    assert isinstance(parsed, partial)
    assert quick.func is parsed.func is opening.open_console
    assert quick.args[:2] == parsed.args[:2] == (workspace, run)
    assert not [value for value in parsed.args[2].values() if value is not None]


@pytest.mark.parametrize("arguments", [["--run"], ["--run", "--json"], ["-w"], ["--fps", "10"], ["watch", "run-1"]])
def test_what_needs_the_parser_is_left_to_it(arguments: list[str]) -> None:
    assert main.plain(arguments) is None
