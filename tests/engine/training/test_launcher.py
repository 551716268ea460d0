"""What the launcher of several processes makes of how they ended. None is started here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine import events
from engine.config.load import loads
from engine.launch.prepare import new_run
from engine.launch.several import LAUNCHER
from engine.runs.directory import RunDirectory
from engine.training import handover, launcher, stages
from engine.training.handover import Failure
from engine.training.options import parser
from engine.workspace import Workspace
from tests.conftest import read_records

FAILED = Failure(1, 20.0, False, "worker-failed", "ValueError while training: no", "Look.", "training", 7, "", 0)
CONSEQUENCE = replace(FAILED, rank=0, at=10.0, consequence=True, message="RuntimeError: Connection closed by peer")


class Died:
    """What torchrun says of a process that failed."""

    def __init__(self, exitcode: int) -> None:
        self.exitcode = exitcode

    def signal_name(self) -> str:
        return "SIGKILL"


Launch = Callable[..., list[str] | None]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    (tmp_path / "train.jsonl").write_text('{"prompt": "Who wrote Carmen?", "completion": "Bizet."}\n' * 40)
    text = json.dumps({
        "model": {"device": "cpu"}, "data": {"train": "train.jsonl"}, "launch": {"num_processes": 2},
        "training": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1},
    })  # fmt: skip
    return new_run(Workspace(tmp_path), loads(text, "test.yaml"))


@pytest.fixture
def launch(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> Launch:
    """Return a function that has the processes end somehow; it returns what the launcher was replaced by."""

    class Replaced(BaseException):
        pass

    def ended(died: dict[int, Died] | None, *leave: Callable[[RunDirectory], None]) -> list[str] | None:
        def launched(*_: Any) -> dict[int, Died] | None:
            for one in leave:
                one(run)
            return died

        def replaced(command: list[str]) -> None:
            raise Replaced(command)

        monkeypatch.setattr(launcher, "_launch", launched)
        monkeypatch.setattr(launcher, "_watch_signals", list)
        monkeypatch.setattr(launcher, "_set_environment", lambda *_: None)
        monkeypatch.setattr(stages, "replace_process", replaced)
        monkeypatch.setattr("engine.training.smaller_batch.replace_process", replaced)
        try:
            launcher.main([str(run.path)])
        except Replaced as instead:
            return list(instead.args[0])
        return None

    return ended


def told(failure: Failure) -> Callable[[RunDirectory], None]:
    return lambda run: handover.tell_failure(run, failure)


def end_of(run: RunDirectory) -> events.RunEnded:
    ended = [record.event for record in read_records(run) if isinstance(record.event, events.RunEnded)]
    assert len(ended) == 1
    return ended[0]


def test_the_first_error_that_is_no_consequence_is_the_runs(run: RunDirectory, launch: Launch) -> None:
    launch({0: Died(1), 1: Died(1)}, told(CONSEQUENCE), told(FAILED))
    ended = end_of(run)
    assert (ended.outcome, ended.code, ended.step, ended.remedy) == ("failed", "worker-failed", 7, "Look.")
    assert ended.detail == "Process 2 of 2: ValueError while training: no"


def test_a_killed_process_is_told_with_its_signal(run: RunDirectory, launch: Launch) -> None:
    launch({0: Died(1), 1: Died(-9)}, told(CONSEQUENCE))
    assert end_of(run).detail.startswith("Process 2 of 2 was killed by signal 9 (SIGKILL), and the others")


def test_a_process_that_says_nothing_is_told_with_its_exit_code(run: RunDirectory, launch: Launch) -> None:
    launch({1: Died(3)})
    assert end_of(run).detail == "Process 2 of 2 ended with exit code 3 and said nothing."


def test_an_end_that_was_told_is_not_told_again(run: RunDirectory, launch: Launch) -> None:
    assert launch({1: Died(1)}, told(CONSEQUENCE), handover.tell_ended) is None
    assert not [record for record in read_records(run) if isinstance(record.event, events.RunEnded)]


def test_the_next_stage_has_a_launcher_of_its_own(run: RunDirectory, launch: Launch) -> None:
    command = launch(None, lambda run: handover.tell_next(run, 0, "preferred", 120))
    assert command is not None
    assert command[3] == LAUNCHER
    asked = parser(LAUNCHER).parse_args(command[4:])
    assert (asked.run, asked.stage, asked.resume, asked.commands_from) == (run.path, "preferred", None, 120)
    assert asked.began is not None  # the time of the run goes on


def test_memory_that_ran_out_in_any_process_makes_the_batch_of_all_smaller(run: RunDirectory, launch: Launch) -> None:
    command = launch({1: Died(1)}, told(replace(FAILED, code="out-of-memory", commands_from=80)))
    assert command is not None
    assert command[3] == LAUNCHER
    assert parser(LAUNCHER).parse_args(command[4:]).commands_from == 80
    warned = [record.event for record in read_records(run) if isinstance(record.event, events.Warned)]
    assert "a step still learns from 8 rows" in warned[0].message


def test_accelerate_is_told_all_and_the_users_default_is_not_asked(run: RunDirectory) -> None:
    (run.path / "accelerate.yaml").write_text(
        "distributed_type: FSDP\nnum_processes: 8\nfsdp_config: {fsdp_version: 1}\n"
    )
    config = loads(run.config.read_text(), "run.yaml").check()
    found = launcher.accelerate_file(run, config, 0)
    assert (found["distributed_type"], found["num_processes"], found["main_process_port"]) == ("MULTI_CPU", 2, 0)
    launch = config.launch.model_copy(update={"strategy": "fsdp"})
    sharded = launcher.accelerate_file(run, config.model_copy(update={"launch": launch}), 0)
    assert sharded["fsdp_config"] == {"fsdp_version": 1, "fsdp_state_dict_type": "FULL_STATE_DICT"}
    assert yaml.safe_load(yaml.safe_dump(sharded)) == sharded
