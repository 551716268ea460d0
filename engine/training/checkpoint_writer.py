"""Writes a checkpoint so that it is either complete under its name or not there. Standard library only.

Beside, file by file; synced; hashed into `manifest.json`; renamed. The libraries' own savers write straight into the
final folder without one fsync: 2 of 7 kills during a save left a newest checkpoint that could not be loaded.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.errors import DiskFull
from engine.journal import RESUME, write_error
from engine.renaming import exchange, sync
from engine.runs import checkpoints
from engine.runs.checkpoints import MANIFEST, METADATA, PARTIAL, REPLACED, Checkpoint
from engine.runs.directory import RunDirectory

_NEVER_KEPT = ("training_args.bin",)
"""A pickle nobody needs to go on, which holds `hub_token` in clear text (transformers 5.23)."""
MINIMUM_KEPT = 2
"""Rotation keeps at least so many: the last one may be the one being written when the power goes."""


def write_checkpoint(
    target: Path,
    save: Callable[[Path], None],
    *,
    run_id: str,
    step: int,
    metadata: dict[str, Any],
    expected_bytes: int = 0,
) -> Checkpoint:
    """Let `save` fill a folder and put it under `target`, replacing what is there.

    What is there is deleted if it is this run's; else it is kept beside, as `<name>.not-ours-<hex>`.

    Args:
        target: Final folder, such as `checkpoints/checkpoint-50` or `best`.
        save: Called with an empty folder; what it raises is passed on and nothing is left behind.
        run_id: Written into the manifest.
        step: Optimizer steps the weights have seen.
        metadata: Written as `metadata.json`, with the time.
        expected_bytes: Refused beforehand when there is less room than this.

    Raises:
        DiskFull: There is not enough room. Older checkpoints are untouched.
        WorkspaceError: The folder cannot be written.
    """
    partial = target.parent / f"{PARTIAL}{target.name}-{secrets.token_hex(4)}"
    try:
        free = shutil.disk_usage(target.parent).free
        if free < expected_bytes:
            raise DiskFull(
                f"{target.name} needs about {expected_bytes / 1e6:.1f} MB and {target.parent} has {free / 1e6:.1f} MB.",
                remedy=f"Free some space there, then {RESUME}.",
            )
        partial.mkdir(mode=0o700)
        save(partial)
        for name in _NEVER_KEPT:
            for path in partial.rglob(name):
                path.unlink()
        record = {"step": step, "created": datetime.now(UTC).isoformat(timespec="seconds"), **metadata}
        (partial / METADATA).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        files = {}
        for path in sorted(path for path in partial.rglob("*") if path.exists()):
            if not path.is_symlink():  # what a link leads to is not ours to change
                path.chmod(0o700 if path.is_dir() else 0o600)
            sync(path)
            if not path.is_file():
                continue
            files[str(path.relative_to(partial))] = {"size": path.stat().st_size, "sha256": checkpoints.sha256(path)}
        siblings = checkpoints.checkpoints_in(target.parent)
        sequence = 1 + max((c.sequence for c in siblings if c.run_id == run_id), default=0)
        manifest = {"version": 1, "run_id": run_id, "step": step, "sequence": sequence, "files": files}
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        (partial / MANIFEST).chmod(0o600)
        sync(partial / MANIFEST)
        sync(partial)
        _replace(partial, target, run_id)
        sync(target.parent)
    except OSError as error:
        raise write_error(target, error, then=RESUME) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    written = checkpoints.read_checkpoint(target)
    assert written is not None
    return written


def rotate(run: RunDirectory, own_run_id: str, limit: int | None, *, keep: Sequence[Path] = ()) -> list[Checkpoint]:
    """Delete our oldest checkpoints beyond `limit` and return what was deleted.

    Damaged ones do not count as kept, and go when they are older than all that are.

    Args:
        run: Only its `checkpoints/` is looked at; `best/` and `final/` are never touched.
        own_run_id: Folders whose manifest names another run, or that have none, do not count and are not deleted.
        limit: How many to keep; raised to 2. None keeps all.
        keep: Folders that stay whatever their age.
    """
    if limit is None:
        return []
    ours = [c for c in checkpoints.all_checkpoints(run) if c.run_id == own_run_id]
    ours.sort(key=lambda checkpoint: checkpoint.age_key, reverse=True)
    whole = [c for c in ours if checkpoints.fault(c, own_run_id, hashes=False) is None]
    kept = max(limit, MINIMUM_KEPT)
    if len(whole) <= kept:
        return []
    doomed = [c for c in ours[ours.index(whole[kept - 1]) + 1 :] if c.path not in keep]
    return [c for c in doomed if checkpoints.remove_checkpoint(c, own_run_id)]


def _replace(partial: Path, target: Path, run_id: str) -> None:
    """Give `partial` the name of `target`. What stood there is moved away, or is in `partial` afterwards."""
    if not os.path.lexists(target):
        partial.rename(target)
        return
    there = checkpoints.read_checkpoint(target)
    ours = there is not None and there.run_id == run_id
    if ours and exchange(partial, target):
        return
    name = f"{REPLACED}{target.name}" if ours else f"{target.name}.not-ours"
    old = target.with_name(f"{name}-{secrets.token_hex(4)}")
    target.rename(old)
    try:
        partial.rename(target)
    except OSError:
        with contextlib.suppress(OSError):
            old.rename(target)
        raise
    if ours:
        shutil.rmtree(old, ignore_errors=True)
