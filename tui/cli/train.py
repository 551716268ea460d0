"""`ftconsole train` and `resume`: start a run that goes on by itself, and say how to find it again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from engine.config.load import GivenConfig, load, preset
from engine.errors import UsageError
from engine.launch import prepare, several
from engine.runs import provenance
from engine.runs.directory import RunDirectory, find_run
from engine.workspace import Workspace
from tui.cli import hints, output
from tui.cli.cautions import warn_of_endings
from tui.display import plain

_ANNOUNCED_BYTES = 50_000_000
"""Some 10 s: every row is rendered as the model will see it."""
_DATA_ENDINGS = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".gz", ".zst")
"""Of files that are no settings; settings may be JSON, which is YAML."""


class Asked(NamedTuple):
    """What a run is to be made of."""

    config: str | None
    """Path of a YAML file."""
    preset: str | None = None
    """Below the file."""
    sets: tuple[str, ...] = ()
    """`key=value`, above the file."""
    dev: bool = False

    @property
    def says_anything(self) -> bool:
        """Whether there are settings at all."""
        return self.config is not None or self.preset is not None or bool(self.sets)


def train(workspace: str | None, asked: Asked, *, name: str | None, follow: bool, as_json: bool) -> int:
    """Start a run, print its name, and return; or watch it to its end.

    Raises:
        UsageError: Neither a file nor a preset is named, and no setting either.
        EngineError: Anything `prepare.new_run` and `prepare.start_run` refuse; then no run is left behind.
    """
    place = Workspace.find(workspace)
    settings = given(asked, place)
    _announce_check(settings, place)
    run = prepare.new_run(place, settings, name=name)
    prepare.start_run(run)
    warn_of_endings(run.path)
    if as_json and not follow:
        output.emit({"run": run.name, "path": str(run.path), "state": "starting"})
    return _told(run, "Started", follow=follow, as_json=as_json)


def resume(
    workspace: str | None,
    name: str,
    *,
    checkpoint: str | None,
    accept_changes: bool,
    follow: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Go on with a run, say from where and what was passed over, and return; or watch it to its end.

    With `dry_run` it is only said.

    Raises:
        EngineError: Anything `prepare.resume_run` refuses; then the run is as it was.
    """
    run = find_run(Workspace.find(workspace).runs, name)
    resumed = prepare.resume_run(run, checkpoint=checkpoint, accept_changes=accept_changes, dry_run=dry_run)
    for passed_over, reason in resumed.skipped:
        output.note(f"Passed over {passed_over.path.name}: {reason}.", style="warning")
    for sentence in resumed.inexact:
        output.note(f"Not exact to the last digit: {sentence}.", style="warning")
    origin = None if resumed.checkpoint is None else str(resumed.checkpoint.path.relative_to(run.path))
    if not dry_run:
        warn_of_endings(run.path)
    if as_json and (dry_run or not follow):
        skipped = [{"path": str(c.path.relative_to(run.path)), "reason": reason} for c, reason in resumed.skipped]
        told = {"run": run.name, "path": str(run.path), "checkpoint": origin, "skipped": skipped}
        output.emit({**told, "inexact": resumed.inexact})
    if dry_run:
        if not as_json:
            output.out(f"{plain(run.name)} would go on from {origin}." if origin else
                       f"{plain(run.name)} would begin again at step 0.")  # fmt: skip
            output.note("Nothing was done: --dry-run.")
        return 0
    start = f"Going on from {origin}" if origin else "Beginning again, as no checkpoint can be used"
    return _told(run, start, follow=follow, as_json=as_json)


def join(workspace: str | None, name: str, machine: int, *, as_json: bool) -> int:
    """Take this machine's share of a run of several machines, and return when it has ended.

    Raises:
        UsageError: The run has no such machine.
        WorkerFailed: Its processes failed.
    """
    run = find_run(Workspace.find(workspace).runs, name)
    several.refuse_to_join(run, machine)
    output.note(f"Machine {machine} of run {plain(run.name)}; ctrl+c takes it away, and ends the run.")
    several.join(run, machine)
    if as_json:
        output.emit({"run": run.name, "machine": machine})
    return 0


def continue_run(
    workspace: str | None,
    text: str,
    asked: Asked,
    *,
    name: str | None,
    follow: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Start a new run from the weights of another, print its name, and return; or watch it to its end.

    With `dry_run` everything is checked and nothing is made.

    Raises:
        EngineError: Anything that `prepare.new_run` and `prepare.start_run` refuse; then no run is left behind.
    """
    from engine.launch.continuing import continued

    place = Workspace.find(workspace)
    settings = continued(place, text, given(asked, place) if asked.says_anything else GivenConfig({}))
    _announce_check(settings, place)
    if dry_run:
        return _would_continue(prepare.settle(place, settings), text, as_json=as_json)
    run = prepare.new_run(place, settings, name=name)
    parent = provenance.read_provenance(run).parent
    prepare.start_run(run)
    warn_of_endings(run.path)
    if as_json and not follow:
        output.emit({"run": run.name, "path": str(run.path), "state": "starting", "from": text, "parent": parent})
    return _told(run, f"Started from the weights of {text[:200]}", follow=follow, as_json=as_json)


def _would_continue(settled: prepare.Settled, text: str, *, as_json: bool) -> int:
    start, files = settled.start, [file for file in settled.data if file.role == "train"]
    parent = start.parent if start is not None else None
    if as_json:
        told = {"run": None, "from": text, "parent": parent, "base": settled.named}
        output.emit({**told, "train": [{"path": file.path, "rows": file.rows} for file in files]})
        return 0
    begins = f"with the adapter of {plain(text[:200])}" if start is not None else "with a new adapter"
    rows = sum(file.rows for file in files)
    output.out(f"A new run would begin {begins} on {plain(settled.named)}, and learn from {rows:,} rows.")
    output.note("Nothing was done: --dry-run.")
    return 0


def given(asked: Asked, workspace: Workspace) -> GivenConfig:
    """Return the settings of file, preset and options together. Nothing is checked yet.

    Raises:
        UsageError: Neither a file nor a preset is named, and no setting either.
        NotFound, ConfigError: One of them cannot be read.
    """
    if not asked.says_anything:
        raise UsageError(
            "Neither a configuration nor a preset is named.",
            remedy="Name a file, RUN.yaml, or a preset, such as --preset demo; or every setting with --set.",
        )
    settings = preset(asked.preset) if asked.preset is not None else GivenConfig({})
    if asked.config is not None:
        settings = load(found_file(asked.config, workspace)).over(settings)
    settings = settings.override(asked.sets)
    return settings.for_dev() if asked.dev else settings


def _announce_check(settings: GivenConfig, workspace: Workspace) -> None:
    """Say why nothing happens for a while when much data is looked through before the start."""
    config = settings.check()
    paths = [path for name in config.data.train for path in workspace.data_files(name, "train")]
    size = sum(path.stat().st_size for path in paths if path.is_file())
    if size > _ANNOUNCED_BYTES:
        output.note(f"Looking through {size / 1e6:,.0f} MB of data before anything is started ...")


def found_file(path: str, workspace: Workspace) -> Path:
    """Return the file: from the current folder, or else from the workspace.

    Raises:
        UsageError: By its name it is a data file.
    """
    here = Path(path)
    if here.suffix.lower() in _DATA_ENDINGS:
        raise UsageError(
            f"{plain(here.name)} is a file of data, not of settings.",
            remedy=f"Name settings beside it: --preset NAME --set data.train={shlex.quote(plain(path))}",
        )
    inside = workspace.path / path
    try:
        return inside if not here.exists() and inside.is_file() else here
    except (OSError, ValueError):
        return here


def _told(run: RunDirectory, how: str, *, follow: bool, as_json: bool) -> int:
    if not follow:
        if not as_json:
            output.out(run.name)
        output.note(f"{plain(how)}. It goes on when this terminal is closed.")
        output.note(f"  watch it:  {hints.command('watch', run)}, or in the console: {hints.console(run)}")
        output.note(f"  stop it:   {hints.command('stop', run)}; `resume` instead of `stop` goes on from there")
        return 0
    output.note(f"{plain(how)}: {run.name}. Ctrl+c stops watching, not the run.")
    from tui.cli import watch

    return watch.watch_events(run) if as_json else watch.watch_text(run)[0]
