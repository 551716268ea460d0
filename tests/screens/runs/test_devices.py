"""The device strip: what is named, what is measured, and in how much room."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.hardware.devices import DeviceReading
from screens.runs.devices import ROWS_SHOWN, Machine, Named, measured, named
from tui.display import cell_len
from tui.widgets.chart.glyphs import GLYPHS, GlyphSet

GPU = DeviceReading("NVIDIA H200", "cuda", 0, 43_100_000_000, 150_000_000_000, 0.9, 61.0, 412.0)
CPU = DeviceReading("CPU, 2 cores", "cpu", 0, 6_100_000_000, 25_300_000_000, 0.93, None, None)


def text(readings: list[DeviceReading], width: int, glyphs: GlyphSet = "braille") -> list[str]:
    return ["".join(piece for piece, _ in row).rstrip() for row in measured(readings, width, glyphs)]


def gpus(count: int) -> list[DeviceReading]:
    return [replace(GPU, index=index) for index in range(count)]


def test_one_gpu_has_a_row_with_its_name() -> None:
    [row] = text([GPU], 100, "ascii")
    assert row.startswith("NVIDIA H200  memory ")
    assert " 43.1/150 GB  busy " in row
    assert row.endswith(" 90%  61 °C  412 W")


def test_a_machine_without_a_gpu_shows_its_processor() -> None:
    [row] = text([CPU], 80, "ascii")
    assert row.startswith("CPU  memory ")
    assert "6.1/25 GB" in row


def test_what_the_driver_does_not_tell_is_left_out() -> None:
    blind = replace(GPU, used_bytes=None, utilization=None, temperature=None, power_watts=None)
    assert text([blind], 80) == ["NVIDIA H200"]


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (3, 3), (4, 4), (5, 3), (8, 4), (16, 4)])
def test_many_devices_stand_side_by_side(count: int, rows: int) -> None:
    drawn = text(gpus(count), 160)
    assert len(drawn) == rows
    assert all(f"GPU {index}" in "\n".join(drawn) for index in range(count) if count > 1)


def test_what_has_no_room_is_counted() -> None:
    drawn = text(gpus(8), 60)
    assert len(drawn) == ROWS_SHOWN
    assert "and 4 more" in drawn[-1]


@pytest.mark.parametrize("glyphs", GLYPHS)
@pytest.mark.parametrize("width", [1, 5, 12, 36, 60, 80, 120, 300])
def test_no_row_is_too_wide(width: int, glyphs: GlyphSet) -> None:
    for readings in ([], [CPU], [GPU], gpus(3), gpus(8), gpus(100)):
        for row in measured(readings, width, glyphs):
            assert cell_len("".join(piece for piece, _ in row)) <= width


def test_equal_devices_are_counted_when_they_are_only_named() -> None:
    [row] = named([*[Named("NVIDIA H200", None)] * 8, Named("CPU, 192 cores", 2_000_000_000_000)], 80)
    assert "".join(piece for piece, _ in row) == "8 x NVIDIA H200   CPU, 192 cores, 2000.0 GB"


def test_devices_are_named_without_asking_a_driver(tmp_path: Path) -> None:
    for number, model in enumerate(("NVIDIA H200", "\x1b[2JFake")):
        folder = tmp_path / f"driver/nvidia/gpus/0000:{number}b:00.0"
        folder.mkdir(parents=True)
        (folder / "information").write_text(f"Model: \t\t {model}\nIRQ:   \t\t 1\n")
    *found, processor = Machine(tmp_path).names()
    assert found == [Named("NVIDIA H200", None), Named("\x1b[2JFake", None)]
    assert processor.name.startswith("CPU, ")
    assert "\x1b" not in "".join(piece for piece, _ in named(found, 80)[0])


def test_a_machine_without_that_folder_has_a_processor(tmp_path: Path) -> None:
    [processor] = Machine(tmp_path).names()
    assert processor.total_bytes
