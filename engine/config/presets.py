"""The presets: named beginnings of a configuration, one YAML file each in `presets/`."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import NamedTuple

from engine.errors import NotFound

FOLDER = Path(__file__).with_name("presets")


class Preset(NamedTuple):
    name: str
    summary: str
    """One sentence: the comment on the file's first line."""
    path: Path


def presets() -> list[Preset]:
    """Return all presets, `demo` first."""
    paths = sorted(FOLDER.glob("*.yaml"), key=lambda path: (path.stem != "demo", path.stem))
    return [Preset(path.stem, path.read_text("utf-8").partition("\n")[0].removeprefix("# "), path) for path in paths]


def find_preset(name: str) -> Preset:
    """Return the preset called `name`.

    Raises:
        NotFound: There is none; the remedy lists those there are.
    """
    known = {preset.name: preset for preset in presets()}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise NotFound(f"There is no preset {name[:80]!r}.", remedy=f"{hint}Presets are {', '.join(known)}.")
