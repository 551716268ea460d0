"""The disk a run will use: before it starts from what it trains, while it runs from what its checkpoints weigh.

A checkpoint is the adapter, its optimizer state and a tokenizer; `best/` and `final/` are an adapter and a tokenizer
each. Rotation keeps some, pinned ones besides, and one more is on disk while it is written.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError
from engine.runs.catalogue import RunEntry
from engine.runs.directory import RunDirectory
from engine.runs.plan import size_text

if TYPE_CHECKING:
    from engine.config.model import RunConfig

MINIMUM_KEPT = 2
"""As rotation has it."""
LOG_BYTES_PER_STEP = 430
"""A line of `events.jsonl` with 8 metrics, at `logging_steps` 1, and its share of the index."""
OTHER_BYTES = 60_000
"""Of a checkpoint besides weights, optimizer and tokenizer: schedule, generators, trainer state, metadata, manifest."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a run's folder holds and will hold."""

    used_bytes: int
    """Checkpoints, best and final, as they are now."""
    to_come_bytes: int
    """What will be written beyond that, at most; 0 when the run is over or nothing is known of it."""
    free_bytes: int | None
    """On its file system."""
    num_checkpoints: int = 0
    """On disk at once at most, the one being written included."""
    each_bytes: int = 0
    """Of one checkpoint."""

    @property
    def fits(self) -> bool | None:
        """Whether what is to come has room. None where that cannot be told."""
        return None if self.free_bytes is None else self.to_come_bytes <= self.free_bytes

    def sentence(self) -> str:
        """Return it in words."""
        free = "" if self.free_bytes is None else f"; {size_text(self.free_bytes)} free"
        judged = ", which is too little" if self.fits is False else ""
        return f"{size_text(self.to_come_bytes)} more to come at most{free}{judged}"

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "used_bytes": self.used_bytes,
            "to_come_bytes": self.to_come_bytes,
            "free_bytes": self.free_bytes,
            "num_checkpoints": self.num_checkpoints,
            "each_bytes": self.each_bytes or None,
            "fits": self.fits,
        }


def room_before(
    config: RunConfig, *, num_steps: int, adapter_bytes: int, optimizer_bytes: int, tokenizer_bytes: int, folder: Path
) -> Room:
    """Return what a run about to be made will use.

    Args:
        config: Without any "auto".
        num_steps: Optimizer steps of the whole run.
        adapter_bytes: Of the trained weights, as they are saved.
        optimizer_bytes: Of their optimizer state.
        tokenizer_bytes: Of the tokenizer's files, which every folder holds.
        folder: `runs/`, or where it will be.
    """
    count = num_checkpoints(config, num_steps)
    each = adapter_bytes + optimizer_bytes + tokenizer_bytes + OTHER_BYTES
    alone = adapter_bytes + tokenizer_bytes
    # best/ and final/; each is written beside the one it replaces.
    total = count * each + (3 if config.saving.save_best and config.data.validation else 2) * alone
    total += log_bytes(config, num_steps)
    return Room(0, total, free_bytes(folder), count, each)


def room_of(run: RunEntry) -> Room:
    """Return what a run holds, and what it will still write, from what its checkpoints really weigh.

    Of a run that is over nothing is to come.
    """
    folder = Path(run.summary.path)
    free = free_bytes(folder)
    used = run.used_bytes
    if not run.summary.active or not run.summary.total_steps:
        return Room(used, 0, free)
    from engine.config.resolved import ResolvedConfig  # 0.2 s, which a list of runs that are over does without
    from engine.config.yaml_text import read_file

    try:
        resolved = ResolvedConfig.from_yaml(read_file(RunDirectory(folder).config))
        config = resolved.config
        count = max(num_checkpoints(part.config, run.summary.total_steps) for _, part in resolved.parts())
    except EngineError:
        return Room(used, 0, free)
    numbered = [one for one in run.checkpoints if one.ours and not one.kept_anyway]
    whole = [one for one in numbered if one.fault is None]
    if not whole:
        return Room(used, 0, free, count)
    newest = max(whole, key=lambda one: one.age_key)
    each, alone = newest.used_bytes, newest.used_bytes - newest.optimizer_bytes
    expected = (count + sum(one.pinned for one in numbered)) * each
    expected += alone * (2 + ("best" in {one.name for one in run.checkpoints}))
    to_come = max(0, expected - used)
    to_come += log_bytes(config, run.summary.total_steps - run.summary.step)
    return Room(used, to_come, free, count, each)


def num_checkpoints(config: RunConfig, total_steps: int) -> int:
    """Return how many checkpoints are on disk at once at most, the one that is being written included."""
    from engine.config.model import settled

    every = settled(config.saving.save_steps)
    if every is None:
        return 1
    epochs = ceil(settled(config.training.num_train_epochs))
    written = epochs if every == "epoch" else max(1, ceil(total_steps / every))
    limit = config.saving.save_total_limit
    return written if limit is None else min(written, max(MINIMUM_KEPT, limit) + 1)


def log_bytes(config: RunConfig, num_steps: int) -> int:
    """Return what the log of so many steps takes."""
    return max(0, num_steps) * LOG_BYTES_PER_STEP // config.training.logging_steps


def free_bytes(folder: Path) -> int | None:
    """Return what is free where a folder is, or will be; None where that cannot be read."""
    for place in (folder, *folder.parents):
        if place.is_dir():
            try:
                return shutil.disk_usage(place).free
            except OSError:
                return None
    return None
