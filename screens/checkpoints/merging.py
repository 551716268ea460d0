"""The question before a merge, and the merge. Loaded when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.export.merge import Merged, MergePlan, merge, plan_merge
from engine.export.progress import Progress
from engine.spec import local_model
from engine.workspace import Workspace, named_path
from screens.checkpoints.target_dialog import Answer, Needs, TargetDialog, Tick
from tui.display import plain
from tui.widgets.words import size_text, time_left

if TYPE_CHECKING:
    from screens.checkpoints.screen import CheckpointsScreen
    from tui.jobs import Tell

VERIFY = "verify"
_DTYPES = (
    Tick("bfloat16", "bfloat16", "2 bytes a weight, what most models are published in", ticked=True, group="dtype"),
    Tick("float16", "float16", "2 bytes a weight, finer and of less range", group="dtype"),
    Tick("float32", "float32", "4 bytes a weight, nothing is rounded", group="dtype"),
)
_VERIFY = Tick(VERIFY, "verify", "ask both the same and compare their logits", ticked=True)


async def ask_and_merge(screen: CheckpointsScreen, spec: str) -> None:
    """Merge a checkpoint into its base, if the user says so."""
    workspace = Workspace(screen.workspace)

    def planned(answer: Answer) -> MergePlan:
        dtype = next(iter(answer.ticked - {VERIFY}))
        return plan_merge(local_model(workspace, spec), target_of(workspace, answer.target), dtype=dtype,
                          verify=VERIFY in answer.ticked)  # fmt: skip

    def needs(answer: Answer) -> Needs:
        if not answer.target:
            return Needs(problem="It needs a folder.")
        plan = planned(answer)
        if plan.replaces:
            return Needs(problem=f"There is a model in {plan.target} already: choose another folder.")
        takes = needed(plan.needed_bytes, plan.free_bytes, plan.memory_bytes, plan.free_memory_bytes, plan.seconds)
        return Needs([takes, *plan.warnings])

    answer = await screen.app.push_screen_wait(
        TargetDialog(
            f"Merge {spec}",
            "The adapter becomes part of its base: one model, which needs no adapter any more. Computed in float32 and "
            "rounded once.",
            (*_DTYPES, _VERIFY), target=f"models/{spec.replace('@', '-')}-merged", label="Into the folder",
            needs_of=needs,
        )
    )  # fmt: skip
    if answer is None:
        return

    def work(tell: Tell, stopped: Callable[[], bool]) -> str:
        return said(merge(planned(answer), tell=in_words(tell), cancelled=stopped))

    screen.jobs.start(f"Merging {spec}", work)


def target_of(workspace: Workspace, written: str) -> Path:
    """Return where something is written: a relative path is one in the workspace."""
    path = named_path(written)
    return path if path.is_absolute() else workspace.path / path


def in_words(tell: Tell) -> Callable[[Progress], None]:
    """Return what takes the progress of a process and hands it on as `Tell` has it."""
    return lambda progress: tell(plain(progress.stage, limit=120), progress.fraction)


def needed(disk: int | None, free: int, memory: int | None, free_memory: int | None, seconds: float | None) -> str:
    """Return what work takes, in a sentence."""
    if disk is None:
        return "What it takes is known once the base is here."
    parts = [f"{size_text(disk)} of {size_text(free)} free on the disk"]
    if memory is not None:
        room = f" of {size_text(free_memory)}" if free_memory is not None else ""
        parts.append(f"{size_text(memory)}{room} of memory")
    if seconds is not None:
        parts.append(f"about {time_left(seconds)}")
    return f"Takes {', '.join(parts)}."


def said(done: Merged) -> str:
    """Return what was made, and what proves it."""
    parts = [f"{done.path}, {size_text(done.used_bytes)}."]
    if done.verified is not None:
        largest = done.verified.get("max_abs")
        shown = f", largest difference of a logit {largest:.1e}" if isinstance(largest, float) else ""
        parts.append(f"It says what base and adapter say{shown}.")
    return "\n".join([*parts, *done.notes])
