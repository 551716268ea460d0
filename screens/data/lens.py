"""What rows are looked at through: a model of this machine and the length a run would have."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import NotFound
from engine.workspace import BUILT_IN, Workspace, shipped_folder

if TYPE_CHECKING:
    from engine.data.microscope import Lens

LENGTHS = (256, 512, 640, 768, 1024, 2048, 4096, 8192)
"""Maximum lengths that are offered; any other can be typed."""
LEAST_LENGTH = 8


@dataclass(frozen=True, slots=True)
class View:
    """A model and a length."""

    model: str = BUILT_IN
    """As `model.name` takes it."""
    max_length: int | None = None
    """None: what a run would settle on, see `settled_length`."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The same, found on this machine."""

    model: str
    folder: Path
    max_length: int
    why: str
    """Where the length comes from."""

    def lens(self, mapping: dict[str, str] | None) -> Lens:
        """Return what the microscope takes."""
        from engine.data.microscope import Lens

        # What else a run gives SFTConfig does not change a row.
        arguments = {"max_length": self.max_length, "completion_only_loss": True, "packing": False}
        return Lens(str(self.folder), arguments, mapping=mapping)


def settle(workspace: Workspace, view: View, num_rows: int | None) -> Settled:
    """Find the model, and settle on a length.

    Args:
        workspace: Where it is looked for.
        view: What was chosen.
        num_rows: Of the file; None while they are not counted, which is as if there were many.

    Raises:
        NotFound: There is no such model, or its tokenizer has yet to be fetched.
    """
    from engine.data.templates import local_folder

    reference = workspace.model(view.model)
    folder = local_folder(reference)
    if folder is None:
        raise NotFound(
            f"The tokenizer of {reference.name} is not on this machine.",
            remedy=f"Choose another model with m, or fetch it: hf download {reference.name} --include '*.json'",
        )
    if view.max_length is not None:
        return Settled(view.model, folder, view.max_length, "chosen here")
    length, why = settled_length(num_rows, _longest(folder))
    return Settled(view.model, folder, length, why)


def settled_length(num_rows: int | None, longest: int | None) -> tuple[int, str]:
    """Return the `data.max_length` that "auto" stands for, and why.

    Args:
        num_rows: Of the file; None for many.
        longest: Sequence of the model in tokens; None when it does not say.
    """
    from engine.config.automatic import SIZES

    size = next(size for size in SIZES if (num_rows or 0) < size.below) if num_rows is not None else SIZES[-1]
    if longest is not None and longest < size.max_length:
        return longest, "the model's longest sequence"
    return size.max_length, f"automatic for {size.said} rows"


def _longest(folder: Path) -> int | None:
    try:
        read = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return None
    value = read.get("max_position_embeddings") if isinstance(read, dict) else None
    return value if isinstance(value, int) and value > 0 else None


def models(workspace: Workspace) -> list[tuple[str, str]]:
    """Return the models of this machine: as `model.name` takes them, and what they are."""
    from engine.config.catalogue import catalogue
    from engine.data.templates import local_folder

    found: dict[str, str] = {BUILT_IN: "built in"}
    for place in dict.fromkeys((workspace.path, shipped_folder())):
        for path in sorted(place.glob("models/*/config.json")):
            found.setdefault(path.parent.name, "a folder of this workspace")
    for entry in catalogue(workspace).values():
        if entry.hub is not None and entry.hub not in found:
            there = local_folder(workspace.model(entry.hub)) is not None
            found[entry.hub] = "on this machine" if there else "not fetched yet"
    return list(found.items())


def length_problem(text: str) -> str | None:
    """Return why a text is no maximum length, in a sentence; None when it is one."""
    if text.isdecimal() and LEAST_LENGTH <= int(text) <= 10_000_000:
        return None
    return f"A maximum length is a whole number of tokens from {LEAST_LENGTH} on, and {text[:40]!r} is none."
