"""What can go wrong on the way to a GGUF file, and what helps."""

from __future__ import annotations

from typing import Final

from engine.errors import EngineError, MissingPackage

FULL_PRECISION: Final = (
    "Export from full precision: name the run or its adapter, whose base is then taken unquantised, or merge it with "
    "`ftconsole merge`."
)


class ExportFailed(EngineError):
    """The model could not be converted or quantised."""

    code = "export-failed"
    exit_code = 13


class NotExportable(ExportFailed):
    """llama.cpp has no counterpart for this model: architecture, tokenizer or the way it is stored."""

    code = "not-exportable"


class ConverterMissing(MissingPackage):
    """llama.cpp's converter is not on this machine, and could not or was not to be fetched."""

    code = "converter-missing"


class ConverterUnusable(MissingPackage):
    """What was named as llama.cpp is half of it, or its parts are of different versions."""

    code = "converter-unusable"
