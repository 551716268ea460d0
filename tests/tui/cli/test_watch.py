"""Watching a run as text, as JSON lines and with a progress bar, and leaving it alone."""

from __future__ import annotations

import json
import math
import re
import signal

import pytest

from engine import events
from engine.launch.start import wait_until_dead
from engine.runs.identity import boot_id
from engine.runs.liveness import Life, liveness
from tests.conftest import Runs, wait_for
from tests.tui.cli.command_line import CommandLine, MakeRun, ending, killed, say, training

WAITS_FOR_GO = """
say(events.TrainingStarted(20, 1.0, 0, 1, 1, "cpu", "float32"))
for step in range(1, 11):
    say(events.StepFinished(step, step / 20, step, 0.1, {"loss": 1 / step}))
while not (run / "go").exists():
    time.sleep(0.01)
for step in range(11, 21):
    say(events.StepFinished(step, step / 20, step, 0.1, {"loss": 1 / step}))
say(events.RunEnded("finished", 20, 1.0))
"""


def sentences(out: str) -> list[str]:
    """Return the lines without their times."""
    return [re.sub(r"^\d\d-\d\d \d\d:\d\d:\d\d  ", "", line) for line in out.splitlines()]


def test_a_finished_run_is_told_from_beginning_to_end(cli: CommandLine, make_run: MakeRun) -> None:
    make_run(said=[*training(40), *ending(40)])
    reply = cli("watch", "run-1")
    assert reply.code == 0
    told = sentences(reply.out)
    assert told[0] == "Created: sft on tiny"
    assert told[-1] == "Finished at step 40"
    progress = [line for line in told if line.startswith("Step ")]
    assert progress[0].startswith("Step 1 of 40")
    assert progress[-1].startswith("Step 40 of 40, 100%, loss 1")
    assert len(progress) == 21
    assert reply.err == ""


@pytest.mark.parametrize(
    ("last_words", "code"),
    [
        pytest.param(ending(3, "finished"), 0, id="finished"),
        pytest.param(ending(3, "stopped"), 0, id="stopped"),
        pytest.param(ending(3, "failed", detail="Loss became NaN.", code="non-finite"), 10, id="failed"),
        pytest.param([killed()], 10, id="killed"),
        pytest.param([], 10, id="gone without a word"),
    ],
)
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_the_exit_code_tells_how_it_ended(
    cli: CommandLine, make_run: MakeRun, last_words: list[events.Event], code: int, options: list[str]
) -> None:
    make_run(said=[*training(3), *last_words])
    reply = cli("watch", "run-1", *options)
    assert reply.code == code
    assert ("ftconsole resume run-1" in reply.err) == (code == 10)


def test_the_end_of_a_run_that_died_names_what_is_safe(cli: CommandLine, make_run: MakeRun) -> None:
    saved = events.CheckpointSaved(2, "checkpoints/checkpoint-2", 1000, "scheduled")
    make_run(said=[*training(3), saved, killed()])
    reply = cli("watch", "run-1")
    assert "Killed by signal 9 (SIGKILL)" in reply.out
    assert "checkpoints/checkpoint-2 is safe" in reply.err
    assert "worker.log" in reply.err


def test_events_are_one_json_object_per_line(cli: CommandLine, make_run: MakeRun) -> None:
    make_run(said=[*training(3, losses=[1.0, math.nan, math.inf]), *ending(3)])
    records = cli("watch", "run-1", "--json").lines
    assert [record["seq"] for record in records] == list(range(1, 9))
    assert records[0]["event"] == "RunCreated"
    assert [r["metrics"]["loss"] for r in records if r["event"] == "StepFinished"] == [1.0, "NaN", "Infinity"]


def test_only_the_last_lines_of_the_past_if_so_asked(cli: CommandLine, make_run: MakeRun) -> None:
    make_run(said=[*training(3000), *ending(3000)])
    assert sentences(cli("watch", "run-1", "--tail", "1").out) == ["Finished at step 3000"]
    assert cli("watch", "run-1", "--tail", "0").out == ""
    records = cli("watch", "run-1", "--json", "--tail", "2").lines
    assert [record["event"] for record in records] == ["RunEnded", "WorkerExited"]


def test_a_living_run_is_followed_to_its_end(cli: CommandLine, runs: Runs) -> None:
    run = runs.create()
    runs.start(run, WAITS_FOR_GO)
    watching = cli.start("watch", "run-1")
    assert watching.stdout is not None
    told: list[str] = []
    while not told or "Step 10 of 20" not in told[-1]:
        told.append(watching.stdout.readline())
    (run.path / "go").touch()
    rest, err = watching.communicate(timeout=90)
    assert watching.returncode == 0
    assert sentences(rest)[-1] == "Finished at step 20"
    assert err == ""
    assert liveness(run.path).life is Life.DEAD  # so that a resume after it finds the run free


def test_what_there_is_without_following(cli: CommandLine, runs: Runs) -> None:
    run = runs.create()
    runs.start(run, WAITS_FOR_GO)
    wait_for(lambda: "Step 10 of 20" in cli("watch", "run-1", "--no-follow").out, "ten steps")
    reply = cli("watch", "run-1", "--no-follow", "--json")
    assert reply.code == 0
    assert reply.lines[-1]["step"] == 10
    (run.path / "go").touch()
    wait_until_dead(run, timeout_seconds=60)


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_ctrl_c_ends_the_watching_and_never_the_run(cli: CommandLine, runs: Runs, options: list[str]) -> None:
    run = runs.create()
    runs.start(run, WAITS_FOR_GO)
    watching = cli.start("watch", "run-1", *options)
    assert watching.stdout is not None
    watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=90)
    assert watching.returncode == 130
    assert "run-1 goes on" in err
    assert "ftconsole stop run-1" in err
    assert "Traceback" not in err
    assert liveness(run.path).life is Life.ALIVE
    (run.path / "go").touch()
    assert wait_until_dead(run, timeout_seconds=60).life is Life.DEAD


def test_a_worker_killed_while_watched_is_told(cli: CommandLine, runs: Runs) -> None:
    run = runs.create()
    runs.start(run, WAITS_FOR_GO)
    watching = cli.start("watch", "run-1")
    assert watching.stdout is not None
    watching.stdout.readline()
    worker = liveness(run.path).worker
    assert worker is not None
    worker.send(signal.SIGKILL)
    out, err = watching.communicate(timeout=90)
    assert watching.returncode == 10
    assert "Killed by signal 9" in out
    assert "ftconsole resume run-1" in err


def test_keeper_and_worker_killed_together_is_told_too(cli: CommandLine, runs: Runs) -> None:
    run = runs.create()
    runs.start(run, WAITS_FOR_GO)
    watching = cli.start("watch", "run-1")
    assert watching.stdout is not None
    watching.stdout.readline()
    found = liveness(run.path)
    for identity in (found.keeper, found.worker):
        assert identity is not None
        identity.send(signal.SIGKILL)
    _, err = watching.communicate(timeout=90)
    assert watching.returncode == 10
    assert "nobody works on it any more" in err


def test_a_torn_log_costs_the_damaged_line_alone(cli: CommandLine, make_run: MakeRun) -> None:
    run = make_run(said=training(2))
    with run.events.open("ab") as log:
        log.write(b'{"seq":99,"time":1,"event":"Ste\xc3' + b"\0" * 64)
    say(run, ending(2))
    reply = cli("watch", "run-1")
    assert reply.code == 0
    assert sentences(reply.out)[-1] == "Finished at step 2"
    assert "1 line of" in reply.err


def test_what_a_run_says_cannot_act_on_the_terminal(cli: CommandLine, make_run: MakeRun) -> None:
    evil = "\x1b]52;c;b3duZWQ=\x07\x1b[2J\u202e\x9b"
    make_run(said=[events.Warned("w", evil), events.StageChanged("loading", evil), *ending(0, "failed", detail=evil)])
    for options in ([], ["--json"], ["--tail", "2"]):
        reply = cli("watch", "run-1", *options)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", reply.out + reply.err)
    _, text = cli.on_terminal("watch", "run-1", NO_COLOR="1")
    shown = text.replace("\r\x1b[K", "").replace("\r", "")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", re.sub("\x1b\\[K", "", shown))


def test_times_that_no_calendar_has_are_shown_as_unknown(cli: CommandLine, make_run: MakeRun) -> None:
    run = make_run()
    with run.events.open("a") as log:
        log.write('{"seq":2,"time":1e17,"event":"RunPaused","step":1}\n')
    reply = cli("watch", "run-1", "--no-follow")
    assert "??-?? ??:??:??  Paused after step 1" in reply.out


def test_a_run_nobody_can_tell_the_life_of_is_left_alone(cli: CommandLine, make_run: MakeRun) -> None:
    run = make_run(said=training(2))
    (run.path / "run.lock.d").mkdir()  # the lock of another container of this machine
    keeper = {"pid": 4711, "start_time": "1", "boot_id": boot_id(), "host": "h", "pid_namespace": "p", "nonce": "n"}
    (run.path / "keeper.json").write_text(json.dumps(keeper))
    assert liveness(run.path).life is Life.UNKNOWN
    reply = cli("watch", "run-1", "--no-follow")
    assert reply.code == 0
    assert "cannot be told" in reply.err
    assert cli("runs", "--json").json[0]["state"] == "unknown"


# On a terminal


def test_a_terminal_gets_a_bar_that_draws_over_itself(cli: CommandLine, runs: Runs) -> None:
    run = runs.create()
    runs.start(run, WAITS_FOR_GO)
    terminal = cli.open_terminal("watch", "run-1", NO_COLOR="1")
    terminal.read_until("10/20")
    (run.path / "go").touch()
    code, text = terminal.finish()
    assert code == 0
    assert "█" in text
    assert "loss 0.1" in text
    assert "\r\x1b[K" in text
    lines = re.sub("\r[^\n]*\x1b\\[K", "", text)  # what is left once the bar was drawn over
    assert "Finished at step 20" in lines
    assert "50%" not in lines
    assert "Step 10 of 20" not in lines  # the bar says it


@pytest.mark.parametrize("columns", [200, 80, 40, 10, 3])
def test_the_bar_fits_any_width(cli: CommandLine, runs: Runs, columns: int) -> None:
    run = runs.create()
    runs.start(run, WAITS_FOR_GO)
    terminal = cli.open_terminal("watch", "run-1", columns=columns, NO_COLOR="1")
    terminal.read_until("\x1b[K")
    (run.path / "go").touch()
    code, text = terminal.finish()
    assert code == 0
    bars = re.findall("\r([^\r\n]*)\x1b\\[K", text)
    assert bars
    assert max(len(bar) for bar in bars) < max(2, columns)


def test_a_dumb_terminal_gets_lines(cli: CommandLine, make_run: MakeRun) -> None:
    make_run(said=[*training(10), *ending(10, "failed")])
    code, text = cli.on_terminal("watch", "run-1", TERM="dumb")
    assert code == 10
    assert "\x1b" not in text
    assert "Step 5 of 10, 50%" in text


def test_failures_are_red_on_a_terminal_unless_colours_are_unwanted(cli: CommandLine, make_run: MakeRun) -> None:
    make_run(said=[*training(10), *ending(10, "failed")])
    assert "\x1b[31m" in cli.on_terminal("watch", "run-1")[1]
    assert "\x1b[31m" not in cli.on_terminal("watch", "run-1", NO_COLOR="1")[1]
