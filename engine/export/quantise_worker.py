"""The process in which llama.cpp's quantiser runs: in it, through cyllama, or as `llama-quantize` below it.

An abort in llama.cpp ends only this process.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from engine.errors import MissingPackage
from engine.export.failures import ExportFailed
from engine.export.growing import growing
from engine.export.progress import Tell, answer


def main(asked: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Make one file after the other, as `asked` says. The beginning of one says that the one before is whole."""
    make = _with_cyllama if asked["program"] is None else _with_program
    for file in asked["files"]:
        with growing(file, tell):
            make(asked, file)
    return {}


def _with_cyllama(asked: dict[str, Any], file: dict[str, Any]) -> None:
    try:
        from cyllama.llama.llama_cpp import LlamaModelQuantizeParams, model_quantize
    except ImportError as error:
        raise MissingPackage(f"cyllama cannot be loaded: {error}.", remedy="pip install 'ftconsole[gguf]'") from error
    params = LlamaModelQuantizeParams()
    params.ftype, params.nthread = file["ftype"], asked["threads"]
    try:
        model_quantize(asked["source"], file["out"], params)
    except RuntimeError as error:
        raise ExportFailed(str(error)) from None  # why is in the log, which who asked reads


def _with_program(asked: dict[str, Any], file: dict[str, Any]) -> None:
    command = [asked["program"], asked["source"], file["out"], str(file["ftype"]), str(asked["threads"])]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=sys.stderr, check=False)
    if ended.returncode:
        raise ExportFailed(f"{asked['program']} ended with status {ended.returncode}.")


if __name__ == "__main__":
    sys.exit(answer(main, "The quantisation"))
