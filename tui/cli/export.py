"""`ftconsole export`: say what is needed, ask where something is fetched or replaced, and write GGUF files."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.export.beside import exists
from engine.export.converter_fetch import ARCHIVE_BYTES, KEPT_BYTES
from engine.export.failures import ConverterMissing
from engine.export.gguf import Exported, export
from engine.export.gguf_plan import Asked as Wanted
from engine.export.gguf_plan import Plan, plan_export
from engine.export.lmstudio_install import Installed, Placement, install, plan_install
from engine.export.quantisation import DEFAULT, parse
from engine.runs.plan import size_text
from engine.spec import LocalModel, local_model
from engine.workspace import Workspace
from tui.cli import hints, output
from tui.cli.asking import confirm
from tui.cli.stages import Stages
from tui.cli.unwinding import unwinding
from tui.display import plain


@dataclass(frozen=True, slots=True)
class Asked:
    """What was written on the command line."""

    model: str
    target: str
    quant: str | None
    adapter: bool
    base: str | None
    name: str | None
    allow_pickle: bool
    llama_cpp_path: str | None
    install: bool
    publisher: str | None


def export_model(workspace: str | None, asked: Asked, *, force: bool, yes: bool, dry_run: bool, as_json: bool) -> int:
    """Export a model and say what was made; with `dry_run` only what it needs.

    Raises:
        EngineError: It cannot be exported; nothing was left under a final name.
    """
    place = Workspace.find(workspace)
    model = local_model(place, asked.model, base=asked.base)
    plan = plan_export(
        Wanted(
            model=model,
            target=Path(asked.target),
            quantisations=parse(asked.quant or ("f16" if asked.adapter else DEFAULT)),
            adapter_only=asked.adapter,
            llama_cpp=asked.llama_cpp_path,
            allow_pickle=asked.allow_pickle,
            name=asked.name or called(model),
        )
    )
    placements = _placements(asked, plan) if asked.install else ()
    if dry_run:
        _emit_plan(plan, placements) if as_json else _show_plan(plan, placements)
        return 0
    if not as_json:
        _show_plan(plan, placements, aside=True)
    replace = _consent(plan, placements, force=force, yes=yes)
    with unwinding(), Stages(silent=as_json) as stages:
        done = export(plan, tell=stages.tell, replace=replace)
    installed = [install(placement, replace=replace) for placement in placements]
    loaded = [_loaded(one, silent=as_json) for one in installed]
    if as_json:
        output.emit(_object(plan, done, installed, loaded))
        return 0
    _show(plan, done, installed, loaded)
    return 0


def called(model: LocalModel) -> str:
    """Return what a model is called where nobody said: its run, its folder, or its name without an owner."""
    if model.run is not None:
        return model.run
    return (model.adapter.name if model.adapter is not None else model.label.rstrip("/").rpartition("/")[2]) or "model"


def _placements(asked: Asked, plan: Plan) -> tuple[Placement, ...]:
    sources = [(file.path, file.quantisation.name) for file in plan.files]
    return plan_install(sources, publisher=asked.publisher or "", name=asked.name or "", default_name=plan.asked.name)


def _consent(plan: Plan, placements: tuple[Placement, ...], *, force: bool, yes: bool) -> bool:
    """Ask what has to be asked, and return whether files that are there may be replaced.

    Raises:
        EngineError: What may not be done.
    """
    there = [*plan.existing, *(placement.target for placement in placements if placement.taken)]
    if there and not force:
        confirm(f"{', '.join(plain(str(path)) for path in there)}: there already. Replace?", exists(there[0]))
    if plan.converter is None and not yes:
        confirm(
            "llama.cpp's converter is not here. Fetch it once, with pip, from the llama-cpp-python source package "
            f"({size_text(ARCHIVE_BYTES)}, of which {size_text(KEPT_BYTES)} are kept)?",
            ConverterMissing(
                "llama.cpp's converter is not on this machine.",
                remedy="Say --yes to have it fetched once, or name a checkout of llama.cpp with --llama-cpp-path.",
            ),
        )
    return force or bool(there)


def _show_plan(plan: Plan, placements: tuple[Placement, ...], *, aside: bool = False) -> None:
    say = output.note if aside else output.out
    free = f" of {size_text(plan.free_bytes)} free"
    memory = "" if plan.available_bytes is None else f" of {size_text(plan.available_bytes)} available"
    steps = ["merged in full precision"] if plan.merges else []
    steps.append(f"converted to {plan.conversion.name}")
    say(
        f"{plain(plan.asked.model.label)}: {plan.num_weights:,} weights, {', '.join(steps)}. Needs about "
        f"{size_text(plan.disk_bytes)}{free} on the disk, {size_text(plan.memory_bytes)}{memory} of memory, "
        f"{output.duration(plan.seconds)}."
    )
    for file in plan.files:
        say(f"  {file.quantisation.name:<7} {size_text(file.expected_bytes):>7}  {plain(str(file.path))}")
    for note in plan.notes:
        say(f"  {plain(note)}", style="warning")
    converter = plan.converter.origin if plan.converter is not None else "to be fetched"
    say(f"  converter: {plain(converter)}" + (f"; quantiser: {plain(plan.quantiser.name)}" if plan.quantiser else ""))
    for placement in placements:
        say(f"  then for LM Studio: {plain(str(placement.target))}")


def _show(plan: Plan, done: Exported, installed: list[Installed], loaded: list[str | None]) -> None:
    for file in done.files:
        said = f"{plain(str(file.path))}: {size_text(file.used_bytes)}, {file.bits_per_weight:.2f} bits per weight"
        if file.fallback_tensors:
            said += f", {file.fallback_tensors} of {file.num_tensors} tensors in a larger type"
        output.out(said, style="good")
    for note in done.notes:
        if note not in plan.notes:  # those were said before it began
            output.note(plain(note))
    for one, called_there in zip(installed, loaded, strict=True):
        output.out(f"LM Studio: {plain(str(one.path))} ({one.how})", style="good")
        name = called_there or one.name
        first = "It is loaded there" if called_there else f"Load it there, or with `lms load {shlex.quote(name)}`"
        talk = hints.chat(plan.asked.model.given, f"lmstudio:{name}")
        output.note(plain(f"  {first}. Then talk to it beside what it was made of: `{talk}`"))


def _loaded(installed: Installed, *, silent: bool) -> str | None:
    """Load a model where LM Studio runs, and return what it is called there. The file is in its place either way."""
    from engine.export.lmstudio_load import load_installed

    try:
        return load_installed(installed)
    except EngineError as error:
        if not silent:
            output.note(f"{plain(error.message)} {plain(error.remedy)}", style="warning")
        return None


def _emit_plan(plan: Plan, placements: tuple[Placement, ...]) -> None:
    output.emit(
        {
            "model": plan.asked.model.label,
            "files": [
                {"path": str(file.path), "quantisation": file.quantisation.name, "bytes": file.expected_bytes}
                for file in plan.files
            ],
            "conversion": plan.conversion.name,
            "merges": plan.merges,
            "converter": None if plan.converter is None else plan.converter.origin,
            "quantiser": None if plan.quantiser is None else plan.quantiser.name,
            "disk_bytes": plan.disk_bytes,
            "free_bytes": plan.free_bytes,
            "memory_bytes": plan.memory_bytes,
            "available_bytes": plan.available_bytes,
            "seconds": round(plan.seconds, 1),
            "existing": [str(path) for path in plan.existing],
            "uneven_tensors": plan.num_uneven,
            "notes": list(plan.notes),
            "lmstudio": [str(placement.target) for placement in placements],
        }
    )


def _object(plan: Plan, done: Exported, installed: list[Installed], loaded: list[str | None]) -> dict[str, Any]:
    return {
        "model": plan.asked.model.label,
        "files": [
            {
                "path": str(file.path),
                "quantisation": file.quantisation,
                "bytes": file.used_bytes,
                "bits_per_weight": round(file.bits_per_weight, 3),
                "fallback_tensors": file.fallback_tensors,
                "num_tensors": file.num_tensors,
            }
            for file in done.files
        ],
        "notes": done.notes,
        "lmstudio": [
            {"path": str(one.path), "name": one.name, "how": one.how, "loaded": called_there}
            for one, called_there in zip(installed, loaded, strict=True)
        ],
    }
