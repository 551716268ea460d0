"""What an exception of a library means to the person who started the run."""

from __future__ import annotations

import errno

from engine.errors import DeviceFault, DiskFull, EngineError, OutOfMemory, WorkerFailed
from engine.training.reporter import redacted

_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "cublas_status_alloc_failed",
    "bad_alloc",
)
_DEVICE = ("cuda error", "device-side assert", "nccl error", "hip error", "unspecified launch failure")
_FULL = ("no space left on device", "os error 28", "unexpected pos", "disk quota exceeded")


def explained(error: BaseException, stage: str) -> EngineError:
    """Return the error behind an exception.

    Args:
        error: What ended the worker.
        stage: The stage it was in: the remedy for memory depends on it.
    """
    if isinstance(error, EngineError):
        return error
    chain = _chain(error)
    said = " ".join(str(one) for one in chain).lower()
    first = _first_line(error)
    full = any(isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT) for one in chain)
    if full or any(text in said for text in _FULL):
        return DiskFull(
            f"The disk became full while {stage}: {first}",
            remedy="Free some space, then go on with `ftconsole resume`; older checkpoints are untouched.",
        )
    if any(isinstance(one, MemoryError) for one in chain) or any(text in said for text in _MEMORY):
        return OutOfMemory(f"Memory ran out while {stage}: {first}", remedy=_memory_remedy(stage))
    if any(text in said for text in _DEVICE):
        return DeviceFault(
            f"The device reported a fault while {stage}: {first}",
            remedy="Checkpoints are safe. Look at `ftconsole doctor` and the system log for Xid errors; the card may "
            "need a reset. Then go on with `ftconsole resume`.",
        )
    return WorkerFailed(
        f"{type(error).__name__} while {stage}: {first}", remedy="The traceback is at the end of worker.log."
    )


def _memory_remedy(stage: str) -> str:
    if stage in ("evaluating", "answering"):
        return "Lower evaluation.per_device_eval_batch_size or evaluation.max_new_tokens; training itself fits."
    if stage == "loading":
        return "Set model.load_in_4bit: true, or choose a smaller model."
    return (
        "Halve training.per_device_train_batch_size and double training.gradient_accumulation_steps, lower "
        "data.max_length, or set model.load_in_4bit: true."
    )


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in found:
        found.append(one)
        one = one.__cause__ or one.__context__
    return found


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    # Redacted first: half a token is no longer recognised, and still half a token.
    return redacted(text.splitlines()[0])[:400] if text else "no message"
