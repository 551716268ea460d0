"""A configuration is read without loading what trains."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "numpy", "textual", "rich", "typer")


def modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport json, sys\nprint(json.dumps([name.partition('.')[0] for name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_the_configuration_loads_no_training_library() -> None:
    loaded = modules_after(
        "import engine.config.arguments, engine.config.document, engine.config.schema\n"
        "from engine.config.load import preset\npreset('demo').check()"
    )
    assert loaded.isdisjoint(HEAVY)


def test_the_workspace_loads_the_standard_library_only() -> None:
    loaded = modules_after("import engine.workspace")
    assert loaded.isdisjoint({*HEAVY, "yaml", "pydantic", "dataclasses", "difflib"})
