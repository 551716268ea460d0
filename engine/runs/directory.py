"""One run's folder: where each thing is, how a run is made, and how it is told something.

The folder is the only bus between console, command line, keeper and worker. Standard library only.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from engine import commands, events
from engine.commands import Command
from engine.errors import CheckpointError, InvalidName, NotFound, TargetExists
from engine.journal import Journal, write_error

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CREATING = ".creating-"
"""Folders of this prefix are runs in the making."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The paths of one run. Making one of these touches nothing."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config(self) -> Path:
        """Every setting as resolved, with where each value came from."""
        return self.path / "run.yaml"

    @property
    def provenance(self) -> Path:
        """Hashes of data and model, versions, machine."""
        return self.path / "provenance.json"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def commands(self) -> Path:
        return self.path / "commands.jsonl"

    @property
    def log(self) -> Path:
        """What the worker and its libraries print."""
        return self.path / "worker.log"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def start(self) -> Path:
        """The adapter it began with, when it was continued: a copy, so that the run it is from may go."""
        return self.path / "start"

    @property
    def base(self) -> Path:
        """Base and earlier adapter as one model, where `model.adapter_mode` is merge: what its checkpoints stand on."""
        return self.path / "base"

    @property
    def best(self) -> Path:
        """The adapter with the best value of `saving.best_metric` so far; complete and loadable."""
        return self.path / "best"

    @property
    def final(self) -> Path:
        """The adapter after the last step; complete and loadable."""
        return self.path / "final"

    @property
    def stages(self) -> Path:
        """Of a run in several stages the adapter each but the last ended with, by its name; complete and loadable."""
        return self.path / "stages"

    @property
    def samples(self) -> Path:
        """Answers to the fixed prompts: one JSON object per prompt and evaluation."""
        return self.path / "samples.jsonl"

    @property
    def training_log(self) -> Path:
        """One JSON object per epoch: its number and the means of its figures."""
        return self.path / "training_log.jsonl"

    @property
    def forgetting(self) -> Path:
        """The base's loss on the probe of the gauge of forgetting: what every measurement is compared with."""
        return self.path / "forgetting.json"

    @property
    def evaluations(self) -> Path:
        return self.path / "evaluations"

    def tell(self, command: Command) -> str:
        """Append a command and return its id. Whether anyone listens is for the caller to check.

        Raises:
            WorkspaceError: The journal cannot be written.
        """
        command_id = secrets.token_hex(8)
        journal = Journal(self.commands)
        try:
            journal.append({"id": command_id, "by": whoami(), **commands.to_json(command)})
        finally:
            journal.close()
        return command_id


def check_name(name: str) -> str:
    """Return `name` if a run may be called so.

    Raises:
        InvalidName: It could leave the folder, be taken for an option, or not be shown safely.
    """
    if _NAME.fullmatch(name) and ".." not in name:
        return name
    raise InvalidName(
        f"{name[:80]!r} cannot be the name of a run.",
        remedy="Use 1 to 64 letters, digits, dots, hyphens and underscores, and begin with a letter or digit.",
    )


def find_run(runs: Path, name: str) -> RunDirectory:
    """Return the run called `name`; a path to a run folder inside `runs` is taken too.

    Raises:
        InvalidName: No run can have that name.
        NotFound: There is none; the message names the nearest one.
    """
    path = runs / check_name(_name_in(runs, name))
    if os.path.isdir(path) and not path.is_symlink():
        return RunDirectory(path)
    name = path.name
    import difflib  # only on this path: 5 ms

    near = difflib.get_close_matches(name, [run.name for run in all_runs(runs)], n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise NotFound(f"There is no run {name} in {runs}.", remedy=hint + "`ftconsole runs` lists them.")


def all_runs(runs: Path) -> list[RunDirectory]:
    """Return the run folders, in no particular order. A folder without an event log is not a run."""
    try:
        with os.scandir(runs) as entries:
            folders = [e.name for e in entries if e.is_dir(follow_symlinks=False) and _NAME.fullmatch(e.name)]
    except OSError:
        return []
    # Not Path.is_file, which raises when the folder is another user's: one such run must not hide the others.
    return [RunDirectory(runs / name) for name in folders if os.path.isfile(runs / name / "events.jsonl")]


def free_name(runs: Path, stem: str) -> str:
    """Return `stem-1`, `stem-2` ...: one above the highest number in use."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", re.sub(r"\.{2,}", ".", stem)).strip("-._")[:56] or "run"
    pattern = re.compile(re.escape(stem) + r"-(\d{1,6})")
    try:
        taken = [int(m[1]) for name in os.listdir(runs) if (m := pattern.fullmatch(name))]
    except OSError:
        taken = []
    return f"{stem}-{max(taken, default=0) + 1}"


def create_run(
    runs: Path,
    name: str,
    *,
    created: events.RunCreated,
    files: Mapping[str, str],
    copies: Mapping[str, Path] = MappingProxyType({}),
) -> RunDirectory:
    """Make the folder of a new run, complete or not at all.

    Everything is written beside, under a hidden name, and renamed: no reader ever sees half a run, and two
    starts under one name cannot both succeed.

    Args:
        runs: The workspace's `runs` folder; made when it is missing.
        name: Checked here.
        created: The first line of the event log; `name` is filled in.
        files: Names and texts to begin with: `run.yaml`, `provenance.json`.
        copies: Names, and the files to be copied there: `start/adapter_model.safetensors`.

    Raises:
        InvalidName: The name is not allowed.
        TargetExists: The name is taken.
        WorkspaceError: The folder cannot be written.
    """
    path = runs / check_name(name)
    partial = runs / f"{_CREATING}{secrets.token_hex(8)}"
    try:
        runs.mkdir(mode=0o700, parents=True, exist_ok=True)
        _clear_abandoned(runs)
        partial.mkdir(mode=0o700)
        (partial / "checkpoints").mkdir(mode=0o700)
        for file_name, text in files.items():
            _write_private(partial / file_name, text)
        for file_name, source in copies.items():
            _copy_private(source, partial / file_name)
        journal = Journal(partial / "events.jsonl")
        try:
            journal.append(events.to_json(replace(created, name=name)), durable=True)
        finally:
            journal.close()
        if os.path.lexists(path):
            raise _taken(runs, name)
        partial.rename(path)
    except OSError as error:
        raise (_taken(runs, name) if os.path.lexists(path) else write_error(path, error)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return RunDirectory(path)


def _name_in(runs: Path, name: str) -> str:
    """Return the name of the run folder in `runs` that `name` is a path to; `name` itself when it is no such path."""
    given = Path(name)
    try:
        if given.name != name and given.resolve().parent == runs.resolve():
            return given.name or given.resolve().name
    except (OSError, ValueError, RuntimeError):  # a NUL, or links in a circle
        pass
    return name


def _taken(runs: Path, name: str) -> TargetExists:
    return TargetExists(f"There is already a run {name} in {runs}.", remedy="Choose another --name.")


def _clear_abandoned(runs: Path) -> None:
    """Remove what a killed `create_run` left. Making a run takes milliseconds: a half an hour old is nobody's."""
    for path in runs.glob(f"{_CREATING}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.lstat().st_mtime > 1800:
                shutil.rmtree(path)


def whoami() -> str:
    """Return user, machine and process, for people who read the journal."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} process {os.getpid()}"


def _copy_private(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError:
        raise CheckpointError(f"{source} is gone.", remedy="Choose another checkpoint.") from None
    target.chmod(0o600)
    fd = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_private(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(fd)  # without the run's id no checkpoint could be proven after a power cut
