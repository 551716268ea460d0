"""A model as GGUF files: merged, converted once, quantised to each type, checked.

The weights are worked on in processes of their own (`merge`, `convert_worker`, `quantise_worker`); each file is
written beside its name and gets it when it was read back and says what the model says.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import DiskFull
from engine.export.beside import beside, exists, put
from engine.export.converter import Converter
from engine.export.converter_fetch import fetch_converter
from engine.export.gguf_check import check_adapter, check_model
from engine.export.gguf_header import GgufHeader, read_gguf
from engine.export.gguf_plan import ENDING, Plan, PlannedFile
from engine.export.lmstudio_folder import folder_name
from engine.export.merge import merge, plan_merge
from engine.export.progress import Cancelled, Progress, Tell, never, run, silent
from engine.export.quantisation import fallen_back
from engine.export.quantiser import Wanted, quantise
from engine.runs.plan import size_text


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file there is now."""

    path: Path
    quantisation: str
    used_bytes: int
    bits_per_weight: float
    fallback_tensors: int
    num_tensors: int


@dataclass(slots=True)
class Exported:
    """What was made."""

    files: list[ExportedFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def export(plan: Plan, *, replace: bool = False, tell: Tell = silent, cancelled: Cancelled = never) -> Exported:
    """Carry out a plan. A file has its name only once it is whole and was checked.

    Fetches the converter if it is not there: whoever asks a person does so before.

    Raises:
        TargetExists: A file is there and was not to be replaced.
        DiskFull: There is no room for it; nothing was begun, or what was begun is gone.
        EngineError: A stage failed; the message says which and why.
        WorkCancelled: `cancelled` returned true.
    """
    if plan.existing and not replace:
        raise exists(plan.existing[0])
    if plan.disk_bytes > plan.free_bytes:
        raise DiskFull(
            f"The export needs about {size_text(plan.disk_bytes)}, and {plan.files[0].path.parent} has "
            f"{size_text(plan.free_bytes)}.",
            remedy="Free some space, export fewer types at once, or choose another folder with -o.",
        )
    converter = plan.converter or fetch_converter(
        lambda done, total: tell(Progress("fetching llama.cpp's converter", done, total, "bytes")), cancelled
    )
    done = Exported(notes=list(plan.notes))
    with beside(plan.files[0].path) as folder:
        if plan.asked.adapter_only:
            made = folder / f"adapter{ENDING}"
            _convert(plan, converter, plan.source, made, tell, cancelled)
            done.files.append(_finish(made, plan.files[0], check_adapter(made), replace))
            return done
        source = _merged(plan, folder, tell, cancelled) if plan.merges else plan.source
        converted = folder / f"conversion{ENDING}"
        facts = _convert(plan, converter, source, converted, tell, cancelled)
        if plan.merges:
            shutil.rmtree(source)
        if facts["by_structure"]:
            done.notes.append(f"The tokenizer was recognised by its structure, as llama.cpp's {facts['by_structure']}.")
        if facts["unstoppable"]:
            done.notes.append(f"llama.cpp will not stop at {', '.join(facts['unstoppable'])}: a file has three ends.")
        if facts["template"] is None:
            done.notes.append("The model has no chat template, so that LM Studio will use one of its own.")
        check_model(converted, plan.conversion, facts)
        _quantise(plan, converted, facts, done, replace, tell, cancelled)
        for file in plan.files:
            if file.quantisation is plan.conversion:
                header = read_gguf(converted)
                done.files.append(_finish(converted, file, header, replace))
    order = [file.path for file in plan.files]
    done.files.sort(key=lambda file: order.index(file.path))
    return done


def _quantise(
    plan: Plan,
    converted: Path,
    facts: dict[str, Any],
    done: Exported,
    replace: bool,
    tell: Tell,
    cancelled: Cancelled,
) -> None:
    """Make the files of other types than the conversion's; each is checked and has its name while the next is made."""
    folder = converted.parent
    files = {folder / f"{one.quantisation.name}{ENDING}": one for one in plan.files
             if one.quantisation is not plan.conversion}  # fmt: skip
    if not files:
        return

    def made(one: Wanted) -> None:
        header = check_model(one.out, one.quantisation, facts)
        done.files.append(_finish(one.out, files[one.out], header, replace))

    assert plan.quantiser is not None
    wanted = [Wanted(out, file.quantisation, file.expected_bytes) for out, file in files.items()]
    quantise(converted, wanted, plan.quantiser, log=folder / "log", tell=tell, cancelled=cancelled, made=made)


def _convert(
    plan: Plan, converter: Converter, source: Path, out: Path, tell: Tell, cancelled: Cancelled
) -> dict[str, Any]:
    """Run the converter and return what the file must say."""
    adapter = plan.asked.model.adapter if plan.asked.adapter_only else None
    request = {
        "converter": str(converter.folder),
        "model": str(source),
        "adapter": None if adapter is None else str(adapter),
        "out": str(out),
        "outtype": plan.conversion.name,
        "name": plan.asked.name or plan.asked.target.stem,
        "expected_bytes": plan.conversion_bytes,
        "stage": f"converting to {plan.conversion.name}",
    }
    return run(
        "engine.export.convert_worker",
        request,
        what="The conversion",
        tell=tell,
        cancelled=cancelled,
        log=out.parent / "log",
    )


def _merged(plan: Plan, folder: Path, tell: Tell, cancelled: Cancelled) -> Path:
    """Return a folder with the adapter merged into its base. Its name is one the converter reads in the metadata."""
    asked = plan.asked
    target = folder / folder_name(asked.name or asked.target.stem)
    merge(
        plan_merge(asked.model, target, dtype=plan.merge_dtype, allow_pickle=asked.allow_pickle),
        tell=tell,
        cancelled=cancelled,
    )
    return target


def _finish(made: Path, file: PlannedFile, header: GgufHeader, replace: bool) -> ExportedFile:
    """Give a checked file its name."""
    put(made, file.path, replace=replace)
    return ExportedFile(
        path=file.path,
        quantisation=file.quantisation.name,
        used_bytes=header.size,
        bits_per_weight=header.bits_per_weight,
        fallback_tensors=fallen_back(header.tensors, file.quantisation),
        num_tensors=len(header.tensors),
    )
