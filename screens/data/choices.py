"""Which data files there are to choose from: the workspace's own, and the shipped samples."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from engine.workspace import Workspace, shipped_folder

ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")
_PACKED = (".gz", ".zst")
_LISTED = 2_000
"""Files that are looked at in each place."""
_DEPTH = 4
"""Folders below `datasets/` that are looked into."""


class DataFile(NamedTuple):
    """One file to choose."""

    name: str
    """As a configuration calls it: `datasets/retain/retain_train.jsonl`."""
    path: Path
    size: int
    """In bytes."""
    shipped: bool
    """Whether it came with the program."""


def data_files(workspace: Workspace) -> list[DataFile]:
    """Return the data files of the workspace, by name, and those that came with the program behind them."""
    own = list(_files(workspace.path, shipped=False))
    names = {file.name for file in own}
    samples = () if shipped_folder() == workspace.path else _files(shipped_folder(), shipped=True)
    return [*own, *(file for file in samples if file.name not in names)]


def _files(place: Path, *, shipped: bool) -> Iterator[DataFile]:
    """Yield the files below `place/datasets`. A folder that cannot be read has none."""
    found: list[DataFile] = []
    folders = [(place / "datasets", 0)]
    looked_at = 0
    while folders:
        folder, depth = folders.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            looked_at += 1
            if looked_at > _LISTED or entry.name.startswith("."):
                continue
            try:
                if entry.is_dir():
                    if depth < _DEPTH:
                        folders.append((Path(entry.path), depth + 1))
                elif is_data(entry.name) and entry.is_file():
                    name = os.path.relpath(entry.path, place)
                    found.append(DataFile(name, Path(entry.path), entry.stat().st_size, shipped))
            except OSError:
                continue
    yield from sorted(found)


def is_data(name: str) -> bool:
    """Return whether a file of this name may hold rows."""
    lower = name.lower()
    for packed in _PACKED:
        lower = lower.removesuffix(packed)
    return lower.endswith(ENDINGS)


def matching(files: list[DataFile], query: str) -> list[DataFile]:
    """Return the files whose name has every word of `query`."""
    words = query.lower().split()
    return [file for file in files if all(word in file.name.lower() for word in words)]
