"""What the command line does with checkpoints: says what would be done, asks, does it, says what was done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from engine.errors import CheckpointError, UsageError
from engine.runs.directory import find_run
from engine.runs.entries import CheckpointEntry
from engine.runs.finding import find_entry
from engine.runs.plan import Done, Plan, size_text
from engine.runs.promotion import plan_promote, plan_rollback
from engine.runs.shelf import carry_out, plan_delete, plan_drop_optimizer, plan_pin, plan_prune, plan_unpin
from engine.workspace import Workspace
from tui.cli import output
from tui.display import plain


class NotDone(CheckpointError):
    """Nothing of what was asked could be done; the reasons were given."""

    code = "not-done"


class Answer(NamedTuple):
    """What was said beforehand to the question whether it is to be done."""

    dry_run: bool = False
    yes: bool = False


def pin(workspace: str | None, named: Sequence[str], answer: Answer, *, as_json: bool) -> int:
    """Pin checkpoints. See `_do` for what all of these raise."""
    return _do(plan_pin(_entries(workspace, named)), answer, as_json=as_json)


def unpin(workspace: str | None, named: Sequence[str], answer: Answer, *, as_json: bool) -> int:
    """Let pinned checkpoints be removed again."""
    return _do(plan_unpin(_entries(workspace, named)), answer, as_json=as_json)


def delete(workspace: str | None, named: Sequence[str], answer: Answer, *, optimizer_only: bool, as_json: bool) -> int:
    """Delete checkpoints, or their optimizer states."""
    plan: Callable[[Sequence[CheckpointEntry]], Plan] = plan_drop_optimizer if optimizer_only else plan_delete
    return _do(plan(_entries(workspace, named)), answer, as_json=as_json)


def prune(
    workspace: str | None,
    name: str,
    answer: Answer,
    *,
    keep: int,
    best_by: str | None,
    optimizer_only: bool,
    as_json: bool,
) -> int:
    """Delete what is neither new, nor the best, nor pinned. That there is nothing such is no error."""
    run = find_run(Workspace.find(workspace).runs, name)
    plan = plan_prune(run, keep=keep, best_by=best_by, optimizer_only=optimizer_only)
    return _do(plan, answer, as_json=as_json, empty_is_fine=True)


def promote(workspace: str | None, text: str, answer: Answer, *, name: str | None, as_json: bool) -> int:
    """Copy weights to `models/`. Asks only where something is lost."""
    place = Workspace.find(workspace)
    plan = plan_promote(place, find_entry(place, text), name)
    return _do(plan, answer if plan.lost else answer._replace(yes=True), as_json=as_json)


def rollback(workspace: str | None, answer: Answer, *, as_json: bool) -> int:
    """Exchange `models/latest` and `models/previous`."""
    return _do(plan_rollback(Workspace.find(workspace)), answer, as_json=as_json)


def _do(plan: Plan, answer: Answer, *, as_json: bool, empty_is_fine: bool = False) -> int:
    """Show a plan, ask, carry it out, and say what was done.

    Raises:
        UsageError: Nobody can be asked, or the answer was no.
        NotDone: There was nothing that could be done.
        EngineError: As `carry_out`.
    """
    if answer.dry_run:
        if as_json:
            output.emit({"plan": plan.as_dict(), "done": None})
        else:
            _print(plan)
            output.note("Nothing was done: --dry-run.")
        return 0
    if not plan.actions:
        if not empty_is_fine:
            raise NotDone(" ".join(plan.refused) or "There is nothing to do.")
        if as_json:
            output.emit({"plan": plan.as_dict(), "done": Done((), ()).as_dict()})
        else:
            _print(plan)
            output.note("There is nothing to do.")
        return 0
    if not answer.yes:
        _ask(plan)
    done = carry_out(plan)
    if as_json:
        output.emit({"plan": plan.as_dict(), "done": done.as_dict()})
    else:
        for action in done.done:
            output.out(f"{action.kind}: {plain(action.said, limit=400)}")
        if done.freed_bytes:
            output.out(f"{size_text(done.freed_bytes)} freed")
        for sentence in plan.refused:
            output.note(plain(sentence, limit=500), style="warning")
        for action, reason in done.skipped:
            output.note(f"{plain(action.said, limit=400)}: not done, {plain(reason)}.", style="warning")
    if not done.done:
        raise NotDone("; ".join(f"{action.path.name}: {reason}" for action, reason in done.skipped) + ".")
    return 0


def _print(plan: Plan) -> None:
    output.out(plain(plan.title, limit=400), style="bold")
    for action in plan.actions:
        output.out(f"  {action.kind}: {plain(action.said, limit=400)}")
    if plan.freed_bytes:
        output.out(f"  frees {size_text(plan.freed_bytes)}")
    if plan.needed_bytes:
        output.out(f"  needs {size_text(plan.needed_bytes)}")
    for sentence in plan.lost:
        output.out(f"  lost: {plain(sentence, limit=500)}", style="warning")
    for sentence in (*plan.refused, *plan.notes):
        output.out(f"  {plain(sentence, limit=500)}")


def _ask(plan: Plan) -> None:
    if not (output.is_terminal(sys.stdin) and output.is_terminal(sys.stderr)):
        lost = " ".join(plan.lost) or f"{plan.title}."
        raise UsageError(plain(lost, limit=2_000), remedy="Say --yes if that is meant; --dry-run lists all of it.")
    for line in (plan.title, *(f"  {action.kind}: {action.said}" for action in plan.actions)):
        output.note(plain(line, limit=500))
    for sentence in plan.lost:
        output.note(f"  lost: {plain(sentence, limit=500)}", style="warning")
    for sentence in (*plan.refused, *plan.notes):
        output.note(f"  {plain(sentence, limit=500)}")
    output.note("Do it? [y/N]")
    try:
        said = sys.stdin.readline().strip().lower()
    except UnicodeDecodeError:
        said = ""
    if said not in ("y", "yes"):
        raise UsageError("Nothing was done: that was no yes.")


def _entries(workspace: str | None, named: Sequence[str]) -> list[CheckpointEntry]:
    place = Workspace.find(workspace)
    found = []
    for text in named:
        if "@" not in text:
            raise UsageError(
                f"{text[:80]!r} names no checkpoint.", remedy=f"Write it as {text[:80]}@120 or {text[:80]}@best."
            )
        found.append(find_entry(place, text))
    return found
