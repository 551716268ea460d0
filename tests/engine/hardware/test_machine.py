"""What memory a new process could take, from files as Linux writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.hardware import machine
from engine.hardware.machine import room


def group(folder: Path, limit: str, used: int, cached: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\n")


def test_the_tightest_limit_of_all_levels_counts_and_the_file_cache_does_not(tmp_path: Path) -> None:
    group(tmp_path / "slice", "4000", 3000, cached=500)
    group(tmp_path / "slice" / "job", "max", 2000)
    (tmp_path / "about").write_text("0::/slice/job\n")
    assert machine._cgroup_limit(tmp_path, tmp_path / "about") == (4000, 2500)


def test_without_a_limit_there_is_none(tmp_path: Path) -> None:
    group(tmp_path / "job", "max", 2000)
    (tmp_path / "about").write_text("0::/job\n")
    assert machine._cgroup_limit(tmp_path, tmp_path / "about") is None
    assert machine._cgroup_limit(tmp_path, tmp_path / "missing") is None


def test_a_container_sees_its_own_limit_and_not_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_cgroup_limit", lambda: (10**8, 4 * 10**7))
    found = room("cpu")
    assert (found.kind, found.free_bytes, found.total_bytes) == ("cpu", 6 * 10**7, 10**8)


def test_this_machine_has_memory_and_says_which_processor() -> None:
    found = room("cpu")
    assert found.free_bytes is not None
    assert found.total_bytes is not None
    assert 0 < found.free_bytes <= found.total_bytes
    assert found.device
