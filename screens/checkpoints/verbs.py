"""What can be done with the row under the cursor, and why not when it cannot."""

from __future__ import annotations

from dataclasses import dataclass

from screens.checkpoints.rows import Row


@dataclass(frozen=True, slots=True)
class Verb:
    """One thing that can be done."""

    key: str
    action: str
    """Of the screen, without `action_`."""
    label: str
    explanation: str
    refusal: str = ""
    """Why it makes no sense now, in a sentence. Empty: it does."""


def verbs(row: Row | None) -> list[Verb]:
    """Return every verb, those that make no sense now with the reason.

    Args:
        row: The one under the cursor; None in an empty list.
    """
    pinned = row is not None and row.checkpoint is not None and row.checkpoint.pinned
    weights, ours = _no_weights(row), _not_ours(row)
    return [
        Verb("p", "pin", "Unpin" if pinned else "Pin",
             "Let it be removed again" if pinned else "Neither the run nor a prune removes it", ours),
        Verb("m", "merge", "Merge", "One model of adapter and base, verified", weights),
        Verb("e", "export", "Export to GGUF", "For llama.cpp and LM Studio", weights),
        Verb("V", "parity", "Prove parity", "That every form of it is the same model", weights),
        Verb("t", "chat", "Chat", "Beside its base", weights),
        Verb("M", "promote", "Promote to models/", "A copy that outlives the run", weights),
        Verb("R", "resume", "Resume exactly", "The same run goes on as if it had not ended", _no_resume(row)),
        Verb("n", "continue", "Continue on new data", "A new run begins with its weights", weights),
        Verb("B", "rollback", "Roll back latest", "models/latest and models/previous change places", ""),
        Verb("v", "verify", "Verify hashes", "Read every byte and compare", _none(row)),
        Verb("d", "delete", "Delete", "Remove it from the disk", ours or _is_pinned(row)),
        Verb("D", "drop_optimizer", "Drop optimizer state", "Its weights stay; exact resume does not",
             ours or _nothing_to_drop(row)),
        Verb("X", "prune", "Prune the run", "Remove what is neither newest, best nor pinned", _no_run(row)),
        Verb("Y", "copy_path", "Copy path", "Where it is on disk", _none(row)),
    ]  # fmt: skip


def refusal(action: str, row: Row | None) -> str:
    """Return why an action makes no sense for a row, in a sentence; empty when it does."""
    return next((verb.refusal for verb in verbs(row) if verb.action == action), "")


def _none(row: Row | None) -> str:
    return "There is nothing here yet." if row is None else ""


def _no_run(row: Row | None) -> str:
    return _none(row) or ("" if row is not None and row.run.checkpoints else "It has no checkpoint.")


def _no_checkpoint(row: Row | None) -> str:
    if row is None:
        return _none(row)
    if row.checkpoint is None:
        return "Put the cursor on one of its checkpoints." if row.run.checkpoints else "It has no checkpoint."
    return ""


def _not_ours(row: Row | None) -> str:
    if said := _no_checkpoint(row):
        return said
    if row is not None and row.checkpoint is not None and not row.checkpoint.ours:
        return "Its manifest does not name this run, so it is never touched."
    return ""


def _no_weights(row: Row | None) -> str:
    """A run stands for its best checkpoint."""
    if row is None:
        return _none(row)
    if row.checkpoint is None:
        return "" if row.run.checkpoints else "It has no checkpoint."
    return f"It is damaged: {row.checkpoint.fault}." if row.checkpoint.fault else ""


def _is_pinned(row: Row | None) -> str:
    pinned = row is not None and row.checkpoint is not None and row.checkpoint.pinned
    return "It is pinned; p lets it be removed." if pinned else ""


def _nothing_to_drop(row: Row | None) -> str:
    kept = row is not None and row.checkpoint is not None and row.checkpoint.optimizer_bytes
    return "" if kept else "It has no optimizer state."


def _no_resume(row: Row | None) -> str:
    if said := _not_ours(row):
        return said
    if row is None or row.checkpoint is None:
        return ""
    if row.run.summary.active:
        return f"{row.run.name} is {row.run.summary.state}: stop it first."
    if row.checkpoint.fault:
        return f"It is damaged: {row.checkpoint.fault}."
    return row.checkpoint.not_exact or ""
