"""What a run takes on disk: before it starts, and while it is at work."""

from __future__ import annotations

import os
from collections import namedtuple
from pathlib import Path
from typing import Literal

import pytest

from engine import events
from engine.config.model import DataSection, RunConfig, SavingSection, TrainingSection
from engine.journal import Journal
from engine.runs import room
from engine.runs.catalogue import read_run
from engine.runs.directory import RunDirectory
from engine.runs.liveness import Life, Liveness
from engine.runs.room import LOG_BYTES_PER_STEP, OTHER_BYTES, room_before, room_of
from tests.engine.saved import make_run, write

Usage = namedtuple("Usage", "total used free")


def config(save_steps: int | Literal["epoch"] | None, limit: int | None, epochs: float = 3.0) -> RunConfig:
    return RunConfig(
        data=DataSection(train=["a"], validation={"v": "b"}),
        training=TrainingSection(num_train_epochs=epochs),
        saving=SavingSection(save_steps=save_steps, save_total_limit=limit),
    )


@pytest.mark.parametrize(
    ("save_steps", "limit", "steps", "count"),
    [(10, 3, 100, 4), (10, 1, 100, 3), (10, None, 100, 10), (50, 3, 100, 2), (1000, 3, 100, 1), ("epoch", 9, 100, 3),
     (None, 3, 100, 1)],
)  # fmt: skip
def test_rotation_keeps_some_and_one_more_is_being_written(
    save_steps: int | Literal["epoch"] | None, limit: int | None, steps: int, count: int
) -> None:
    assert room.num_checkpoints(config(save_steps, limit), steps) == count


def test_before_the_start_it_follows_from_what_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.runs.room.shutil.disk_usage", lambda _: Usage(0, 0, 5_000_000))
    told = room_before(
        config(10, 3), num_steps=100, adapter_bytes=1_000_000, optimizer_bytes=2_000_000, tokenizer_bytes=100_000,
        folder=tmp_path / "runs",
    )  # fmt: skip
    each = 3_100_000 + OTHER_BYTES
    assert (told.num_checkpoints, told.each_bytes) == (4, each)
    assert told.to_come_bytes == 4 * each + 3 * 1_100_000 + 100 * LOG_BYTES_PER_STEP
    assert told.fits is False
    assert told.sentence() == "16 MB more to come at most; 5.0 MB free, which is too little"


def test_while_it_runs_it_follows_from_what_checkpoints_weigh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    run = make_run(tmp_path / "runs")
    run.config.write_text(settings())
    say(run, events.KeeperStarted(1, 1, None), events.TrainingStarted(100, 1.0, 0, 1, 1, "cpu", "float32"))
    write(run, 10)
    assert room_of(read_run(run)).to_come_bytes == 0  # nobody works on it
    living = Liveness(Life.ALIVE, "a test says so")
    monkeypatch.setattr("engine.runs.summary.liveness", lambda _: living)
    found = read_run(run)
    told = room_of(found)
    (checkpoint,) = found.checkpoints
    assert told.used_bytes == told.each_bytes == checkpoint.used_bytes
    alone = checkpoint.used_bytes - checkpoint.optimizer_bytes
    assert told.to_come_bytes == 3 * checkpoint.used_bytes + 2 * alone + 100 * LOG_BYTES_PER_STEP


def settings() -> str:
    """Return the `run.yaml` of a run that saves every 10 steps and keeps 3."""
    from engine.config.declaration import settings as declared

    values = {"data.train": "[a]", "saving.save_steps": "10", "saving.save_total_limit": "3"}
    lines: dict[str, list[str]] = {}
    for key, setting in declared().items():
        if setting.automatic or key in values:
            section, _, name = key.partition(".")
            lines.setdefault(section, []).append(f"  {name}: {values.get(key, decided(key))}")
    return "".join(f"{section}:\n" + "\n".join(inner) + "\n" for section, inner in lines.items())


def decided(key: str) -> str:
    known = {
        "model.dtype": "float32", "model.device": "cpu", "lora.target_modules": "[q_proj]", "evaluation.prompts": "[]",
        "evaluation.behaviour": "false", "saving.best_metric": "loss", "evaluation.eval_steps": "null",
        "training.activation_checkpointing": "false", "dpo.precompute_ref_log_probs": "false",
        "unlearning.target": "completion", "early_stopping.metric": "loss", "data.max_length": "128",
        "launch.strategy": "ddp",
    }  # fmt: skip
    return known.get(key, "1")


def say(run: RunDirectory, *said: events.Event) -> None:
    journal = Journal(run.events)
    for event in said:
        journal.append(events.to_json(event))
    journal.close()
