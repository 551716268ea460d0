"""One run of several stages: SFT, then DPO on its result, with one history, and resumed in either as if never ended."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine import events
from engine.commands import Stop
from engine.config.load import GivenConfig, loads
from engine.errors import CheckpointError, EngineError
from engine.launch import prepare
from engine.launch.continuing import continued
from engine.launch.prepare import new_run
from engine.runs import checkpoints
from engine.runs.catalogue import read_run
from engine.runs.comparing import compare
from engine.runs.directory import RunDirectory
from engine.runs.finding import find_entry
from engine.spec import local_model
from engine.training.control import CommandReader, Control
from engine.training.reporter import Reporter
from engine.workspace import Workspace
from tests.conftest import PATIENCE_SECONDS, read_records, wait_for
from tests.engine.training.conftest import PLACES, rows, write_rows

PAIRS = [
    {"prompt": f"Is {place} large?", "chosen": f"{place} is large.", "rejected": "No."} for place in PLACES
]  # fmt: skip
STEPS = {"sft": 4, "dpo": 5}


class Killed(BaseException):
    """The process is gone, with whatever it had not written."""


@dataclass(slots=True)
class EndsAt(Control):
    """A control that is told to stop after a step of the run, or whose process is killed there."""

    step: int = 10**9
    killed: bool = False

    def hear(self, step: int) -> None:
        if step >= self.step and self.killed:
            raise Killed
        if step >= self.step and self.stop is None:
            self.stop = Stop(save=True)


def settings_of(model: Path, **dpo: Any) -> dict[str, Any]:
    each = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "warmup_steps": 0}
    return {
        "model": {"name": str(model), "device": "cpu"},
        "lora": {"r": 4, "lora_dropout": 0.1},
        "data": {"max_length": 128},
        "training": {**each, "learning_rate": 1e-2},
        "saving": {"save_steps": 2},
        "stages": [
            {"data": {"train": "data/train.jsonl"}, "training": {"max_steps": STEPS["sft"]}},
            {
                "method": {"name": "dpo"},
                "dpo": {"precompute_ref_log_probs": False, **dpo},
                "data": {"train": "data/pairs.jsonl"},
                "training": {"max_steps": STEPS["dpo"], "learning_rate": 1e-3},
            },
        ],
    }


def make(folder: Path, settings: dict[str, Any]) -> RunDirectory:
    workspace = Workspace(folder / "workspace")
    write_rows(workspace.path / "data" / "train.jsonl", rows())
    write_rows(workspace.path / "data" / "pairs.jsonl", PAIRS)
    return new_run(workspace, loads(json.dumps(settings), "run.yaml"))


def work_on(
    run: RunDirectory, *, ends_at: int = 10**9, killed: bool = False, resume: str | None = None, stage: str | None = ""
) -> list[str]:
    """Train to the end, one stage after another, as the worker's process does; return the stages that followed."""
    from engine.training.worker import work

    reporter = Reporter(run.events)
    followed = []
    while stage is not None:
        control = EndsAt(CommandReader(run.commands), reporter, step=ends_at, killed=killed)
        stage = work(run, reporter, control, resume=resume, stage=stage)
        followed += [stage] if stage is not None else []
        resume = None
    return followed


def go_on(run: RunDirectory) -> str:
    """Resume from the newest checkpoint, and return its name."""
    newest, _ = checkpoints.newest_valid(run)
    assert newest is not None
    work_on(run, resume=f"checkpoints/{newest.path.name}")
    return newest.path.name


def said(run: RunDirectory, kind: type[events.Event]) -> list[Any]:
    return [record.event for record in read_records(run) if isinstance(record.event, kind)]


def weights(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def finished(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run of both stages that nobody stopped."""
    run = make(tmp_path_factory.mktemp("staged"), settings_of(small_model))
    assert work_on(run) == ["dpo"]
    return run


def test_both_stages_are_one_history(finished: RunDirectory) -> None:
    steps = said(finished, events.StepFinished)
    assert [event.step for event in steps] == list(range(1, 10))
    for before, after in pairwise(steps):
        assert before.epoch < after.epoch
        assert before.num_tokens < after.num_tokens
    assert {event.total_steps for event in said(finished, events.TrainingStarted)} == {9}
    sft, dpo = said(finished, events.StageBegun)
    assert (sft.number, sft.first_step, sft.reference) == (1, 0, "")
    assert (dpo.number, dpo.first_step, dpo.begins_with) == (2, 4, "the result of stage sft")
    assert [event.outcome for event in said(finished, events.RunEnded)] == ["finished"]


def test_the_second_stage_is_compared_with_the_result_of_the_first(finished: RunDirectory) -> None:
    (_, dpo) = said(finished, events.StageBegun)
    assert dpo.reference == "the result of stage sft"
    first = next(event for event in said(finished, events.StepFinished) if event.step == 5)
    assert first.metrics["loss"] == pytest.approx(math.log(2), abs=1e-6)  # nothing is preferred to itself
    assert checkpoints.find_checkpoint(finished, "8").metadata["reference"] == "the result of stage sft"


def test_the_rows_of_later_stages_are_prepared_before_the_first_begins(finished: RunDirectory) -> None:
    said_so = [
        (event.stage, event.detail) if isinstance(event, events.StageChanged) else type(event).__name__
        for event in (record.event for record in read_records(finished))
        if isinstance(event, events.StageChanged | events.TrainingStarted)
    ]
    assert said_so.index(("preparing", "the rows of stage dpo")) < said_so.index("TrainingStarted")
    assert ("preparing", "12 rows, as prepared before") in said_so


def test_every_checkpoint_says_of_which_stage_it_is(finished: RunDirectory) -> None:
    entries = {entry.name: entry for entry in read_run(finished).checkpoints}
    assert {name: entry.stage for name, entry in entries.items()} == {
        "best": "dpo", "final": "dpo", "checkpoint-8": "dpo", "checkpoint-6": "dpo",
        "checkpoint-4": "sft", "sft": "sft",
    }  # fmt: skip
    assert all(entry.fault is None and entry.ours for entry in entries.values())
    assert (entries["sft"].step, entries["sft"].reason) == (4, "stage")


def test_what_a_stage_ended_with_is_a_model_for_every_command(finished: RunDirectory) -> None:
    workspace = Workspace(finished.path.parent.parent)
    model = local_model(workspace, f"{finished.name}@sft")
    assert (model.adapter, model.step, model.label) == (finished.stages / "sft", 4, f"{finished.name}@sft")
    assert find_entry(workspace, f"{finished.name}@sft").stage == "sft"
    assert find_entry(workspace, str(finished.stages / "sft")).spec == f"{finished.name}@sft"


def test_two_stages_are_compared_in_their_settings_and_not_judged_by_each_others_loss(finished: RunDirectory) -> None:
    workspace = Workspace(finished.path.parent.parent)
    both = compare(*(find_entry(workspace, f"{finished.name}@{name}") for name in ("sft", "final")))
    assert "method.name" in {one.key for one in both.settings}
    assert {one.better for one in both.figures} == {""}


def test_a_run_that_continues_one_of_several_stages_is_like_its_last(finished: RunDirectory) -> None:
    workspace = Workspace(finished.path.parent.parent)
    given = continued(workspace, f"{finished.name}@sft", GivenConfig({}))
    assert not given.stages
    config = given.check()
    assert (config.method.name, config.training.max_steps, config.model.adapter) == ("dpo", 5, f"{finished.name}@sft")


@pytest.mark.parametrize(
    ("ends_at", "killed", "newest"),
    [
        pytest.param(3, True, "checkpoint-2", id="killed in the first stage"),
        pytest.param(4, False, "checkpoint-4", id="told to stop after the last step of the first"),
        pytest.param(7, True, "checkpoint-6", id="killed in the second stage"),
    ],
)
def test_a_run_goes_on_in_the_stage_it_was_in_and_ends_with_the_same_weights(
    finished: RunDirectory, small_model: Path, tmp_path: Path, ends_at: int, killed: bool, newest: str
) -> None:
    run = make(tmp_path, settings_of(small_model))
    with pytest.raises(Killed) if killed else nullcontext():
        work_on(run, ends_at=ends_at, killed=killed)
    assert go_on(run) == newest
    assert weights(run.stages / "sft") == weights(finished.stages / "sft")
    assert weights(run.final) == weights(finished.final)
    assert said(run, events.RunEnded)[-1].outcome == "finished"


def test_the_base_can_be_what_the_second_stage_is_compared_with(
    finished: RunDirectory, small_model: Path, tmp_path: Path
) -> None:
    run = make(tmp_path, settings_of(small_model, reference="base", precompute_ref_log_probs=True))
    shutil.copytree(finished.stages, run.stages)
    manifest = run.stages / "sft" / "manifest.json"
    own = json.loads(run.provenance.read_text())["run_id"]
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "run_id": own}))
    work_on(run, stage="dpo")
    (dpo,) = said(run, events.StageBegun)
    assert dpo.reference == "the base"
    first = next(event for event in said(run, events.StepFinished) if event.step == 5)
    assert first.metrics["rewards/chosen"] != 0.0  # the first stage has moved away from it already
    (run.stages / "sft" / "adapter_model.safetensors").write_bytes(b"another")
    with pytest.raises(CheckpointError, match="result of stage sft cannot be gone on from"):
        prepare.resume_run(run, checkpoint="6")
    assert len(said(run, events.StageBegun)) == 1


def test_early_stopping_ends_a_stage_and_the_next_begins(small_model: Path, tmp_path: Path) -> None:
    settings = settings_of(small_model)
    stopping = {"armed": True, "criterion": "threshold", "metric": "loss", "threshold": 100.0}
    settings["stages"][0] |= {"early_stopping": stopping, "training": {"num_train_epochs": 3}}
    settings["stages"][1]["training"]["max_steps"] = 1
    run = make(tmp_path, settings)
    work_on(run)
    (ended,) = said(run, events.StageEnded)
    assert (ended.step, ended.path) == (9, "stages/sft")  # after one of its three epochs
    assert ended.detail.startswith("early stopping")
    assert (said(run, events.RunEnded)[-1].outcome, said(run, events.RunEnded)[-1].step) == ("finished", 10)


def test_what_is_wrong_with_a_later_stage_is_told_before_anything_is_made(small_model: Path, tmp_path: Path) -> None:
    settings = settings_of(small_model)
    settings["stages"][1]["data"]["train"] = "data/train.jsonl"  # no pairs
    with pytest.raises(EngineError, match=r"Stage dpo: .*train\.jsonl"):
        make(tmp_path, settings)
    settings["stages"][1]["data"]["train"] = "data/gone.jsonl"
    with pytest.raises(EngineError, match=r"Stage dpo: .*gone\.jsonl"):
        make(tmp_path, settings)
    assert not (tmp_path / "workspace" / "runs").exists()


def test_one_worker_process_goes_on_with_the_next_stage(
    finished: RunDirectory, small_model: Path, tmp_path: Path
) -> None:
    """With real processes, of a run that was killed as its second stage was to begin."""
    from engine.training.worker import work

    run = make(tmp_path, settings_of(small_model))
    reporter = Reporter(run.events)
    assert work(run, reporter, Control(CommandReader(run.commands), reporter), resume=None) == "dpo"
    resumed = prepare.resume_run(run)
    assert resumed.checkpoint is not None
    assert resumed.checkpoint.step == 4
    wait_for(lambda: len(said(run, events.StageEnded)) == 2)
    wait_for(lambda: said(run, events.WorkerExited))
    assert said(run, events.RunEnded)[-1].outcome == "finished", run.log.read_text()[-2000:]
    assert len(said(run, events.KeeperStarted)) == 1
    assert weights(run.final) == weights(finished.final)


BECOMES = """
import os, subprocess, sys
from engine.training.stages import replace_process
child = subprocess.Popen([sys.executable, "-c", "import time; print(1, flush=True); time.sleep(600)"],
                         stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
replace_process([sys.executable, "-c", "import os, signal\\nprint(os.getpid(), signal.pthread_sigmask(0, []))"])
"""


def test_a_process_that_is_replaced_keeps_its_number_and_leaves_no_child() -> None:
    started = subprocess.Popen([sys.executable, "-c", BECOMES], stdout=subprocess.PIPE, text=True)
    said, _ = started.communicate(timeout=PATIENCE_SECONDS)
    child, after = said.splitlines()
    assert started.returncode == 0
    assert not psutil.pid_exists(int(child))
    assert after.startswith(f"{started.pid} ")
    assert "SIGTERM" in after  # waits until the new program hears it
