"""What a probe found corrects the next prediction, on that machine alone."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from engine.config.model import RunConfig
from engine.hardware.measured import correction, remember
from engine.hardware.memory import NOTHING_MEASURED, Batch, Estimate, estimate
from engine.hardware.model_shape import find_shape
from engine.workspace import Workspace

MB = 1 << 20


def config(**model: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "model": {"name": "tiny", "dtype": "float32", "device": "cpu", **model},
            "lora": {"r": 16, "target_modules": "all-linear"},
            "training": {"activation_checkpointing": False},
        }
    )


def predicted(batch: Batch) -> Estimate:
    shape = find_shape(Workspace(Path("/")).model("tiny"), None)
    return estimate(config(), shape, kind="cpu", batch=batch)


def keep(path: Path, batch: Batch, peak: int, *, device: str = "CPU, 2 cores", **model: Any) -> None:
    remember(
        config(**model), predicted(batch), device=device, peak_bytes=peak, context_bytes=500 * MB, now=1e9, path=path
    )


def test_after_a_measurement_the_same_batch_is_predicted_as_it_was_measured(tmp_path: Path) -> None:
    path, batch = tmp_path / "deep" / "memory.jsonl", Batch(512, 64)
    peak = round(1.3 * predicted(batch).total_bytes)
    keep(path, batch, peak)
    known = correction(config(), "CPU, 2 cores", path=path)
    shape = find_shape(Workspace(Path("/")).model("tiny"), None)
    again = estimate(config(), shape, kind="cpu", batch=batch, correction=known)
    assert again.total_bytes == pytest.approx(peak, rel=0.001)
    assert "measured here with tiny, 512 x 64 tokens" in known.reason
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_model_too_small_to_tell_says_what_the_process_itself_takes(tmp_path: Path) -> None:
    path, batch = tmp_path / "memory.jsonl", Batch(1, 16)
    peak = predicted(batch).total_bytes + 90 * MB
    keep(path, batch, peak)
    known = correction(config(), "CPU, 2 cores", path=path)
    assert known.activation_factor == 1.0
    shape = find_shape(Workspace(Path("/")).model("tiny"), None)
    assert estimate(config(), shape, kind="cpu", batch=batch, correction=known).total_bytes == pytest.approx(peak)


def test_another_device_and_another_arithmetic_learn_nothing_from_it(tmp_path: Path) -> None:
    path, batch = tmp_path / "memory.jsonl", Batch(512, 64)
    keep(path, batch, 3 * predicted(batch).total_bytes)
    assert correction(config(), "NVIDIA H200", path=path) == NOTHING_MEASURED
    assert correction(config(dtype="bfloat16"), "CPU, 2 cores", path=path).activation_factor == 1.0


def test_another_model_teaches_half_of_what_the_same_one_does(tmp_path: Path) -> None:
    path, batch = tmp_path / "memory.jsonl", Batch(512, 64)
    keep(path, batch, round(1.5 * predicted(batch).total_bytes))
    same = correction(config(), "CPU, 2 cores", path=path).activation_factor
    other = correction(config(name="another"), "CPU, 2 cores", path=path).activation_factor
    assert other - 1 == pytest.approx((same - 1) / 2)


def test_a_measurement_that_cannot_be_of_this_run_is_bounded(tmp_path: Path) -> None:
    path, batch = tmp_path / "memory.jsonl", Batch(512, 64)
    keep(path, batch, 100 * predicted(batch).total_bytes)
    assert correction(config(), "CPU, 2 cores", path=path).activation_factor == 3.0


def test_a_damaged_file_is_read_as_far_as_it_can_be_and_the_newest_are_kept(tmp_path: Path) -> None:
    path, batch = tmp_path / "memory.jsonl", Batch(512, 64)
    path.write_bytes(b'\xff\n{"settings": 1}\n[]\n{"torn')
    assert correction(config(), "CPU, 2 cores", path=path) == NOTHING_MEASURED
    for _ in range(205):
        keep(path, batch, predicted(batch).total_bytes)
    assert len(path.read_text().splitlines()) == 200


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    keep(tmp_path / "file" / "memory.jsonl", Batch(1, 1), 1)
    assert correction(config(), "CPU, 2 cores", path=tmp_path / "file" / "memory.jsonl") == NOTHING_MEASURED
