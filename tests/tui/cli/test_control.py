"""Telling a living run something, and waiting for its answer."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from engine.launch.start import wait_until_dead
from engine.runs.directory import RunDirectory
from engine.runs.liveness import Life, liveness
from tests.conftest import Runs, read_records, wait_for
from tests.tui.cli.command_line import CommandLine, MakeRun, ending, training
from tui.cli.control import reader_at_end

HEAD = """
def commands():
    offset = int(sys.argv[sys.argv.index("--commands-from") + 1])
    while True:
        path = run / "commands.jsonl"
        text = path.read_bytes()[offset:] if path.exists() else b""
        for line in text.splitlines(keepends=True):
            if line.endswith(b"\\n"):
                offset += len(line)
                yield json.loads(line)
        time.sleep(0.01)

def confirm(told, detail, accepted=True):
    say(events.CommandConfirmed(told["id"], told["command"], accepted, detail, "worker"))

say(events.TrainingStarted(100, 1.0, 0, 1, 1, "cpu", "float32"))
"""
OBEYS = (
    HEAD
    + """
for told in commands():
    if told["command"] == "Unpause":
        confirm(told, "was not paused", accepted=False)
    elif told["command"] == "SetLearningRate":
        confirm(told, f"learning_rate {told['learning_rate']:g} from step 8")
    elif told["command"] == "Stop":
        confirm(told, "stopping after step 7")
        say(events.CheckpointSaved(7, "checkpoints/checkpoint-7", 1000, "stopping"))
        say(events.RunEnded("stopped", 7, 1.0))
        break
    else:
        confirm(told, f"{told['command']} after step 7")
"""
)
DEAF = HEAD + "while True: time.sleep(0.05)\n"
ENDS_WITHOUT_A_WORD = HEAD + "next(commands())\n"


@pytest.fixture
def obedient(runs: Runs) -> RunDirectory:
    run = runs.create("live-1")
    runs.start(run, OBEYS)
    return run


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["pause", "live-1"], "live-1: Pause after step 7"),
        (["save", "live-1"], "live-1: SaveCheckpoint after step 7"),
        (["set-lr", "live-1", "5e-5"], "live-1: learning_rate 5e-05 from step 8"),
        (["early-stop", "live-1", "on"], "live-1: SetEarlyStopping after step 7"),
    ],
    ids=["pause", "save", "set-lr", "early-stop"],
)
def test_the_runs_own_answer_is_printed(
    cli: CommandLine, obedient: RunDirectory, arguments: list[str], answer: str
) -> None:
    reply = cli(*arguments)
    assert (reply.code, reply.out, reply.err) == (0, f"{answer}\n", "")
    told = cli(*arguments, "--json").json
    assert told["run"] == "live-1"
    assert (told["confirmed"], told["accepted"], told["by"]) == (True, True, "worker")
    assert f"live-1: {told['detail']}" == answer


def test_an_answer_to_somebody_else_is_not_taken_for_ours(cli: CommandLine, obedient: RunDirectory) -> None:
    for _ in range(3):
        assert cli("pause", "live-1").code == 0
    ids = [cli("save", "live-1", "--json").json["command_id"] for _ in range(2)]
    journal = [json.loads(line) for line in obedient.commands.read_text().splitlines()]
    assert [line["id"] for line in journal[-2:]] == ids


def test_what_the_run_refuses_is_an_error(cli: CommandLine, obedient: RunDirectory) -> None:
    reply = cli("unpause", "live-1")
    assert reply.code == 6
    assert "was not paused" in reply.err
    assert reply.out == ""
    assert cli("unpause", "live-1", "--json").error["code"] == "refused"


def test_stop_waits_for_the_end_and_says_what_was_saved(cli: CommandLine, obedient: RunDirectory) -> None:
    reply = cli("stop", "live-1")
    assert reply.code == 0
    assert reply.out == "live-1: stopping after step 7\n"
    assert "Saved checkpoints/checkpoint-7" in reply.err
    assert liveness(obedient.path).life is Life.DEAD


def test_stop_now_is_not_done_unasked(cli: CommandLine, obedient: RunDirectory) -> None:
    reply = cli("stop", "live-1", "--now")
    assert reply.code == 2
    assert "not saved is lost" in reply.err.replace("loses what was not saved", "not saved is lost")
    assert "--yes" in reply.err
    assert not obedient.commands.exists()
    assert liveness(obedient.path).life is Life.ALIVE


def test_stop_now_with_yes_stops_without_saving(cli: CommandLine, obedient: RunDirectory) -> None:
    assert cli("stop", "live-1", "--now", "--yes").code == 0
    (line,) = obedient.commands.read_text().splitlines()
    assert json.loads(line)["save"] is False


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2), ("\n", 2)], ids=["yes", "no", "nothing"])
def test_stop_now_asks_on_a_terminal(cli: CommandLine, obedient: RunDirectory, answer: str, code: int) -> None:
    terminal = cli.open_terminal("stop", "live-1", "--now", NO_COLOR="1")
    terminal.read_until("[y/N]")
    terminal.type(answer)
    assert terminal.finish()[0] == code
    assert liveness(obedient.path).life is (Life.DEAD if code == 0 else Life.ALIVE)


def test_a_worker_that_does_not_obey_stop_now_is_killed_by_its_keeper(cli: CommandLine, runs: Runs) -> None:
    run = runs.create("deaf-1")
    runs.start(run, DEAF, grace_seconds=0.1)
    reply = cli("stop", "deaf-1", "--now", "--yes")
    assert reply.code == 0
    assert "was killed" in reply.out
    assert "cause unknown" not in reply.err
    assert liveness(run.path).life is Life.DEAD
    assert cli("runs", "--json").json[0]["state"] == "stopped"
    assert "cause unknown" not in cli("watch", "deaf-1").out


def test_no_wait_returns_with_the_command_told(cli: CommandLine, runs: Runs) -> None:
    run = runs.create("deaf-1")
    runs.start(run, DEAF)
    reply = cli("pause", "deaf-1", "--no-wait")
    assert (reply.code, reply.out) == (0, "")
    assert cli("pause", "deaf-1", "--no-wait", "--json").json["confirmed"] is False
    assert len(run.commands.read_text().splitlines()) == 2


def test_a_run_that_does_not_answer_in_time_has_still_been_told(cli: CommandLine, runs: Runs) -> None:
    run = runs.create("deaf-1")
    runs.start(run, DEAF)
    reply = cli("save", "deaf-1", "--timeout", "0.1")
    assert reply.code == 11
    assert "0.1 s" in reply.err
    assert "stays told" in reply.err
    assert cli("save", "deaf-1", "--timeout", "0.1", "--json").error["code"] == "not-confirmed"
    assert len(run.commands.read_text().splitlines()) == 2


def test_ctrl_c_ends_the_waiting_and_the_command_stays_told(cli: CommandLine, runs: Runs) -> None:
    run = runs.create("deaf-1")
    runs.start(run, DEAF)
    process = cli.start("save", "deaf-1", "--timeout", "600")
    wait_for(run.commands.exists, "the command")
    wait_for(lambda: run.commands.read_text().endswith("\n"), "the whole command")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert liveness(run.path).life is Life.ALIVE


def test_a_run_that_ends_instead_of_answering(cli: CommandLine, runs: Runs) -> None:
    run = runs.create("rude-1")
    runs.start(run, ENDS_WITHOUT_A_WORD)
    reply = cli("pause", "rude-1")
    assert reply.code == 6
    assert "ended before it could answer" in reply.err
    wait_until_dead(run, timeout_seconds=60)
    assert [record.seq for record in read_records(run)] == list(range(1, len(read_records(run)) + 1))


@pytest.mark.parametrize(
    "command", [["pause"], ["unpause"], ["save"], ["stop"], ["stop", "--now"], ["set-lr"], ["early-stop"]]
)
def test_nobody_listens_in_a_run_that_has_ended(cli: CommandLine, make_run: MakeRun, command: list[str]) -> None:
    run = make_run(said=[*training(2), *ending(2)])
    value = {"set-lr": ["1e-4"], "early-stop": ["on"]}.get(command[0], [])
    reply = cli(*command, "run-1", *value)
    assert reply.code == 6
    assert "is not running" in reply.err
    assert "ftconsole resume run-1" in reply.err
    assert not run.commands.exists()


@pytest.mark.parametrize("value", ["0", "-1e-4", "nan", "inf", "1e400", "fast", ""])
def test_only_a_number_above_0_is_a_learning_rate(cli: CommandLine, make_run: MakeRun, value: str) -> None:
    run = make_run(said=training(2))
    reply = cli("set-lr", "--", "run-1", value)
    assert reply.code == 2
    assert "is no learning rate" in reply.err
    assert not run.commands.exists()


def test_early_stopping_is_on_or_off(cli: CommandLine, make_run: MakeRun) -> None:
    run = make_run(said=training(2))
    reply = cli("early-stop", "run-1", "maybe")
    assert reply.code == 2
    assert "neither on nor off" in reply.err
    assert not run.commands.exists()


def test_reading_begins_at_the_end_of_a_log_with_a_torn_line(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(said=training(2000))
    with run.events.open("ab") as log:
        log.write(b'{"seq":9999,"ti')
    reader = reader_at_end(run.events)
    assert reader.read().records == []
    with run.events.open("ab") as log:
        log.write(b'me":1.0,"event":"RunPaused","step":1}\n')
    assert [record.seq for record in reader.read().records] == [9999]
    assert reader_at_end(tmp_path / "none").read().records == []
