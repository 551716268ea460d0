"""Models exported with llama.cpp's converter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.export.converter import Converter
from engine.export.gguf import Exported, export
from engine.export.gguf_plan import Asked, plan_export
from engine.export.progress import Progress
from engine.export.quantisation import parse
from engine.spec import local_model
from engine.workspace import Workspace


@dataclass(frozen=True)
class Done:
    """An export and what it told."""

    exported: Exported
    progress: list[Progress]

    def path(self, quantisation: str) -> Path:
        return next(file.path for file in self.exported.files if file.quantisation == quantisation)


def export_to(
    target: Path, model: str, quant: str, converter: Converter, *, adapter_only: bool = False, name: str = ""
) -> Done:
    """Export a model with the converter given."""
    found = local_model(Workspace(target.parent), model)
    asked = Asked(found, target, parse(quant), adapter_only, str(converter.folder), name=name)
    told: list[Progress] = []
    return Done(export(plan_export(asked), tell=told.append), told)


@pytest.fixture(scope="session")
def tiny_exported(converter: Converter, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The built-in model in f16, and in q4_k_m and q8_0 made from that."""
    return export_to(tmp_path_factory.mktemp("exported") / "tiny.gguf", "tiny", "q4_k_m,f16,q8_0", converter)
