"""The facts behind `ftconsole doctor`: what this machine can do, and what would get in a run's way.

Nothing heavy is imported and no question waits for long: versions come from the packages' metadata, torch's build
from its `version.py`, devices from the driver.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from engine.hardware.devices import DeviceReading, best_device, cuda_readings, host_reading
from engine.hardware.logout import logout
from engine.runs.lock import network_file_system
from engine.workspace import BUILT_IN, Workspace, shipped_folder

REQUIRED = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers", "safetensors")
"""Distributions without which no run works."""
OPTIONAL: Mapping[str, str] = {
    "bitsandbytes": "4-bit and 8-bit base models and optimizers",
    "wandb": "training.report_to: wandb",
    "tensorboard": "training.report_to: tensorboard",
    "trackio": "training.report_to: trackio",
}
"""Distributions a run can do without, and what each is for."""
LITTLE_DISK_BYTES = 5_000_000_000
"""Below this, checkpoints of a model of some billion parameters soon find no room."""
NO_DISK_BYTES = 50_000_000
"""Below this, not even the built-in model's run fits."""
NVIDIA_SMI_SECONDS = 10.0
"""nvidia-smi answers in a second; in front of a lost GPU it may hang for ever."""

Status = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer."""

    topic: str
    """"python", "packages", "torch", "devices", "workspace" ..."""
    status: Status
    """"problem": a run could not work. "warning": something will not work, or not as one expects."""
    message: str
    remedy: str = ""


@dataclass(slots=True)
class Examination:
    """Everything that was found."""

    facts: dict[str, Any] = field(default_factory=dict)
    """JSON-ready, by topic."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def works(self) -> bool:
        """Whether a run could work."""
        return all(finding.status != "problem" for finding in self.findings)

    def find(self, topic: str, status: Status, message: str, remedy: str = "") -> None:
        """Add a finding."""
        self.findings.append(Finding(topic, status, message, remedy))

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        findings = [
            {"topic": f.topic, "status": f.status, "message": f.message, "remedy": f.remedy} for f in self.findings
        ]
        return {"works": self.works, **self.facts, "findings": findings}


def examine(workspace: Workspace) -> Examination:
    """Look at everything, in some 0.1 s; changes nothing."""
    found = Examination()
    checks: list[Callable[[Examination], None]] = [
        check_python,
        check_packages,
        check_devices,
        lambda found: check_workspace(found, workspace),
        check_logout,
    ]
    for check in checks:
        check(found)
    return found


def check_python(found: Examination) -> None:
    """Find interpreter, system and processor."""
    cores = _usable_cores()
    found.facts["python"] = {"version": platform.python_version(), "executable": sys.executable}
    found.facts["system"] = {"platform": platform.platform(), "machine": platform.machine(), "usable_cores": cores}
    found.find("python", "ok", f"Python {platform.python_version()} on {platform.system()}, {platform.machine()}")


def check_packages(found: Examination) -> None:
    """Find the versions of the training libraries, without importing one."""
    versions = {name: _version(name) for name in (*REQUIRED, *OPTIONAL)}
    found.facts["packages"] = versions
    missing = [name for name in REQUIRED if versions[name] is None]
    if missing:
        found.find(
            "packages",
            "problem",
            f"Missing: {', '.join(missing)}. No run can train without",
            "Install ftconsole into an environment of its own: `make setup` in a checkout, or `pipx install`.",
        )
    have = [f"{name} {versions[name]}" for name in REQUIRED if versions[name] is not None]
    if have:
        found.find("packages", "ok", ", ".join(have))
    extra = [f"{name} {versions[name]}" for name in OPTIONAL if versions[name] is not None]
    absent = [name for name in OPTIONAL if versions[name] is None]
    said = f"Optional: {', '.join(extra) or 'none'}" + (f"; not installed: {', '.join(absent)}" if absent else "")
    found.find("packages", "ok", said)


def check_devices(found: Examination) -> None:
    """Find devices, torch's build, and whether the two fit."""
    build = torch_build()
    readings = cuda_readings()
    kind, bfloat16 = best_device()
    host = host_reading()
    limit = memory_limit()
    found.facts["torch"] = {"version": _version("torch"), **build}
    found.facts["devices"] = [_device(reading) for reading in (*readings, host)]
    found.facts["best_device"] = {"kind": kind, "bfloat16": bfloat16}
    found.facts["memory_limit_bytes"] = limit
    for reading in readings:
        used = f", {_gb(reading.used_bytes)} of {_gb(reading.total_bytes)} in use" if reading.total_bytes else ""
        found.find("devices", "ok", f"GPU {reading.index}: {reading.name}{used}")
    memory = f"{_gb(host.total_bytes)} of memory" + (f", {_gb(limit)} of it for us" if limit else "")
    found.find("devices", "ok", f"{host.name}, {_usable_cores()} for us, {memory}")
    if _version("torch") is not None:
        said = ", ".join(f"{name} {value}" for name, value in build.items() if value) or "CPU build"
        found.find("torch", "ok", f"torch {_version('torch')} ({said}); runs will train on {kind}")
    for finding in _mismatches(readings, build):
        found.findings.append(finding)


def _mismatches(readings: list[DeviceReading], build: dict[str, str | None]) -> Iterator[Finding]:
    on_gpu = bool(build["cuda"] or build["rocm"])
    if readings and not on_gpu:
        yield Finding(
            "torch",
            "warning",
            "There is a GPU, and torch is a build without CUDA: runs would train on the CPU",
            "Install the CUDA build: see pytorch.org/get-started, then `ftconsole doctor` again.",
        )
    driver = _driver_cuda() if readings else None
    if driver is not None and build["cuda"] and driver[0] < int(build["cuda"].partition(".")[0]):
        yield Finding(
            "torch",
            "problem",
            f"The driver knows CUDA {driver[0]}.{driver[1]}, and torch was built for CUDA {build['cuda']}",
            "Update the NVIDIA driver, install torch for an older CUDA, or train with model.device=cpu.",
        )
    if not readings:
        yield from _silent_driver()
    if readings and os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        yield Finding("devices", "warning", "CUDA_VISIBLE_DEVICES hides every GPU", "Unset it to train on the GPU.")


def _silent_driver() -> Iterator[Finding]:
    """Say why an NVIDIA driver that is installed gives no reading."""
    if shutil.which("nvidia-smi") is None and not Path("/proc/driver/nvidia/version").exists():
        return
    try:
        reply = subprocess.run(
            ["nvidia-smi", "-L"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=NVIDIA_SMI_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        said = f"nvidia-smi does not answer within {NVIDIA_SMI_SECONDS:g} s"
        yield Finding("devices", "warning", said, "The driver hangs; a reboot usually helps.")
        return
    except OSError as error:
        said = f"An NVIDIA driver is loaded, and nvidia-smi cannot be run: {error.strerror}"
        yield Finding("devices", "warning", said, "In a container: start it with the GPUs, such as `--gpus all`.")
        return
    first = reply.stdout.decode("utf-8", "replace").strip().partition("\n")[0]
    if reply.returncode != 0:
        said = f"nvidia-smi fails: {first or f'exit status {reply.returncode}'}"
        yield Finding("devices", "warning", said, "Driver and library must be of one version; a reboot usually helps.")
    elif first.startswith("GPU "):
        said = f"nvidia-smi sees a GPU ({first.partition(' (UUID')[0]}), and we cannot read it"
        yield Finding("devices", "warning", said, "Install nvidia-ml-py into our environment.")


def check_workspace(found: Examination, workspace: Workspace) -> None:
    """Find room, permissions and the kind of file system, and the model that needs no network."""
    network = network_file_system(workspace.path)
    usage = shutil.disk_usage(workspace.path)
    model = next(
        (p for p in (workspace.path, shipped_folder()) if (p / "models" / BUILT_IN / "config.json").is_file()), None
    )
    reason = unwritable(workspace)
    found.facts["workspace"] = {
        "path": str(workspace.path),
        "writable": reason is None,
        "free_bytes": usage.free,
        "total_bytes": usage.total,
        "network_file_system": network,
        "built_in_model": model is not None,
    }
    if reason is not None:
        said = f"No run can be made in {workspace.runs}: {reason}"
        found.find("workspace", "problem", said, "Choose another workspace with -w, or mend its permissions.")
    room = f"{_gb(usage.free)} free in {workspace.path}"
    if usage.free < NO_DISK_BYTES:
        found.find("workspace", "problem", f"Only {room}", "Free some space, or choose another workspace with -w.")
    elif usage.free < LITTLE_DISK_BYTES:
        found.find("workspace", "warning", f"Only {room}", "Checkpoints of larger models need more.")
    else:
        found.find("workspace", "ok", room)
    if network is not None:
        said = f"The workspace is on a network file system ({network}): locks there are less certain and logs slower"
        found.find("workspace", "warning", said, "Prefer a local disk; never work on one run from two machines.")
    if model is None:
        said = "The built-in model is not there, so `ftconsole demo` cannot run"
        found.find("workspace", "warning", said, "Install ftconsole anew, or use a complete checkout.")


def check_logout(found: Examination) -> None:
    """Find whether runs outlive this login."""
    answer = logout()
    found.facts["logout"] = {"ends_runs": answer.ends_runs, "reason": answer.reason}
    if answer.ends_runs:
        found.find("logout", "warning", f"Runs end when you log out: {answer.reason}", answer.remedy)
    elif answer.ends_runs is None:
        found.find("logout", "warning", f"Whether runs outlive a logout cannot be told: {answer.reason}", answer.remedy)
    else:
        found.find("logout", "ok", f"Runs go on when you log out: {answer.reason}")


def unwritable(workspace: Workspace) -> str | None:
    """Return why no run folder could be made; None when one could. Leaves nothing behind."""
    folder = workspace.runs if workspace.runs.is_dir() else workspace.path
    if workspace.runs.exists() and not workspace.runs.is_dir():
        return f"{workspace.runs} is not a folder"
    probe = folder / f".probe-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        # Asking the permission bits is not enough: root, read-only mounts, full disks and quotas.
        probe.mkdir(mode=0o700)
        probe.rmdir()
    except OSError as error:
        return error.strerror or str(error)
    return None


def torch_build() -> dict[str, str | None]:
    """Return for which `cuda` and `rocm` torch was built, None where it was not; read, not imported (a second)."""
    build: dict[str, str | None] = {"cuda": None, "rocm": None}
    try:
        spec = find_spec("torch")
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8") if spec and spec.origin else ""
    except (OSError, ValueError, ImportError):
        return build
    for name, variable in (("cuda", "cuda"), ("rocm", "hip")):
        found = re.search(rf"^{variable}\b[^=\n]*=\s*'([^']+)'", text, re.MULTILINE)
        build[name] = found[1] if found else None
    return build


def memory_limit(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Return how much memory our control group may use, in bytes; None without a limit."""
    try:
        group = next(line for line in own.read_text(encoding="utf-8").splitlines() if line.startswith("0::"))
        path = root / group[3:].lstrip("/")
        limits = [folder / "memory.max" for folder in (path, *path.parents) if folder.is_relative_to(root)]
        values = [int(text) for file in limits if file.is_file() and (text := file.read_text().strip()).isdigit()]
    except (OSError, ValueError, StopIteration):
        return None
    return min(values, default=None)


def _driver_cuda() -> tuple[int, int] | None:
    """Return the newest CUDA the driver knows."""
    try:
        import pynvml

        version = int(pynvml.nvmlSystemGetCudaDriverVersion_v2())
    except Exception:  # noqa: BLE001 - a missing library, driver or permission all mean: not told
        return None
    return version // 1000, version % 1000 // 10


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _usable_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def _device(reading: DeviceReading) -> dict[str, Any]:
    return {
        "kind": reading.kind,
        "index": reading.index,
        "name": reading.name,
        "used_bytes": reading.used_bytes,
        "total_bytes": reading.total_bytes,
    }


def _gb(size: int | None) -> str:
    return "?" if size is None else f"{size / 1e9:.1f} GB"
