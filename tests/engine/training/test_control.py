"""What the worker hears: every command, every damaged line, and each confirmed once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine import commands, events
from engine.commands import Command, Pause, SaveCheckpoint, SetLearningRate, Stop, Unpause
from engine.events import CommandConfirmed, Event
from engine.journal import Journal
from engine.runs.directory import RunDirectory
from engine.training.control import CommandReader, Control
from engine.training.orders import StopBeforeTraining, StopNow
from engine.training.reporter import Reporter
from tests.engine.faults import ROOT
from tests.engine.saved import make_run


class Heard:
    """A run, its control, and what was said about it."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.control = Control(CommandReader(run.commands), Reporter(run.events))

    def tell(self, *told: Command, step: int = 7) -> None:
        """Tell commands and let the worker hear them."""
        for command in told:
            self.run.tell(command)
        self.control.hear(step)

    def said(self) -> list[Event]:
        lines = [json.loads(line) for line in self.run.events.read_text().splitlines()]
        return [event for line in lines[1:] if (event := events.from_json(line)) is not None]

    def confirmed(self) -> list[tuple[str, str, bool]]:
        """Return name, detail and acceptance of each confirmation."""
        return [(e.command, e.detail, e.accepted) for e in self.said() if isinstance(e, CommandConfirmed)]


@pytest.fixture
def heard(tmp_path: Path) -> Heard:
    return Heard(make_run(tmp_path / "runs"))


def test_nothing_was_said(heard: Heard) -> None:
    heard.tell()
    assert (heard.control.paused, heard.control.stop, heard.control.save, heard.control.rates) == (False, None, [], [])
    assert heard.said() == []


def test_pause_and_unpause(heard: Heard) -> None:
    heard.tell(Pause())
    assert heard.control.paused
    heard.tell(Unpause())
    assert not heard.control.paused
    assert heard.confirmed() == [("Pause", "pausing after step 7", True), ("Unpause", "going on", True)]


def test_a_second_pause_changes_nothing(heard: Heard) -> None:
    heard.tell(Pause(), Pause())
    assert heard.control.paused
    assert heard.confirmed()[1] == ("Pause", "already paused", True)


def test_going_on_without_a_pause_is_not_accepted(heard: Heard) -> None:
    heard.tell(Unpause())
    assert heard.confirmed() == [("Unpause", "was not paused", False)]


def test_stop_saves(heard: Heard) -> None:
    heard.tell(Stop())
    assert heard.control.stop == Stop(save=True)
    assert heard.confirmed() == [("Stop", "stopping after step 7", True)]


def test_a_second_stop_changes_nothing(heard: Heard) -> None:
    heard.tell(Stop(), Stop())
    assert heard.control.stop == Stop(save=True)
    assert heard.confirmed() == [("Stop", "stopping after step 7", True), ("Stop", "already stopping", True)]


def test_stop_now_ends_at_once_and_goes_on_saying_so(heard: Heard) -> None:
    with pytest.raises(StopNow):
        heard.tell(Stop(save=False))
    with pytest.raises(StopNow):
        heard.tell()
    assert heard.confirmed() == [("Stop", "stopping after step 7 without saving", True)]


def test_stop_now_overrides_a_stop_that_saves(heard: Heard) -> None:
    heard.tell(Stop())
    with pytest.raises(StopNow):
        heard.tell(Stop(save=False))
    assert heard.control.stop == Stop(save=False)


def test_a_stop_that_saves_does_not_soften_stop_now(heard: Heard) -> None:
    with pytest.raises(StopNow):
        heard.tell(Stop(save=False), Stop(save=True), Stop(save=False))
    assert heard.control.stop == Stop(save=False)
    assert [detail for _, detail, _ in heard.confirmed()][1:] == ["already stopping"] * 2


def test_saving_and_rates_wait_to_be_carried_out_and_are_confirmed_then(heard: Heard) -> None:
    heard.tell(SaveCheckpoint(), SetLearningRate(1e-4), SaveCheckpoint(), SetLearningRate(2e-4))
    assert [rate for _, rate in heard.control.rates] == [1e-4, 2e-4]
    assert len(heard.control.save) == 2
    assert heard.confirmed() == []
    heard.control.confirm(heard.control.save.pop(), "checkpoint-7 saved")
    assert heard.confirmed() == [("SaveCheckpoint", "checkpoint-7 saved", True)]


def test_a_confirmation_names_the_command_it_confirms(heard: Heard) -> None:
    ids = [heard.run.tell(Pause()), heard.run.tell(Stop())]
    heard.control.hear(1)
    said = [event for event in heard.said() if isinstance(event, CommandConfirmed)]
    assert [event.command_id for event in said] == ids
    assert {event.by for event in said} == {"worker"}


def test_what_cannot_be_done_is_refused_with_the_reason(heard: Heard) -> None:
    journal = Journal(heard.run.commands)
    journal.append({"id": "a", "command": "SetLearningRate", "learning_rate": -1})
    journal.append({"id": "b", "command": "Dance"})
    journal.append({"id": "c", "command": "SetLearningRate", "learning_rate": 10**400})
    journal.append({"id": "d", "command": "Stop", "save": "no"})
    heard.control.hear(1)
    assert [accepted for _, _, accepted in heard.confirmed()] == [False] * 4
    assert heard.confirmed()[0][1] == "learning_rate must be a number above 0, not -1."
    assert (heard.control.rates, heard.control.stop) == ([], None)


def test_the_system_asks_to_end_as_a_stop_that_saves(heard: Heard) -> None:
    heard.control.terminated = True
    heard.tell()
    assert heard.control.stop == Stop(save=True)
    (warned,) = heard.said()
    assert isinstance(warned, events.Warned)
    assert warned.code == "terminated"
    heard.tell()
    assert len(heard.said()) == 1


def test_the_system_does_not_soften_stop_now(heard: Heard) -> None:
    heard.control.terminated = True
    with pytest.raises(StopNow):
        heard.tell(Stop(save=False))


def test_a_worker_takes_sigterm_as_a_wish_and_minds_neither_terminal_nor_interrupt(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs")
    script = """
import os, signal, sys
from pathlib import Path
from engine.training.control import CommandReader, Control
from engine.training.reporter import Reporter
run = Path(sys.argv[1])
control = Control(CommandReader(run / "commands.jsonl"), Reporter(run / "events.jsonl"))
control.install()
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    os.kill(os.getpid(), number)
    control.hear(3)
    print(control.stop)
"""
    own = signal.getsignal(signal.SIGTERM)  # a test before this one may have trained in this process
    reply = subprocess.run(
        [sys.executable, "-c", script, str(run.path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert reply.stdout.splitlines() == ["None", "None", "Stop(save=True)"], reply.stderr
    assert signal.getsignal(signal.SIGTERM) is own  # it was the other process's


# -- reading -------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "commands.jsonl"


def line(command: Command, **more: Any) -> bytes:
    return json.dumps({"id": "1", **commands.to_json(command), **more}).encode() + b"\n"


def read(path: Path, content: bytes) -> list[Command | str]:
    path.write_bytes(content)
    return [heard.command for heard in CommandReader(path).read()]


def test_a_journal_that_is_not_there_says_nothing(path: Path) -> None:
    assert CommandReader(path).read() == []


def test_each_line_is_read_once(path: Path) -> None:
    reader = CommandReader(path)
    journal = Journal(path)
    for command in (Pause(), Unpause()):
        journal.append(commands.to_json(command))
        assert [heard.command for heard in reader.read()] == [command]
        assert reader.read() == []


def test_what_was_said_to_an_earlier_worker_is_not_heard(path: Path) -> None:
    path.write_bytes(line(Stop()))
    reader = CommandReader(path, path.stat().st_size)
    assert reader.read() == []
    with path.open("ab") as file:
        file.write(line(Pause()))
    assert [heard.command for heard in reader.read()] == [Pause()]


def test_a_torn_line_waits_for_its_end(path: Path) -> None:
    whole = line(Stop())
    reader = CommandReader(path)
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert reader.read() == []
    path.write_bytes(whole)
    assert [heard.command for heard in reader.read()] == [Stop()]


def test_a_line_torn_by_a_crash_costs_only_itself(path: Path) -> None:
    path.write_bytes(line(Stop())[:-5])
    Journal(path).append(commands.to_json(Pause()))
    assert [heard.command for heard in CommandReader(path).read()] == [Pause()]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"   ",
        b"abc",
        b"[1]",
        b"null",
        b'"Stop"',
        b"7",
        b"{",
        bytes(5_000),
        b"\xff\xfe",
        b"[" * 50_000,
        b'{"a":' * 50_000,
    ],
    ids=lambda damage: ascii(damage[:8]),
)
def test_a_line_that_is_no_object_is_passed_over(path: Path, damage: bytes) -> None:
    assert read(path, line(Pause()) + damage + b"\n" + line(Unpause())) == [Pause(), Unpause()]


def test_a_megabyte_without_an_end_is_passed_over(path: Path) -> None:
    path.write_bytes(b"x" * (2 << 20) + b"\n" + line(Stop()))
    reader, found = CommandReader(path), list[Command | str]()
    for _ in range(4):
        found += [heard.command for heard in reader.read()]
    assert found == [Stop()]


def test_many_commands_are_all_read(path: Path) -> None:
    path.write_bytes(line(SetLearningRate(1e-4)) * 30_000)
    reader, count = CommandReader(path), 0
    while heard := reader.read():
        count += len(heard)
    assert count == 30_000


@pytest.mark.parametrize("who", [{"id": 7}, {"id": None}, {"id": ["x"] * 1000}, {"id": "y" * 10_000}], ids=repr)
def test_a_strange_id_is_kept_short(path: Path, who: dict[str, Any]) -> None:
    path.write_bytes(line(Pause(), **who))
    (heard,) = CommandReader(path).read()
    assert len(heard.id) <= 64
    assert heard.command == Pause()


def test_a_folder_or_a_forbidden_file_says_nothing(path: Path) -> None:
    path.mkdir()
    assert CommandReader(path).read() == []


def test_a_confirmation_of_anything_fits_a_line(heard: Heard) -> None:
    with heard.run.commands.open("ab") as file:
        file.write(json.dumps({"id": "1", "command": "x" * 500_000}).encode() + b"\n")
    heard.control.hear(1)
    assert os.path.getsize(heard.run.events) < 2_000


def test_while_nothing_can_be_written_only_an_order_to_end_at_once_is_obeyed(heard: Heard) -> None:
    for command in (Pause(), Stop(save=True)):
        heard.run.tell(command)
    heard.control.hear_while_waiting()
    assert heard.confirmed() == []
    heard.tell()  # there is room again
    assert [name for name, _, _ in heard.confirmed()] == ["Pause", "Stop"]
    heard.run.tell(Stop(save=False))
    with pytest.raises(StopNow):
        heard.control.hear_while_waiting()


def test_a_run_whose_folder_was_deleted_ends(heard: Heard) -> None:
    shutil.rmtree(heard.run.path)
    with pytest.raises(StopNow):
        heard.control.hear(7)


def test_while_nothing_can_be_written_the_system_may_end_it(heard: Heard) -> None:
    heard.control.terminated = True
    with pytest.raises(StopNow):
        heard.control.hear_while_waiting()


def test_what_comes_too_late_is_refused(heard: Heard) -> None:
    heard.tell(SaveCheckpoint(), SetLearningRate(1e-4))
    heard.run.tell(Pause())
    heard.control.refuse_the_rest()
    names = ["SaveCheckpoint", "SetLearningRate", "Pause"]
    assert heard.confirmed() == [(name, "the run has ended", False) for name in names]
    heard.control.refuse_the_rest()
    assert len(heard.confirmed()) == 3


@pytest.mark.parametrize("stop", [Stop(save=True), None])
def test_before_training_there_is_nothing_to_save(heard: Heard, stop: Stop | None) -> None:
    if stop is not None:
        heard.run.tell(stop)
        with pytest.raises(StopBeforeTraining):
            heard.control.hear_before_training(0)
    else:
        heard.control.hear_before_training(0)


def test_what_a_launcher_of_several_processes_left_is_forgotten() -> None:
    from engine.training.environment import forget_other_processes

    environment = {
        "WORLD_SIZE": "2",
        "RANK": "0",
        "MASTER_PORT": "29500",
        "ACCELERATE_MIXED_PRECISION": "bf16",
        "HOME": "/",
    }
    forget_other_processes(environment)
    assert environment == {"HOME": "/"}
