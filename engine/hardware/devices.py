"""What devices a machine has and what they use now, read without torch and without waking a GPU."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

_BFLOAT16_MAJOR = 8
"""Compute capability from which NVIDIA cards have bfloat16: Ampere."""


@dataclass(frozen=True, slots=True)
class DeviceReading:
    """One device at one moment. None where the driver does not tell."""

    name: str
    """"NVIDIA H200", or "CPU, 16 cores"."""
    kind: str
    """"cuda" or "cpu"."""
    index: int
    """Of the driver's list; `CUDA_VISIBLE_DEVICES` is not applied."""
    used_bytes: int | None
    total_bytes: int | None
    utilization: float | None
    """Busy fraction in [0, 1]. On CPU since the last reading of this process; None at the first."""
    temperature: float | None
    power_watts: float | None
    uuid: str = ""


@functools.cache
def _nvml() -> Any | None:
    """Return pynvml, initialised, or None where there is no NVIDIA driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # noqa: BLE001 - a missing library, driver or permission all mean: no readings
        return None
    return pynvml


def cuda_readings() -> list[DeviceReading]:
    """Return a reading of each NVIDIA device; empty where there is none."""
    nvml = _nvml()
    if nvml is None:
        return []

    def ask(question: str, *arguments: Any) -> Any | None:
        try:
            return getattr(nvml, question)(*arguments)
        except nvml.NVMLError:
            return None

    readings = []
    for index in range(ask("nvmlDeviceGetCount") or 0):
        handle = ask("nvmlDeviceGetHandleByIndex", index)
        if handle is None:
            continue
        memory, rates = ask("nvmlDeviceGetMemoryInfo", handle), ask("nvmlDeviceGetUtilizationRates", handle)
        power = ask("nvmlDeviceGetPowerUsage", handle)
        temperature = ask("nvmlDeviceGetTemperature", handle, nvml.NVML_TEMPERATURE_GPU)
        readings.append(
            DeviceReading(
                name=_text(ask("nvmlDeviceGetName", handle)),
                kind="cuda",
                index=index,
                used_bytes=int(memory.used) if memory is not None else None,
                total_bytes=int(memory.total) if memory is not None else None,
                utilization=rates.gpu / 100 if rates is not None else None,
                temperature=float(temperature) if temperature is not None else None,
                power_watts=power / 1000 if power is not None else None,
                uuid=_text(ask("nvmlDeviceGetUUID", handle)),
            )
        )
    return readings


def host_reading() -> DeviceReading:
    """Return the processor and main memory of this machine."""
    import psutil

    memory = psutil.virtual_memory()
    busy = psutil.cpu_percent(interval=None)
    return DeviceReading(
        name=f"CPU, {os.cpu_count()} cores",
        kind="cpu",
        index=0,
        used_bytes=int(memory.total - memory.available),
        total_bytes=int(memory.total),
        utilization=busy / 100 if _asked_before() else None,
        temperature=None,
        power_watts=None,
    )


def process_bytes(pid: int | None = None) -> int | None:
    """Return the resident memory of a process and its children; None when it is gone."""
    import psutil

    try:
        process = psutil.Process(pid)
        used = int(process.memory_info().rss)
        children = process.children(recursive=True)
    except psutil.Error:
        return None
    for child in children:
        with contextlib.suppress(psutil.Error):  # loader workers come and go
            used += int(child.memory_info().rss)
    return used


_asked = False


def _asked_before() -> bool:
    """psutil's first answer since import is always 0.0, which is no measurement."""
    global _asked
    before, _asked = _asked, True
    return before


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def best_device() -> tuple[str, bool]:
    """Return what torch will find best here, "cuda", "mps" or "cpu", and whether it computes in bfloat16.

    Told from the driver and torch's version string: importing torch takes a second.
    """
    build = _torch_build()
    if not build.startswith("cpu"):
        if Path("/dev/kfd").exists() and build.startswith("rocm"):
            return "cuda", True
        nvml, readings = _nvml(), cuda_readings()
        if nvml is not None and readings:
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(readings[0].index)
                major, _ = nvml.nvmlDeviceGetCudaComputeCapability(handle)
            except nvml.NVMLError:
                major = 8
            return "cuda", int(major) >= _BFLOAT16_MAJOR
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "mps", True
    return "cpu", True


def num_visible_gpus() -> int | None:
    """Return how many GPUs a new process would see; None where that is not told without torch."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is not None:
        return len([name for name in names.split(",") if name.strip()])
    return len(cuda_readings()) or None


def _torch_build() -> str:
    """Return the part of torch's version after "+": "cpu", "cu128", "rocm6.4"; empty for the registry's default."""
    try:
        return metadata.version("torch").partition("+")[2]
    except metadata.PackageNotFoundError:
        return "cpu"
