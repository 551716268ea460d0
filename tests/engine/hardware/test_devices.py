"""Devices: what the driver tells, what it does not, and a machine without one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from engine.hardware import devices
from engine.hardware.devices import best_device, cuda_readings, host_reading, process_bytes


class NVMLError(Exception):
    """What the driver's library raises."""


class Driver:
    """Answers as pynvml does. A question whose answer is missing is refused, as for a card that does not tell."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, *cards: dict[str, Any]) -> None:
        self.cards = cards

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - the library's names, here and below
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:  # noqa: N802
        if self.cards[index].get("lost"):
            raise NVMLError("GPU is lost")
        return self.cards[index]

    def __getattr__(self, question: str) -> Any:
        def answer(card: dict[str, Any], *_: object) -> Any:
            if question not in card:
                raise NVMLError("Not Supported")
            return card[question]

        return answer


FULL = {
    "nvmlDeviceGetName": "NVIDIA H200",
    "nvmlDeviceGetUUID": "GPU-1",
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=5, total=100),
    "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=37),
    "nvmlDeviceGetPowerUsage": 412_500,
    "nvmlDeviceGetTemperature": 51,
    "nvmlDeviceGetCudaComputeCapability": (9, 0),
}


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that puts a driver (or None) and a build of torch in place."""

    def put(driver: Driver | None, build: str = "cu128") -> None:
        monkeypatch.setattr(devices, "_nvml", lambda: driver)
        monkeypatch.setattr(devices, "_torch_build", lambda: build)

    return put


def test_a_card_is_read(install: Callable[..., None]) -> None:
    install(Driver(FULL))
    (card,) = cuda_readings()
    assert (card.name, card.kind, card.index, card.uuid) == ("NVIDIA H200", "cuda", 0, "GPU-1")
    assert (card.used_bytes, card.total_bytes) == (5, 100)
    assert (card.utilization, card.power_watts, card.temperature) == (0.37, 412.5, 51.0)


def test_what_a_card_does_not_tell_is_none(install: Callable[..., None]) -> None:
    install(Driver({"nvmlDeviceGetName": b"Some \xff card"}))
    (card,) = cuda_readings()
    assert card.name == "Some \ufffd card"
    assert (card.used_bytes, card.total_bytes, card.utilization, card.power_watts, card.temperature, card.uuid) == (
        None, None, None, None, None, "",
    )  # fmt: skip


def test_a_card_that_is_lost_does_not_hide_the_others(install: Callable[..., None]) -> None:
    install(Driver({"lost": True}, FULL))
    assert [card.index for card in cuda_readings()] == [1]


@pytest.mark.parametrize("driver", [None, Driver()], ids=["no driver", "no card"])
def test_a_machine_without_cards_has_no_readings(install: Callable[..., None], driver: Driver | None) -> None:
    install(driver)
    assert cuda_readings() == []


def test_a_driver_that_cannot_be_started_is_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("Driver/library version mismatch")

    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(nvmlInit=fail))
    devices._nvml.cache_clear()
    try:
        assert cuda_readings() == []
    finally:
        devices._nvml.cache_clear()


@pytest.mark.parametrize(
    ("cards", "build", "best"),
    [
        pytest.param([FULL], "cu128", ("cuda", True), id="a card of today"),
        pytest.param([FULL], "", ("cuda", True), id="torch of the registry"),
        pytest.param(
            [{**FULL, "nvmlDeviceGetCudaComputeCapability": (7, 5)}], "cu128", ("cuda", False), id="no bfloat16"
        ),
        pytest.param([{"nvmlDeviceGetName": "x"}], "cu128", ("cuda", True), id="a card that does not tell its age"),
    ],
)
def test_the_best_device_is_a_card_that_torch_can_use(
    install: Callable[..., None], cards: list[dict[str, Any]], build: str, best: tuple[str, bool]
) -> None:
    install(Driver(*cards), build)
    assert best_device() == best


@pytest.mark.parametrize(
    ("driver", "build"),
    [(Driver(FULL), "cpu"), (None, "cu128"), (Driver(), "")],
    ids=["torch for the processor", "no driver", "no card"],
)
def test_without_a_card_or_a_torch_for_it_the_processor_is_best(
    install: Callable[..., None], driver: Driver | None, build: str
) -> None:
    install(driver, build)
    assert best_device()[0] in ("cpu", "mps")


def test_the_host_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_asked", [])
    first, second = host_reading(), host_reading()
    assert first.kind == "cpu"
    assert first.name.startswith("CPU, ")
    assert first.utilization is None  # nothing to compare with yet
    assert second.utilization is not None
    assert 0 <= second.utilization <= 1
    assert second.used_bytes is not None
    assert second.total_bytes is not None
    assert 0 < second.used_bytes < second.total_bytes


def test_a_process_is_measured_with_its_children() -> None:
    own = psutil.Process().memory_info().rss
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        used = process_bytes()
        assert used is not None
        assert used > own // 2
        assert process_bytes(child.pid) is not None
    finally:
        child.communicate()
    assert process_bytes(child.pid) is None


def test_a_child_that_ends_while_it_is_measured_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> None:
        raise psutil.NoSuchProcess(4711)

    children = [SimpleNamespace(memory_info=gone), SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=1))]
    monkeypatch.setattr(psutil.Process, "children", lambda *_, **__: children)
    assert (process_bytes() or 0) > 1


def test_reading_devices_loads_no_torch() -> None:
    script = "import sys; from engine.hardware.devices import *; best_device(); host_reading(); cuda_readings(); "
    script += "print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"
