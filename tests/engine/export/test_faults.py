"""Merges and exports that are killed or run out of disk, at each of their stages: what is left, and that they can be
done again."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.errors import DiskFull, OutOfMemory
from engine.export.beside import PARTIAL
from engine.export.converter import Converter
from engine.export.gguf_header import read_gguf
from tests.engine.adapter_files import write_tiny_adapter
from tests.engine.export import faulty_work
from tests.engine.export.conftest import Done
from tests.engine.faults import python

MERGED = {"config.json", "generation_config.json", "merge.json", "model.safetensors", "tokenizer.json",
          "tokenizer_config.json", "chat_template.jinja"}  # fmt: skip
STAGES = ["loading", "writing", "carrying", "renaming"]


def fail(monkeypatch: pytest.MonkeyPatch, point: str, kind: str) -> None:
    monkeypatch.setenv(faulty_work.AT, point)
    monkeypatch.setenv(faulty_work.KIND, kind)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder in which a model stands already."""
    (tmp_path / "place" / "out").mkdir(parents=True)
    (tmp_path / "place" / "out" / "config.json").write_text("{}")
    return tmp_path / "place"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return write_tiny_adapter(tmp_path / "lora", str(faulty_work.TINY))


@pytest.mark.parametrize(
    ("point", "kind"),
    [*((point, "worker") for point in STAGES), *((point, "full") for point in STAGES[1:])],
)
def test_a_merge_that_fails_at_a_stage_leaves_what_was_there(
    place: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch, point: str, kind: str
) -> None:
    fail(monkeypatch, point, kind)
    with pytest.raises(OutOfMemory if kind == "worker" else DiskFull):
        faulty_work.merge(str(adapter), str(place / "out"))
    assert (names(place), names(place / "out")) == (["out"], ["config.json"])
    monkeypatch.delenv(faulty_work.AT)
    assert faulty_work.merge(str(adapter), str(place / "out")).files.keys() == MERGED
    assert (names(place), set(names(place / "out"))) == (["out"], MERGED)


@pytest.mark.parametrize("point", ["writing", "renaming", "renamed"])
def test_a_merge_whose_console_is_killed_at_a_stage_leaves_the_old_or_the_new(
    place: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch, wait_for: Callable[..., object], point: str
) -> None:
    fail(monkeypatch, point, "console")
    said = _console("merge", adapter, place / "out")
    assert said.returncode == -9
    wait_for(lambda: not _at_work(place), "the worker's end")
    assert set(names(place / "out")) in ({"config.json"}, MERGED)
    assert [name for name in names(place) if not name.startswith(PARTIAL)] == ["out"]
    monkeypatch.delenv(faulty_work.AT)
    faulty_work.merge(str(adapter), str(place / "out"))
    assert (names(place), set(names(place / "out"))) == (["out"], MERGED)


@pytest.mark.parametrize(
    ("point", "kind", "whole"),
    [
        ("quantising", "worker", []),
        ("quantising", "full", []),
        ("renaming", "full", []),
        ("quantising", "console", []),
        ("checking", "console", []),
        ("renaming", "console", []),
        ("renamed", "console", ["x-q8_0.gguf"]),
    ],
)
def test_an_export_that_fails_at_a_stage_leaves_only_whole_files(
    tmp_path: Path,
    tiny_exported: Done,
    converter: Converter,
    monkeypatch: pytest.MonkeyPatch,
    wait_for: Callable[..., object],
    point: str,
    kind: str,
    whole: list[str],
) -> None:
    arguments = [str(tiny_exported.path("f16")), str(tmp_path / "x.gguf"), str(converter.folder)]
    fail(monkeypatch, point, kind)
    if kind == "console":
        assert _console("export", *arguments).returncode == -9
        wait_for(lambda: not _at_work(tmp_path), "the worker's end")
    else:
        with pytest.raises(OutOfMemory if kind == "worker" else DiskFull):
            faulty_work.export(*arguments)
    left = [name for name in names(tmp_path) if not (kind == "console" and name.startswith(PARTIAL))]
    assert left == whole
    for name in left:
        read_gguf(tmp_path / name)
    monkeypatch.delenv(faulty_work.AT)
    assert [path.name for path in faulty_work.export(*arguments)] == ["x-q8_0.gguf", "x-f16.gguf"]
    assert names(tmp_path) == ["x-f16.gguf", "x-q8_0.gguf"]
    assert (tmp_path / "x-q8_0.gguf").read_bytes() == tiny_exported.path("q8_0").read_bytes()


def _console(what: str, *arguments: object) -> Any:
    return python(
        f"import sys; from tests.engine.export import faulty_work; faulty_work.{what}(*sys.argv[1:])", *arguments
    )


def _at_work(folder: Path) -> bool:
    """Whether somebody still writes in the folder; what nobody holds is left for the next to clear."""
    for path in folder.glob(f"{PARTIAL}*"):
        try:
            held = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(held)
    return False
