"""What ends llama.cpp's converter, as a sentence and what helps."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.errors import DiskFull, EngineError, MissingPackage, NotFound, OutOfMemory
from engine.export.failures import FULL_PRECISION, ConverterUnusable, ExportFailed, NotExportable

NEWER = "A newer llama.cpp may know it: --llama-cpp-path with a checkout, after `git pull` in it."


def explained(error: BaseException, logged: str, asked: Mapping[str, Any]) -> EngineError:
    """Return the error behind what the converter ended with.

    Args:
        error: An exception, or the exit that its script made.
        logged: The last error it logged, which says why it exited.
        asked: What it was asked for.
    """
    if isinstance(error, EngineError):
        return error
    chain = list(_chain(error))
    said = " ".join(str(one) for one in chain)
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
    # numpy says of a full disk only how much it could not write.
    full = any(isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT) for one in chain)
    if full or re.search(r"\d+ requested and \d+ written", said):
        return DiskFull(
            f"The disk became full while converting to {asked['out']}.",
            remedy="Free some space there, or choose another folder with -o. --dry-run says how much is needed.",
        )
    if any(isinstance(one, MemoryError) for one in chain) or "can't allocate memory" in said:
        return OutOfMemory(
            f"Memory ran out while converting: {first}.",
            remedy="Close what takes memory; --dry-run says what is needed.",
        )
    if isinstance(error, SystemExit):
        first = logged or first
    if match := re.search(r"Model (\S+) is not supported", first):
        return NotExportable(f"This llama.cpp cannot convert a {match[1]}.", remedy=NEWER)
    if "Can not map tensor" in said:
        return NotExportable(f"llama.cpp has no place for a weight of this model: {first}.", remedy=NEWER)
    if "Quant method is not yet supported" in said or "Quant format" in said:
        return NotExportable(f"The weights are stored in a way llama.cpp cannot read: {first}.", remedy=FULL_PRECISION)
    if "tokenizer.model" in said:
        return NotFound(
            f"{asked['model']} has no tokenizer.model, which llama.cpp needs for it: transformers 5 leaves it out.",
            remedy="Copy tokenizer.model from the base model into that folder and export once more.",
        )
    if isinstance(error, ModuleNotFoundError) and error.name in ("sentencepiece", "google", "google.protobuf"):
        return MissingPackage(
            f"The converter needs {error.name} for this tokenizer, and it is not installed.",
            remedy="pip install 'ftconsole[gguf]'",
        )
    if isinstance(error, AttributeError | ImportError) and _inside(error, Path(asked["converter"])):
        return ConverterUnusable(
            f"{asked['converter']} does not fit together, or not with this Python: {type(error).__name__}: {first}.",
            remedy="Converter, conversion/ and gguf-py/ must be of one version: name a whole checkout with "
            "--llama-cpp-path, or leave the option out.",
        )
    return ExportFailed(
        f"llama.cpp's converter ended with {type(error).__name__}: {first.rstrip('.')}.",
        remedy="Check that the model's folder is whole: `ftconsole merge` writes one. " + NEWER,
    )


def _inside(error: BaseException, folder: Path) -> bool:
    """Return whether an error is the converter's own: of the libraries around it, none came after its last frame."""
    trace, inside = error.__traceback__, False
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.is_relative_to(folder):
            inside = True
        elif "site-packages" in file.parts:
            inside = False
        trace = trace.tb_next
    return inside


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
