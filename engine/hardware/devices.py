"""What devices a machine has and what they use now, read without torch and without waking a GPU."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import Any


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
        return int(sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]))
    except psutil.Error:
        return None


def freest_cuda_device() -> str | None:
    """Return the UUID of the NVIDIA device with the most free memory, as `CUDA_VISIBLE_DEVICES` takes it."""
    free = [
        (reading.total_bytes - reading.used_bytes, reading.uuid)
        for reading in cuda_readings()
        if reading.total_bytes is not None and reading.used_bytes is not None and reading.uuid
    ]
    return max(free)[1] if free else None


_asked: list[bool] = []


def _asked_before() -> bool:
    """psutil's first answer since import is always 0.0, which is no measurement."""
    _asked.append(True)
    return len(_asked) > 1


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
