"""Checkpoints on disk: what their manifests prove, which is the newest that can be trusted. Standard library only.

A checkpoint is a folder with the Hugging Face file names and a `manifest.json` written last, which lists every other
file with its size and SHA-256. A folder without a manifest, or with one of another run, is not ours: it is never
chosen and never deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import CheckpointError, NotFound
from engine.runs.directory import RunDirectory

MANIFEST = "manifest.json"
METADATA = "metadata.json"
PARTIAL = ".partial-"
"""Folders of this prefix are unfinished or being deleted; a later start clears them."""
REPLACED = PARTIAL + "old-"
"""What was moved away from a name to make room, `.partial-old-<name>-<hex>`; a later start puts it back if need be."""
PINNED = "pinned.json"
TRAINED = "trained/"
"""Where a checkpoint of a stacked run keeps the adapter that is trained alone: training goes on with it."""
SCORES = "scores.json"
"""What the newest evaluation found, as figures; in no manifest, as a pin."""
"""A file of this name in a checkpoint's folder keeps the folder. It is in no manifest, so the proof stays as it is."""
RESUME_FILES = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
"""What going on exactly needs besides the weights. With several processes `rng_state_<rank>.pth` stand in."""
_SHARDED = {"optimizer.pt": ("optimizer.bin", "global_step")}
"""Beginnings of what stands for a file where the model is cut up between processes: of FSDP, of DeepSpeed."""
OPTIMIZER_STEMS = ("optimizer", "scheduler", "scaler", "rng_state")
"""What only going on exactly needs, by the beginning of the names: with several processes there is one for each."""
_OPTIMIZER_ENDINGS = (".pt", ".pth", ".bin", ".safetensors")
_CHECKPOINT = re.compile(r"checkpoint-([0-9]{1,12})")
STAGE = re.compile(r"[a-z][a-z0-9_]{0,31}")
"""What the folder of a stage's result may be called."""
_REPLACED = re.compile(re.escape(REPLACED) + r"(.+)-[0-9a-f]{8}")
_MAX_JSON_BYTES = 64 << 20
"""A manifest is some 2 kB. What is bigger is none, and is not read into memory."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder that calls itself a checkpoint."""

    path: Path
    step: int
    """From the folder's name for `checkpoint-N`, from the manifest for `best` and `final`."""
    run_id: str | None
    """None when there is no readable manifest."""
    files: dict[str, dict[str, Any]]
    """Name to `size` (bytes) and `sha256`, as the manifest says."""
    metadata: dict[str, Any]
    """`epoch`, `metrics`, `created`, `reason` ...; empty when missing."""
    manifest_step: int | None = None
    """The step the manifest names: another one than `step` when the folder was renamed."""
    sequence: int = 0
    """1 for the first checkpoint the run wrote, then one more each. After going back to an earlier step, the newest
    is not the one with the highest step. 0 when unknown."""
    dropped: tuple[str, ...] = ()
    """Files that a person had removed, so that they are in the manifest no longer: the optimizer's state."""

    @property
    def used_bytes(self) -> int:
        sizes = (entry.get("size") for entry in self.files.values())
        return sum(size for size in sizes if isinstance(size, int))

    @property
    def age_key(self) -> tuple[int, int]:
        """Sorts checkpoints of one run by when they were written; clocks jump."""
        return self.sequence, self.step


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Return what a folder says of itself, unproven; None when it is not there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):  # it may not be read, or is a link
        return checkpoint_of(path, {}, {}) if path.is_dir() and not path.is_symlink() else None
    try:
        return checkpoint_of(path, json_at(fd, MANIFEST), json_at(fd, METADATA))
    finally:
        os.close(fd)


def checkpoint_of(path: Path, manifest: dict[str, Any], metadata: dict[str, Any]) -> Checkpoint:
    """Return what the two files of a checkpoint's folder say; what is not of their form says nothing."""
    files, run_id = manifest.get("files"), manifest.get("run_id")
    step, sequence, dropped = manifest.get("step"), manifest.get("sequence"), manifest.get("dropped")
    named = _CHECKPOINT.fullmatch(path.name)
    manifest_step = step if type(step) is int else None
    return Checkpoint(
        path=path,
        step=int(named[1]) if named else manifest_step or 0,
        run_id=run_id if isinstance(run_id, str) else None,
        files=files if isinstance(files, dict) and all(isinstance(e, dict) for e in files.values()) else {},
        metadata=metadata,
        manifest_step=manifest_step,
        sequence=sequence if type(sequence) is int else 0,
        dropped=tuple(name for name in dropped if isinstance(name, str)) if isinstance(dropped, list) else (),
    )


def all_checkpoints(run: RunDirectory) -> list[Checkpoint]:
    """Return the `checkpoint-N` folders, highest step first, ours or not."""
    return checkpoints_in(run.checkpoints)


def checkpoints_in(folder: Path) -> list[Checkpoint]:
    """Return the `checkpoint-N` folders of a folder, highest step first."""
    try:
        folders = [path for path in folder.iterdir() if _CHECKPOINT.fullmatch(path.name)]
    except OSError:
        return []
    found = [checkpoint for path in folders if (checkpoint := read_checkpoint(path)) is not None]
    return sorted(found, key=lambda checkpoint: checkpoint.step, reverse=True)


def fault(
    checkpoint: Checkpoint, run_id: str, *, to_resume: bool = False, hashes: bool = True, weights_only: bool = False
) -> str | None:
    """Return in one sentence why the checkpoint cannot be trusted; None when its manifest proves it whole.

    Args:
        checkpoint: From `read_checkpoint`.
        run_id: Of the run it must belong to.
        to_resume: Whether optimizer, schedule and generators must be there too.
        hashes: Whether to read every byte, some 1 GB/s; else only sizes are compared.
        weights_only: Whether to pass over what only going on exactly needs.
    """
    said = manifest_fault(checkpoint, run_id) or (missing_to_resume(checkpoint) if to_resume else None)
    if said is not None:
        return said
    for name, entry in sorted(checkpoint.files.items()):
        if weights_only and is_for_resume_alone(name):
            continue
        file = checkpoint.path / name
        if os.path.isabs(name) or ".." in file.parts[len(checkpoint.path.parts) :]:
            return "its manifest names files outside of it"
        try:
            size = file.stat().st_size
            if size != entry.get("size"):
                return f"{name} has {size} of {entry.get('size')} bytes"
            if hashes and sha256(file) != entry.get("sha256"):
                return f"{name} differs from its hash"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
    return None


def is_optimizer_file(name: str) -> bool:
    """Whether a file of a checkpoint is the state of optimizer, schedule or generators."""
    return name.startswith(OPTIMIZER_STEMS) and name.endswith(_OPTIMIZER_ENDINGS)


def is_for_resume_alone(name: str) -> bool:
    """Whether weights are of use without this file of their checkpoint."""
    return is_optimizer_file(name) or name in RESUME_FILES or name.startswith(TRAINED)


def manifest_fault(checkpoint: Checkpoint, run_id: str) -> str | None:
    """Return what is wrong with what the manifest says of itself, without a look at the files."""
    if checkpoint.run_id is None:
        return "it has no manifest, so it was not finished or not made by this run"
    if checkpoint.run_id != run_id:
        return "its manifest names another run"
    if checkpoint.manifest_step != checkpoint.step:
        return f"its manifest names step {checkpoint.manifest_step}"
    return None if checkpoint.files else "its manifest lists no files"


def missing_to_resume(checkpoint: Checkpoint) -> str | None:
    """Return in one sentence what going on exactly would lack; None when the manifest lists all of it."""
    for name in RESUME_FILES:
        stem, _, suffix = name.partition(".")
        instead = (f"{stem}_0.{suffix}", *_SHARDED.get(name, ()))
        if name not in checkpoint.files and not any(file.startswith(instead) for file in checkpoint.files):
            if name in checkpoint.dropped:
                return f"{name} was dropped to save room, so going on would not be exact"
            return f"{name} is not in its manifest, so going on would not be exact"
    return None


def newest_valid(run: RunDirectory) -> tuple[Checkpoint | None, list[tuple[Checkpoint, str]]]:
    """Return the newest checkpoint from which the run can go on exactly, and those passed over with the reason.

    The newest is the one written last. It has the highest step unless the run was sent back to an earlier one.
    """
    own = run_id(run)
    chosen, skipped = None, list[tuple[Checkpoint, str]]()
    ours = [checkpoint for checkpoint in all_checkpoints(run) if checkpoint.run_id == own]
    for checkpoint in sorted(ours, key=lambda c: c.age_key, reverse=True):
        reason = fault(checkpoint, own, to_resume=True)
        if reason is None:
            chosen = checkpoint
            break
        skipped.append((checkpoint, reason))
    foreign = [c for c in all_checkpoints(run) if c.run_id != own and (chosen is None or c.step > chosen.step)]
    return chosen, [(c, reason) for c in foreign if (reason := fault(c, own))] + skipped


def find_checkpoint(run: RunDirectory, name: str) -> Checkpoint:
    """Return the checkpoint called `name`: a step, `checkpoint-N`, `best`, `final`, or a stage's name for its result.

    Raises:
        NotFound: There is none; the message lists what there is.
    """
    folder = f"checkpoint-{name}" if name.isascii() and name.isdigit() else name
    if folder in ("best", "final"):
        path = run.path / folder
    elif _CHECKPOINT.fullmatch(folder):
        path = run.checkpoints / folder
    elif STAGE.fullmatch(folder):
        path = run.stages / folder
    else:
        path = run.checkpoints / "-"
    checkpoint = read_checkpoint(path)
    if checkpoint is None:
        have = [c.path.name for c in all_checkpoints(run)]
        have += [p.name for p in (run.best, run.final) if p.is_dir()]
        have += sorted(p.name for p in run.stages.glob("[a-z]*") if p.is_dir())
        raise NotFound(
            f"Run {run.name} has no checkpoint {name[:80]!r}.",
            remedy=f"It has {', '.join(have)}." if have else "It has none yet.",
        )
    return checkpoint


def resumable_checkpoint(run: RunDirectory, name: str) -> Checkpoint:
    """Return the checkpoint called `name`, proven good for an exact resume.

    Raises:
        NotFound: There is none.
        CheckpointError: It cannot be trusted, or it is not one to resume from.
    """
    checkpoint = find_checkpoint(run, name)
    own = run_id(run)
    reason = fault(checkpoint, own, to_resume=True)
    if reason is not None:
        remedy = "Leave out --from to use the newest checkpoint that is whole."
        if fault(checkpoint, own, weights_only=True) is None:
            remedy += f" Its weights are: {continue_hint(run, checkpoint)}."
        raise CheckpointError(f"Run {run.name} cannot go on from {checkpoint.path.name}: {reason}.", remedy=remedy)
    return checkpoint


def stage_result(run: RunDirectory, name: str) -> Checkpoint:
    """Return what a stage ended with, proven byte by byte.

    Raises:
        CheckpointError: It is gone or damaged.
    """
    result = read_checkpoint(run.stages / name)
    wrong = "it is gone" if result is None else fault(result, run_id(run))
    if result is None or wrong:
        raise CheckpointError(
            f"The result of stage {name} cannot be gone on from: {wrong} ({run.stages / name}).",
            remedy=f"Restore it, or go back into that stage: `ftconsole resume {run.name} --from CHECKPOINT`.",
        )
    return result


def continue_hint(run: RunDirectory, checkpoint: Checkpoint) -> str:
    """Return what a person can do with weights from which the run cannot go on exactly."""
    return f"`ftconsole continue {run.name}@{checkpoint.path.name}` begins a new run with them and a new optimizer"


def run_id(run: RunDirectory) -> str:
    """Return the random id that every manifest of this run carries.

    Raises:
        CheckpointError: `provenance.json` is missing or damaged.
    """
    value = read_json(run.provenance).get("run_id")
    if not isinstance(value, str) or not value:
        raise CheckpointError(
            f"{run.provenance} does not say this run's id, so none of its checkpoints can be proven.",
            remedy="Restore the file from a backup, or start a new run.",
        )
    return value


def remove_checkpoint(checkpoint: Checkpoint, own_run_id: str) -> bool:
    """Delete a folder that its manifest proves to be ours and nobody pinned; return whether it was deleted."""
    if checkpoint.run_id != own_run_id:
        return False
    try:
        return remove_proven(checkpoint.path, own_run_id) is None
    except OSError:
        return False


def remove_proven(path: Path, own_run_id: str, *, proof: str | None = None) -> str | None:
    """Delete a checkpoint's folder; return in one sentence why it was left alone, None when it is gone.

    Renamed first: a deletion cut short leaves a hidden folder, not half a checkpoint under its name. The proof is
    made after that, since the folder may have been exchanged for another while it had its name; and through the
    descriptor of the folder it is in, which may be exchanged for a link as well.

    Args:
        path: Of the folder.
        own_run_id: Which its manifest must name.
        proof: SHA-256 that its manifest must have; None takes any.

    Raises:
        OSError: The folder it is in cannot be written.
    """
    doomed = f"{PARTIAL}removed-{path.name}-{secrets.token_hex(4)}"
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            os.rename(path.name, doomed, src_dir_fd=parent, dst_dir_fd=parent)
        except FileNotFoundError:
            return "it is gone already"
        reason = _why_not_removed(parent, doomed, own_run_id, proof)
        if reason is not None:
            _rename_back(parent, doomed, path.name)
            return reason
        shutil.rmtree(doomed, ignore_errors=True, dir_fd=parent)
    finally:
        os.close(parent)
    return None


def _why_not_removed(parent: int, name: str, own_run_id: str, proof: str | None) -> str | None:
    try:
        folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except OSError:
        return "it is a link or no folder"
    try:
        text = read_at(folder, MANIFEST)
        manifest = _parsed(text)
        if manifest.get("run_id") != own_run_id:
            return "its manifest does not name this run"
        if proof is not None and hashlib.sha256(text).hexdigest() != proof:
            return "it has changed since it was looked at"
        return "it is pinned" if is_pinned(folder) else None
    finally:
        os.close(folder)


def _rename_back(parent: int, name: str, before: str) -> None:
    try:
        os.rename(name, before, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError:  # another has taken the name; under a hidden one it would be cleared away
        os.rename(name, f"{before}.not-removed-{secrets.token_hex(4)}", src_dir_fd=parent, dst_dir_fd=parent)


def is_pinned(folder: int) -> bool:
    """Whether an open checkpoint's folder is to be kept."""
    try:
        os.stat(PINNED, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return True


def read_at(folder: int, name: str, *, follow: bool = False) -> bytes:
    """Return what a file of an open folder holds; empty when it is none, or no manifest by its size.

    Args:
        folder: Descriptor.
        name: Of the file.
        follow: Whether a link will do.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        fd = os.open(name, flags, dir_fd=folder)
    except OSError:
        return b""
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_size > _MAX_JSON_BYTES:  # a named pipe would block
            return b""
        text = os.read(fd, about.st_size + 1)
        while len(text) < about.st_size and (more := os.read(fd, about.st_size + 1 - len(text))):
            text += more  # a signal, or a network's portions
        return text
    except OSError:
        return b""
    finally:
        os.close(fd)


def json_at(folder: int, name: str) -> dict[str, Any]:
    """Return the mapping a file of an open folder holds; empty when it is not there or none."""
    return _parsed(read_at(folder, name, follow=True))


def clear_partials(run: RunDirectory) -> list[str]:
    """Remove what an interrupted save or deletion left behind; return the names. Only for the lock's holder.

    A folder that had been moved away for a new one goes back to its name if the new one never came.
    """
    cleared = []
    for folder in (run.checkpoints, run.stages, run.path):
        for path in folder.glob(PARTIAL + "*"):
            if path.is_dir() and not path.is_symlink():
                replaced = _REPLACED.fullmatch(path.name)
                if replaced and not os.path.lexists(folder / replaced[1]):
                    path.rename(folder / replaced[1])
                    continue
                shutil.rmtree(path, ignore_errors=True)
                cleared.append(path.name)
    return cleared


def sha256(path: Path) -> str:
    """Return the file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Return the mapping a file holds; empty when it is not there, none, or far too big."""
    try:
        if not path.is_file() or path.stat().st_size > _MAX_JSON_BYTES:  # a named pipe would block
            return {}
        return _parsed(path.read_bytes())
    except OSError:
        return {}


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
