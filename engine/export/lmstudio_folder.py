"""Where LM Studio keeps its models, found as its own CLI finds it (lmstudio-js, importCmd.ts)."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.errors import UsageError

# The CLI refuses the same in names of models; a leading hyphen is ours, as the name stands on a command line.
_FORBIDDEN = re.compile(r'[/<>:"\\|?*\x00-\x1f\x7f]|^[. -]|[. ]$')
_LONGEST = 100
PUBLISHER = "local"
"""Folder of what was made on this machine, where none is given."""


@dataclass(frozen=True, slots=True)
class LMStudioFolder:
    """An installation, or where one would be."""

    home: Path
    models: Path
    found: bool
    """Whether the home folder is there."""
    cli: Path | None
    """Its command `lms`; None where it is not installed."""


def find_folder(environ: Mapping[str, str] = os.environ) -> LMStudioFolder:
    """Return where LM Studio is on this machine.

    Args:
        environ: `LMSTUDIO_HOME` wins; `PATH` is searched for `lms`.
    """
    from engine.chat.lmstudio import home  # what speaks http: a sixth of what an export imports

    folder = home(environ)
    models = folder / "models"
    elsewhere = _settings(folder / "settings.json").get("downloadsFolder")
    if isinstance(elsewhere, str) and elsewhere.strip() and "\0" not in elsewhere:
        models = Path(os.path.expanduser(elsewhere))
    return LMStudioFolder(folder, models, folder.is_dir(), _cli(folder, environ))


def check_folder_name(text: str, what: str) -> str:
    """Return `text` if a folder below LM Studio's models may be called so.

    Raises:
        UsageError: It may not.
    """
    if not text or len(text) > _LONGEST or _FORBIDDEN.search(text):
        raise UsageError(
            f"{what} cannot be {text[:60]!r}.",
            remedy=f'At most {_LONGEST} characters, without / < > : " \\ | ? * and with no dot or space at either end.',
        )
    return text


def folder_name(text: str) -> str:
    """Return `text` made into a name that `check_folder_name` takes."""
    name = re.sub(r'[/<>:"\\|?*\x00-\x1f\x7f\s]+', "-", text).strip(". -")
    return name[:_LONGEST].rstrip(". -") or "model"


def _settings(path: Path) -> dict[str, object]:
    try:
        read = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def _cli(folder: Path, environ: Mapping[str, str]) -> Path | None:
    own = folder / "bin" / "lms"
    if os.access(own, os.X_OK) and own.is_file():
        return own
    found = shutil.which("lms", path=environ.get("PATH", ""))
    return Path(found) if found else None
