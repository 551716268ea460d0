"""What each process loads, seen in a fresh interpreter: contracts read the source, this looks at `sys.modules`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TRAINING = {"torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "datasets", "pandas"}
DEFERRED = {"openai", "numpy", "pyarrow", "duckdb"}
TERMINAL = {"textual", "rich", "typer"}


def loaded_after(statement: str) -> set[str]:
    """Return the top-level names a fresh interpreter has loaded after a statement."""
    script = f"import sys, json\n{statement}\nprint(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    reply = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True, cwd="/", env=environment()
    )
    return set(json.loads(reply.stdout.splitlines()[-1]))


def environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize(
    "module",
    [
        "engine.config.load",
        "engine.runs.summary",
        "engine.launch.start",
        "engine.launch.prepare",
        "engine.launch.forecast",
        "engine.chat.session",
        "engine.chat.endpoint",
        "engine.chat.lmstudio",
        "engine.chat.votes",
    ],
)
def test_the_engine_the_console_uses_loads_no_training_library(module: str) -> None:
    assert not loaded_after(f"import {module}") & (TRAINING | DEFERRED | TERMINAL)


@pytest.mark.parametrize(
    "module", ["screens.runs.screen", "screens.live.screen", "screens.chat.screen", "tui.app", "tui.state"]
)
def test_the_console_loads_no_training_library(module: str) -> None:
    assert not loaded_after(f"import {module}") & (TRAINING | DEFERRED)


def test_the_keeper_is_standard_library_only() -> None:
    names = loaded_after("import engine.launch.keeper")
    assert names - set(sys.stdlib_module_names) - {"engine", "__main__"} - _site_hooks() == set()


def test_an_empty_engine_package_imports_nothing() -> None:
    assert (ROOT / "engine" / "__init__.py").read_text() == ""


def _site_hooks() -> set[str]:
    """Return what the environment's own start-up loads (editable installs bring a finder)."""
    return loaded_after("pass") - set(sys.stdlib_module_names)
