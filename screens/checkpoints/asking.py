"""What is asked before something is done with checkpoints, and what becomes of it. Loaded when that first happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from engine.errors import NotFound
from engine.runs import promotion, shelf
from engine.runs.directory import RunDirectory
from engine.runs.entries import CheckpointEntry, verify
from engine.runs.plan import Done, Plan
from engine.workspace import Workspace
from screens.checkpoints.rows import Row, best_of, stands_for
from screens.checkpoints.target_dialog import Answer, Needs, TargetDialog
from screens.checkpoints.verbs import verbs
from tui.display import plain
from tui.widgets.choose import Choice, Chooser
from tui.widgets.confirm import Confirm
from tui.widgets.words import number_of, size_text

if TYPE_CHECKING:
    from screens.checkpoints.screen import CheckpointsScreen
    from tui.jobs import Tell

_LISTED = 4
"""Sentences about what is left alone; the others are counted."""


async def what_to_do(screen: CheckpointsScreen, row: Row) -> str | None:
    """Return the action that is chosen from all there are for a row."""
    offered = [verb for verb in verbs(row) if not verb.refusal]
    choices = [Choice(verb.action, f"{verb.key}  {verb.label}", verb.explanation) for verb in offered]
    return await screen.app.push_screen_wait(
        Chooser(f"What to do with {row.spec}", choices, placeholder="type to narrow the list")
    )


async def pin(screen: CheckpointsScreen, row: Row) -> None:
    """Pin, or unpin: what one key takes back is not asked about."""
    entry = _named(row)
    make = shelf.plan_unpin if entry.pinned else shelf.plan_pin
    plan = await asyncio.to_thread(make, [entry])
    if not _refused(screen, plan):
        done = await asyncio.to_thread(shelf.carry_out, plan)
        screen.look_at(entry.run)
        word = "can be removed again" if entry.pinned else "stays whatever is pruned"
        screen.notify(_told(done) or f"{entry.spec} {word}.", timeout=4)


async def delete(screen: CheckpointsScreen, row: Row) -> None:
    """Delete a checkpoint."""
    await _confirmed(screen, partial(shelf.plan_delete, [_named(row)]), row, yes="Delete")


async def drop_optimizer(screen: CheckpointsScreen, row: Row) -> None:
    """Drop what only exact resume needs."""
    await _confirmed(screen, partial(shelf.plan_drop_optimizer, [_named(row)]), row, yes="Drop")


async def prune(screen: CheckpointsScreen, row: Row) -> None:
    """Remove what is neither newest, best nor pinned."""
    best = best_of(row.run)
    by = "eval_loss" if best is not None and "eval_loss" in best.metrics else None
    run = RunDirectory(Workspace(screen.workspace).runs / row.run.name)
    await _confirmed(screen, partial(shelf.plan_prune, run, best_by=by), row, yes="Prune")


async def rollback(screen: CheckpointsScreen, row: Row) -> None:
    """Exchange the promoted model with the one before it."""
    await _confirmed(screen, partial(promotion.plan_rollback, Workspace(screen.workspace)), row, yes="Roll back")


async def promote(screen: CheckpointsScreen, row: Row) -> None:
    """Copy a checkpoint to models/, under a name that is asked for."""
    entry = _one(row)
    workspace = Workspace(screen.workspace)

    def needs(answer: Answer) -> Needs:
        plan = promotion.plan_promote(workspace, entry, answer.target or None)
        return Needs([f"A copy of {size_text(plan.needed_bytes)} in {workspace.models}.", *plan.lost, *plan.notes])

    about = (
        "The weights are copied to models/ and outlive the run. `latest` may be promoted again; what it was becomes "
    )
    dialog = TargetDialog(
        f"Promote {entry.spec}", f"{about}`previous`, and B brings it back.", (), target=f"{entry.run}-{entry.name}",
        label="Its name in models/", needs_of=needs,
    )  # fmt: skip
    answer = await screen.app.push_screen_wait(dialog)
    if answer is not None:
        plan = await asyncio.to_thread(promotion.plan_promote, workspace, entry, answer.target or None)
        _carry_out(screen, plan, row)


async def resume(screen: CheckpointsScreen, row: Row) -> None:
    """Go on with a run exactly from a checkpoint, once it is seen what that repeats and what has changed."""
    from screens.live import resuming

    entry, run = _named(row), RunDirectory(Workspace(screen.workspace).runs / row.run.name)

    def looked() -> resuming.Prospect:
        changes = resuming.prospect(run, row.run.summary.step).changes
        return resuming.Prospect(entry.name, max(0, row.run.summary.step - entry.step), changes)

    found = await asyncio.to_thread(looked)
    told = resuming.consequence(found)
    if found.changes:
        told += " n begins a new run with these weights instead."
    question = f"Resume {run.name} from {entry.name}{' although something has changed' if found.changes else ''}?"
    if not await screen.app.push_screen_wait(Confirm(question, told, yes="Resume")):
        return
    screen.notify("Starting; the libraries take some seconds to load.", title=f"Resuming {run.name}")

    def go() -> str:
        from engine.launch.prepare import resume_run

        return resuming.said(resume_run(run, checkpoint=entry.name, accept_changes=bool(found.changes)))

    said = await asyncio.to_thread(go)
    screen.look_at(run.name)
    screen.notify(said, title=f"Resumed {run.name}", timeout=10)


async def verify_hashes(screen: CheckpointsScreen, row: Row) -> None:
    """Read every byte of a checkpoint, or of all of a run, and say what is not as it was written."""
    from engine.runs.checkpoints import run_id

    entries = [row.checkpoint] if row.checkpoint is not None else list(row.run.checkpoints)
    own = await asyncio.to_thread(run_id, RunDirectory(Workspace(screen.workspace).runs / row.run.name))

    def read(tell: Tell, stopped: Callable[[], bool]) -> str:
        damaged = []
        for number, entry in enumerate(entries):
            if stopped():
                raise InterruptedError
            tell(f"{entry.name}, {size_text(entry.used_bytes)}", number / len(entries))
            found = verify(entry, own)
            screen.verified[entry.folder] = found
            if found.fault is not None:
                damaged.append(f"{entry.name}: {plain(found.fault, limit=200)}.")
        whole = len(entries) - len(damaged)
        return "\n".join([f"{number_of(whole, 'checkpoint')} whole, every byte of it.", *damaged])

    screen.jobs.start(f"Verifying {row.spec}", read, after=screen.show_again)


# Plans


async def _confirmed(screen: CheckpointsScreen, make: Callable[[], Plan], row: Row, *, yes: str) -> None:
    plan = await asyncio.to_thread(make)
    if _refused(screen, plan):
        return
    if await screen.app.push_screen_wait(Confirm(f"{plan.title}?", consequence(plan), yes=yes)):
        _carry_out(screen, plan, row)


def _refused(screen: CheckpointsScreen, plan: Plan) -> bool:
    """Return whether there is nothing to do, and say why."""
    if plan.actions:
        return False
    said = " ".join(_some(plan.refused)) or f"{plan.title}: there is nothing to do."
    screen.notify(said, severity="warning" if plan.refused else "information", timeout=8)
    return True


def consequence(plan: Plan) -> str:
    """Return what a plan would do, what is lost first."""
    parts = [" ".join(plan.lost) or "Nothing is lost."]
    if plan.freed_bytes:
        parts.append(f"Frees {size_text(plan.freed_bytes)}.")
    if plan.needed_bytes:
        parts.append(f"Takes {size_text(plan.needed_bytes)}.")
    parts += [action.said for action in plan.actions if action.kind == "swap"]
    if plan.refused:
        parts.append("Left alone: " + " ".join(_some(plan.refused)))
    return "\n".join([*parts, *plan.notes])


def _some(sentences: Sequence[str]) -> list[str]:
    more = len(sentences) - _LISTED
    return [*sentences[:_LISTED], *([f"And {more} more."] if more > 0 else [])]


def _carry_out(screen: CheckpointsScreen, plan: Plan, row: Row) -> None:
    """Do it in the background: what stays may have to prove whole first, some 1 GB/s."""

    def work(tell: Tell, stopped: Callable[[], bool]) -> str:
        del stopped
        tell("proving what stays" if plan.kept else "", None)
        return _told(shelf.carry_out(plan)) or "Done."

    def after() -> None:
        for run in {row.run.name, *(action.run for action in plan.actions)}:
            screen.look_at(run)

    screen.jobs.start(plan.title, work, after=after, can_stop=False)


def _told(done: Done) -> str:
    """Return what was done, and what was not and why; empty where nothing is worth a word."""
    parts = [f"{size_text(done.freed_bytes)} freed."] if done.freed_bytes else []
    parts += _some(
        [f"{action.path.name} was left alone: {plain(reason, limit=200)}." for action, reason in done.skipped]
    )
    return "\n".join(parts)


def _named(row: Row) -> CheckpointEntry:
    assert row.checkpoint is not None
    return row.checkpoint


def _one(row: Row) -> CheckpointEntry:
    """Return the checkpoint of a row, of a run the one it stands for.

    Raises:
        NotFound: It has no whole one.
    """
    found = row.checkpoint or stands_for(row.run)
    if found is None:
        raise NotFound(f"{row.run.name} has no whole checkpoint.", remedy="Resume it, or train it again.")
    return found
