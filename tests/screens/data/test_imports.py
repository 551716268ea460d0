"""Opening the screen loads none of the libraries that belong to other processes."""

from __future__ import annotations

import json
import subprocess
import sys


def test_the_screen_loads_neither_training_libraries_nor_arrays() -> None:
    script = (
        "import screens.data.screen, screens.data.asking, screens.data.inquiries, screens.data.twin, json, sys\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    reply = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"torch", "transformers", "trl", "peft", "datasets", "pandas", "numpy", "pyarrow", "duckdb", "tokenizers"}
    assert not set(json.loads(reply.stdout)) & heavy
