"""Which quantiser there is: cyllama, or llama.cpp's own program. And how it is run."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import DiskFull, EngineError, MissingPackage
from engine.export.converter import Converter
from engine.export.failures import ExportFailed, NotExportable
from engine.export.progress import Cancelled, Progress, Tell, run
from engine.export.quantisation import Quantisation


@dataclass(frozen=True, slots=True)
class Quantiser:
    """What makes a smaller file of a large one."""

    name: str
    """In words, with its version: "cyllama 0.2.18"."""
    program: Path | None
    """`llama-quantize`; None for cyllama."""


def find_quantiser(converter: Converter | None) -> Quantiser:
    """Return cyllama; else `llama-quantize`, of the checkout the converter is in or on the PATH.

    Raises:
        MissingPackage: There is neither.
    """
    try:
        return Quantiser(f"cyllama {importlib.metadata.version('cyllama')}", None)
    except importlib.metadata.PackageNotFoundError:
        pass
    built = converter.quantizer if converter is not None else None
    found = str(built) if built is not None else shutil.which("llama-quantize")
    if found is None:
        raise MissingPackage(
            "Quantising needs cyllama, and it is not installed; nor is llama-quantize on the PATH.",
            remedy="pip install 'ftconsole[gguf]', or build llama.cpp and put its build/bin on the PATH. f16, bf16 and "
            "f32 need neither.",
        )
    return Quantiser(found, Path(found))


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file that is to be made."""

    out: Path
    quantisation: Quantisation
    expected_bytes: int

    @property
    def stage(self) -> str:
        """What its making is called."""
        return f"quantising to {self.quantisation.name}"


def quantise(
    source: Path,
    wanted: Sequence[Wanted],
    quantiser: Quantiser,
    *,
    log: Path,
    tell: Tell,
    cancelled: Cancelled,
    made: Callable[[Wanted], None] = lambda _: None,
) -> None:
    """Make GGUF files of other types from one that is not quantised, in one process: it loads the library once.

    Args:
        source: That file.
        wanted: What to make, in this order; one at least.
        quantiser: Who does it.
        log: What the process prints.
        tell: Told how far each file is.
        cancelled: See there.
        made: Called with each file once it is whole, while the next one is made.

    Raises:
        EngineError: One could not be made; the message says why. Or what `made` raised.
        WorkCancelled: `cancelled` returned true.
    """
    request = {
        "source": str(source),
        "files": [
            {"out": str(one.out), "ftype": one.quantisation.ftype, "expected_bytes": one.expected_bytes,
             "stage": one.stage}
            for one in wanted
        ],
        "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "program": None if quantiser.program is None else str(quantiser.program),
    }  # fmt: skip
    whole, of_made = 0, list[EngineError]()

    def told(progress: Progress) -> None:
        nonlocal whole
        if whole + 1 < len(wanted) and progress.stage == wanted[whole + 1].stage:
            finish()
        tell(progress)

    def finish() -> None:
        nonlocal whole
        try:
            made(wanted[whole])
        except EngineError as error:
            of_made.append(error)
            raise
        whole += 1

    try:
        run(
            "engine.export.quantise_worker",
            request,
            what=f"Quantising to {', '.join(one.quantisation.name for one in wanted)}",
            tell=told,
            cancelled=cancelled,
            log=log,
        )
    except ExportFailed as error:
        if error in of_made:
            raise
        raise _explained(error, log, wanted[whole].out, wanted[whole].quantisation) from None
    finish()


def _explained(error: EngineError, log: Path, out: Path, quantisation: Quantisation) -> EngineError:
    """Return what llama.cpp said of its failure; its own error is a number."""
    words = log.read_text("utf-8", errors="replace") if log.is_file() else ""
    if match := re.search(r"unknown (model architecture|pre-tokenizer type): '([^']{1,80})'", words):
        return NotExportable(
            f"The quantiser does not know the {match[1]} {match[2]}, which the converter does.",
            remedy="Export to f16, which needs no quantiser, or update it: pip install -U cyllama.",
        )
    lines = [line.strip() for line in words.splitlines() if "error" in line.lower() or "fail" in line.lower()]
    said = lines[-1] if lines else ""
    free = shutil.disk_usage(out.parent).free
    if "write" in said or "No space left" in words or free < 1 << 20:
        return DiskFull(
            f"The disk became full while quantising to {quantisation.name}.",
            remedy="Free some space there, or choose another folder with -o. --dry-run says how much is needed.",
        )
    return ExportFailed(
        f"llama.cpp could not quantise to {quantisation.name}: {said[:200] or error.message}",
        remedy="Try another type, --quant f16 first; a newer llama.cpp may do it.",
    )
