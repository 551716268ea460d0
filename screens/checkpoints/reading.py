"""What is told of one checkpoint besides its row: files, proofs of parity, evaluations. For a thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from engine.runs.checkpoints import read_checkpoint
from engine.runs.directory import RunDirectory
from engine.runs.entries import CheckpointEntry

if TYPE_CHECKING:
    from engine.evaluation.evaluate import Result
    from engine.events import BehaviourMeasured
    from engine.export.proof import FormProof

_FILES = 400


class File(NamedTuple):
    """A file that the manifest lists."""

    name: str
    size: int
    """As the manifest says."""
    there: int | None
    """On disk; None where it is missing."""


@dataclass(frozen=True, slots=True)
class Details:
    """A checkpoint, read."""

    key: tuple[str, str]
    files: Sequence[File] = ()
    parity: Sequence[FormProof] = ()
    """The forms of it that were proven last."""
    evaluations: Sequence[Result] = ()
    """The newest first."""
    behaviour: BehaviourMeasured | None = None
    """As its run measured it after training; of `final` alone."""


def read_details(key: tuple[str, str], checkpoint: CheckpointEntry) -> Details:
    """Read what is told of a checkpoint; what cannot be read is left out: the row says why already."""
    found = read_checkpoint(checkpoint.path)
    files: list[File] = []
    for name, about in sorted(found.files.items())[:_FILES] if found is not None else ():
        size = about.get("size")
        files.append(File(name, size if isinstance(size, int) else 0, _size(checkpoint.path / name)))
    evaluations, behaviour = _evaluated(checkpoint)
    return Details(key, tuple(files), _parity(checkpoint.path), evaluations, behaviour)


def _parity(folder: Path) -> Sequence[FormProof]:
    if not (folder / "parity.json").is_file():
        return ()
    from engine.export.parity import forms_in, read_record  # 0.1 s, and most checkpoints were proven nothing

    return forms_in(read_record(folder) or {})


def _evaluated(checkpoint: CheckpointEntry) -> tuple[Sequence[Result], BehaviourMeasured | None]:
    alone = checkpoint.name in ("best", "final")
    run = RunDirectory(checkpoint.path.parent if alone else checkpoint.path.parent.parent)
    if not checkpoint.run or not run.evaluations.is_dir():
        return (), None
    from engine.evaluation.evaluate import measured_after, results_of  # 0.2 s, and most were asked nothing

    return results_of(run, checkpoint.path), measured_after(run) if checkpoint.name == "final" else None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return None
