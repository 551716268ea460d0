"""Where data sets lie: the splits of a folder, and the Hub's and the datasets library's caches of this machine."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

_SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "eval": "validation",
    "test": "test",
}
_ENDING = re.compile(r"\.(parquet|arrow|jsonl|ndjson|json|csv|tsv)(\.gz|\.zst|\.zstd)?$", re.IGNORECASE)
_BESIDE = frozenset(
    {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json", "package.json"}
)
"""JSON files beside data that hold no rows."""
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_DEEP = 3
_MOST_FILES = 5_000


def split_files(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Return the data files of a folder by split: "train", "validation", "test", in this order.

    What is neither called train, valid, val, eval nor test is of "train", unless other files are called so.
    Of a file in several formats, one is taken.
    """
    found: dict[str, list[Path]] = {}
    unnamed: list[Path] = []
    seen: set[str] = set()
    for path in sorted(_data_files(folder), key=_preferred):
        relative = path.relative_to(folder)
        stem = _ENDING.sub("", str(relative))
        if stem in seen:
            continue
        seen.add(stem)
        split = _split(relative)
        if split is None:
            unnamed.append(path)
        else:
            found.setdefault(split, []).append(path)
    if unnamed and "train" not in found:
        found["train"] = unnamed
    return {name: tuple(sorted(found[name])) for name in ("train", "validation", "test") if name in found}


def dataset_folder(name: str) -> Path | None:
    """Return the folder in which a data set of the Hub is cached on this machine; None when it is in no cache.

    Args:
        name: `org/name`, or a name alone.
    """
    if not _HUB_NAME.fullmatch(name):
        return None
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface").expanduser()
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub") / f"datasets--{name.replace('/', '--')}"
    for snapshot in _snapshots(hub):
        if split_files(snapshot):
            return snapshot
    prepared = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets") / name.replace("/", "___")
    # configuration / version / fingerprint: the folder that holds the newest Arrow file
    files = sorted(prepared.glob("*/*/*/*.arrow"), key=lambda path: path.stat().st_mtime)
    return files[-1].parent if files else None


def without_ending(name: str) -> str:
    """Return the name of a data file without `.jsonl`, `.csv.gz` and the like."""
    return _ENDING.sub("", name)


def _snapshots(hub: Path) -> Iterator[Path]:
    """Yield the commits of a cached repository, that of the main branch first."""
    main = hub / "refs" / "main"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        yield hub / "snapshots" / main.read_text(encoding="utf-8").strip()
    if (hub / "snapshots").is_dir():
        yield from sorted((hub / "snapshots").iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)


def _data_files(folder: Path) -> Iterator[Path]:
    waiting, listed = [(folder, 0)], 0
    while waiting:
        current, depth = waiting.pop()
        try:
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            listed += 1
            if listed > _MOST_FILES or entry.name.startswith("."):
                continue
            if entry.is_dir():
                if depth < _DEEP:
                    waiting.append((Path(entry.path), depth + 1))
            elif _ENDING.search(entry.name) and entry.name not in _BESIDE:
                yield Path(entry.path)


def _split(relative: Path) -> str | None:
    """Return the split a file's name says, else the one its folders say, the innermost first."""
    for part in reversed(relative.parts):
        words = re.split(r"[^a-z]+", _ENDING.sub("", part).lower())
        for word in reversed(words):
            if word in _SPLITS:
                return _SPLITS[word]
    return None


def _preferred(path: Path) -> tuple[int, str]:
    order = ("parquet", "arrow", "jsonl", "ndjson", "json", "csv", "tsv")
    match = _ENDING.search(path.name)
    assert match is not None
    return order.index(match[1].lower()), str(path)
