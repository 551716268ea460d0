"""What the shell offers when tab is pressed. Each answer is a directory listing: nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any


def run_names(ctx: Any, incomplete: str) -> list[str]:
    """Return the runs of the workspace given before the command."""
    from engine.errors import EngineError

    try:
        from engine.runs.directory import all_runs

        names = [run.name for run in all_runs(_runs_folder(ctx))]
    except EngineError:  # no such workspace: nothing to offer
        return []
    return sorted(name for name in names if name.startswith(incomplete))


def checkpoint_names(ctx: Any, incomplete: str) -> list[str]:
    """Return the checkpoints of the run named so far, the newest first."""
    from engine.errors import EngineError

    try:
        from engine.runs.checkpoints import all_checkpoints
        from engine.runs.directory import find_run

        found = all_checkpoints(find_run(_runs_folder(ctx), _run_so_far(ctx)))
    except EngineError:
        return []
    return [checkpoint.path.name for checkpoint in found if checkpoint.path.name.startswith(incomplete)]


def preset_names(incomplete: str) -> list[tuple[str, str]]:
    """Return the presets, each with its sentence."""
    from engine.config.presets import presets

    return [(preset.name, preset.summary) for preset in presets() if preset.name.startswith(incomplete)]


def metric_names(ctx: Any, incomplete: str) -> list[str]:
    """Return the metrics of the run named so far, from the two ends of its log."""
    from engine.errors import EngineError

    try:
        from engine.runs.directory import find_run

        run = find_run(_runs_folder(ctx), _run_so_far(ctx))
        names = dict.fromkeys(_logged_metrics(run.events))
    except EngineError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def _logged_metrics(log: Path) -> Iterator[str]:
    from engine.events import EvaluationFinished, StepFinished
    from engine.runs.follow import head, tail
    from tui.display import plain

    for record in (*head(log), *tail(log)):
        if isinstance(record.event, StepFinished | EvaluationFinished):
            yield from (name for name in record.event.metrics if plain(name) == name)


def _run_so_far(ctx: Any) -> str:
    """Return the run named before the option that is being completed; empty when there is none.

    The parser stops at an option without a value, so what stood before it was not made a parameter.
    """
    return str(ctx.params.get("run") or next(iter(ctx.args), ""))


def _runs_folder(ctx: Any) -> Path:
    from engine.workspace import Workspace

    return Workspace.find(ctx.find_root().params.get("workspace")).runs
