"""What ends llama.cpp's converter, in words."""

from __future__ import annotations

import errno

import pytest

from engine.errors import DiskFull, EngineError, MissingPackage, NotFound, OutOfMemory
from engine.export.convert_failures import explained
from engine.export.failures import ExportFailed, NotExportable

ASKED = {"out": "/tmp/x.gguf", "model": "/models/m", "converter": "/llama.cpp"}


@pytest.mark.parametrize(
    ("error", "logged", "kind", "says"),
    [
        pytest.param(OSError(errno.ENOSPC, "No space left"), "", DiskFull, "/tmp/x.gguf", id="a full disk"),
        pytest.param(OSError("1234 requested and 12 written"), "", DiskFull, "became full", id="as numpy says it"),
        pytest.param(MemoryError(), "", OutOfMemory, "Memory ran out", id="memory"),
        pytest.param(SystemExit(1), "Model XForCausal is not supported", NotExportable, "XForCausal", id="class"),
        pytest.param(ValueError("Can not map tensor 'x.y'"), "", NotExportable, "x.y", id="a weight without a place"),
        pytest.param(
            NotImplementedError("Quant method is not yet supported: 'q'"),
            "",
            NotExportable,
            "stored in a way",
            id="method",
        ),
        pytest.param(
            FileNotFoundError("File not found: /models/m/tokenizer.model"), "", NotFound, "no tokenizer.model", id="spm"
        ),
        pytest.param(ValueError("Error: Missing tokenizer.model"), "", NotFound, "no tokenizer.model", id="phi3"),
        pytest.param(
            ModuleNotFoundError("No module", name="sentencepiece"), "", MissingPackage, "sentencepiece", id="package"
        ),
        pytest.param(RuntimeError("odd\nmore"), "", ExportFailed, "RuntimeError: odd.", id="anything else"),
        pytest.param(SystemExit(1), "said why", ExportFailed, "said why", id="an exit with a reason"),
    ],
)
def test_what_ends_the_converter_is_a_sentence_and_a_remedy(
    error: BaseException, logged: str, kind: type[EngineError], says: str
) -> None:
    found = explained(error, logged, ASKED)
    assert type(found) is kind
    assert says in found.message
    assert found.remedy
