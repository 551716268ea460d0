"""What the run under the cursor can be told, and why not when it cannot."""

from __future__ import annotations

from dataclasses import dataclass

from engine.runs.summary import RunSummary


@dataclass(frozen=True, slots=True)
class Control:
    """One thing the run can be told."""

    key: str
    action: str
    """Of the screen, without `action_`."""
    label: str
    refusal: str = ""
    """Why it makes no sense now, in a sentence. Empty: it does."""


def controls(summary: RunSummary | None) -> list[Control]:
    """Return every control of the list, those that make no sense now with the reason.

    Args:
        summary: The run under the cursor; None in an empty list.
    """
    return [
        Control("p", "pause", "Go on" if summary is not None and summary.state == "paused" else "Pause",
                _untellable(summary, needs_steps=True)),
        Control("w", "save_now", "Save now", _untellable(summary, needs_steps=True)),
        Control("S", "stop", "Stop", _untellable(summary)),
        Control("R", "resume", "Resume", _not_resumable(summary)),
    ]  # fmt: skip


def refusal(action: str, summary: RunSummary | None) -> str:
    """Return why an action makes no sense for this run, in a sentence; empty when it does."""
    return next(control.refusal for control in controls(summary) if control.action == action)


def _untellable(summary: RunSummary | None, *, needs_steps: bool = False) -> str:
    if summary is None:
        return "There is no run to be told."
    if summary.state == "unknown":
        return f"Nobody can say whether {summary.name} still runs, so it is left alone."
    if not summary.active:
        return f"{summary.name} has {summary.state}: nobody is there to be told."
    if needs_steps and summary.state == "starting":
        return f"{summary.name} has not begun to train yet."
    if needs_steps and summary.state == "stopping":
        return f"{summary.name} is stopping."
    return ""


def _not_resumable(summary: RunSummary | None) -> str:
    if summary is None:
        return "There is no run to resume."
    if summary.state == "unknown":
        return f"Nobody can say whether {summary.name} still runs, so it is left alone."
    if summary.active:
        return f"{summary.name} is {summary.state}: there is nothing to resume."
    if summary.state == "finished":
        return f"{summary.name} has finished: there is nothing to go on with."
    return ""
