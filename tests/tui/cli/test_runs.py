"""The list of runs, as a table and as JSON."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from engine import events
from engine.launch.start import wait_until_dead
from tests.conftest import Runs, wait_for
from tests.tui.cli.command_line import CommandLine, MakeRun, ending, killed, training

NEEDED = {"name", "state", "method", "model", "step", "total_steps", "parent", "created", "path"}


def test_an_empty_workspace_has_no_runs_and_that_is_no_error(cli: CommandLine) -> None:
    assert cli("runs", "--json").json == []
    reply = cli("runs")
    assert (reply.code, reply.out) == (0, "")
    assert "ftconsole demo" in reply.err
    assert list(cli.workspace.iterdir()) == []


def test_every_run_is_listed_with_what_scripts_need(cli: CommandLine, make_run: MakeRun) -> None:
    run = make_run("voice-1", [*training(4), *ending(4)])
    (listed,) = cli("runs", "--json").json
    assert listed.keys() >= NEEDED
    assert listed["name"] == "voice-1"
    assert listed["path"] == str(run.path)
    assert (listed["state"], listed["step"], listed["total_steps"]) == ("finished", 4, 4)
    assert (listed["method"], listed["model"], listed["parent"]) == ("sft", "tiny", None)


@pytest.mark.parametrize(
    ("last_words", "state"),
    [
        pytest.param(ending(3, "finished"), "finished", id="finished"),
        pytest.param(ending(3, "stopped"), "stopped", id="stopped"),
        pytest.param(ending(3, "failed", detail="Out of memory."), "failed", id="failed"),
        pytest.param([killed()], "died", id="killed"),
        pytest.param([], "died", id="gone without a word"),
    ],
)
def test_a_run_says_how_it_ended(
    cli: CommandLine, make_run: MakeRun, last_words: list[events.Event], state: str
) -> None:
    make_run(said=[*training(3), *last_words])
    assert cli("runs", "--json").json[0]["state"] == state
    assert state in cli("runs").out


def test_a_living_run_runs_and_a_paused_one_is_paused(cli: CommandLine, runs: Runs) -> None:
    run = runs.create("live-1")
    runs.start(
        run,
        """
        say(events.TrainingStarted(10, 1.0, 0, 1, 1, "cpu", "float32"))
        say(events.StepFinished(1, 0.1, 10, 0.5, {"loss": 2.0}))
        while not (run / "go").exists():
            time.sleep(0.01)
        say(events.RunPaused(1))
        while not (run / "end").exists():
            time.sleep(0.01)
        """,
    )
    wait_for(lambda: cli("runs", "--json").json[0]["state"] == "running", "a run that runs")
    listed = cli("runs", "--json").json[0]
    assert listed["eta_seconds"] == pytest.approx(4.5)
    (run.path / "go").touch()
    wait_for(lambda: cli("runs", "--json").json[0]["state"] == "paused", "a paused run")
    (run.path / "end").touch()
    wait_until_dead(run, timeout_seconds=60)


def test_a_loss_that_is_no_number_is_text_in_json(cli: CommandLine, make_run: MakeRun) -> None:
    make_run(said=training(2, losses=[1.0, math.nan]))
    assert cli("runs", "--json").json[0]["loss"] == "NaN"
    assert "nan" in cli("runs").out


def test_newer_runs_come_first_and_names_line_up(cli: CommandLine, make_run: MakeRun) -> None:
    for name in ("a", "a-much-longer-name"):
        make_run(name, [*training(2), *ending(2)])
    head, *rows = cli("runs").out.splitlines()
    column = head.index("STATE")
    assert [row[column:].split()[0] for row in rows] == ["finished", "finished"]
    assert "PARENT" not in head


def test_foreign_names_cannot_act_on_the_terminal(cli: CommandLine, make_run: MakeRun) -> None:
    make_run(model="\x1b]0;owned\x07\x9b31m\u202emodel")
    reply = cli("runs")
    assert "\\x1b]0;owned\\x07\\x9b31m\\u202emodel" in reply.out
    as_json = cli("runs", "--json")
    assert as_json.out.isascii()
    assert "\x1b" not in as_json.out
    assert as_json.json[0]["model"] == "\x1b]0;owned\x07\x9b31m\u202emodel"


def test_a_narrow_terminal_shows_the_first_columns_whole(cli: CommandLine, make_run: MakeRun) -> None:
    make_run("voice-1", [*training(4), *ending(4)])
    code, text = cli.on_terminal("runs", columns=40, NO_COLOR="1")
    assert code == 0
    assert all(len(line) <= 40 for line in text.splitlines())
    assert "voice-1" in text
    assert "finished" in text


def test_colours_on_a_terminal_unless_they_are_unwanted(cli: CommandLine, make_run: MakeRun) -> None:
    make_run(said=[*training(4), *ending(4, "failed")])
    assert "\x1b[31m" in cli.on_terminal("runs")[1]
    assert "\x1b" in cli.on_terminal("runs", NO_COLOR="")[1]
    assert "\x1b" not in cli.on_terminal("runs", NO_COLOR="1")[1]
    assert "\x1b" not in cli.on_terminal("--no-color", "runs")[1]
    assert "\x1b" not in cli.on_terminal("runs", TERM="dumb")[1]


def test_damaged_and_foreign_folders_do_not_spoil_the_list(cli: CommandLine, make_run: MakeRun) -> None:
    good = make_run("good", [*training(2), *ending(2)])
    (cli.runs / "no-run").mkdir()
    (cli.runs / "a-file").write_text("")
    (cli.runs / "link").symlink_to(good.path)
    torn = make_run("torn")
    torn.events.write_bytes(b"\0" * 4096 + b"\n{")
    listed = {run["name"]: run["state"] for run in cli("runs", "--json").json}
    assert listed == {"good": "finished", "torn": "died"}


def test_a_workspace_is_named_before_the_command(cli: CommandLine, make_run: MakeRun, tmp_path: Path) -> None:
    make_run("voice-1")
    (tmp_path / "elsewhere").mkdir()
    for options in (["-w", str(cli.workspace)], [f"--workspace={cli.workspace}"]):
        reply = cli(*options, "runs", "--json")
        assert [run["name"] for run in reply.json] == ["voice-1"]
    relative = os.path.relpath(cli.workspace / "elsewhere", cli.workspace)
    assert cli("-w", relative, "runs", "--json").json == []
