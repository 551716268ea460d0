"""Every run with its checkpoints, as a tree of who was continued from whom.

200 runs with 50 checkpoints each are 120,000 files. What was read is remembered in the user's cache, each checkpoint by
its folder's time of change, so that the next look stats 10,000 folders and reads what is new; or, for a screen that is
to be there at once and looks closely afterwards, only the 600 folders that they are in. A file that was cut short in
place changes no folder: `read_run` looks at everything of one run, and whatever acts on a checkpoint does.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.renaming import replace_file
from engine.runs import checkpoints
from engine.runs.checkpoints import run_id
from engine.runs.directory import RunDirectory, all_runs
from engine.runs.entries import CheckpointEntry, read_entry, verify, with_best
from engine.runs.summary import RunSummary, in_order, summarise_if_readable

_VERSION = 1
"""Of the remembered form. What was remembered in another one is read anew."""
_MOST_REMEMBERED_BYTES = 256 << 20
_ALWAYS_READ = frozenset({"starting", "running", "paused", "stopping", "unknown"})
"""States that can change without a word in the log."""
_PLAIN_FIELDS = tuple(field.name for field in fields(CheckpointEntry) if field.name not in ("run", "folder"))
_VALUES = attrgetter(*_PLAIN_FIELDS)
_BEST_BY, _EPOCH, _METRICS, _STAMP = map(_PLAIN_FIELDS.index, ("best_by", "epoch", "metrics", "stamp"))


@dataclass(frozen=True, slots=True)
class RunEntry:
    """A run of the tree."""

    summary: RunSummary
    parent: str | None
    """Name of the run whose weights it starts from, where that run is in the tree."""
    base: str
    """The base model as the user named it."""
    depth: int
    """0 for a run that starts from a base model, or whose parent is gone."""
    checkpoints: tuple[CheckpointEntry, ...]
    """`best` and `final` first, then what each stage ended with, then the newest first; what is not ours last."""
    problem: str = ""
    """Why its checkpoints cannot be told, in one sentence."""
    pending: bool = False
    """Not read yet: there was no more time (`read_catalogue`)."""

    @property
    def name(self) -> str:
        return self.summary.name

    @property
    def used_bytes(self) -> int:
        return sum(entry.used_bytes for entry in self.checkpoints)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "run": self.name,
            "parent": self.parent,
            "base": self.base,
            "depth": self.depth,
            "state": self.summary.state,
            "step": self.summary.step,
            "total_steps": self.summary.total_steps,
            "used_bytes": self.used_bytes,
            "problem": self.problem or None,
            "checkpoints": [entry.as_dict() for entry in self.checkpoints],
        }


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All runs of a workspace, children below their parent."""

    runs: tuple[RunEntry, ...]

    @property
    def pending(self) -> bool:
        """Whether some runs have not been read yet."""
        return any(run.pending for run in self.runs)

    def find(self, run: str, name: str | None = None) -> CheckpointEntry | None:
        """Return a checkpoint by run and folder name."""
        for entry in self.runs:
            if entry.name == run:
                return next((one for one in entry.checkpoints if one.name == name), None)
        return None


def read_catalogue(
    runs: Path,
    *,
    cache: Path | None = None,
    max_seconds: float | None = None,
    remember: bool = True,
    closely: bool = True,
) -> Catalogue:
    """Return every run with its checkpoints.

    Args:
        runs: The workspace's `runs` folder; need not exist.
        cache: Where to remember what was read; None is the user's cache.
        max_seconds: Runs that nothing is remembered of are left `pending` once so much time is over; at least one is
            read, so that calling again as long as there are some ends.
        remember: Whether to write the cache.
        closely: Whether to look at the folder of each remembered checkpoint. If not, a pin or a file that went since
            is not seen, but by whoever compares `CheckpointEntry.stamp`.
    """
    place = cache if cache is not None else users_cache()
    with _not_collecting():
        return _read_all(runs, place, max_seconds, remember=remember, closely=closely)


@contextlib.contextmanager
def _not_collecting() -> Iterator[None]:
    """Look for no garbage meanwhile: among 40,000 new objects there is none, and looking takes a fifth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read_all(runs: Path, cache: Path, max_seconds: float | None, *, remember: bool, closely: bool) -> Catalogue:
    began = time.monotonic()
    file = cache / f"{_key(runs)}.json"
    known = _remembered(file)
    found: dict[str, dict[str, Any]] = {}
    entries: list[RunEntry] = []
    changed = False
    num_read = 0
    for run in all_runs(runs):
        before = known.get(run.name)
        late = max_seconds is not None and num_read > 0 and time.monotonic() - began > max_seconds
        if before is None and late:
            summary = RunSummary(
                name=run.name, path=str(run.path), state="unknown", method="", model="", parent=None, created=0.0,
                step=0, total_steps=0, loss=None,
            )  # fmt: skip
            entries.append(RunEntry(summary, None, "", 0, (), pending=True))
            continue
        entry, kept, is_new = _read(run, before or {}, closely=closely)
        num_read += before is None
        changed = changed or is_new
        found[run.name] = kept
        entries.append(entry)
    if remember and (changed or found.keys() != known.keys()):
        _remember(file, found)
    return Catalogue(tuple(in_lineage(entries)))


def read_run(run: RunDirectory) -> RunEntry:
    """Return one run with its checkpoints, every file of them looked at."""
    return _read(run, {})[0]


def verified(entry: RunEntry) -> RunEntry:
    """Return a run whose checkpoints were read whole, some 1 GB/s."""
    own = _run_id(RunDirectory(Path(entry.summary.path)))
    return replace(entry, checkpoints=with_best(verify(one, own) for one in entry.checkpoints))


def users_cache() -> Path:
    """Return where this user's catalogues are remembered."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "ftconsole" / "catalogue"


def in_lineage(entries: Iterable[RunEntry]) -> Iterator[RunEntry]:
    """Yield the runs in the order of the list, each followed by those continued from it."""
    by_name = {entry.name: entry for entry in entries}
    ordered = [by_name[summary.name] for summary in in_order(entry.summary for entry in by_name.values())]
    children: dict[str, list[RunEntry]] = {}
    roots = []
    for entry in ordered:
        parent = entry.summary.parent
        if parent in by_name and parent != entry.name:
            children.setdefault(parent, []).append(entry)
        else:
            roots.append(entry)
    shown: set[str] = set()
    for root in [*roots, *ordered]:  # a circle of parents, which only a forged log can say, has no root
        waiting = [(root, 0)]
        while waiting:
            entry, depth = waiting.pop()
            if entry.name in shown:
                continue
            shown.add(entry.name)
            yield replace(entry, depth=depth, parent=entry.summary.parent if depth else None)
            waiting += [(child, depth + 1) for child in reversed(children.get(entry.name, []))]


def _read(
    run: RunDirectory, known: Mapping[str, Any], *, closely: bool = True
) -> tuple[RunEntry, dict[str, Any], bool]:
    """Return a run, what to remember of it, and whether that is new."""
    log, shelf, provenance = _stamp(run.events), _shelf(run), _stamp(run.provenance)
    summary, is_new = _summary(run, log, known)
    own = known.get("run_id", "") if known.get("provenance") == provenance else _run_id(run)
    before = known.get("checkpoints") if known.get("run_id") == own else None
    before = before if isinstance(before, dict) else {}
    problem = "" if own else "Its provenance.json does not say its id, so none of its checkpoints can be proven."
    if closely or known.get("shelf") != shelf:
        folders = _folders(run)
        unchanged = _as_remembered(run.name, folders, before)
    else:
        folders, unchanged = {}, _as_remembered(run.name, _remembered_folders(run, before), before)
    if unchanged is not None:
        shown = unchanged
    else:
        folders = folders or _folders(run)
        shown = with_best(sorted(_read_or_restored(run.name, own, folders, before), key=_place))
        before = {entry.name: _plain(entry) for entry in shown}
    is_new = is_new or unchanged is None or known.get("provenance") != provenance or known.get("shelf") != shelf
    if not problem and not os.access(run.checkpoints, os.R_OK | os.X_OK) and run.checkpoints.exists():
        problem = "Its folder of checkpoints may not be read."
    told = _summary_as_known(summary)
    record = {
        "log": log, "summary": told, "provenance": provenance, "run_id": own, "shelf": shelf, "checkpoints": before,
    }  # fmt: skip
    return RunEntry(summary, None, summary.model, 0, shown, problem), record, is_new


def _shelf(run: RunDirectory) -> list[list[int]]:
    """Return what changes when a checkpoint comes or goes."""
    return [_stamp(folder) for folder in (run.checkpoints, run.best, run.final, run.stages)]


def _remembered_folders(run: RunDirectory, before: Mapping[str, Any]) -> dict[str, tuple[str, list[int]]]:
    """Return what `_folders` would if nothing in them has changed."""
    own, others, stages = str(run.path), str(run.checkpoints), str(run.stages)

    def place(name: str) -> str:
        if name in ("best", "final"):
            return own
        return stages if checkpoints.STAGE.fullmatch(name) else others

    return {
        name: (f"{place(name)}/{name}", old[_STAMP] if len(old) > _STAMP else [])
        for name, old in before.items()
        if isinstance(old, list)
    }


def _as_remembered(
    run: str, folders: Mapping[str, tuple[str, list[int]]], before: Mapping[str, Any]
) -> tuple[CheckpointEntry, ...] | None:
    """Return the checkpoints in the order they were remembered in, which is the list's; None where any has changed."""
    if folders.keys() != before.keys():
        return None
    entries = []
    for name, old in before.items():
        entry = _restored(run, folders[name], old)
        if entry is None:
            return None
        entries.append(entry)
    return tuple(entries)


def _read_or_restored(
    run: str, own: str, folders: Mapping[str, tuple[str, list[int]]], before: Mapping[str, Any]
) -> Iterator[CheckpointEntry]:
    for name, folder in folders.items():
        entry = _restored(run, folder, before.get(name))
        if entry is None:
            entry = read_entry(run, own, Path(folder[0]), folder[1])
        if entry is not None:
            yield entry


def _place(entry: CheckpointEntry) -> tuple[int, int, int, str]:
    rank = {"best": 0, "final": 1}.get(entry.name, 4 if not entry.ours else 2 if entry.is_result else 3)
    return rank, -entry.sequence if entry.ours else 0, -entry.step, entry.name


def _folders(run: RunDirectory) -> dict[str, tuple[str, list[int]]]:
    """Return the folders that call themselves checkpoints of a run, by name: path and stamp."""
    found = {}
    for place, is_one in (
        (str(run.path), lambda name: name in ("best", "final")),
        (str(run.checkpoints), lambda name: name.startswith("checkpoint-") and name[11:].isdecimal()),
        (str(run.stages), lambda name: checkpoints.STAGE.fullmatch(name) is not None),
    ):
        with contextlib.suppress(OSError), _opened(place) as fd, os.scandir(fd) as entries:
            for entry in entries:
                name = entry.name
                if is_one(name) and name.isascii() and entry.is_dir(follow_symlinks=False):
                    about = entry.stat(follow_symlinks=False)
                    found[name] = f"{place}/{name}", [about.st_mtime_ns, about.st_size, about.st_ino]
    return found


@contextlib.contextmanager
def _opened(folder: str) -> Iterator[int]:
    """Open a folder: 10,400 stats below it take 0.07 s, and 0.10 s when each resolves the whole path."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _summary(run: RunDirectory, log: list[int], known: Mapping[str, Any]) -> tuple[RunSummary, bool]:
    """Return what the log's two ends say. Of a run that is over it is remembered."""
    before = known.get("summary")
    if known.get("log") == log and isinstance(before, dict):
        with contextlib.suppress(TypeError, ValueError):
            return RunSummary(**{**before, "path": str(run.path), "loss": _number(before["loss"])}), False
    return summarise_if_readable(run), True


def _summary_as_known(summary: RunSummary) -> dict[str, Any] | None:
    if summary.state in _ALWAYS_READ:
        return None
    record = {name: getattr(summary, name) for name in RunSummary.__slots__}
    return {**record, "losses": [], "loss": None if summary.loss is None else repr(summary.loss)}


def _number(text: object) -> float | None:
    return float(text) if isinstance(text, str) else None


def _run_id(run: RunDirectory) -> str:
    try:
        return run_id(run)
    except EngineError:
        return ""


def _stamp(path: Path) -> list[int]:
    """Return what changes when a file or folder does."""
    try:
        about = os.stat(path, follow_symlinks=False)
    except OSError:
        return []
    return [about.st_mtime_ns, about.st_size, about.st_ino]


def _plain(entry: CheckpointEntry) -> list[Any]:
    return list(_VALUES(entry))


def _restored(run: str, folder: tuple[str, list[int]], values: object) -> CheckpointEntry | None:
    """Return a checkpoint as it was remembered; None when its folder has changed since."""
    path, stamp = folder
    if not isinstance(values, list) or len(values) != len(_PLAIN_FIELDS) or values[_STAMP] != stamp:
        return None
    values[_BEST_BY] = tuple(values[_BEST_BY])
    return CheckpointEntry(run, values[0], path, *values[1:])


def _key(runs: Path) -> str:
    return hashlib.sha256(os.fsencode(os.path.realpath(runs))).hexdigest()[:32]


def _remembered(file: Path) -> dict[str, Any]:
    """Return what was remembered; empty when that is not readable, or another's."""
    try:
        about = file.stat()
        if about.st_uid != os.getuid() or about.st_size > _MOST_REMEMBERED_BYTES:
            return {}
        value = _loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    known = value.get("runs") if isinstance(value, dict) and value.get("version") == _version() else None
    return {name: run for name, run in known.items() if isinstance(run, dict)} if isinstance(known, dict) else {}


def _loads(text: bytes) -> Any:
    """Parse 5 MB: 25 ms with orjson, 100 with the standard library, which alone reads NaN."""
    import orjson

    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def _remember(file: Path, runs: Mapping[str, Any]) -> None:
    """Write the cache in one step. It can be done without, so a full or read-only disk is no error."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(file, _dumps({"version": _version(), "runs": runs}))


def _dumps(value: dict[str, Any]) -> bytes:
    """Return the text: 30 ms with orjson, 240 with the standard library, which alone writes NaN and half a pair."""
    import orjson

    if _all_finite(value["runs"]):
        with contextlib.suppress(orjson.JSONEncodeError):
            return orjson.dumps(value)
    return json.dumps(value, separators=(",", ":")).encode()


def _all_finite(runs: Mapping[str, Any]) -> bool:
    checkpoints = (values for run in runs.values() for values in run["checkpoints"].values())
    return all(
        all(map(math.isfinite, values[_METRICS].values())) and math.isfinite(values[_EPOCH] or 0.0)
        for values in checkpoints
    )


def _version() -> list[object]:
    return [_VERSION, *_PLAIN_FIELDS]
