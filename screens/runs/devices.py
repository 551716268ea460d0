"""The machine's devices, measured while something runs and only named while nothing does."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tui.display import plain
from tui.widgets.bar import bar
from tui.widgets.cells import Cells, Piece, cut, fitted, length
from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.words import size_text

if TYPE_CHECKING:
    from engine.hardware.devices import DeviceReading

MEASURE_SECONDS: Final = 3.0
"""Between two readings while a run is at work."""
ROWS_SHOWN: Final = 4
_BARS: Final = (24, 20, 16, 12, 10, 8, 6)
"""Lengths a bar may have."""
_NEARLY_FULL: Final = 0.92
"""Memory above this part is drawn as a warning."""


class Named(NamedTuple):
    """A device without figures."""

    name: str
    total_bytes: int | None
    """Memory; None where nothing but the driver knows it."""


class Machine:
    """Where the figures come from. Its methods are for a thread.

    Args:
        proc: Where the kernel's files are.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc

    def measure(self) -> list[DeviceReading]:
        """Return a reading of each GPU, or of the processor where there is none."""
        # psutil and NVML are 40 ms, needed only where something runs.
        from engine.hardware.devices import cuda_readings, host_reading

        return cuda_readings() or [host_reading()]

    def names(self) -> list[Named]:
        """Return the devices as the kernel has them written down: asking a GPU would wake it."""
        found = []
        for file in sorted((self._proc / "driver/nvidia/gpus").glob("*/information")):
            try:
                lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            except OSError:
                continue
            model = next((line.partition(":")[2].strip() for line in lines if line.startswith("Model:")), "NVIDIA GPU")
            found.append(Named(model, None))
        pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        return [*found, Named(f"CPU, {os.cpu_count()} cores", pages * page)]


def named(devices: Sequence[Named], width: int) -> list[list[Piece]]:
    """Return one row that names the devices; equal ones are counted."""
    groups: list[list[Piece]] = []
    for device, number in Counter(devices).items():
        times = f"{number} x " if number > 1 else ""
        size = f", {size_text(device.total_bytes)}" if device.total_bytes else ""
        groups.append([(f"{times}{plain(device.name, limit=80)}{size}", "m")])
    return [fitted(groups, width)] if groups else []


def measured(readings: Sequence[DeviceReading], width: int, glyphs: GlyphSet) -> list[list[Piece]]:
    """Return a row for each device, at most `ROWS_SHOWN`; more devices stand side by side, then as a count."""
    per_row = max(1, -(-len(readings) // ROWS_SHOWN))
    while per_row > 1 and width // per_row < 36:
        per_row -= 1
    room = (width - 3 * (per_row - 1)) // per_row
    rows: list[list[Piece]] = []
    for start in range(0, min(len(readings), per_row * ROWS_SHOWN), per_row):
        row: list[Piece] = []
        for reading in readings[start : start + per_row]:
            drawn = _gauges(reading, room, glyphs, many=len(readings) > 1)
            row += [*([("   ", " ")] if row else []), *drawn, (" " * (room - length(drawn)), " ")]
        rows.append(row)
    hidden = len(readings) - per_row * len(rows)
    if hidden > 0:
        note = f"  and {hidden} more"
        rows[-1] = cut([*cut(rows[-1][:-1], width - len(note)), (note, "m")], width)
    return rows


def _gauges(reading: DeviceReading, width: int, glyphs: GlyphSet, *, many: bool) -> list[Piece]:
    """Return the gauges of one device, with bars as long as there is room for."""
    for bars in _BARS:
        groups = _groups(reading, bars, glyphs, many=many, labelled=width >= 60)
        if sum(length(group) for group in groups) + 2 * (len(groups) - 1) <= width:
            break
    return fitted(groups, width, gap=2)


def _groups(reading: DeviceReading, bars: int, glyphs: GlyphSet, *, many: bool, labelled: bool) -> list[list[Piece]]:
    name = plain(reading.name, limit=80)
    kind = f"GPU {reading.index}" if reading.kind == "cuda" else "CPU"
    used, total = reading.used_bytes, reading.total_bytes
    told = used is not None or reading.utilization is not None
    groups: list[list[Piece]] = [[(kind if told and (many or reading.kind == "cpu") else name, "v")]]
    if used is not None and total:
        style = "w" if used / total > _NEARLY_FULL else "b"
        whole = f"{total / 1e9:.0f}" if total >= 1e10 else f"{total / 1e9:.1f}"
        size = f"{used / 1e9:{len(whole) + 2 * (total >= 1e10)}.1f}/{whole} GB"
        label = "memory " if labelled else ""
        groups.append([(label, "m"), *bar(used / total, bars, glyphs, style), (f" {size}", " ")])
    if reading.utilization is not None:
        label = "busy " if labelled else ""
        groups.append([(label, "m"), *bar(reading.utilization, bars, glyphs), (f" {reading.utilization:4.0%}", " ")])
    heat: list[Piece] = []
    if reading.temperature is not None:
        heat.append((f"{reading.temperature:.0f} °C", "m"))
    if reading.power_watts is not None:
        heat.append((f"{'  ' if heat else ''}{reading.power_watts:.0f} W", "m"))
    if heat:
        groups.append(heat)
    if reading.kind == "cuda" and many:
        groups.append([(name, "m")])
    return groups


class DeviceStrip(Cells):
    """A row or more of gauges; one muted row of names while nothing runs."""

    DEFAULT_CSS = f"DeviceStrip {{ height: auto; max-height: {ROWS_SHOWN}; padding: 0 1; }}"
    devices: Sequence[DeviceReading] | Sequence[Named] = ()
    glyphs: GlyphSet = "braille"

    def rows(self, width: int) -> list[list[Piece]]:
        """Return what is drawn."""
        readings = [device for device in self.devices if not isinstance(device, Named)]
        if readings:
            return measured(readings, width, self.glyphs)
        return named([device for device in self.devices if isinstance(device, Named)], width)

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        del container, viewport
        return max(1, len(self.rows(width)))

    def show(self, devices: Sequence[DeviceReading] | Sequence[Named]) -> None:
        """Draw other devices, or other figures of them; the layout changes only with their number."""
        if devices is self.devices:
            return
        width = self.size.width
        before, self.devices = len(self.rows(width)), devices
        if len(self.rows(width)) != before and width:
            self.refresh(layout=True)
        self.redraw()

    def pieces(self, width: int, height: int) -> list[list[Piece]]:
        return self.rows(width)[:height]
