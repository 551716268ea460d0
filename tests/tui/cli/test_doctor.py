"""The doctor as a person and as a script sees it."""

from __future__ import annotations

import json

import pytest

from tests.tui.cli.command_line import CommandLine


def test_a_machine_on_which_runs_work(cli: CommandLine) -> None:
    reply = cli("doctor")
    assert (reply.code, reply.err) == (0, "")
    for topic in ("Python", "Packages", "Devices", "Torch", "Workspace", "Logout", "Terminal"):
        assert f"\n{topic}\n" in f"\n{reply.out}"
    assert "Runs can work here." in reply.out
    assert list(cli.workspace.iterdir()) == []


def test_the_same_for_scripts(cli: CommandLine) -> None:
    facts = cli("doctor", "--json").json
    assert facts["works"] is True
    assert facts["workspace"]["path"] == str(cli.workspace)
    assert facts["terminal"]["console"] is False
    assert {finding["status"] for finding in facts["findings"]} <= {"ok", "warning"}


def test_a_workspace_that_cannot_be_written_ends_with_1(cli: CommandLine) -> None:
    (cli.workspace / "runs").write_text("")
    reply = cli("doctor")
    assert reply.code == 1
    assert "PROBLEM" in reply.out
    assert "No run could work here" in reply.out
    as_json = cli("doctor", "--json")
    assert as_json.code == 1
    assert as_json.json["works"] is False


def test_the_terminal_is_examined_where_there_is_one(cli: CommandLine) -> None:
    code, text = cli.on_terminal("doctor", columns=100, lines=30, COLORTERM="truecolor")
    assert code == 0
    assert "xterm-256color, 100x30: braille glyphs, truecolor colours, mouse click, utf-8" in text
    _, text = cli.on_terminal("doctor", columns=60, lines=15, NO_COLOR="1")
    assert "Below 80x24" in text
    assert "\x1b" not in text
    _, text = cli.on_terminal("doctor", TERM="dumb")
    assert "cannot be drawn" in text
    assert "\x1b" not in text


def test_damaged_settings_are_told_and_do_not_stop_the_doctor(cli: CommandLine) -> None:
    folder = cli.home / ".config" / "ftconsole"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("glyphs = 'runes'\n")
    reply = cli("doctor")
    assert reply.code == 0
    assert "runes" in reply.out


@pytest.mark.parametrize("variable", ["SLURM_JOB_ID", "PBS_JOBID"])
def test_a_batch_job_is_warned_of(cli: CommandLine, variable: str) -> None:
    process = cli.start("doctor", "--json", **{variable: "42"})
    out, _ = process.communicate(timeout=60)
    assert json.loads(out)["logout"]["ends_runs"] is True
    assert process.returncode == 0
