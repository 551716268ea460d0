"""Copies of checkpoints in `models/`, which outlive their run: promote, and the pair `latest` and `previous`.

A copy is made beside and renamed, so that a name in `models/` holds a whole model or none; what a kill leaves beside is
cleared by the next promotion. Where `latest` is promoted anew, what it was becomes `previous` first; rolling back
exchanges the two. A name is replaced only where a manifest proves that it was put there this way. Standard library
only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.errors import CheckpointError, DiskFull, InvalidName, NotFound, TargetExists, WorkspaceError
from engine.export.beside import beside
from engine.renaming import exchange, rename_new, sync, sync_tree
from engine.runs import checkpoints
from engine.runs.checkpoints import MANIFEST, METADATA, is_optimizer_file
from engine.runs.directory import RunDirectory, whoami
from engine.runs.entries import CheckpointEntry, sizes_in
from engine.runs.plan import Action, Plan, size_text
from engine.runs.provenance import read_provenance, standing_base
from engine.workspace import BUILT_IN, Workspace

LATEST, PREVIOUS = "latest", "previous"
PROMOTED = "promoted.json"
"""In each folder that was promoted: from which run and checkpoint, when, by whom."""
PROVENANCE = "provenance.json"
_ONLY_TRAINING = ("trainer_state.json", "training_args.bin", MANIFEST, PROMOTED)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def plan_promote(workspace: Workspace, entry: CheckpointEntry, name: str | None = None) -> Plan:
    """Return what copying a checkpoint's weights to `models/NAME` would do.

    Args:
        workspace: Whose `models/` it is.
        entry: Of a run, or of another tool.
        name: None makes one of run and checkpoint: "voice-1-best". "latest" may be there already: then that becomes
            "previous", and what was "previous" is deleted.

    Raises:
        InvalidName: No folder of `models/` may be called so.
        CheckpointError: The checkpoint is damaged.
        TargetExists: The name is taken.
    """
    if entry.fault is not None:
        raise CheckpointError(
            f"{entry.spec} cannot be promoted: {entry.fault}.", remedy="Choose another checkpoint of the run."
        )
    chosen = check_model_name(name if name is not None else _default_name(entry))
    target = workspace.models / chosen
    needed = sum(size for file, size in sizes_in(entry.path).items() if is_promoted(file))
    lost: list[str] = []
    if os.path.lexists(target):
        if chosen != LATEST:
            raise TargetExists(
                f"There is already {chosen} in {workspace.models}.", remedy="Choose another name with --name."
            )
        _prove_promoted(target)
        previous = workspace.models / PREVIOUS
        if os.path.lexists(previous):
            _prove_promoted(previous)
            lost.append(
                f"models/{PREVIOUS} ({said_of(previous)}) is deleted: what is {LATEST} now ({said_of(target)}) becomes "
                f"{PREVIOUS}."
            )
    run = RunDirectory(entry.path.parent if entry.name in ("best", "final") else entry.path.parent.parent)
    own = checkpoints.run_id(run) if entry.run else ""
    said = f"{entry.spec}, step {entry.step}, {size_text(needed)}, to models/{chosen}"
    action = Action(
        "promote", entry.path, entry.run, own, _proof(entry.path), needed_bytes=needed, target=target, said=said
    )
    notes = (f"`{chosen}` then names it wherever a model is named.",)
    return Plan(f"Promote {entry.spec} to models/{chosen}", (action,), tuple(lost), notes=notes)


def plan_rollback(workspace: Workspace) -> Plan:
    """Return what rolling back would do: `models/latest` and `models/previous` change places.

    Raises:
        NotFound: One of them is not there.
        WorkspaceError: One of them was not promoted, so it is not touched.
    """
    latest, previous = workspace.models / LATEST, workspace.models / PREVIOUS
    for path in (previous, latest):
        if not os.path.lexists(path):
            raise NotFound(
                f"There is no {path.name} in {workspace.models}, so there is nothing to roll back.",
                remedy=f"`ftconsole promote RUN --name {LATEST}` makes {LATEST}; the second time it keeps {PREVIOUS}.",
            )
        _prove_promoted(path)
    said = f"{LATEST} becomes {said_of(previous)}, {PREVIOUS} becomes {said_of(latest)}"
    action = Action("swap", latest, proof=_proof(latest), target=previous, said=said)
    return Plan(f"Roll back models/{LATEST}", (action,), notes=("Rolling back again undoes it.",))


def carry_out(action: Action) -> None:
    """Copy, or exchange. Called by `shelf.carry_out`, under the lock of `models/`.

    Raises:
        CheckpointError: What is to be copied does not prove whole.
        DiskFull: There is not enough room.
        TargetExists: The name was taken meanwhile.
        OSError: The folder cannot be written.
    """
    assert action.target is not None
    if _proof(action.path) != action.proof:
        raise CheckpointError(f"{action.path} has changed since it was looked at.", remedy="Look again.")
    if action.kind == "swap":
        _prove_promoted(action.path)
        _prove_promoted(action.target)
        _swap(action.path, action.target)
        return
    target = action.target
    free = shutil.disk_usage(target.parent).free
    if free < action.needed_bytes:
        raise DiskFull(
            f"The copy needs {size_text(action.needed_bytes)} and {target.parent} has {size_text(free)} free.",
            remedy="Free some space there.",
        )
    with beside(target) as partial:
        _copy(action, partial)
        if target.name == LATEST and os.path.lexists(target):
            _keep_previous(target, target.with_name(PREVIOUS))
            _prove_promoted(target)
            _swap(partial, target)  # what was latest is in `partial` now; `previous` has it too
        else:
            try:
                rename_new(partial, target)
            except FileExistsError:
                raise TargetExists(f"{target} was made meanwhile.", remedy="Choose another name with --name.") from None
        sync(target.parent)


def check_model_name(name: str) -> str:
    """Return `name` if a folder of `models/` may be called so.

    Raises:
        InvalidName: It could leave the folder, is another's, or cannot be shown safely.
    """
    if _NAME.fullmatch(name) and ".." not in name and name not in (BUILT_IN, PREVIOUS):
        return name
    why = f"models/{name} is kept for something else" if name in (BUILT_IN, PREVIOUS) else "it is no plain name"
    raise InvalidName(
        f"{name[:80]!r} cannot be the name of a promoted model: {why}.",
        remedy="Use 1 to 64 letters, digits, dots, hyphens and underscores, and begin with a letter or digit.",
    )


def promoted(folder: Path) -> Mapping[str, Any]:
    """Return what a promoted folder says of where it is from; empty for any other."""
    return checkpoints.read_json(folder / PROMOTED)


def said_of(folder: Path) -> str:
    """Return in a word what was promoted into a folder: "voice-1@best"."""
    origin = promoted(folder).get("from")
    return origin[:200] if isinstance(origin, str) else folder.name


def is_promoted(name: str) -> bool:
    """Whether a file of a checkpoint is taken along: what only training needs is not."""
    return (
        not is_optimizer_file(name)
        and not name.startswith(checkpoints.TRAINED)
        and name not in (*_ONLY_TRAINING, checkpoints.PINNED, checkpoints.SCORES)
    )


def _copy(action: Action, partial: Path) -> None:
    """Fill `partial` with what the checkpoint's manifest lists, each file proven by its hash as it is copied."""
    found = checkpoints.read_checkpoint(action.path)
    if found is None:
        raise CheckpointError(f"{action.path} is gone.", remedy="Look again.")
    listed = dict(found.files) if action.run_id else {name: {} for name in sizes_in(action.path)}
    files: dict[str, dict[str, Any]] = {}
    for name in sorted(filter(is_promoted, listed)):
        source, copy = action.path / name, partial / name
        if os.path.isabs(name) or ".." in Path(name).parts or source.is_symlink():
            raise CheckpointError(f"{action.path.name} names files outside of it.", remedy="It is not copied.")
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
        copy.chmod(0o600)
        files[name] = {"size": copy.stat().st_size, "sha256": checkpoints.sha256(copy)}
        if action.run_id and files[name]["sha256"] != listed[name].get("sha256"):
            raise CheckpointError(
                f"{name} of {action.path.name} differs from its hash, so nothing was promoted.",
                remedy="Choose another checkpoint of the run.",
            )
    origin: dict[str, Any] = {
        "from": f"{action.run}@{action.path.name}" if action.run else str(action.path),
        "run": action.run or None,
        "run_id": action.run_id or None,
        "checkpoint": action.path.name,
        "step": found.step,
        "by": whoami(),
        "time": round(time.time(), 3),
    }
    if action.run:  # says which base it is for, proven by hash or commit
        run = action.path.parent if action.path.name in ("best", "final") else action.path.parent.parent
        where = RunDirectory(run)
        with contextlib.suppress(WorkspaceError):  # one that cannot be read proves no base; its name is in the adapter
            origin["base"] = asdict(standing_base(where, read_provenance(where)))
        shutil.copyfile(run / PROVENANCE, partial / PROVENANCE)
        (partial / PROVENANCE).chmod(0o600)
    _write(partial / PROMOTED, json.dumps(origin, indent=2) + "\n")
    for name in (METADATA, PROMOTED, PROVENANCE):
        if (partial / name).is_file():
            files[name] = {"size": (partial / name).stat().st_size, "sha256": checkpoints.sha256(partial / name)}
    manifest = {"version": 1, "run_id": action.run_id or None, "step": found.step, "files": files}
    _write(partial / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    sync_tree(partial)


def _keep_previous(latest: Path, previous: Path) -> None:
    """Make `previous` the same as `latest`, of links where there are any: no step leaves a name without a model."""
    with beside(previous) as made:
        shutil.copytree(latest, made, copy_function=_link, symlinks=True, dirs_exist_ok=True)
        if os.path.lexists(previous):
            _prove_promoted(previous)
            _swap(made, previous)
        else:
            made.rename(previous)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copyfile(source, target, follow_symlinks=False)
    return target


def _prove_promoted(folder: Path) -> None:
    found = None if folder.is_symlink() else checkpoints.read_checkpoint(folder)
    if found is None or not promoted(folder) or PROMOTED not in found.files:
        raise WorkspaceError(
            f"{folder} was not promoted, so it is not touched.", remedy="Move it to another name, or choose another."
        )


def _swap(one: Path, other: Path) -> None:
    """Give two folders each other's name: in one step where the system can."""
    if exchange(one, other):
        return
    aside = other.with_name(f"{other.name}.aside-{secrets.token_hex(4)}")
    other.rename(aside)
    try:
        one.rename(other)
    except OSError:
        aside.rename(other)
        raise
    aside.rename(one)


def _default_name(entry: CheckpointEntry) -> str:
    stem = f"{entry.run}-{entry.name}" if entry.run else entry.name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", re.sub(r"\.{2,}", ".", stem)).strip("-._")[:64] or "promoted"


def _proof(folder: Path) -> str:
    try:
        return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
