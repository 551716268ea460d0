"""`ftconsole merge`: say what is needed, ask where something is at stake, merge, and show the proof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import UsageError
from engine.export.beside import exists
from engine.export.merge import Merged, MergePlan, merge, plan_merge
from engine.runs.plan import size_text
from engine.spec import local_model
from engine.workspace import Workspace
from tui.cli import output
from tui.cli.asking import agreed, confirm
from tui.cli.stages import Stages
from tui.cli.unwinding import unwinding
from tui.display import plain


@dataclass(frozen=True, slots=True)
class Asked:
    """What was written on the command line."""

    model: str
    target: str
    dtype: str
    verify: bool
    base: str | None
    allow_pickle: bool
    max_shard_bytes: int


def merge_model(workspace: str | None, asked: Asked, *, force: bool, yes: bool, dry_run: bool, as_json: bool) -> int:
    """Merge an adapter into its base and say what was made; with `dry_run` only what it needs.

    Raises:
        EngineError: It cannot be merged; nothing was left under the target's name.
    """
    plan = plan_merge(
        local_model(Workspace.find(workspace), asked.model, base=asked.base),
        Path(asked.target),
        dtype=asked.dtype,
        verify=asked.verify,
        allow_pickle=asked.allow_pickle,
        max_shard_bytes=asked.max_shard_bytes,
    )
    if dry_run:
        output.emit(plan.as_dict()) if as_json else _show_plan(plan)
        return 0
    if not as_json:
        _show_plan(plan, aside=True)
    if plan.replaces and not force:
        confirm(f"{plain(str(plan.target))} holds a model. Replace it?", exists(plan.target))
    if plan.warnings and not yes and not as_json and agreed("Merge all the same?") is False:
        raise UsageError("Nothing was merged: that was no yes.")
    with unwinding(), Stages(silent=as_json) as stages:
        made = merge(plan, replace=plan.replaces, tell=stages.tell)
    if as_json:
        output.emit(made.as_dict())
        return 0
    _show(plan, made)
    return 0


def _show_plan(plan: MergePlan, *, aside: bool = False) -> None:
    say = output.note if aside else output.out
    say(f"{plain(plan.model.label)} into {plain(plan.base.given)}, as {plan.dtype}, to {plain(str(plan.target))}.")
    if plan.needed_bytes is None or plan.memory_bytes is None or plan.seconds is None:
        say("The base has to be fetched first; how large it is, is not known before.")
    else:
        files = f" in {plan.num_files} files" if (plan.num_files or 1) > 1 else ""
        say(
            f"Needs about {size_text(plan.needed_bytes)} of {size_text(plan.free_bytes)} free on the disk{files}, "
            f"{size_text(plan.memory_bytes)} of {size_text(plan.free_memory_bytes)} of memory, "
            f"{output.duration(plan.seconds)}."
        )
    for warning in plan.warnings:
        say(f"  {plain(warning)}", style="warning")


def _show(plan: MergePlan, made: Merged) -> None:
    if made.verified is not None:
        _show_proof(made.verified, plan.dtype)
    for note in made.notes:
        output.note(plain(note))
    output.out(
        f"{plain(str(made.path))}: {size_text(made.used_bytes)} in {output.duration(made.seconds)}", style="good"
    )
    for name, size in made.files.items():
        output.out(f"  {plain(name):<32} {size_text(size):>9}")


def _show_proof(proof: Mapping[str, Any], dtype: str) -> None:
    answers = proof["answers"]
    output.out("Verifying merged model...")
    output.out("Test generation successful!")
    for answer in answers:
        output.out(f"  Prompt: {plain(answer['prompt'])}")
        output.out(f"  Response: {plain(answer['response'], limit=300) or '(nothing)'}")
    limit = ", ".join(f"{name} at most {value:g}" for name, value in proof["limit"].items())
    output.out(
        f"Against base and adapter over {proof['positions']} tokens: largest difference of a logit "
        f"{proof['max_abs']:.2g}, mean KL {proof['mean_kl']:.2g}, {proof['argmax_agreement']:.1%} the same first "
        f"token, {proof['equal_answers']} of {len(answers)} answers equal ({dtype}: {limit})."
    )
