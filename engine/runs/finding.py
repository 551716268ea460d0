"""From what a person writes to the checkpoint meant, damaged or not; and lists of them, filtered and sorted."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from engine.errors import NotFound, UsageError
from engine.runs import checkpoints
from engine.runs.catalogue import read_run
from engine.runs.directory import RunDirectory, check_name, find_run
from engine.runs.entries import CheckpointEntry, direction
from engine.runs.foreign import read_folder
from engine.workspace import Workspace

SORTS = ("age", "step", "size", "name", "run")
"""What a list can be sorted by, besides any figure."""
_COMPARISON = re.compile(r"([A-Za-z0-9_./-]+)(<=|>=|<|>|=)(-?[0-9][0-9.e+-]*)")
_FLAGS: dict[str, Callable[[CheckpointEntry], bool]] = {
    "pinned": lambda entry: entry.pinned,
    "best": lambda entry: bool(entry.best_by) or entry.name == "best",
    "valid": lambda entry: entry.fault is None,
    "damaged": lambda entry: entry.fault is not None,
    "resumable": lambda entry: entry.resumable,
    "foreign": lambda entry: not entry.ours,
}


def find_entry(workspace: Workspace, text: str) -> CheckpointEntry:
    """Return the checkpoint a text names: `RUN@CHECKPOINT`, a run (its best, else final, else newest), or a folder.

    Raises:
        NotFound, UsageError: There is none such.
        CheckpointError: A run is named, and it has no whole checkpoint.
    """
    name, at, checkpoint = text.rpartition("@")
    if at and name and (run := _run(workspace, name)) is not None:
        found = checkpoints.find_checkpoint(run, checkpoint)
        return _entry_of(run, found.path.name)
    if at and name and not any(path.is_dir() for path in _folders(workspace, name)):
        find_run(workspace.runs, name)  # raises, with the nearest name
    from engine.spec import local_model

    model = local_model(workspace, text)
    if model.run is not None and model.checkpoint is not None:
        run = _run(workspace, model.run)
        if run is not None:
            return _entry_of(run, model.checkpoint)
    return read_folder(model.adapter if model.adapter is not None else _folder(model.base.source, text))[0]


def matching(entries: Iterable[CheckpointEntry], text: str) -> list[CheckpointEntry]:
    """Return the checkpoints that fit every word of a filter.

    A word is `pinned`, `best`, `valid`, `damaged`, `resumable` or `foreign`, with `!` before it the contrary; a
    comparison such as `eval_loss<1.2` or `step>=100`; or a part of the run's or checkpoint's name, of its stage or the
    reason.
    """
    tests = [_test(word) for word in text.split()]
    return [entry for entry in entries if all(test(entry) for test in tests)]


def in_order(entries: Iterable[CheckpointEntry], by: str, *, reverse: bool = False) -> list[CheckpointEntry]:
    """Return checkpoints sorted: the newest, latest, largest first, of a figure the best; what has none comes last.

    Args:
        entries: In an order that decides between equals.
        by: One of `SORTS`, or a figure.
        reverse: The other way round; what has no figure still comes last.
    """
    entries = list(entries)
    if by in ("name", "run"):
        return sorted(entries, key=lambda entry: (entry.run, _natural(entry.name)), reverse=reverse)
    sign = -1 if by in SORTS or direction(by) >= 0 else 1

    def key(entry: CheckpointEntry) -> tuple[bool, float]:
        value = figure(entry, by)
        missing = value is None or math.isnan(value)
        return missing, 0.0 if missing or value is None else sign * value * (-1 if reverse else 1)

    return sorted(entries, key=key)


def figure(entry: CheckpointEntry, name: str) -> float | None:
    """Return a figure of a checkpoint: a metric, or `step`, `epoch`, `size`, `age` (when it was made)."""
    known = {"step": float(entry.step), "size": float(entry.used_bytes), "age": entry.created, "epoch": entry.epoch}
    return known[name] if name in known else entry.metrics.get(name)


def figure_names(entries: Iterable[CheckpointEntry]) -> list[str]:
    """Return the metrics that some checkpoint has: those of validation first, then those that judge, then the rest."""
    names = {name for entry in entries for name in entry.metrics}
    return sorted(names, key=lambda name: (not name.startswith("eval_"), not direction(name), name))


def _test(word: str) -> Callable[[CheckpointEntry], bool]:
    wanted = not word.startswith("!")
    plain = word.removeprefix("!").lower()
    if plain in _FLAGS:
        flag = _FLAGS[plain]
        return lambda entry: flag(entry) is wanted
    if match := _COMPARISON.fullmatch(word):
        name, sign = match[1], match[2]
        try:
            bound = float(match[3])
        except ValueError:
            raise UsageError(f"{match[3][:40]!r} is no number.", remedy="Write it as eval_loss<1.2.") from None
        return lambda entry: _compares(figure(entry, name), sign, bound)
    return lambda entry: (plain in f"{entry.run}@{entry.name} {entry.stage or ''} {entry.reason}".lower()) is wanted


def _compares(value: float | None, sign: str, bound: float) -> bool:
    if value is None:
        return False
    return {
        "<": value < bound, ">": value > bound, "<=": value <= bound, ">=": value >= bound, "=": value == bound,
    }[sign]  # fmt: skip


def _entry_of(run: RunDirectory, name: str) -> CheckpointEntry:
    """Return a checkpoint as its run's list has it, told by what it is the best."""
    for entry in read_run(run).checkpoints:
        if entry.name == name:
            return entry
    raise NotFound(f"Run {run.name} has no checkpoint {name[:80]!r}.", remedy="It may just have been removed.")


def _run(workspace: Workspace, name: str) -> RunDirectory | None:
    try:
        run = RunDirectory(workspace.runs / check_name(name))
    except UsageError:
        return None
    return run if (run.path / "events.jsonl").is_file() and not run.path.is_symlink() else None


def _folders(workspace: Workspace, name: str) -> list[Path]:
    try:
        return workspace.folders(name)
    except NotFound:
        return []


def _folder(source: str, text: str) -> Path:
    path = Path(source)
    if path.is_absolute() and path.is_dir():
        return path
    raise UsageError(f"{text[:200]!r} is no folder of this machine.", remedy="Name a run, a checkpoint or a folder.")


def _natural(name: str) -> tuple[str, int]:
    stem, _, number = name.rpartition("-")
    return (stem, int(number)) if number.isdecimal() and number.isascii() else (name, 0)
