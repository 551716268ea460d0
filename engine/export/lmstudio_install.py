"""Put a GGUF file where LM Studio finds it: in its models folder, exactly two folders deep."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.errors import NotFound
from engine.export.beside import beside, exists, put
from engine.export.lmstudio_folder import PUBLISHER, LMStudioFolder, check_folder_name, find_folder, folder_name

_LMS_SECONDS: Final = 900
"""`lms import --copy` of a file of many gigabytes."""


class LMStudioMissing(NotFound):
    """LM Studio is not on this machine."""

    code = "lmstudio-missing"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a file will lie."""

    source: Path
    publisher: str
    name: str
    """Folder of the model, and what LM Studio calls it unless another is called so."""
    target: Path
    studio: LMStudioFolder

    @property
    def taken(self) -> bool:
        return os.path.lexists(self.target)


@dataclass(frozen=True, slots=True)
class Installed:
    """Where a file lies now."""

    path: Path
    name: str
    how: str
    """"hard link", "copy" or "lms import"."""


def plan_install(
    sources: Sequence[tuple[Path, str]],
    *,
    publisher: str = "",
    name: str = "",
    default_name: str = "",
    studio: LMStudioFolder | None = None,
) -> tuple[Placement, ...]:
    """Say where files will lie. Nothing is written, and they need not be there yet.

    Args:
        sources: Each file with the name of its quantisation.
        publisher: First folder; empty: "local".
        name: Second folder; empty: made from `default_name`.
        default_name: What the model is called here.
        studio: Where LM Studio is; None looks for it.

    Raises:
        UsageError: LM Studio would not take such a name.
        LMStudioMissing: It is not on this machine.
    """
    publisher = check_folder_name(publisher or PUBLISHER, "A publisher")
    name = check_folder_name(name or folder_name(default_name), "A name")
    studio = studio or find_folder()
    if not studio.found and not studio.models.is_dir():
        raise LMStudioMissing(
            f"LM Studio is not on this machine: there is no {studio.home}.",
            remedy=f"On the machine that has it, copy the file to ~/.lmstudio/models/{publisher}/{name}/. If it is "
            "elsewhere here, set LMSTUDIO_HOME.",
        )
    placements = []
    for source, quantisation in sources:
        # Two files in one folder have the same name in LM Studio's API (bug-tracker 1115, still so in 0.4.12).
        folder = studio.models / publisher / name
        others = [path for path in folder.glob("*.gguf") if path.name != source.name] if folder.is_dir() else []
        own = check_folder_name(f"{name}-{quantisation}", "A name") if len(sources) > 1 or others else name
        placements.append(Placement(source, publisher, own, studio.models / publisher / own / source.name, studio))
    return tuple(placements)


def install(placement: Placement, *, replace: bool = False) -> Installed:
    """Put a file there, by `lms import` where LM Studio's command is. The file itself stays where it is.

    A hard link where both are on one file system, which costs nothing, else a copy. Links by name do not work in LM
    Studio on Windows (bug-tracker 2096).

    Raises:
        TargetExists: Something is there, and `replace` is false.
        DiskFull, WorkspaceError: It cannot be written.
    """
    if placement.taken and not replace:
        raise exists(placement.target)
    if not placement.taken and placement.studio.cli is not None and _by_lms(placement, placement.studio.cli):
        return Installed(placement.target, placement.name, "lms import")
    with beside(placement.target) as folder:
        made = folder / placement.target.name
        how = "hard link"
        try:
            os.link(placement.source, made)
        except OSError:
            how = "copy"
            shutil.copyfile(placement.source, made)
        put(made, placement.target, replace=replace)
    return Installed(placement.target, placement.name, how)


def _by_lms(placement: Placement, lms: Path) -> bool:
    """Have LM Studio's own command do it; False where it did not, and it is done without it."""
    parents = placement.target.parents
    there = next(path for path in parents if path.is_dir())
    same = os.stat(there).st_dev == os.stat(placement.source).st_dev
    # With --user-repo and one of --copy and --hard-link it asks nothing; -y alone still asks (importCmd.ts).
    command = [str(lms), "import", str(placement.source), "--user-repo", f"{placement.publisher}/{placement.name}"]
    command.append("--hard-link" if same else "--copy")
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LMS_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    try:
        return ended.returncode == 0 and os.path.getsize(placement.target) == os.path.getsize(placement.source)
    except OSError:
        return False
