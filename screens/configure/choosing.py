"""What the user is asked about settings: a value, a file, a run, a preset, a name. Loaded when that first happens."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textual.app import App

from engine.config.presets import presets
from engine.errors import EngineError
from engine.runs.summary import RunSummary, age_text, summarise_all
from engine.workspace import Workspace
from screens.configure import files
from screens.configure.draft import Draft, typed
from screens.configure.fields import Field, about
from screens.configure.picker import Answer, Picker
from tui.widgets.confirm import Confirm


async def ask_for_value(app: App[Any], field: Field, current: Any) -> int | None:
    """Return the index of the chosen value; None for none."""
    answers = []
    now = None
    for index, choice in enumerate(field.choices):
        told = about(field, choice)
        if not told and choice == field.default and type(choice) is type(field.default):
            told = "the default"
        answers.append(Answer(str(index), typed(choice), told))
        if choice == current and type(choice) is type(current):
            now = str(index)
    found = await app.push_screen_wait(Picker(field.key, answers, now))
    return int(found) if found is not None else None


async def ask_and_open(app: App[Any], workspace: Path, what: str) -> Draft | None:
    """Return what the user opens: a "file", a "run" or a "preset"; None for nothing.

    Raises:
        EngineError: It cannot be opened.
    """
    if what == "file":
        answers = [Answer(name, name) for name in await asyncio.to_thread(files.configurations, workspace)]
        picker = Picker(
            "Open a configuration", answers, free="or type a path", nothing="No YAML file in the workspace yet."
        )
        path = await app.push_screen_wait(picker)
        return await asyncio.to_thread(files.open_file, workspace, path) if path is not None else None
    if what == "run":
        answers = await asyncio.to_thread(_runs, workspace)
        name = await app.push_screen_wait(Picker("Duplicate a run", answers, nothing="No run here yet."))
        return await asyncio.to_thread(files.from_run, workspace, name) if name is not None else None
    answers = [Answer(preset.name, preset.name, preset.summary) for preset in presets()]
    name = await app.push_screen_wait(Picker("Begin with a preset", answers))
    return files.from_preset(name) if name is not None else None


async def ask_for_others(app: App[Any], workspace: Path) -> tuple[str, Mapping[str, Any]] | None:
    """Return a name and values by key of what the user compares with; None for nothing.

    Raises:
        EngineError: It cannot be read.
    """
    runs = await asyncio.to_thread(_runs, workspace)
    kept = await asyncio.to_thread(files.configurations, workspace)
    answers = [Answer(f"run:{answer.id}", answer.label, f"run, {answer.about}") for answer in runs]
    answers += [Answer(f"file:{name}", name, "file") for name in kept]
    answers += [Answer(f"preset:{preset.name}", preset.name, f"preset: {preset.summary}") for preset in presets()]
    found = await app.push_screen_wait(Picker("Compare with", answers))
    if found is None:
        return None
    kind, _, name = found.partition(":")
    if kind == "run":
        return name, await asyncio.to_thread(files.values_of_run, workspace, name)
    if kind == "preset":
        return f"preset {name}", files.values_of_preset(name)
    return name, await asyncio.to_thread(files.values_of_file, workspace, name)


async def ask_for_problem(app: App[Any], problems: Sequence[str]) -> str | None:
    """Return the problem the user wants to see to."""
    answers = [Answer(str(index), problem) for index, problem in enumerate(problems)]
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    found = await app.push_screen_wait(Picker(f"{count}: Enter goes there", answers))
    return problems[int(found)] if found is not None else None


async def ask_and_save(app: App[Any], workspace: Path, draft: Draft, *, elsewhere: bool) -> Draft | None:
    """Write a draft where the user says; return it as saved, None when he does not.

    Raises:
        EngineError: It cannot be written.
    """
    path: str | None = None
    if elsewhere or draft.path is None:
        written = str(draft.path) if draft.path is not None else files.free_path(workspace)
        answers = [
            Answer(name, name, "replaces it") for name in await asyncio.to_thread(files.configurations, workspace)
        ]
        path = await app.push_screen_wait(Picker("Save as", answers, free="the name of a file", written=written))
        if path is None:
            return None
    try:
        return await asyncio.to_thread(files.save, draft, workspace, path)
    except files.FileChanged as error:
        question = f"Replace {error.path.name}?"
        if not await app.push_screen_wait(Confirm(question, error.message, yes="Replace")):
            return None
    return await asyncio.to_thread(lambda: files.save(draft, workspace, path, overwrite=True))


def _runs(workspace: Path) -> list[Answer]:
    try:
        found = summarise_all(Workspace(workspace).runs)
    except EngineError:
        return []
    newest = sorted(found, key=lambda summary: -summary.created)
    return [Answer(summary.name, summary.name, _told(summary)) for summary in newest]


def _told(summary: RunSummary) -> str:
    loss = f", loss {summary.loss:.3g}" if summary.loss is not None else ""
    age = f", {age_text(summary.created)} ago" if summary.created else ""
    return f"{summary.state}{loss}, {summary.model}{age}"
