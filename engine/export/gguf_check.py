"""Whether a GGUF file is what the model is: whole, of its type, and with the same ends and template."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.export.failures import ExportFailed
from engine.export.gguf_header import GgufHeader, read_gguf
from engine.export.quantisation import Quantisation


def check_model(path: Path, quantisation: Quantisation, facts: Mapping[str, Any]) -> GgufHeader:
    """Read a file back: nothing is missing in it, and it says of itself what the model says.

    Raises:
        ExportFailed: It does not.
        GgufDamaged: It was cut off.
    """
    header = read_gguf(path)
    metadata = header.metadata
    wrong = [
        f"{what} is {header.metadata.get(key)!r} and not {wanted!r}"
        for what, key, wanted in (
            ("its type", "general.file_type", quantisation.ftype),
            ("its end of sequence", "tokenizer.ggml.eos_token_id", facts["eos"]),
            ("whether it begins with a token", "tokenizer.ggml.add_bos_token", facts["add_bos"]),
            ("whether it ends with one", "tokenizer.ggml.add_eos_token", facts["add_eos"]),
        )
        if metadata.get(key) != wanted
    ]
    if facts["template"] is not None and metadata.get("tokenizer.chat_template") != facts["template"]:
        wrong.append("its chat template is another")
    if not header.tensors:
        wrong.append("it has no weights")
    if wrong:
        raise ExportFailed(
            f"The {quantisation.name} file is not what the model is: {'; '.join(wrong)[:400]}.",
            remedy="It was not kept. Another llama.cpp may write it rightly: --llama-cpp-path.",
        )
    return header


def check_adapter(path: Path) -> GgufHeader:
    """Read the file of an adapter back.

    Raises:
        ExportFailed, GgufDamaged: It is none.
    """
    header = read_gguf(path)
    if header.text("general.type") != "adapter" or not header.tensors:
        raise ExportFailed("The file is no adapter.", remedy="It was not kept. Export the whole model instead.")
    return header
