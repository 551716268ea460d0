"""What is told of one checkpoint besides its row: its files, what it was proven to be. For a thread."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from engine.runs.checkpoints import read_checkpoint
from engine.runs.entries import CheckpointEntry

_MOST_BYTES = 4 << 20
"""Of a file of verdicts. They take some kB; what is bigger is not one."""
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
    behaviour: Mapping[str, Any] = field(default_factory=dict)
    parity: Mapping[str, Any] = field(default_factory=dict)
    """`parity.json` as it is."""


def read_details(key: tuple[str, str], checkpoint: CheckpointEntry) -> Details:
    """Read what is told of a checkpoint; what cannot be read is left out: the row says why already."""
    found = read_checkpoint(checkpoint.path)
    files: list[File] = []
    for name, about in sorted(found.files.items())[:_FILES] if found is not None else ():
        size = about.get("size")
        files.append(File(name, size if isinstance(size, int) else 0, _size(checkpoint.path / name)))
    return Details(key, tuple(files), parity=_json(checkpoint.path / "parity.json"))


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return None


def _json(path: Path) -> Mapping[str, Any]:
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return {}
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
