"""What a library's exception means: the texts are those the libraries raised when it happened."""

from __future__ import annotations

import errno

import pytest

from engine.errors import DeviceFault, DiskFull, EngineError, NonFinite, OutOfMemory, WorkerFailed
from engine.training.failures import explained

CASES: list[tuple[BaseException, type[EngineError]]] = [
    (MemoryError(), OutOfMemory),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: you tried "
                  "to allocate 400000000000 bytes. Error code 12 (Cannot allocate memory)"), OutOfMemory),
    (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of ..."), OutOfMemory),
    (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"), OutOfMemory),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), OutOfMemory),
    (RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB"), OutOfMemory),
    (RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GB)"), OutOfMemory),
    (RuntimeError("std::bad_alloc"), OutOfMemory),
    (OSError(errno.ENOSPC, "No space left on device"), DiskFull),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), DiskFull),
    (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), DiskFull),
    (RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 52032 vs 51920"), DiskFull),
    (RuntimeError("CUDA error: unspecified launch failure"), DeviceFault),
    (RuntimeError("CUDA error: device-side assert triggered"), DeviceFault),
    (RuntimeError("NCCL error in: ProcessGroupNCCL.cpp:1970, unhandled system error"), DeviceFault),
    (RuntimeError("HIP error: an illegal memory access was encountered"), DeviceFault),
    (ValueError("could not convert string to float: 'a'"), WorkerFailed),
    (KeyError("input_ids"), WorkerFailed),
    (OSError(errno.EIO, "Input/output error"), WorkerFailed),
    (SystemExit(1), WorkerFailed),
    (KeyboardInterrupt(), WorkerFailed),
]  # fmt: skip


@pytest.mark.parametrize(("error", "kind"), CASES, ids=[f"{type(e).__name__} {str(e)[:30]}" for e, _ in CASES])
def test_an_exception_is_explained(error: BaseException, kind: type[EngineError]) -> None:
    found = explained(error, "training")
    assert type(found) is kind
    assert "while training" in found.message
    assert found.remedy
    assert "\n" not in found.message


@pytest.mark.parametrize("stage", ["training", "evaluating", "answering", "loading", "saving", "preparing"])
def test_the_remedy_for_memory_names_settings_of_the_stage(stage: str) -> None:
    remedy = explained(MemoryError(), stage).remedy
    evaluating = stage in ("evaluating", "answering")
    assert ("per_device_eval_batch_size" in remedy) == evaluating
    assert ("per_device_train_batch_size" in remedy) == (not evaluating and stage != "loading")
    assert ("load_in_4bit" in remedy) == (not evaluating)


def test_our_own_errors_say_what_they_say() -> None:
    error = NonFinite("Step 3 was not taken.", remedy="Lower it.")
    assert explained(error, "training") is error


@pytest.mark.parametrize("explicit", [True, False], ids=["from", "during"])
def test_the_cause_behind_an_exception_decides(explicit: bool) -> None:
    def fail() -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            if explicit:
                raise RuntimeError("saving failed") from error
            raise RuntimeError("saving failed")  # noqa: B904 - as libraries do

    with pytest.raises(RuntimeError) as caught:
        fail()
    found = explained(caught.value, "saving")
    assert isinstance(found, DiskFull)
    assert found.message == "The disk became full while saving: saving failed"


def test_causes_in_a_circle_come_to_an_end() -> None:
    one, other = RuntimeError("one"), RuntimeError("other")
    one.__cause__, other.__cause__ = other, one
    assert explained(one, "training").message == "RuntimeError while training: one"


@pytest.mark.parametrize(
    ("error", "shown"),
    [(ValueError(""), "no message"), (ValueError("  \n "), "no message"), (ValueError("first\nsecond"), "first")],
    ids=["empty", "blank", "two lines"],
)
def test_the_first_line_is_quoted(error: Exception, shown: str) -> None:
    assert explained(error, "loading").message == f"ValueError while loading: {shown}"


def test_a_long_line_is_cut_and_no_half_token_is_left() -> None:
    token = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345678"
    for before in range(340, 420):
        message = explained(ValueError("x" * before + f" {token} " + "y" * 1000), "loading").message
        assert len(message) < 450
        assert "hf_" not in message
