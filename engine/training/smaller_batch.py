"""Going on after memory ran out: fewer rows at a time, and as many of them before each optimizer step.

The rows of a step, their order and so the place a checkpoint stands at stay what they were: only how many pass through
the model at once changes. What was found is kept in the run's folder, so that a resume does not run out again.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from engine.config.model import settled
from engine.config.resolved import ResolvedConfig, Source
from engine.errors import OutOfMemory
from engine.renaming import replace_file
from engine.runs import checkpoints
from engine.runs.directory import RunDirectory
from engine.training.control import Control
from engine.training.options import arguments
from engine.training.reporter import Reporter
from engine.training.stages import replace_process

FILE = "batch.json"
"""Of a run in several stages `batch-<stage>.json`."""
_BATCH, _ACCUMULATION = "per_device_train_batch_size", "gradient_accumulation_steps"


@dataclass(frozen=True, slots=True)
class Batch:
    """How the rows of one optimizer step pass through the model."""

    per_device_train_batch_size: int
    gradient_accumulation_steps: int

    @property
    def rows(self) -> int:
        """Rows per optimizer step on one device."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps

    def smaller(self, least: int = 1) -> Batch | None:
        """Return the next smaller batch of at least so many rows that makes the same steps; None when there is none."""
        size = self.per_device_train_batch_size
        part = next((rows for rows in range(size // 2, least - 1, -1) if size % rows == 0), None)
        return Batch(part, self.gradient_accumulation_steps * (size // part)) if part is not None else None


def batch_of(resolved: ResolvedConfig) -> Batch:
    """Return what the settings say."""
    training = resolved.config.training.model_dump()
    return Batch(training[_BATCH], training[_ACCUMULATION])


def with_batch_that_fits(run: RunDirectory, resolved: ResolvedConfig, stage: str = "") -> ResolvedConfig:
    """Return the settings with the batch an earlier attempt of this run was reduced to, if there was one.

    A record that would change the rows of a step is not obeyed: the settings were edited since.

    Args:
        run: Its folder.
        resolved: Of the run, or of one of its stages.
        stage: Its name.
    """
    try:
        batch = Batch(**json.loads(_file(run, stage).read_bytes()))
        fits = batch.per_device_train_batch_size > 0 and batch.rows == batch_of(resolved).rows
    except (OSError, ValueError, TypeError):
        return resolved
    return _with(resolved, batch) if fits else resolved


def go_on_smaller(
    run: RunDirectory,
    error: OutOfMemory,
    reporter: Reporter,
    control: Control,
    stage: str = "",
    worker: str = "engine.training",
) -> None:
    """Replace this process by one that goes on with a smaller batch. Returns when it cannot be smaller.

    A new process image, because what a failed step has allocated is not all given back.
    """
    from engine.config.yaml_text import read_file

    written = ResolvedConfig.from_yaml(read_file(run.config))
    resolved = with_batch_that_fits(run, dict(written.parts()).get(stage, written), stage)
    now = batch_of(resolved)
    batch = now.smaller(2 if resolved.config.method.name == "kto" else 1)  # KTO compares the rows of a pass
    if batch is None or not resolved.config.launch.retry_smaller_batch:
        return
    _write(_file(run, stage), batch)
    checkpoint, _ = checkpoints.newest_valid(run)
    if checkpoint is not None and checkpoint.metadata.get("stage", "") != stage:
        checkpoint = None  # of the stage before
    again = f"begins stage {stage} again" if stage else "begins again"
    start = f"goes on from {checkpoint.path.name}" if checkpoint is not None else again
    reporter.warn(
        "smaller-batch",
        f"{error.message} The run {start} with {_rows(batch.per_device_train_batch_size)} at a time instead of "
        f"{now.per_device_train_batch_size} and {batch.gradient_accumulation_steps} accumulated: a step still learns "
        f"from {_rows(batch.rows * settled(resolved.config.launch.num_processes))}.",
        f"To begin so, set training.{_BATCH}: {batch.per_device_train_batch_size} and training.{_ACCUMULATION}: "
        f"{batch.gradient_accumulation_steps}.",
    )
    own = arguments(
        run.path,
        commands_from=control.reader.offset,
        began=reporter.began,
        resume=str(checkpoint.path.relative_to(run.path)) if checkpoint is not None else None,
        stage=stage if checkpoint is None else "",
    )
    replace_process([sys.executable, "-P", "-m", worker, *own])


def _file(run: RunDirectory, stage: str) -> Path:
    return run.path / (f"batch-{stage}.json" if stage else FILE)


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _with(resolved: ResolvedConfig, batch: Batch) -> ResolvedConfig:
    training = resolved.config.training.model_copy(
        update={_BATCH: batch.per_device_train_batch_size, _ACCUMULATION: batch.gradient_accumulation_steps}
    )
    source = Source("automatic", "memory ran out with more rows at a time")
    sources = {**resolved.sources, f"training.{_BATCH}": source, f"training.{_ACCUMULATION}": source}
    return replace(resolved, config=resolved.config.model_copy(update={"training": training}), sources=sources)


def _write(path: Path, batch: Batch) -> None:
    text = json.dumps({_BATCH: batch.per_device_train_batch_size, _ACCUMULATION: batch.gradient_accumulation_steps})
    replace_file(path, text + "\n")
