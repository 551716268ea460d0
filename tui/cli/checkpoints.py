"""`ftconsole checkpoints`: every checkpoint with what it scored, what it weighs, and what is wrong with it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from engine.errors import EngineError, NotFound, UsageError
from engine.runs.catalogue import RunEntry, read_catalogue, read_run, verified
from engine.runs.directory import RunDirectory, check_name, find_run
from engine.runs.entries import CheckpointEntry
from engine.runs.finding import SORTS, figure_names, in_order, matching
from engine.runs.foreign import read_folder
from engine.runs.plan import size_text
from engine.runs.room import Room, room_of
from engine.runs.summary import age_text
from engine.workspace import Workspace
from tui.cli import output
from tui.display import cell_len, plain

_GAP = "  "
_FIGURES_SHOWN = 4
_RIGHT = frozenset({"STEP", "EPOCH", "ADAPTER", "OPTIMIZER", "AGE"})


class Asked(NamedTuple):
    """What is to be listed, and how."""

    where: str | None
    """A run or a folder; None for every run."""
    sort: str | None = None
    reverse: bool = False
    filter: str = ""
    metrics: tuple[str, ...] = ()
    verify: bool = False


def show(workspace: str | None, asked: Asked, *, as_json: bool) -> int:
    """Print checkpoints. None at all is an empty list and no error.

    Raises:
        NotFound: There is no such run or folder.
        UsageError: What to sort by is neither known nor a figure of any.
    """
    place = Workspace.find(workspace)
    if asked.where is None:
        return _show_runs(read_catalogue(place.runs).runs, asked, as_json=as_json)
    run = _run_named(place, asked.where)
    if run is not None:
        return _show_runs((read_run(run),), asked, as_json=as_json)
    entries = _chosen(_folder(place, asked.where), asked)
    if as_json:
        output.emit([entry.as_dict() for entry in entries])
    else:
        _print_table(entries, asked.metrics)
    return 0


def _show_runs(runs: Sequence[RunEntry], asked: Asked, *, as_json: bool) -> int:
    if asked.verify:
        runs = [verified(run) for run in runs]
    rooms = {run.name: room_of(run) for run in runs}
    if asked.sort is None and not asked.filter:
        if as_json:
            output.emit([
                {**run.as_dict(), "room": rooms[run.name].as_dict(), "checkpoints": _as_dicts(run.checkpoints)}
                for run in runs
            ])  # fmt: skip
            return 0
        if not runs:
            output.note("There are no runs here. `ftconsole demo` makes the first one.")
        for index, run in enumerate(runs):
            _print_run(run, asked, rooms[run.name], first=index == 0)
        return 0
    entries = _chosen([entry for run in runs for entry in run.checkpoints], asked)
    if as_json:
        output.emit(_as_dicts(entries))
    else:
        _print_table(entries, asked.metrics, with_run=len(runs) > 1)
    return 0


def _as_dicts(entries: Sequence[CheckpointEntry]) -> list[dict[str, Any]]:
    """Return the JSON form of checkpoints of runs, with what they were evaluated to be."""
    from engine.evaluation.evaluate import measured_after, results_of  # 0.2 s that the table does not need

    told = []
    evaluated: dict[Path, bool] = {}
    for entry in entries:
        folder = entry.path.parent if entry.name in ("best", "final") else entry.path.parent.parent
        run = RunDirectory(folder)
        if folder not in evaluated:  # ten thousand checkpoints of a few hundred runs
            evaluated[folder] = run.evaluations.is_dir()
        results = results_of(run, entry.path) if evaluated[folder] else []
        measured = measured_after(run) if evaluated[folder] and entry.name == "final" else None
        behaviour = None if measured is None else {"scores": measured.scores, "counts": measured.counts}
        told.append({
            **entry.as_dict(), "evaluations": [one.as_dict() for one in results], "behaviour": behaviour,
        })  # fmt: skip
    return told


def _print_run(run: RunEntry, asked: Asked, room: Room, *, first: bool) -> None:
    if not first:
        output.out()
    indent = "  " * run.depth
    origin = f"from {run.parent}" if run.parent else plain(run.base, limit=60)
    used = size_text(run.used_bytes) if run.checkpoints else "no checkpoint"
    output.out(f"{indent}{plain(run.name)}  {run.summary.state}  {origin}  {used}", style="bold")
    if run.problem:
        output.out(f"{indent}  {run.problem}", style="warning")
    if run.checkpoints:
        _print_table(run.checkpoints, asked.metrics, indent=indent + "  ")
    if room.to_come_bytes:
        output.out(f"{indent}  {room.sentence()}", style="" if room.fits is not False else "warning")


def _chosen(entries: Sequence[CheckpointEntry], asked: Asked) -> list[CheckpointEntry]:
    found = matching(entries, asked.filter)
    if asked.sort is None:
        return list(reversed(found)) if asked.reverse else found
    names = figure_names(entries)
    if entries and asked.sort not in (*SORTS, *names):
        have = ", ".join([*SORTS, *(plain(name, limit=60) for name in names)])
        raise UsageError(f"Nothing can be sorted by {asked.sort[:80]!r}.", remedy=f"There are {have}.")
    return in_order(found, asked.sort, reverse=asked.reverse)


def _print_table(
    entries: Sequence[CheckpointEntry], metrics: Sequence[str], *, indent: str = "", with_run: bool = False
) -> None:
    if not entries:
        output.note("No checkpoint fits.")
        return
    names = list(metrics) or [name for name in figure_names(entries) if _shown(name)][:_FIGURES_SHOWN]
    staged = any(entry.stage for entry in entries)
    heads = ["CHECKPOINT", *(["STAGE"] if staged else []), "STEP", "EPOCH", *(plain(name, limit=40) for name in names)]
    heads += ["ADAPTER", "OPTIMIZER", "AGE", "STATE"]
    rows = [_cells(entry, names, with_run=with_run, staged=staged) for entry in entries]
    widths = [max(len(head), *(cell_len(row[n]) for row in rows)) for n, head in enumerate(heads[:-1])]
    room = output.columns() if output.is_terminal(sys.stdout) else None
    kept = _kept_columns(widths, room, len(indent))
    output.out(indent + _line([heads[n] for n in kept], heads, kept, widths), style="dim")
    for entry, row in zip(entries, rows, strict=True):
        style = "error" if entry.fault and entry.ours else "dim" if not entry.ours and entry.run else ""
        output.out(indent + _line([row[n] for n in kept], heads, kept, widths), style=style)


def _cells(entry: CheckpointEntry, names: Sequence[str], *, with_run: bool, staged: bool) -> list[str]:
    return [
        plain(entry.spec if with_run else entry.name, limit=120),
        *([plain(entry.stage or "-", limit=32)] if staged else []),
        f"{entry.step:,}",
        "-" if entry.epoch is None else f"{entry.epoch:.2f}",
        *(f"{entry.metrics[name]:.4g}" if name in entry.metrics else "-" for name in names),
        size_text(entry.adapter_bytes),
        size_text(entry.optimizer_bytes) if entry.optimizer_bytes else "-",
        age_text(entry.created) if entry.created else "-",
        _state(entry),
    ]


def _state(entry: CheckpointEntry) -> str:
    """Return in words what there is to say of it."""
    said = []
    if entry.fault is not None:
        said.append(f"{'damaged' if entry.ours or not entry.run else 'not ours'}: {entry.fault}")
    if entry.pinned:
        said.append("pinned")
    judging = sorted((name for name in entry.best_by if _shown(name)), key=lambda name: (name != "eval_loss", name))
    if judging:
        more = f" and {len(judging) - 2} more" if judging[2:] else ""
        said.append(f"best by {', '.join(plain(name, limit=40) for name in judging[:2])}{more}")
    if entry.fault is None and entry.not_exact is not None and entry.run and not entry.kept_anyway:
        said.append(f"weights only: {entry.not_exact.partition(', so ')[0]}")
    return "; ".join(said)


def _shown(name: str) -> bool:
    return name.startswith("eval_") or name in ("loss", "mean_token_accuracy", "rewards/margins", "rewards/accuracies")


def _kept_columns(widths: Sequence[int], room: int | None, indent: int) -> list[int]:
    """Return the columns that fit: sizes and figures are left out before the first two and the last."""
    kept = list(range(len(widths) + 1))

    def width() -> int:
        return indent + sum(widths[n] + len(_GAP) for n in kept[:-1]) + 20

    while room is not None and len(kept) > 4 and width() > room:
        del kept[-4 if len(kept) > 6 else -3]
    return kept


def _line(cells: Sequence[str], heads: Sequence[str], kept: Sequence[int], widths: Sequence[int]) -> str:
    shown = []
    for cell, n in zip(cells, kept, strict=True):
        if n == len(widths):
            shown.append(cell)
            continue
        space = " " * (widths[n] - cell_len(cell))
        right = heads[n] in _RIGHT or heads[n].islower()
        shown.append(space + cell if right else cell + space)
    return _GAP.join(shown).rstrip()


def _run_named(place: Workspace, text: str) -> RunDirectory | None:
    """Return the run; None where a folder of that path is meant."""
    try:
        return find_run(place.runs, text)
    except EngineError:
        if _is_name(text) and not any(folder.is_dir() for folder in _folders(place, text)):
            raise
        return None


def _folder(place: Workspace, text: str) -> tuple[CheckpointEntry, ...]:
    folders = _folders(place, text)
    if not folders:
        raise NotFound(f"There is no run and no folder {text[:200]!r}.", remedy="`ftconsole runs` lists the runs.")
    return read_folder(folders[0])


def _folders(place: Workspace, text: str) -> list[Any]:
    return list(place.folders(text))


def _is_name(text: str) -> bool:
    try:
        check_name(text)
    except UsageError:
        return False
    return True
