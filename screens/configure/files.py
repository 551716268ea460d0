"""Where configurations are kept: the workspace's files, its runs, and the draft that outlives the console."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.config.load import GivenConfig, load, preset
from engine.config.resolved import ResolvedConfig
from engine.config.stages import SHARED
from engine.config.yaml_text import MAX_BYTES, STAGES, read_file
from engine.errors import EngineError, NotFound, UsageError
from engine.journal import write_error
from engine.runs.directory import RunDirectory
from engine.workspace import Workspace
from screens.configure.draft import Draft
from screens.configure.yaml_edit import write
from tui.settings import state_folder, write_private

_LISTED = 500
_ENDINGS = (".yaml", ".yml")
_SKIPPED = frozenset({"runs", "models", "datasets", "node_modules", "__pycache__"})


def configurations(workspace: Path) -> list[str]:
    """Return the YAML files of a workspace and of the folders in it, the newest first, relative to it."""
    found: list[tuple[float, str]] = []
    for path in _yaml_files(workspace, deep=True):
        with suppress(OSError):
            found.append((-path.stat().st_mtime, os.path.relpath(path, workspace)))
        if len(found) >= _LISTED:
            break
    return [name for _, name in sorted(found)]


def _yaml_files(folder: Path, *, deep: bool) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.name.endswith(_ENDINGS) and entry.is_file():
            yield Path(entry.path)
        elif deep and entry.name not in _SKIPPED and entry.is_dir(follow_symlinks=False):
            yield from _yaml_files(Path(entry.path), deep=False)


def open_file(workspace: Path, text: str) -> Draft:
    """Return a file as a draft. What is wrong in it is left to the form.

    Raises:
        NotFound, ConfigError: There is no such file, or it is no text.
    """
    path = _resolved(workspace, text)
    content = read_file(path)
    return Draft(content, path, saved=content)


def save(draft: Draft, workspace: Path, text: str | None = None, *, overwrite: bool = False) -> Draft:
    """Write a draft to its file, or to another one.

    Args:
        draft: What is written.
        workspace: Relative paths are meant from here.
        text: Another path.
        overwrite: Also a file that is not what the draft was read from.

    Raises:
        FileChanged: The file is another than the one read; ask before `overwrite`.
        UsageError: It is no path for a configuration.
        WorkspaceError: It cannot be written.
    """
    path = _resolved(workspace, text) if text is not None else draft.path
    if path is None:
        raise UsageError("The configuration has no file yet.", remedy="Save it under a name.")
    if path.is_dir():
        raise UsageError(f"{str(path)!r} is a folder.", remedy="Name a file in it, such as run.yaml.")
    if len(draft.text.encode("utf-8", "replace")) > MAX_BYTES:
        raise UsageError(f"The configuration is larger than {MAX_BYTES} bytes.", remedy="Take out what is no setting.")
    known = draft.saved if path == draft.path else None
    if not overwrite and path.exists() and _content(path) != known:
        raise FileChanged(path, known is not None)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        place = path.resolve()  # a link goes on being one
        beside = place.with_name(f".{path.name}.{os.getpid()}")
        beside.write_text(draft.text, encoding="utf-8", errors="backslashreplace")
        if place.exists():
            beside.chmod(place.stat().st_mode & 0o777)
        beside.replace(place)
    except OSError as error:
        with suppress(OSError, UnboundLocalError):
            beside.unlink()
        raise write_error(path, error) from error
    return Draft(draft.text, path, saved=draft.text)


class FileChanged(EngineError):
    """There is another file under the name than the one that was read."""

    code = "file-changed"

    def __init__(self, path: Path, read_before: bool) -> None:
        what = "was changed by somebody else since it was opened" if read_before else "is there already"
        super().__init__(f"{path.name} {what}.", remedy="Save under another name.")
        self.path = path


def free_path(workspace: Path) -> str:
    """Return a name for a new configuration that is not taken: `run.yaml`, `run-2.yaml` ..."""
    number = 1
    while (workspace / (name := "run.yaml" if number == 1 else f"run-{number}.yaml")).exists():
        number += 1
    return name


def from_preset(name: str) -> Draft:
    """Return a new draft on top of a preset.

    Raises:
        NotFound: There is none of that name.
    """
    preset(name)
    return Draft(write({"preset": name}), about=f"from preset {name}")


def from_run(workspace: Path, name: str) -> Draft:
    """Return a new draft with what was decided by hand in a run; what was automatic is automatic again.

    Raises:
        NotFound, ConfigError: There is no such run, or its settings cannot be read.
    """
    resolved = _resolved_of(workspace, name)
    kept = _written(resolved)
    stages = [{"name": called, **_written(stage)} for called, stage in resolved.stages]
    if stages:
        own = [{section: found for section, found in stage.items() if section not in SHARED} for stage in stages]
        kept = {section: found for section, found in kept.items() if section in SHARED} | {STAGES: own}
    return Draft(write(kept), about=f"from run {name}")


def _written(resolved: ResolvedConfig) -> dict[str, Any]:
    """Return what somebody wrote of a configuration, or a preset did, by section."""
    kept: dict[str, Any] = {}
    for key, value, source in replace(resolved, stages=()).values():
        if source.kind in ("given", "preset"):
            section, _, field = key.partition(".")
            kept.setdefault(section, {})[field] = value
    return kept


def continuing(workspace: Path, spec: str) -> Draft:
    """Return a new draft of a run that begins with the weights of a checkpoint, else as the run it is of.

    Args:
        workspace: Where it is looked for.
        spec: `RUN@CHECKPOINT`.

    Raises:
        EngineError: There is no such checkpoint, or its run's settings cannot be read.
    """
    from engine.launch.continuing import continued  # resolving and launching are 0.1 s that only this needs

    kept: dict[str, Any] = {}
    for key, setting in continued(Workspace(workspace), spec, GivenConfig({})).settings.items():
        section, _, field = key.partition(".")
        kept.setdefault(section, {})[field] = setting.value
    return Draft(write(kept), about=f"continued from {spec}")


def values_of_run(workspace: Path, name: str) -> Mapping[str, Any]:
    """Return every value of a run by key.

    Raises:
        NotFound, ConfigError: There is no such run, or its settings cannot be read.
    """
    return {key: value for key, value, _ in _resolved_of(workspace, name).values()}


def values_of_preset(name: str) -> Mapping[str, Any]:
    """Return what a preset says, by key. Raises NotFound."""
    return {key: setting.value for key, setting in preset(name).settings.items()}


def values_of_file(workspace: Path, text: str) -> Mapping[str, Any]:
    """Return what a file says, by key, as it is checked.

    Raises:
        NotFound, ConfigError: There is no such file, or it is no configuration.
    """
    given = load(_resolved(workspace, text))
    checked = given.check().model_dump()
    flat = {f"{section}.{key}": value for section, found in checked.items() for key, value in found.items()}
    return {key: flat.get(key, setting.value) for key, setting in given.settings.items()}


def _resolved_of(workspace: Path, name: str) -> ResolvedConfig:
    run = RunDirectory(Workspace(workspace).runs / name)
    if not run.config.is_file():
        raise NotFound(f"Run {name} has no settings to read.", remedy="Choose another run.")
    return ResolvedConfig.from_yaml(read_file(run.config))


def _resolved(workspace: Path, text: str) -> Path:
    try:
        path = workspace / Path(text).expanduser()
        path.lstat()  # a name that can be none fails here
    except (FileNotFoundError, PermissionError, NotADirectoryError):
        pass
    except (ValueError, RuntimeError, OSError) as error:
        raise UsageError(f"{text[:80]!r} is no path.", remedy="Write one such as run.yaml.") from error
    return path


def _content(path: Path) -> str | None:
    try:
        return read_file(path)
    except EngineError:
        return None


# The draft that outlives the console


def _draft_path(workspace: Path) -> Path:
    name = hashlib.sha256(os.fsencode(workspace)).hexdigest()[:16]
    folder = state_folder() / "drafts"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{name}.json"


def keep_draft(workspace: Path, draft: Draft) -> None:
    """Remember a draft for the next time, or forget it once there is nothing in it that is not saved.

    A state folder that cannot be written costs only this.
    """
    with suppress(OSError):
        path = _draft_path(workspace)
        if not draft.changed:
            path.unlink(missing_ok=True)
            return
        kept = {
            "text": draft.text,
            "path": str(draft.path) if draft.path is not None else None,
            "saved": draft.saved,
            "about": draft.about,
        }
        write_private(path, json.dumps(kept))


def kept_draft(workspace: Path) -> Draft | None:
    """Return the draft that was not saved; None when there is none, or it cannot be read."""
    try:
        kept = json.loads(_draft_path(workspace).read_text("utf-8"))
        path = Path(kept["path"]) if kept["path"] is not None else None
        draft = Draft(str(kept["text"]), path, kept["saved"], str(kept["about"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return draft if draft.changed else None
