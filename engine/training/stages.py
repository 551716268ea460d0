"""The stage a worker is at: what it is to do, what it begins with, and what the stages before it have counted.

Each stage is trained by a process image of its own (see `go_on_with`), so that one begins exactly as a resume in it
does: from the adapter the stage before ended with, which is kept in `stages/<name>/`, and from a generator's seed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine import events
from engine.config.automatic import num_optimizer_steps
from engine.config.methods import method_of
from engine.config.model import RunConfig, settled
from engine.config.resolved import ResolvedConfig
from engine.runs import checkpoints
from engine.runs.checkpoints import Checkpoint
from engine.runs.directory import RunDirectory
from engine.runs.provenance import Provenance
from engine.training.control import Control
from engine.training.options import arguments
from engine.training.reporter import Reporter


@dataclass(frozen=True, slots=True)
class Before:
    """What earlier stages have counted. Their steps, epochs and tokens go on."""

    step: int = 0
    epoch: float = 0.0
    num_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a run, or all of a run that has one."""

    resolved: ResolvedConfig
    provenance: Provenance
    """With its own data files alone."""
    name: str = ""
    """Empty for a run in one stage."""
    number: int = 1
    count: int = 1
    before: Before = Before()
    begins_with: str = ""
    """The stage whose result it begins with; empty for the first."""
    next: str | None = None
    """The stage after it; None for the last."""
    later_steps: int = 0
    """Optimizer steps that the stages after it will take, packing aside."""
    later_epochs: float = 0.0

    @property
    def first(self) -> bool:
        return self.number == 1

    @property
    def about(self) -> dict[str, Any]:
        """What a checkpoint's `metadata.json` says of it."""
        reference = {"reference": reference} if (reference := self.reference) else {}
        return {"stage": self.name, "stage_number": self.number, **reference} if self.name else reference

    @property
    def reference(self) -> str:
        """What a method that compares with a reference compares with, in words; empty for the others."""
        config = self.resolved.config
        if method_of(config).trainer not in ("dpo", "kto"):
            return ""
        if reference_of(config) == "base":
            return "the base"
        if self.begins_with:
            return f"the result of stage {self.begins_with}"
        started = self.provenance.adapter is not None and config.model.adapter_mode == "continue"
        return f"the adapter it began with, {config.model.adapter}" if started else "the base"

    def begun(self) -> events.StageBegun:
        """Return what is said of it when it begins."""
        start = f"the result of stage {self.begins_with}" if self.begins_with else ""
        return events.StageBegun(
            self.name, self.number, self.count, self.resolved.config.method.name, self.before.step,
            round(self.before.epoch, 6), start, self.reference,
        )  # fmt: skip


def reference_of(config: RunConfig) -> str:
    """Return the setting of the method that has one."""
    return config.kto.reference if config.method.name == "kto" else config.dpo.reference


def stage_of(
    run: RunDirectory,
    resolved: ResolvedConfig,
    provenance: Provenance,
    *,
    resume_from: Checkpoint | None = None,
    named: str | None = None,
) -> Stage:
    """Return the stage to work at: the one named, the one a checkpoint is of, or the first.

    Raises:
        CheckpointError: The adapter it begins with is gone or damaged.
    """
    if not resolved.stages:
        return Stage(resolved, provenance)
    names = [name for name, _ in resolved.stages]
    wanted = resume_from.metadata.get("stage") if resume_from is not None else named
    number = names.index(wanted) if wanted in names else 0
    later = [_expected(part, provenance.of_stage(name)) for name, part in resolved.stages[number + 1 :]]
    stage = Stage(
        resolved=resolved.stages[number][1],
        provenance=provenance.of_stage(names[number]),
        name=names[number],
        number=number + 1,
        count=len(names),
        begins_with=names[number - 1] if number else "",
        next=names[number + 1] if number + 1 < len(names) else None,
        later_steps=sum(steps for steps, _ in later),
        later_epochs=sum(epochs for _, epochs in later),
    )
    return replace(stage, before=_counted(run, names[number - 1])) if number else stage


def _counted(run: RunDirectory, name: str) -> Before:
    """Return what had been counted when a stage ended, from the adapter it left."""
    result = checkpoints.stage_result(run, name)
    epoch, tokens = result.metadata.get("epoch"), result.metadata.get("num_tokens")
    return Before(
        result.manifest_step or 0,
        float(epoch) if isinstance(epoch, int | float) else 0.0,
        tokens if type(tokens) is int else 0,
    )


def _expected(resolved: ResolvedConfig, provenance: Provenance) -> tuple[int, float]:
    """Return about how many steps and epochs a stage will take, by the rows its files had."""
    config = resolved.config
    limit = config.data.limit
    rows = sum(min(file.rows, limit or file.rows) for file in provenance.files("train"))
    batch = settled(config.training.per_device_train_batch_size)
    accumulation = settled(config.training.gradient_accumulation_steps)
    processes = settled(config.launch.num_processes)
    epochs = settled(config.training.num_train_epochs)
    steps = config.training.max_steps
    if steps is None:
        return num_optimizer_steps(rows, batch, accumulation, epochs, processes), epochs
    return steps, steps / max(1, num_optimizer_steps(rows, batch, accumulation, 1.0, processes))


def go_on_with(
    run: RunDirectory, stage: str, reporter: Reporter, control: Control, worker: str = "engine.training"
) -> None:
    """Replace this process by one that works at a stage. Nothing of the stage before is left in memory.

    The number of the process stays, so that its keeper and everybody who watches sees one worker.
    """
    own = arguments(run.path, commands_from=control.reader.offset, began=reporter.began, stage=stage)
    replace_process([sys.executable, "-P", "-m", worker, *own])


def replace_process(command: list[str]) -> None:
    """Become another program. A SIGTERM in between waits until that one can hear it."""
    for tracker in ("wandb", "trackio"):  # each sends from a process of its own, which is about to be ended
        finish = getattr(sys.modules.get(tracker), "finish", None)
        if finish is not None:
            with contextlib.suppress(Exception):
                finish()
    _end_children()
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    os.execv(sys.executable, command)


def _end_children() -> None:
    """End loader workers: they look for the end of their parent, whose number lives on."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        try:
            child.kill()
            child.wait(5)
        except (psutil.NoSuchProcess, psutil.TimeoutExpired):
            continue


def start_folder(run: RunDirectory, stage: Stage) -> Path:
    """Return the folder of the adapter that a stage goes on training."""
    return run.stages / stage.begins_with if stage.begins_with else run.start
