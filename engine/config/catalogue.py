"""The catalogue of base models, as far as automatic values need it. A damaged or foreign entry is left out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.config.yaml_text import read_file, read_value
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.workspace import Workspace


class CatalogueEntry(NamedTuple):
    """One base model. What the catalogue does not say is None or empty."""

    name: str
    """Short name, as `model.name` takes it."""
    hub: str | None
    """Hub name `org/name`; None for a folder in `models/`."""
    num_parameters: int | None
    context_length: int | None
    """Longest sequence in tokens."""
    target_modules: tuple[str, ...]
    """Layers that take a LoRA adapter."""
    fields: dict[str, Any]
    """Everything the entry holds: licence, notes ..."""


def catalogue(workspace: Workspace) -> dict[str, CatalogueEntry]:
    """Return the models of the workspace's catalogue and of the shipped one, by name and by Hub name.

    The workspace's entries come first, and win.
    """
    found: dict[str, CatalogueEntry] = {}
    for file in workspace.catalogue_files():
        for entry in read_catalogue(file):
            found.setdefault(entry.name, entry)
            if entry.hub is not None:
                found.setdefault(entry.hub, entry)
    return found


def read_catalogue(path: Path) -> list[CatalogueEntry]:
    """Return the entries of one file: a list, or a mapping with one under `models`. Empty when it cannot be read."""
    try:
        content = read_value(read_file(path))
    except (EngineError, ValueError):
        return []
    if isinstance(content, dict):
        content = content.get("models")
    entries = content if isinstance(content, list) else []
    return [entry for item in entries if isinstance(item, dict) and (entry := _entry(item))]


def _entry(item: dict[str, Any]) -> CatalogueEntry | None:
    name, hub, modules = item.get("name"), item.get("hub"), item.get("target_modules")
    if not isinstance(name, str) or not name:
        return None
    whole = isinstance(modules, list) and all(isinstance(module, str) for module in modules)
    return CatalogueEntry(
        name=name,
        hub=hub if isinstance(hub, str) and hub else None,
        num_parameters=_count(item.get("parameters")),
        context_length=_count(item.get("context_length")),
        target_modules=tuple(modules) if whole and modules else (),
        fields=item,
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
