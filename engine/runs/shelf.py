"""What can be done with checkpoints that are there: pin, unpin, delete, drop the optimizer's state, prune.

Each verb makes a `Plan`, which touches nothing; `carry_out` does what was confirmed and nothing else. Whatever is
deleted is renamed first and proven by its manifest after that, so two consoles that prune at once, a rotation of the
worker, and a folder exchanged for a link in between cannot make it touch anything else. Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine import events
from engine.errors import CheckpointError, EngineError, RunBusy, UsageError
from engine.journal import Journal, write_error
from engine.runs import checkpoints
from engine.runs.catalogue import RunEntry, read_run
from engine.runs.checkpoints import MANIFEST, PINNED, SCORES, is_optimizer_file, remove_proven
from engine.runs.directory import RunDirectory, all_runs, whoami
from engine.runs.entries import CheckpointEntry, read_entry, sizes_in
from engine.runs.liveness import Life, liveness
from engine.runs.plan import Action, Done, Plan, size_text

MINIMUM_KEPT = 2
"""Of a run at work: what its own rotation keeps at least."""
_LOCK = "shelf.lock"
_LOCK_SECONDS = 10.0
_KEPT_NAMES = ("best", "final")


def plan_pin(entries: Iterable[CheckpointEntry]) -> Plan:
    """Return what pinning would do: rotation and `prune` pass over what is pinned, `delete` refuses it."""
    actions, refused = [], []
    for entry in map(_fresh, entries):
        if said := _not_ours(entry):
            refused.append(said)
        elif entry.kept_anyway:
            refused.append(
                f"{entry.spec} is kept anyway, and replaced by the run alone; to keep these weights whatever comes, "
                f"promote it."
            )
        elif entry.pinned:
            refused.append(f"{entry.spec} is pinned already.")
        else:
            actions.append(_action("pin", entry))
    return Plan(_title("Pin", actions), tuple(actions), refused=tuple(refused))


def plan_unpin(entries: Iterable[CheckpointEntry]) -> Plan:
    """Return what unpinning would do: it may be removed again, by rotation at the run's next save."""
    actions, refused = [], []
    for entry in map(_fresh, entries):
        if said := _not_ours(entry):
            refused.append(said)
        elif not entry.pinned:
            refused.append(f"{entry.spec} is not pinned.")
        else:
            actions.append(_action("unpin", entry))
    return Plan(_title("Unpin", actions), tuple(actions), refused=tuple(refused))


def plan_delete(entries: Sequence[CheckpointEntry]) -> Plan:
    """Return what deleting checkpoints would do and what would be lost with them."""
    actions: list[Action] = []
    lost: list[str] = []
    refused: list[str] = []
    kept: list[Path] = []
    for run, named in _by_run(entries, refused):
        doomed = []
        guarded = _guarded(run)
        for entry in named:
            if said := _not_ours(entry) or _pinned(entry) or guarded.get(entry.name) or _strangers(entry):
                refused.append(said)
            else:
                doomed.append(entry)
        actions += [_action("delete", entry, freed=entry.used_bytes) for entry in doomed]
        lost += _lost_by_deleting(run, doomed)
        kept += _to_prove(run, doomed)
    return Plan(_title("Delete", actions), tuple(actions), tuple(lost), tuple(refused), tuple(kept))


def plan_drop_optimizer(entries: Sequence[CheckpointEntry]) -> Plan:
    """Return what dropping optimizer, schedule and generators would do: the weights stay, exact resume does not."""
    actions: list[Action] = []
    lost: list[str] = []
    refused: list[str] = []
    for run, named in _by_run(entries, refused):
        dropped = []
        guarded = _guarded(run)
        for entry in named:
            said = _not_ours(entry) or _pinned(entry) or guarded.get(entry.name)
            if not said and entry.fault is not None:
                said = f"{entry.spec} is damaged ({entry.fault}): delete it, or leave it for a repair."
            if not said and not entry.optimizer_bytes:
                said = f"{entry.spec} has no optimizer state."
            if said:
                refused.append(said)
            else:
                dropped.append(entry)
        actions += [_action("drop-optimizer", entry, freed=entry.optimizer_bytes) for entry in dropped]
        lost += _lost_by_dropping(run, dropped)
    return Plan(_title("Drop the optimizer state of", actions), tuple(actions), tuple(lost), tuple(refused))


def plan_prune(
    run: RunDirectory, *, keep: int = MINIMUM_KEPT, best_by: str | None = None, optimizer_only: bool = False
) -> Plan:
    """Return what would be removed to keep the newest few, the best, and what is pinned.

    `best/` and `final/` always stay.

    Args:
        run: The run.
        keep: How many of the newest whole checkpoints stay, at least 1; of a run at work at least 2. The newest to
            resume from stays besides.
        best_by: A figure by which the best stays too.
        optimizer_only: Drop optimizer states instead of whole checkpoints.

    Raises:
        UsageError: `keep` is below 1, or no checkpoint has the figure.
        CheckpointError: The run cannot say its id, so nothing can be proven.
    """
    if keep < 1:
        raise UsageError("At least one checkpoint is kept.", remedy="Use --keep 1 or more.")
    checkpoints.run_id(run)
    entry = read_run(run)
    numbered = [one for one in entry.checkpoints if not one.kept_anyway]
    if best_by is not None and not any(best_by in one.metrics for one in numbered):
        have = sorted({name for one in numbered for name in one.metrics})
        raise UsageError(
            f"No checkpoint of {run.name} has the figure {best_by[:80]!r}.",
            remedy=f"There are {', '.join(have)}." if have else "They have none.",
        )
    whole = [one for one in numbered if one.ours and one.fault is None]
    whole.sort(key=lambda one: one.age_key, reverse=True)
    stay = {one.name for one in whole[:keep]} | {one.name for one in whole if best_by in one.best_by}
    stay |= {one.name for one in [one for one in whole if one.resumable][:1]}
    doomed = [one for one in numbered if one.ours and one.name not in stay and not one.pinned]
    if optimizer_only:
        doomed = [one for one in doomed if one.optimizer_bytes and one.fault is None]
    plan = plan_drop_optimizer(doomed) if optimizer_only else plan_delete(doomed)
    stays = [one for one in numbered if one.ours and one.name not in {action.path.name for action in plan.actions}]
    notes = []
    if stays:
        notes.append(f"{_listed([one.name for one in stays])} {'stay' if len(stays) > 1 else 'stays'}.")
    foreign = [f"{one.spec} is not touched: {one.fault}." for one in numbered if not one.ours]
    what = "Drop optimizer states of" if optimizer_only else "Prune"
    return replace(plan, title=f"{what} {run.name}", refused=(*plan.refused, *foreign), notes=tuple(notes))


def carry_out(plan: Plan) -> Done:
    """Do what a plan says, each folder proven again under the lock of its run.

    Raises:
        RunBusy: Another console has been at the same run's checkpoints for ten seconds.
        CheckpointError: A checkpoint that was to stay does not prove whole; nothing was deleted.
        WorkspaceError: The first folder could not be written; nothing was done.
    """
    from engine.runs import promotion

    done: list[Action] = []
    skipped: list[tuple[Action, str]] = []
    with contextlib.ExitStack() as locks:
        for folder in sorted({_lock_folder(action) for action in plan.actions}):
            if folder.name == "models" and plan.actions[0].kind == "promote":
                _make(folder)
            locks.enter_context(locked(folder))
        _prove(plan)
        for run in sorted({_run_folder(action.path) for action in plan.actions if action.kind == "delete"}):
            _clear_leftovers(run)
        for action in plan.actions:
            try:
                if action.kind in ("promote", "swap"):
                    promotion.carry_out(action)
                    reason = None
                else:
                    reason = _carry_out(action)
            except OSError as error:
                if not done:
                    raise write_error(action.path, error) from error
                reason = f"{error.strerror}"
            if reason is None:
                done.append(action)
                if action.kind == "delete":
                    _tell(action)
            else:
                skipped.append((action, reason))
    return Done(tuple(done), tuple(skipped))


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other consoles from a run's checkpoints, or from `models/`.

    Where the file system has no lock, go on: whatever is removed is renamed and proven first.

    Raises:
        RunBusy: Another one holds it for longer than ten seconds.
    """
    path = folder / _LOCK if (folder / "events.jsonl").exists() else folder / f".{_LOCK}"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise write_error(path, error) from error
    try:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RunBusy(
                        f"Another console is at work on {folder}.", remedy="Try again when it has ended."
                    ) from None
                time.sleep(0.02)
            except OSError:
                break
        yield
    finally:
        os.close(fd)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error


def _carry_out(action: Action) -> str | None:
    """Do one thing; return in one sentence why it was not done."""
    if action.kind == "pin":
        return _pin(action)
    if action.kind == "unpin":
        return _unpin(action)
    run = _run_folder(action.path)
    if liveness(run).life is not Life.DEAD:  # it was started since the plan was made, or saved more
        guard = _guarded(read_run(RunDirectory(run))).get(action.path.name)
        if guard:
            return guard
    if action.kind == "delete":
        return remove_proven(action.path, action.run_id, proof=action.proof)
    return _drop_optimizer(action)


def _tell(action: Action) -> None:
    """Say in the run's log that a checkpoint is gone: a live view lists what was saved and not removed since."""
    run = RunDirectory(_run_folder(action.path))
    said = events.CheckpointRemoved(action.step, str(action.path.relative_to(run.path)), f"deleted by {whoami()}")
    if not run.events.is_file():  # a run that is being removed gets no log anew
        return
    with contextlib.suppress(EngineError):  # it is gone, whether that can be told or not
        journal = Journal(run.events)
        try:
            journal.append(events.to_json(said))
        finally:
            journal.close()


def _clear_leftovers(run: Path) -> None:
    """Finish deletions that were cut short. A run that has finished is never started again, which would do it.

    What was renamed and turned out to be another's gets its name back; what has no manifest any more was proven before.
    """
    if liveness(run).life is not Life.DEAD:
        return
    own = checkpoints.run_id(RunDirectory(run))
    for folder in (run, run / "checkpoints"):
        for path in folder.glob(f"{checkpoints.PARTIAL}removed-*"):
            name = path.name.removeprefix(f"{checkpoints.PARTIAL}removed-").rpartition("-")[0]
            if (
                path.is_symlink()
                or not path.is_dir()
                or checkpoints.read_json(path / MANIFEST).get("run_id", own) != own
            ):
                if name and not os.path.lexists(folder / name):
                    path.rename(folder / name)
                continue
            shutil.rmtree(path, ignore_errors=True)


def _pin(action: Action) -> str | None:
    folder = _open_proven(action)
    if isinstance(folder, str):
        return folder
    try:
        fd = os.open(PINNED, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        # An empty file pins as well: that a full disk has no room for the words is no reason to lose what is pinned.
        with contextlib.suppress(OSError), open(fd, "w", encoding="utf-8") as file:
            file.write(json.dumps({"by": whoami(), "time": round(time.time(), 3)}) + "\n")
    except FileExistsError:
        return None
    finally:
        os.close(folder)
    # The run's rotation takes no lock: it renames, looks for the pin, and deletes what has none.
    return None if (action.path / PINNED).exists() else "the run removed it at the same moment"


def _unpin(action: Action) -> str | None:
    folder = _open_proven(action)
    if isinstance(folder, str):
        return folder
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(PINNED, dir_fd=folder)
    finally:
        os.close(folder)
    return None


def _drop_optimizer(action: Action) -> str | None:
    """Rewrite the manifest in one step, then remove what it no longer lists. Cut short there, it can be done again."""
    folder = _open_proven(action)
    if isinstance(folder, str):
        return folder
    partial = f".{MANIFEST}-{secrets.token_hex(4)}"
    try:
        if checkpoints.is_pinned(folder):
            return "it is pinned"
        manifest: dict[str, Any] = json.loads(checkpoints.read_at(folder, MANIFEST))
        before = set(manifest.get("dropped") or [])
        names = sorted({name for name in manifest["files"] if is_optimizer_file(name)} | before)
        manifest["files"] = {name: about for name, about in manifest["files"].items() if name not in names}
        manifest["dropped"] = names
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        with open(fd, "w", encoding="utf-8") as file:
            file.write(json.dumps(manifest, indent=1) + "\n")
            file.flush()
            os.fsync(fd)
        os.rename(partial, MANIFEST, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
        for name in names:
            if is_optimizer_file(name):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(partial, dir_fd=folder)
        os.close(folder)
    return None


def _open_proven(action: Action) -> int | str:
    """Return a descriptor of the folder, proven to be the one of the plan; else why it is not."""
    try:
        folder = os.open(action.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return "it is gone already"
    except NotADirectoryError:
        return "it is a link or no folder"
    if hashlib.sha256(checkpoints.read_at(folder, MANIFEST)).hexdigest() == action.proof:
        return folder
    os.close(folder)
    return "it has changed since it was looked at"


def _prove(plan: Plan) -> None:
    """Read every byte of what is to stay.

    Raises:
        CheckpointError: It is gone or damaged.
    """
    for path in plan.kept:
        found = checkpoints.read_checkpoint(path)
        run = RunDirectory(_run_folder(path))
        own = checkpoints.run_id(run)
        why = "it is gone" if found is None else checkpoints.fault(found, own, weights_only=True)
        if why is not None:
            raise CheckpointError(
                f"{run.name}@{path.name} was to stay and cannot be trusted: {why}. Nothing was deleted.",
                remedy="Look at the checkpoints again before deleting any.",
            )


def _to_prove(run: RunEntry, doomed: Sequence[CheckpointEntry]) -> list[Path]:
    """Return what must prove whole before `doomed` goes: the newest to resume from, or else to load, that stays."""
    if not any(one.fault is None for one in doomed):
        return []
    names = {one.name for one in doomed}
    stay = [one for one in run.checkpoints if one.ours and one.fault is None and one.name not in names]
    stay.sort(key=lambda one: (one.resumable, one.age_key), reverse=True)
    return [one.path for one in stay[:1]]


def _guarded(run: RunEntry) -> dict[str, str]:
    """Return what may not be touched because a process works on the run, or may: name to sentence."""
    if liveness(Path(run.summary.path)).life is Life.DEAD:
        return {}
    state = run.summary.state
    if state in ("starting", "unknown"):
        why = "it is starting and may be reading it" if state == "starting" else "nobody can say whether it still runs"
        return {one.name: f"{one.spec} is left alone: {why}." for one in run.checkpoints}
    whole = [one for one in run.checkpoints if one.ours and one.resumable and not one.kept_anyway]
    newest = {one.name for one in sorted(whole, key=lambda one: one.age_key, reverse=True)[:MINIMUM_KEPT]}
    return {
        one.name: f"{one.spec} is left alone: {run.name} is {state}, and only what its own rotation may remove can go, "
        f"not the newest {MINIMUM_KEPT}, best or final."
        for one in run.checkpoints
        if one.name in newest or one.kept_anyway
    }


def _lost_by_deleting(run: RunEntry, doomed: Sequence[CheckpointEntry]) -> Iterator[str]:
    names = {one.name for one in doomed}
    if not doomed:
        return
    total = size_text(sum(one.used_bytes for one in doomed))
    if len(doomed) == 1:
        yield f"{doomed[0].spec} (step {doomed[0].step}) is gone for good: {total}."
    else:
        listed = _listed([one.name for one in doomed])
        yield f"{len(doomed)} checkpoints of {run.name} are gone for good: {listed}, {total}."
    for one in doomed:
        others = {name for other in run.checkpoints if other.name not in names for name in other.best_by}
        if only := [name for name in one.best_by if name not in others]:
            yield f"{one.name} is the best by {_listed(only)}."
    yield from _lost_resume(run, names)
    for child, name in continued_from(Path(run.summary.path)):
        if name in names:
            yield f"{child} was continued from {name}; it keeps its own copy of those weights."


def _lost_by_dropping(run: RunEntry, dropped: Sequence[CheckpointEntry]) -> Iterator[str]:
    if not dropped:
        return
    names = [one.name for one in dropped]
    whose = "their" if len(names) > 1 else "its"
    yield f"{run.name} can no longer go on exactly from {_listed(names)}; {whose} weights stay."
    yield from _lost_resume(run, set(names))


def _lost_resume(run: RunEntry, names: set[str]) -> Iterator[str]:
    """Say what a resume would do then, where it is not what it would do now."""
    if run.summary.state == "finished":
        return
    for one in run.checkpoints:
        if one.is_result and one.name in names:
            yield f"{run.name} could no longer go on in the stage after {one.name}, which begins with it."
    able = sorted(
        (one for one in run.checkpoints if one.resumable and not one.kept_anyway),
        key=lambda one: one.age_key,
        reverse=True,
    )
    left = [one for one in able if one.name not in names]
    if able and not left:
        yield f"Nothing is left to resume {run.name} from: it would begin again at step 0."
    elif able and left[0] is not able[0]:
        steps = able[0].step - left[0].step
        yield f"A resume of {run.name} would go on from {left[0].name}: {steps} steps are trained again."


def continued_from(run: Path) -> list[tuple[str, str]]:
    """Return the runs that were continued from a run, each with the name of the checkpoint."""
    found = []
    for other in all_runs(run.parent):
        raw = checkpoints.read_json(other.provenance)
        origin = raw.get("adapter")
        if raw.get("parent") == run.name and isinstance(origin, dict):
            found.append((other.name, str(origin.get("checkpoint"))))
    return sorted(found)


def _by_run(entries: Sequence[CheckpointEntry], refused: list[str]) -> Iterator[tuple[RunEntry, list[CheckpointEntry]]]:
    """Yield each run, read anew, with those of its checkpoints that are meant; say which belong to none."""
    folders: dict[Path, list[str]] = {}
    for entry in entries:
        if entry.run:
            folders.setdefault(_run_folder(entry.path), []).append(entry.name)
        else:
            refused.append(f"{entry.folder} belongs to no run of this workspace, so it is never touched.")
    for folder, names in folders.items():
        run = read_run(RunDirectory(folder))
        there = {one.name: one for one in run.checkpoints}
        refused += [f"{run.name}@{name} is gone already." for name in names if name not in there]
        yield run, [there[name] for name in dict.fromkeys(names) if name in there]


def _fresh(entry: CheckpointEntry) -> CheckpointEntry:
    """Return the entry as it is on disk now."""
    if not entry.run:
        return replace(entry, ours=False)
    run = RunDirectory(_run_folder(entry.path))
    found = read_entry(entry.run, checkpoints.run_id(run), entry.path)
    return found if found is not None else replace(entry, ours=False, fault="it is gone")


def _run_folder(path: Path) -> Path:
    """Return the folder of the run that a checkpoint's path is in."""
    return path.parent if path.name in _KEPT_NAMES else path.parent.parent


def _lock_folder(action: Action) -> Path:
    if action.kind in ("promote", "swap"):
        return (action.target or action.path).parent
    return _run_folder(action.path)


def _not_ours(entry: CheckpointEntry) -> str:
    if entry.ours:
        return ""
    if not entry.run:
        return f"{entry.folder} belongs to no run of this workspace, so it is never touched."
    return f"{entry.spec} is not touched: {entry.fault or 'it is not proven to be of this run'}."


def _pinned(entry: CheckpointEntry) -> str:
    return f"{entry.spec} is pinned; unpin it first." if entry.pinned else ""


def _strangers(entry: CheckpointEntry) -> str:
    """Say which files in a checkpoint's folder its run did not put there."""
    found = checkpoints.read_checkpoint(entry.path)
    known = {MANIFEST, PINNED, SCORES, *(found.dropped if found else ()), *(found.files if found else ())}
    others = sorted(name for name in sizes_in(entry.path) if name not in known)
    if not others:
        return ""
    return (
        f"{entry.spec} is left alone: {_listed(others)} in it {'are' if others[1:] else 'is'} not of the run's making."
    )


def _action(kind: Any, entry: CheckpointEntry, *, freed: int = 0) -> Action:
    try:
        proof = hashlib.sha256((entry.path / MANIFEST).read_bytes()).hexdigest()
    except OSError:
        proof = "gone"
    own = checkpoints.run_id(RunDirectory(_run_folder(entry.path)))
    said = f"{entry.name}, step {entry.step}, {size_text(freed or entry.used_bytes)}"
    return Action(kind, entry.path, entry.run, own, proof, step=entry.step, freed_bytes=freed, said=said)


def _title(verb: str, actions: Sequence[Action]) -> str:
    if len(actions) == 1:
        return f"{verb} {actions[0].run}@{actions[0].path.name}"
    return f"{verb} {len(actions)} checkpoints" if actions else f"{verb} nothing"


def _listed(names: Sequence[str], most: int = 6) -> str:
    shown = list(names[:most]) + ([f"{len(names) - most} more"] if len(names) > most else [])
    return ", ".join(shown[:-1]) + f" and {shown[-1]}" if len(shown) > 1 else shown[0] if shown else "nothing"
