"""How much memory a new process could take on a device, cgroup limits included."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from engine.hardware.devices import cuda_readings, host_reading

_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Room:
    """One device's memory, now."""

    kind: str
    """"cuda", "mps" or "cpu"."""
    device: str
    """Name of the card or processor."""
    free_bytes: int | None
    """What a new process could take. None where the machine does not tell."""
    total_bytes: int | None


def room(device: str) -> Room:
    """Return the room on a settled `model.device`: "cpu", "cuda", "cuda:1" or "mps"."""
    kind, _, index = device.partition(":")
    if kind == "cuda":
        readings = cuda_readings()
        number = _visible(int(index or 0))
        for reading in readings:
            if number in (str(reading.index), reading.uuid):
                used, total = reading.used_bytes, reading.total_bytes
                return Room("cuda", reading.name, None if used is None or total is None else total - used, total)
        return Room("cuda", "a GPU", None, None)
    host = host_reading()
    assert host.total_bytes is not None
    assert host.used_bytes is not None
    free, total = host.total_bytes - host.used_bytes, host.total_bytes
    limit = _cgroup_limit()
    if limit is not None and limit[0] < total:
        total, free = limit[0], min(free, max(0, limit[0] - limit[1]))
    return Room(kind, host.name, free, total)


def _visible(index: int) -> str:
    """Return the driver's number or name of torch's device `index`, as `CUDA_VISIBLE_DEVICES` has it."""
    names = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return names[index] if index < len(names) else str(index)


def _cgroup_limit(root: Path = _CGROUPS, about: Path = Path("/proc/self/cgroup")) -> tuple[int, int] | None:
    """Return limit and use of the container's memory, the tightest of all levels; None where there is none.

    What files in the cache take is given up when it is needed, and is not counted as used.
    """
    try:
        line = next(line for line in about.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return None
    folder = root / line[3:].strip().lstrip("/")
    found: list[tuple[int, int]] = []
    for level in (folder, *folder.parents):
        try:
            limit = int((level / "memory.max").read_text())
            used = int((level / "memory.current").read_text())
            cached = dict(one.split() for one in (level / "memory.stat").read_text().splitlines())
            found.append((limit, max(0, used - int(cached.get("inactive_file", 0)))))
        except (OSError, ValueError):  # "max" is no number: no limit
            continue
        if level == root:
            break
    return min(found, key=lambda pair: pair[0] - pair[1], default=None)
