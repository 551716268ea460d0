"""Reports the run's device while the worker works, from a thread of its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import torch

from engine import events
from engine.errors import EngineError
from engine.hardware.devices import cuda_readings, host_reading, process_bytes
from engine.training.reporter import Reporter

INTERVAL_SECONDS = 5.0
"""Some 2 ms of reading each time. Shorter keeps an idle GPU awake and tells nobody more."""
PAUSED_EVERY = 60
"""Of a paused run every 60th: it may stay so for a weekend, and its log should not grow by 10 MB."""


class DeviceMonitor:
    """Says `DeviceMeasured` every few seconds until it is stopped."""

    def __init__(self, reporter: Reporter, device: torch.device, shown: str, paused: Callable[[], bool]) -> None:
        self._reporter, self._device, self._shown, self._paused = reporter, device, shown, paused
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="device-monitor", daemon=True)

    def __enter__(self) -> DeviceMonitor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=5)

    def _work(self) -> None:
        host_reading()
        looks = 0
        while not self._ended.wait(INTERVAL_SECONDS):
            looks = looks + 1 if self._paused() else 0
            if looks % PAUSED_EVERY:
                continue
            # A full disk is the trainer's to wait for.
            # RuntimeError: torch's, on a card that is lost. The training step will meet it too, and say so.
            with contextlib.suppress(EngineError, RuntimeError):
                self._reporter.say_at_once(self._measure())

    def _measure(self) -> events.DeviceMeasured:
        host = host_reading()
        if self._device.type != "cuda":
            return events.DeviceMeasured(
                self._shown, process_bytes(), host.total_bytes, None, host.utilization, None, None
            )
        uuid = str(getattr(torch.cuda.get_device_properties(self._device), "uuid", ""))  # ROCm may have none
        reading = next((r for r in cuda_readings() if r.uuid.removeprefix("GPU-") == uuid.removeprefix("GPU-")), None)
        reserved = torch.cuda.memory_reserved(self._device)
        if reading is None:
            free, total = torch.cuda.mem_get_info(self._device)
            return events.DeviceMeasured(self._shown, total - free, total, reserved, None, None, None)
        return events.DeviceMeasured(
            self._shown,
            reading.used_bytes,
            reading.total_bytes,
            reserved,
            reading.utilization,
            reading.temperature,
            reading.power_watts,
        )
