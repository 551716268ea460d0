"""What an export costs without us: llama.cpp's converter, then cyllama for each type. Called with folders and types.

`python -m benchmarks.bare_export CONVERTER MODEL STEM f16,q4_k_m` writes STEM-f16.gguf and the others.
"""

from __future__ import annotations

import subprocess
import sys

# The converter does not know the vocabulary of the built-in model, so that it is told what it would ask.
_CONVERT = """
import runpy, sys
converter, model, out = sys.argv[1:4]
sys.path[:0] = [converter, converter + "/gguf-py"]
from conversion.base import TextModel
TextModel.get_vocab_base_pre = lambda self, tokenizer: "qwen2"
sys.argv = ["convert_hf_to_gguf.py", model, "--outfile", out, "--outtype", "f16"]
runpy.run_path(converter + "/convert_hf_to_gguf.py", run_name="__main__")
"""
_QUANTISE = """
import sys
from cyllama.llama.llama_cpp import LlamaModelQuantizeParams, model_quantize
params = LlamaModelQuantizeParams()
params.ftype = int(sys.argv[3])
params.nthread = int(sys.argv[4])
model_quantize(sys.argv[1], sys.argv[2], params)
"""


def main() -> None:
    """Convert and quantise."""
    import os

    from engine.export.quantisation import ALL

    converter, model, stem, types = sys.argv[1:5]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True}
    source = f"{stem}-f16.gguf"
    subprocess.run([sys.executable, "-c", _CONVERT, converter, model, source], **quiet)  # type: ignore[call-overload]
    for name in types.split(","):
        if name != "f16":
            numbers = [str(ALL[name].ftype), str(len(os.sched_getaffinity(0)))]
            command = [sys.executable, "-c", _QUANTISE, source, f"{stem}-{name}.gguf", *numbers]
            subprocess.run(command, **quiet)  # type: ignore[call-overload]


if __name__ == "__main__":
    main()
