"""What every family of commands declares alike: the options before the command, and those that many have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to stdout, and errors as JSON to stderr.")]


@dataclass(frozen=True, slots=True)
class Root:
    """What was written before the command."""

    workspace: str | None = None
    settings: dict[str, str | int | None] = field(default_factory=dict)
    """For `load_settings`, by field name; None where nothing was given."""


def root_of(context: typer.Context) -> Root:
    """Return what was written before the command that is parsed."""
    root = context.obj
    assert isinstance(root, Root)
    return root
