"""Two processes that train one run together, on the processor: as one would, obeying, dying and going on as one."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from engine import commands, events
from engine.config.load import loads
from engine.launch import prepare
from engine.launch.start import send
from engine.runs import checkpoints
from engine.runs.directory import RunDirectory
from engine.runs.identity import read_identity
from engine.workspace import Workspace
from tests.conftest import wait_for
from tests.engine.training.conftest import rows, write_rows
from tests.engine.training.test_exact_resume import reported, train
from tests.engine.training.test_worker import said, wait_for_end

STEPS = 60


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("several") / "workspace"
    write_rows(folder / "data/train.jsonl", rows())
    write_rows(folder / "data/val.jsonl", rows(count=8))
    made = Workspace(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder.parent / "cache"))
        yield made
    for run in (RunDirectory(path) for path in made.runs.glob("*")):
        for identity in (read_identity(run.path / "worker.json"), read_identity(run.path / "keeper.json")):
            if identity is not None:
                identity.send(signal.SIGKILL)


def made(workspace: Workspace, model: Path, name: str, *, processes: int) -> RunDirectory:
    """Return a run whose steps learn from the same 4 rows with one process and with two."""
    settings = {
        "model": {"name": str(model), "device": "cpu"},
        "data": {"train": "data/train.jsonl", "validation": "data/val.jsonl", "max_length": 128},
        "lora": {"r": 4, "lora_dropout": 0.0},
        "training": {
            "max_steps": STEPS, "per_device_train_batch_size": 4 // processes, "gradient_accumulation_steps": 1,
            "learning_rate": 1e-3, "warmup_steps": 2,
        },
        "evaluation": {
            "eval_steps": 30, "per_device_eval_batch_size": 4 // processes, "max_new_tokens": 4,
            "prompts": ["What is the capital of Arden?"],
        },
        "saving": {"save_steps": 30},
        "forgetting": {"gauge": True, "probe": "data/val.jsonl"},
        "launch": {"num_processes": processes},
    }  # fmt: skip
    return prepare.new_run(workspace, loads(json.dumps(settings), "test.yaml"), name=name)


@pytest.fixture(scope="module")
def whole(workspace: Workspace, small_model: Path) -> RunDirectory:
    """A run of two processes that was left alone."""
    run = made(workspace, small_model, "whole", processes=2)
    prepare.start_run(run)
    wait_for(lambda: said(run, events.DataPrepared) or said(run, events.RunEnded), "the rows")
    ended = wait_for_end(run)
    assert ended is not None
    assert (ended.outcome, ended.step) == ("finished", STEPS), run.log.read_text()[-2000:]
    return run


def process_of(run: RunDirectory, rank: int) -> psutil.Process:
    identity = read_identity(run.path / "worker.json")
    assert identity is not None
    ranks = [child for child in psutil.Process(identity.pid).children() if child.environ().get("RANK") == str(rank)]
    assert len(ranks) == 1
    return ranks[0]


def test_two_processes_learn_what_one_learns_from_the_same_rows(
    whole: RunDirectory, workspace: Workspace, small_model: Path
) -> None:
    one = made(workspace, small_model, "one", processes=1)
    train(one)
    alone, together = reported(one), reported(whole)
    assert alone.keys() == together.keys()
    for (kind, step), figures in alone.items():
        for name in ("loss", "grad_norm", "mean_token_accuracy", "learning_rate", "eval_loss", "eval_forgetting"):
            if name in figures:
                assert together[kind, step][name] == pytest.approx(figures[name], rel=1e-4, abs=1e-6), (
                    kind,
                    step,
                    name,
                )
    tokens = [[event.num_tokens for event in said(run, events.StepFinished)] for run in (one, whole)]
    assert tokens[0] == tokens[1]


def test_one_process_speaks_for_both(whole: RunDirectory) -> None:
    steps = [event.step for event in said(whole, events.StepFinished)]
    assert steps == list(range(1, STEPS + 1))
    assert len(said(whole, events.TrainingStarted)) == 1
    assert [event.step for event in said(whole, events.SamplesAnswered)] == [0, 30, 60]
    assert not said(whole, events.Warned)


def test_a_checkpoint_of_two_processes_has_the_generators_of_both(whole: RunDirectory) -> None:
    saved, _ = checkpoints.newest_valid(whole)
    assert saved is not None
    assert {"rng_state_0.pth", "rng_state_1.pth", "optimizer.pt", "adapter_model.safetensors"} <= saved.files.keys()
    assert saved.metadata["num_processes"] == 2


def test_commands_reach_both_one_that_dies_ends_both_and_the_run_goes_on_as_if_it_had_not(
    whole: RunDirectory, workspace: Workspace, small_model: Path
) -> None:
    run = made(workspace, small_model, "broken", processes=2)
    prepare.start_run(run)
    wait_for(lambda: said(run, events.DataPrepared) or said(run, events.RunEnded), "the rows")
    wait_for(lambda: said(run, events.StepFinished) or said(run, events.RunEnded), "a step")
    send(run, commands.Pause())
    send(run, commands.SaveCheckpoint())
    wait_for(lambda: len(said(run, events.CommandConfirmed)) == 2, "both commands")
    paused = wait_for(lambda: said(run, events.RunPaused), "the pause")[0].step
    assert said(run, events.StepFinished)[-1].step == paused < STEPS
    assert f"checkpoint-{paused} saved" in [event.detail for event in said(run, events.CommandConfirmed)]

    process_of(run, 1).send_signal(signal.SIGKILL)
    ended = wait_for_end(run)
    assert ended is not None
    assert (ended.outcome, ended.code) == ("failed", "worker-failed")
    assert "Process 2 of 2 was killed by signal 9 (SIGKILL)" in ended.detail

    resumed = prepare.resume_run(run)
    assert resumed.checkpoint is not None
    assert resumed.checkpoint.step == paused
    attempts = len(said(run, events.KeeperStarted))
    wait_for(lambda: len(said(run, events.TrainingStarted)) == attempts or len(said(run, events.RunEnded)) > 1, "it")
    wait_for(lambda: len(said(run, events.WorkerExited)) == attempts, "the end")
    assert said(run, events.RunEnded)[-1].outcome == "finished", run.log.read_text()[-2000:]
    assert reported(run) == reported(whole)
    weights = [(one.final / "adapter_model.safetensors").read_bytes() for one in (run, whole)]
    assert weights[0] == weights[1]
