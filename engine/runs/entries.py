"""One checkpoint as a list shows it: where it stands, what it scored, what it weighs, what is wrong with it.

Read from names and sizes and two small files, so that ten thousand of them are a list and no wait; hashes are read
when somebody asks (`verify`). Standard library only.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from engine.events import json_number, number_from_json
from engine.runs.checkpoints import (
    MANIFEST,
    PINNED,
    SCORES,
    Checkpoint,
    fault,
    is_for_resume_alone,
    is_optimizer_file,
    manifest_fault,
    missing_to_resume,
    read_checkpoint,
)

_WEIGHT_ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
_WEIGHT_NAMES = ("adapter_config.json",)
_LOWER = ("loss", "perplexity", "retain_refused", "unlearn_leaked")
_HIGHER = ("accuracy", "accuracies", "margin", "margins", "reward", "f1", "retain_answered", "unlearn_refused")
_SCORES_BYTES = 1 << 16
_MOST_FILES = 10_000
"""A folder with more files is no checkpoint; the rest of it is not counted."""

Kind = Literal["adapter", "model"]


@dataclass(slots=True)  # not frozen, although nothing changes one: ten thousand take 9 ms to make, frozen ones 67
class CheckpointEntry:
    """A checkpoint of a run, or of another tool."""

    run: str
    """Name of the run; empty for a folder that belongs to none."""
    name: str
    """Of the folder: "checkpoint-50", "best", "final", the name of a stage for what it ended with."""
    folder: str
    """Its path. A text: ten thousand `Path` take a third of the time of a whole catalogue."""
    step: int
    """Optimizer steps the weights have seen; 0 when nothing says so."""
    epoch: float | None
    created: float
    """Unix seconds; 0 when unknown."""
    reason: str
    """Why it was written: "scheduled", "requested", "stopping", "stage", "best", "final"; empty when unknown."""
    stage: str | None = None
    """Of a run in several stages; None for one of a single stage."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The newest figures at its step: `loss`, `eval_loss`, `eval_retain_loss`, `eval_unlearn_loss`,
    `mean_token_accuracy`, `rewards/margins` ... as the trainer names them. Any may be NaN."""
    evaluated_step: int | None = None
    """Step of the evaluation that the `eval_` figures are from; None when the checkpoint does not say."""
    adapter_bytes: int = 0
    """Weights, with their `adapter_config.json`; of a whole model its weights."""
    optimizer_bytes: int = 0
    """Optimizer, schedule and generators: what only an exact resume needs."""
    other_bytes: int = 0
    """Tokenizer, trainer state and the rest."""
    fault: str | None = None
    """Why its weights cannot be trusted, in one sentence, by names and sizes; `verify` reads the hashes too."""
    not_exact: str | None = None
    """Why the run cannot go on exactly from it although its weights are whole; None when it can."""
    ours: bool = True
    """Whether its manifest names this run: what is not ours is shown and never touched."""
    pinned: bool = False
    best_by: tuple[str, ...] = ()
    """The figures by which no other checkpoint of its run is better."""
    kind: Kind = "adapter"
    base: str | None = None
    """Of a folder that belongs to no run: the base model that its own configuration names."""
    sequence: int = 0
    """In which order the run wrote them; 0 when unknown."""
    stamp: Sequence[int] = ()
    """What its folder looked like before it was read: time of change (ns), size, inode. Empty where none was taken."""

    @property
    def path(self) -> Path:
        return Path(self.folder)

    @property
    def is_result(self) -> bool:
        """Whether it is the adapter that a stage of its run ended with: `stages/<name>`."""
        return bool(self.run) and Path(self.folder).parent.name == "stages"

    @property
    def kept_anyway(self) -> bool:
        """Whether it is weights alone that the run itself keeps and replaces: best, final, a stage's result."""
        return self.name in ("best", "final") or self.is_result

    @property
    def resumable(self) -> bool:
        """Whether the run can go on exactly from it, by names and sizes."""
        return self.fault is None and self.not_exact is None

    @property
    def used_bytes(self) -> int:
        return self.adapter_bytes + self.optimizer_bytes + self.other_bytes

    @property
    def age_key(self) -> tuple[int, int]:
        """Sorts the checkpoints of one run by when they were written; clocks jump."""
        return self.sequence, self.step

    @property
    def spec(self) -> str:
        """What a person writes to mean it."""
        return f"{self.run}@{self.name}" if self.run else self.folder

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form; numbers that JSON cannot hold are texts."""
        return {
            "run": self.run or None,
            "name": self.name,
            "path": self.folder,
            "kind": self.kind,
            "base": self.base,
            "step": self.step,
            "epoch": None if self.epoch is None else json_number(self.epoch),
            "created": self.created or None,
            "reason": self.reason or None,
            "stage": self.stage,
            "metrics": {name: json_number(value) for name, value in self.metrics.items()},
            "evaluated_step": self.evaluated_step,
            "bytes": {
                "adapter": self.adapter_bytes,
                "optimizer": self.optimizer_bytes,
                "other": self.other_bytes,
                "total": self.used_bytes,
            },
            "valid": self.fault is None,
            "fault": self.fault,
            "resumable": self.resumable,
            "not_exact": self.not_exact,
            "ours": self.ours,
            "pinned": self.pinned,
            "best_by": list(self.best_by),
        }


def read_entry(run: str, own_run_id: str, path: Path, stamp: Sequence[int] = ()) -> CheckpointEntry | None:
    """Return a checkpoint of a run; None when there is no folder, or only a link to one.

    Args:
        run: Name of the run.
        own_run_id: Which manifests are its own; empty when that cannot be told, and then none is.
        path: Of the folder.
        stamp: What it looked like before.
    """
    checkpoint = read_checkpoint(path)
    if checkpoint is None:
        return None
    sizes = sizes_in(path)
    wrong = manifest_fault(checkpoint, own_run_id)
    not_exact = None if wrong is not None else missing_to_resume(checkpoint)
    for name in _wrong_sizes(checkpoint, sizes) if wrong is None else ():
        if not is_for_resume_alone(name):
            wrong = fault(checkpoint, own_run_id, hashes=False, weights_only=True)  # in its words
            break
        not_exact = not_exact or fault(checkpoint, own_run_id, hashes=False)
    about = checkpoint.metadata
    adapter, optimizer, other = shares(sizes)
    evaluated = about.get("evaluated_step")
    return CheckpointEntry(
        run=run,
        name=path.name,
        folder=str(path),
        step=checkpoint.step,
        epoch=as_number(about.get("epoch")),
        created=_unix(about.get("created")) or mtime(path / MANIFEST),
        reason=_word(about.get("reason")) or "",
        stage=_word(about.get("stage")),
        metrics={**as_numbers(about.get("metrics")), **(_scores(path) if SCORES in sizes else {})},
        evaluated_step=evaluated if type(evaluated) is int else None,
        adapter_bytes=adapter,
        optimizer_bytes=optimizer,
        other_bytes=other,
        fault=wrong,
        not_exact=None if wrong is not None else not_exact,
        ours=bool(own_run_id) and checkpoint.run_id == own_run_id,
        pinned=PINNED in sizes,
        kind="adapter" if "adapter_config.json" in sizes or "config.json" not in sizes else "model",
        sequence=checkpoint.sequence,
        stamp=stamp,
    )


def verify(entry: CheckpointEntry, own_run_id: str) -> CheckpointEntry:
    """Return the entry as reading every byte of it shows it, some 1 GB/s."""
    if not entry.run:
        return entry
    checkpoint = read_checkpoint(entry.path)
    if checkpoint is None:
        return replace(entry, fault="it is gone", not_exact=None)
    wrong = fault(checkpoint, own_run_id, weights_only=True)
    not_exact = None if wrong is not None else fault(checkpoint, own_run_id, to_resume=True)
    return replace(entry, fault=wrong, not_exact=not_exact)


def with_best(entries: Iterable[CheckpointEntry]) -> tuple[CheckpointEntry, ...]:
    """Return the checkpoints of one run, told by which figures each is the best of them.

    Only whole ones of ours are compared, and those of one stage: the loss of two methods is two things. A figure of an
    older evaluation than the checkpoint is that of another.
    """
    entries = list(entries)
    judged = [_comparable(entry) for entry in entries]
    best: dict[tuple[str | None, str], tuple[float, int]] = {}
    for entry, figures in zip(entries, judged, strict=True):
        for name, found in figures.items():
            key = entry.stage, name
            best[key] = max(best.get(key, found), found)
    for index, figures in enumerate(judged):
        stage = entries[index].stage
        best_by = tuple(name for name, found in figures.items() if best[stage, name] == found)
        if best_by != entries[index].best_by:  # of most: none, as before
            entries[index] = replace(entries[index], best_by=best_by)
    return tuple(entries)


@lru_cache(1024)
def direction(metric: str) -> int:
    """Return -1 for a figure that should be low, 1 for one that should be high, 0 for one that judges nothing."""
    last = metric.rpartition("/")[2]
    if last.endswith(_LOWER):
        return -1
    return 1 if last.endswith(_HIGHER) else 0


def shares(sizes: Mapping[str, int]) -> tuple[int, int, int]:
    """Return how many bytes of some files are weights, optimizer state, and neither."""
    found = [0, 0, 0]
    for name, size in sizes.items():
        found[_share(name)] += size
    return found[0], found[1], found[2]


@lru_cache(1024)
def _share(name: str) -> int:
    if is_optimizer_file(name):
        return 1
    return 0 if name.endswith(_WEIGHT_ENDINGS) or name in _WEIGHT_NAMES else 2


def sizes_in(folder: Path) -> dict[str, int]:
    """Return the sizes of the files below a folder, by path relative to it; links in it are not followed into.

    Each folder by its descriptor: a stat that resolves the whole path takes half as long again.
    """
    found: dict[str, int] = {}
    waiting = [("", os.fspath(folder))]
    while waiting:
        prefix, place = waiting.pop()
        try:
            fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    if len(found) >= _MOST_FILES:
                        return found
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((f"{prefix}{entry.name}/", f"{place}/{entry.name}"))
                    else:
                        try:
                            found[prefix + entry.name] = entry.stat().st_size
                        except OSError:  # a link to nowhere
                            continue
        except OSError:
            continue
        finally:
            os.close(fd)
    return found


def _wrong_sizes(checkpoint: Checkpoint, sizes: Mapping[str, int]) -> list[str]:
    """Return the files that are not there or not as long as the manifest says."""
    return [name for name, entry in checkpoint.files.items() if sizes.get(name) != entry.get("size")]


def as_numbers(value: object) -> dict[str, float]:
    """Return what of a mapping are figures, NaN and infinities among them."""
    if not isinstance(value, dict):
        return {}
    found = {name: as_number(number) for name, number in value.items() if isinstance(name, str)}
    return {name: number for name, number in found.items() if number is not None}


def as_number(value: object) -> float | None:
    """Return a figure as the files write it; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(number_from_json(value)) if isinstance(value, str) else float(value)
    except (ValueError, TypeError, OverflowError):
        return None


def mtime(path: Path) -> float:
    """Return when a file was changed; 0 when it is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _comparable(entry: CheckpointEntry) -> dict[str, tuple[float, int]]:
    """Return the figures that judge a checkpoint, the larger the better; of equal ones the earlier step is."""
    if entry.fault is not None or not entry.ours:
        return {}
    stale = entry.evaluated_step is not None and entry.evaluated_step != entry.step
    return {
        name: (sign * value, -entry.step)
        for name, value in entry.metrics.items()
        if (sign := direction(name)) and math.isfinite(value) and not (stale and name.startswith("eval_"))
    }


def _scores(folder: Path) -> dict[str, float]:
    """Return what an evaluation left with a checkpoint; anybody may have written there."""
    try:
        with (folder / SCORES).open("rb") as file:
            return as_numbers(json.loads(file.read(_SCORES_BYTES)))
    except (OSError, ValueError, RecursionError):
        return {}


def _unix(value: object) -> float:
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else 0.0
    except (ValueError, OverflowError):
        return 0.0


def _word(value: object) -> str | None:
    return value[:200] if isinstance(value, str) else None
