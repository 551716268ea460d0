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


def spec_names(ctx: Any, incomplete: str) -> list[str]:
    """Return what a model can be called: runs, behind `RUN@` its checkpoints, the models of the workspace, `base`."""
    from engine.errors import EngineError

    name, at, checkpoint = incomplete.partition("@")
    try:
        if at:
            from engine.runs.checkpoints import all_checkpoints
            from engine.runs.directory import find_run

            run = find_run(_runs_folder(ctx), name)
            found = [one.path.name for one in all_checkpoints(run)]
            found += [one for one in ("best", "final") if (run.path / one).is_dir()]
            found += sorted(path.name for path in run.stages.glob("[a-z]*"))
            return [f"{name}@{one}" for one in found if one.startswith(checkpoint)]
        models = [path.parent.name for path in _runs_folder(ctx).parent.glob("models/*/config.json")]
    except EngineError:
        return []
    known = {"base", "tiny", *models, *run_names(ctx, incomplete)}
    return sorted(one for one in known if one.startswith(incomplete))


def conversation_names(ctx: Any, incomplete: str) -> list[tuple[str, str]]:
    """Return the conversations of the workspace, each with how it begins."""
    from engine.chat.chat_files import list_conversations
    from engine.errors import EngineError
    from engine.workspace import Workspace
    from tui.display import plain

    try:
        found = list_conversations(Workspace(_runs_folder(ctx).parent))
    except EngineError:
        return []
    return [(one.name, plain(one.title, limit=60)) for one in found if one.name.startswith(incomplete)]


def promoted_names(incomplete: str) -> list[str]:
    """Return the one name that means something."""
    return [name for name in ("latest",) if name.startswith(incomplete)]


def preset_names(incomplete: str) -> list[tuple[str, str]]:
    """Return the presets, each with its sentence."""
    from engine.config.presets import presets

    return [(preset.name, preset.summary) for preset in presets() if preset.name.startswith(incomplete)]


def model_names(ctx: Any, incomplete: str) -> list[str]:
    """Return the runs of the workspace, and after `RUN@` its checkpoints."""
    name, at, checkpoint = incomplete.partition("@")
    if not at:
        return run_names(ctx, incomplete)
    from engine.errors import EngineError

    try:
        from engine.runs.checkpoints import all_checkpoints
        from engine.runs.directory import find_run

        run = find_run(_runs_folder(ctx), name)
        found = [one.path.name for one in all_checkpoints(run)]
        found += [one for one in ("best", "final") if (run.path / one).is_dir()]
        found += sorted(path.name for path in run.stages.glob("[a-z]*"))
    except EngineError:
        return []
    return [f"{name}@{one}" for one in found if one.startswith(checkpoint)]


def quantisation_names(incomplete: str) -> list[tuple[str, str]]:
    """Return the types of GGUF files, each with what it is for; behind a comma the next one."""
    from engine.export.quantisation import ALL

    before, comma, last = incomplete.rpartition(",")
    return [(before + comma + name, one.meaning) for name, one in ALL.items() if name.startswith(last)]


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
