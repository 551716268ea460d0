"""The facts behind `ftconsole doctor`."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from engine.hardware import doctor
from engine.hardware.devices import DeviceReading
from engine.hardware.doctor import Examination, check_devices, check_packages, check_workspace, examine, memory_limit
from engine.workspace import Workspace

GPU = DeviceReading("NVIDIA H200", "cuda", 0, 1_000_000_000, 150_000_000_000, 0.5, 40.0, 200.0, "GPU-1")


def texts(found: Examination, status: str) -> str:
    return " ".join(f"{f.message} {f.remedy}" for f in found.findings if f.status == status)


def test_everything_found_is_strict_json_and_changes_nothing(tmp_path: Path) -> None:
    found = examine(Workspace(tmp_path))
    facts = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert facts["works"] is True
    for topic in ("python", "system", "packages", "torch", "devices", "workspace", "logout", "findings"):
        assert topic in facts
    assert facts["devices"][-1]["kind"] == "cpu"
    assert facts["workspace"]["writable"] is True
    assert list(tmp_path.iterdir()) == []


def test_nothing_heavy_is_imported_to_find_out() -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom engine.workspace import Workspace\n"
        "from engine.hardware.doctor import examine\nexamine(Workspace(Path('/')))\n"
        "print({m.partition('.')[0] for m in sys.modules} & {'torch', 'transformers', 'trl', 'peft', 'numpy'})"
    )
    reply = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert reply.stdout.strip() == "set()"


def test_the_versions_are_those_that_are_installed() -> None:
    found = Examination()
    check_packages(found)
    assert found.works
    assert found.facts["packages"]["transformers"].startswith("5.")


def test_without_a_training_library_no_run_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "REQUIRED", ("torch", "no-such-library"))
    found = Examination()
    check_packages(found)
    assert not found.works
    assert "no-such-library" in texts(found, "problem")


def test_a_gpu_that_torch_cannot_use_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "cuda_readings", lambda: [GPU])
    monkeypatch.setattr(doctor, "torch_build", lambda: {"cuda": None, "rocm": None})
    found = Examination()
    check_devices(found)
    assert found.works
    assert "torch is a build without CUDA" in texts(found, "warning")
    assert "NVIDIA H200" in texts(found, "ok")


@pytest.mark.parametrize(("driver", "works"), [((11, 8), False), ((12, 2), True), ((13, 0), True), (None, True)])
def test_a_driver_too_old_for_torch_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, driver: tuple[int, int] | None, works: bool
) -> None:
    monkeypatch.setattr(doctor, "cuda_readings", lambda: [GPU])
    monkeypatch.setattr(doctor, "torch_build", lambda: {"cuda": "12.6", "rocm": None})
    monkeypatch.setattr(doctor, "_driver_cuda", lambda: driver)
    found = Examination()
    check_devices(found)
    assert found.works is works
    assert ("11.8" in texts(found, "problem")) is not works


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'NVIDIA-SMI has failed: Driver/library version mismatch' >&2; exit 9", "version mismatch"),
        ("echo 'Unable to determine the device handle for GPU 0000:01:00.0: GPU is lost.'; exit 15", "GPU is lost"),
        ("exec sleep 600", "does not answer"),
        ("echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'", "nvidia-ml-py"),
    ],
    ids=["mismatch", "lost", "hangs", "seen by nvidia-smi only"],
)
def test_a_driver_that_gives_no_reading_is_asked_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\n{script}\n")
    smi.chmod(smi.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(doctor, "NVIDIA_SMI_SECONDS", 1.0)
    monkeypatch.setattr(doctor, "cuda_readings", list)
    found = Examination()
    check_devices(found)
    assert found.works
    assert said in texts(found, "warning")


def test_hidden_gpus_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "cuda_readings", lambda: [GPU])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = Examination()
    check_devices(found)
    assert "CUDA_VISIBLE_DEVICES" in texts(found, "warning")


def test_the_build_of_torch_is_read_from_its_version_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    version = package / "version.py"
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    version.write_text("cuda: Optional[str] = '12.6'\ngit_version = 'x'\nhip: Optional[str] = None\n")
    assert doctor.torch_build() == {"cuda": "12.6", "rocm": None}
    version.write_text("cuda = None\nhip: Optional[str] = '6.4.43482'\n")
    assert doctor.torch_build() == {"cuda": None, "rocm": "6.4.43482"}
    version.unlink()
    assert doctor.torch_build() == {"cuda": None, "rocm": None}


def test_a_workspace_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    found = Examination()
    check_workspace(found, Workspace(tmp_path))
    assert not found.works
    assert "is not a folder" in texts(found, "problem")
    found = Examination()
    check_workspace(found, Workspace(Path("/proc/self")))
    assert not found.works


def test_little_and_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LITTLE_DISK_BYTES", 1 << 62)
    found = Examination()
    check_workspace(found, Workspace(tmp_path))
    assert found.works
    assert "free" in texts(found, "warning")
    monkeypatch.setattr(doctor, "NO_DISK_BYTES", 1 << 62)
    found = Examination()
    check_workspace(found, Workspace(tmp_path))
    assert not found.works


def test_a_network_file_system_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "network_file_system", lambda path: "nfs4")
    found = Examination()
    check_workspace(found, Workspace(tmp_path))
    assert found.facts["workspace"]["network_file_system"] == "nfs4"
    assert "nfs4" in texts(found, "warning")


def test_the_smallest_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("0::/a/b\n")
    inner = tmp_path / "fs" / "a" / "b"
    inner.mkdir(parents=True)
    assert memory_limit(tmp_path / "fs", own) is None
    (inner / "memory.max").write_text("max\n")
    assert memory_limit(tmp_path / "fs", own) is None
    (inner.parent / "memory.max").write_text("4000000000\n")
    (inner / "memory.max").write_text("8000000000\n")
    assert memory_limit(tmp_path / "fs", own) == 4_000_000_000
    assert memory_limit(tmp_path / "fs", tmp_path / "none") is None
