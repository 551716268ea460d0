"""The commands `config`, `presets`, `init`, `import` and `diff`: configurations as files, without a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from engine.config.difference import differences, values_of
from engine.config.foreign import import_file
from engine.config.load import GivenConfig, load, preset
from engine.config.presets import find_preset, presets
from engine.config.resolved import ResolvedConfig
from engine.config.yaml_text import read_file, write_value
from engine.errors import NotFound, TargetExists
from engine.journal import write_error
from engine.launch.prepare import settle
from engine.runs.directory import RunDirectory
from engine.workspace import Workspace
from tui.cli import output
from tui.cli.train import Asked, found_file, given
from tui.display import plain

_LONGEST_VALUE = 60


def show(workspace: str | None, asked: Asked, *, as_json: bool) -> int:
    """Print a configuration checked and as a run would use it.

    Raises:
        EngineError: Whatever would keep a run from starting.
    """
    place = Workspace.find(workspace)
    resolved = settle(place, given(asked, place)).resolved
    if as_json:
        output.emit(
            [
                {"key": key, "value": value, "source": source.kind, "reason": source.reason}
                for key, value, source in resolved.values()
            ]
        )
        return 0
    output.out(resolved.to_yaml(), end="")
    return 0


def list_presets(workspace: str | None, *, as_json: bool) -> int:
    """Print the presets there are."""
    Workspace.find(workspace)
    known = presets()
    if as_json:
        output.emit([{"name": one.name, "summary": one.summary, "path": str(one.path)} for one in known])
        return 0
    width = max(len(one.name) for one in known)
    for one in known:
        output.out(f"{one.name:<{width}}  {one.summary}")
    return 0


def init(workspace: str | None, name: str, *, target: str | None, force: bool) -> int:
    """Write a preset as a file to edit; without a target, to stdout.

    Raises:
        NotFound: There is no such preset.
        TargetExists: The file exists already.
    """
    Workspace.find(workspace)
    text = read_file(find_preset(name).path)
    if target is None:
        output.out(text, end="")
        return 0
    write_new(Path(target), text, force=force)
    output.note(f"Written to {plain(target)}. Check it with: ftconsole config {plain(target)}")
    return 0


def take_over(
    workspace: str | None, path: str, tool: str | None, *, target: str | None, force: bool, as_json: bool
) -> int:
    """Print or write the configuration of another tool as one of ours, and list what has no counterpart.

    Raises:
        EngineError: It cannot be read, or is not of a tool that is known.
    """
    place = Workspace.find(workspace)
    found = import_file(found_file(path, place), tool)
    text = found.to_yaml()
    if target is not None:
        write_new(Path(target), text, force=force)
    if as_json:
        output.emit(
            {
                "tool": found.tool,
                "taken": [{"name": t.name, "line": t.line, "key": t.key, "value": t.value} for t in found.taken],
                "left": [{"name": n.name, "line": n.line, "value": n.value, "reason": n.reason} for n in found.left],
                "written": target,
            }
        )
        return 0
    if target is None:
        output.out(text, end="")
    left = f"{len(found.left)} key{'' if len(found.left) == 1 else 's'}"
    output.note(f"{found.tool}: {len(found.taken)} settings taken over, {left} without a counterpart.")
    for one in found.left:
        output.note(f"  line {one.line}: {plain(one.name)}: {_short(one.value)} - {plain(one.reason)}", style="warning")
    if target is not None:
        output.note(f"Written to {plain(target)}. Check it with: ftconsole config {plain(target)}")
    return 0


def diff(workspace: str | None, before: str, after: str, *, as_json: bool) -> int:
    """Print the settings in which two configurations differ: runs, files or presets.

    Raises:
        EngineError: One of them cannot be found or read.
    """
    place = Workspace.find(workspace)
    found = differences(values_of(_configuration(place, before)), values_of(_configuration(place, after)))
    if as_json:
        output.emit([{"key": one.key, "before": one.before, "after": one.after} for one in found])
        return 0
    width = max((len(one.key) for one in found), default=0)
    for one in found:
        output.out(f"{one.key:<{width}}  {_short(one.before)} -> {_short(one.after)}")
    if not found:
        output.note("No setting differs.")
    return 0


def write_new(path: Path, text: str, *, force: bool) -> None:
    """Write a file that must not exist yet, unless `force`.

    Raises:
        TargetExists: It exists.
        WorkspaceError: It cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with os.fdopen(os.open(path, flags, 0o666), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise TargetExists(
            f"{str(path)!r} exists already.", remedy="Choose another name, or write over it with --force."
        ) from None
    except OSError as error:
        raise write_error(path, error) from error


def _configuration(place: Workspace, name: str) -> ResolvedConfig | GivenConfig:
    """Return the configuration of a run, a file or a preset of that name, looked for in this order."""
    run = RunDirectory(place.runs / name) if "/" not in name and name not in ("", ".", "..") else None
    if run is not None and run.config.is_file():
        return ResolvedConfig.from_yaml(read_file(run.config))
    file = found_file(name, place)
    try:
        exists = file.exists()
    except (OSError, ValueError):
        exists = False
    if exists:
        return load(file)
    try:
        return preset(name)
    except NotFound:
        raise NotFound(
            f"There is no run, configuration file or preset {name[:200]!r}.",
            remedy="`ftconsole runs` lists the runs, `ftconsole presets` the presets.",
        ) from None


def _short(value: Any) -> str:
    text = write_value(value) if isinstance(value, str | int | float | bool | list | dict | None) else str(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."
