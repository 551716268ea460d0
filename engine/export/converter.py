"""llama.cpp's own converter: found where the user has it, or taken once from the llama-cpp-python source package.

The converter, its `conversion` modules and its `gguf-py` change together, and PyPI's `gguf` is not that one: with
gguf 0.19 this converter ends in `AttributeError: DFLASH`, although both call themselves 0.19.0.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.errors import NotFound
from engine.export.failures import ConverterUnusable

VERSION: Final = "0.3.36"
"""Of llama-cpp-python, whose source package carries llama.cpp at 0c1e57098."""
VARIABLE: Final = "LLAMA_CPP_DIR"
CLONE: Final = "git clone https://github.com/ggml-org/llama.cpp"
_SCRIPT = "convert_hf_to_gguf.py"
_LORA_SCRIPT = "convert_lora_to_gguf.py"
_QUANTIZERS = ("build/bin/llama-quantize", "llama-quantize")


@dataclass(frozen=True, slots=True)
class Converter:
    """A folder with llama.cpp's converter in it."""

    folder: Path
    origin: str
    """In words: "--llama-cpp-path", "$LLAMA_CPP_DIR" or "llama-cpp-python 0.3.36"."""

    @property
    def script(self) -> Path:
        return self.folder / _SCRIPT

    @property
    def lora_script(self) -> Path:
        return self.folder / _LORA_SCRIPT

    @property
    def quantizer(self) -> Path | None:
        """Return `llama-quantize`, where the checkout was built."""
        built = (self.folder / name for name in _QUANTIZERS)
        return next((path for path in built if path.is_file() and os.access(path, os.X_OK)), None)


def find_converter(given: str | None = None, environ: Mapping[str, str] = os.environ) -> Converter | None:
    """Return the converter to use; None when it has yet to be fetched.

    Args:
        given: A folder named by the user. Wins over `$LLAMA_CPP_DIR`, which wins over what was fetched.
        environ: Where the variables are.

    Raises:
        NotFound: The folder named is not there.
        ConverterUnusable: It is not llama.cpp, or half of it.
    """
    for origin, text in (("--llama-cpp-path", given), (f"${VARIABLE}", environ.get(VARIABLE))):
        if text:
            return _checkout(Path(os.path.abspath(os.path.expanduser(text))), origin)
    folder = fetched_folder(environ)
    return Converter(folder, f"llama-cpp-python {VERSION}") if not missing_parts(folder) else None


def fetched_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the converter is kept once it was fetched."""
    cache = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "ftconsole" / f"llama.cpp-{VERSION}"


def missing_parts(folder: Path) -> list[str]:
    """Return which parts of the converter a folder lacks; empty when it is whole."""
    parts = [_SCRIPT, _LORA_SCRIPT, "gguf-py/gguf/__init__.py"]
    try:
        # Since spring 2026 the script is a front for the package `conversion`; before, it was all in itself.
        if "from conversion" in (folder / _SCRIPT).read_text("utf-8", errors="replace"):
            parts += ["conversion/__init__.py", "conversion/base.py"]
    except OSError:
        pass
    return [part for part in parts if not (folder / part).is_file()]


def _checkout(folder: Path, origin: str) -> Converter:
    if not folder.is_dir():
        raise NotFound(f"{origin} names {folder}, which is no folder.", remedy="Name a checkout of llama.cpp.")
    # The source package of llama-cpp-python, unpacked, has it two folders down.
    places = [folder, folder / "vendor" / "llama.cpp"]
    for place in places:
        if not (missing := missing_parts(place)):
            return Converter(place, origin)
        if (place / _SCRIPT).is_file():
            raise ConverterUnusable(
                f"{origin} names {place}, where {_SCRIPT} is and {missing[0]} is not: they belong together.",
                remedy=f"Name a whole checkout: {CLONE}. Or leave it out.",
            )
    raise ConverterUnusable(
        f"{origin} names {folder}, where there is no {_SCRIPT}.",
        remedy=f"Name a checkout of llama.cpp: {CLONE}. Or leave it out.",
    )
