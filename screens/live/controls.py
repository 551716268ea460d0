"""What a run can be told from here: which key, whether it makes sense now, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.commands import Command, Pause, SaveCheckpoint, SetEarlyStopping, SetLearningRate, Stop, Unpause
from engine.events import CommandConfirmed
from tui.state import CheckpointLine, RunState
from tui.widgets.words import number_of

SHOWN_SECONDS = 20.0
"""How long an answer to a command stays on screen."""


@dataclass(frozen=True, slots=True)
class Control:
    """One thing the run can be told."""

    key: str
    action: str
    """Of the screen, without `action_`."""
    label: str
    short: str
    """The label where there is little room."""
    refusal: str = ""
    """Why it makes no sense now, in a sentence. Empty: it does."""


@dataclass(slots=True)
class Asked:
    """A command on its way, and what became of it."""

    command_id: str
    command: Command
    time: float
    """Unix seconds."""
    answer: CommandConfirmed | None = None
    answered: float = 0.0
    """Unix time at which the answer was seen."""


def controls(state: RunState, reason: str = "") -> list[Control]:
    """Return what can be done now: while somebody works on the run its controls, afterwards going on.

    Args:
        state: Of the run.
        reason: Why nobody can say whether it lives, when that is so.
    """
    if not state.active:
        return [Control("R", "resume", "Resume", "Resume", _no_resume(state, reason))]
    training = state.state in ("running", "paused")
    early = "" if training else (
        "It is stopping." if state.state == "stopping" else "It has not begun to train yet."
    )  # fmt: skip
    pause = "Go on" if state.state == "paused" else "Pause"
    # On screen once somebody has armed it; the key is there before.
    stopping = [_early_stop(state, early)] if state.early_stopping is not None else []
    return [
        Control("p", "pause", pause, pause, early),
        Control("w", "save_now", "Save now", "Save", early),
        Control("S", "stop", "Stop", "Stop"),
        Control("L", "learning_rate", "Learning rate", "Rate", early),
        *stopping,
    ]


def _early_stop(state: RunState, refusal: str) -> Control:
    label = "Never early" if early_stopping_armed(state) else "Stop early"
    return Control("E", "early_stop", label, "Early", refusal)


def early_stopping_armed(state: RunState) -> bool:
    """Return whether early stopping may end the run, as far as the log knows."""
    return state.early_stopping is not None and state.early_stopping.armed


def control_for(action: str, state: RunState, reason: str = "") -> Control:
    """Return the control of an action, whether it is offered now or not."""
    for control in controls(state, reason):
        if control.action == action:
            return control
    if action == "early_stop" and state.active:
        refusal = controls(state, reason)[0].refusal
        return _early_stop(state, refusal)
    if action == "resume":
        return Control("R", action, "Resume", "Resume", f"It is {state.state}: there is nothing to resume.")
    return Control("", action, "", "", _nobody_listens(state, reason))


def _nobody_listens(state: RunState, reason: str) -> str:
    if state.state == "unknown":
        return f"Nobody can say whether it still runs, so it is left alone: {reason}."
    return f"It has {state.state}: nobody is there to be told."


def _no_resume(state: RunState, reason: str) -> str:
    if state.state == "unknown":
        return f"Nobody can say whether it still runs, so it is left alone: {reason}."
    if state.state == "finished":
        return "It has finished: there is nothing to go on with."
    return ""


def newest_checkpoint(state: RunState) -> CheckpointLine | None:
    """Return the checkpoint that a resume would begin with, as far as the log knows."""
    resumable = [line for line in state.checkpoints if line.path.startswith("checkpoints/")]
    return max(resumable, key=lambda line: line.step, default=None)


def what_stopping_now_loses(state: RunState) -> str:
    """Return in a sentence what is gone when the run ends without saving."""
    kept = newest_checkpoint(state)
    if kept is None:
        return f"There is no checkpoint yet: all {number_of(state.step, 'step')} are lost." if state.step else (
            "Nothing is lost: no step was taken yet."
        )  # fmt: skip
    lost = state.step - kept.step
    if lost <= 0:
        return f"Nothing is lost: step {kept.step:,} is saved."
    return f"{number_of(lost, 'step')} since checkpoint-{kept.step} would be lost."


def still_of_interest(asked: Iterable[Asked], state: RunState, now: float) -> list[Asked]:
    """Return the commands without an answer and those freshly answered, with the answers that have come.

    What a run did not live to answer is among neither, nor is what was said to an earlier start of it.
    """
    kept = []
    for one in asked:
        if one.time < state.attempt_began:
            continue
        if one.answer is None and one.command_id in state.confirmed:
            one.answer, one.answered = state.confirmed[one.command_id], now
        if now - one.answered < SHOWN_SECONDS if one.answer is not None else state.active:
            kept.append(one)
    return kept


def in_words(command: Command) -> str:
    """Return what a command asks for."""
    if isinstance(command, SetLearningRate):
        return f"learning_rate {command.learning_rate:g}"
    if isinstance(command, Stop):
        return "Stop and save" if command.save else "Stop now"
    if isinstance(command, SetEarlyStopping):
        return f"Early stopping {'on' if command.armed else 'off'}"
    return {Pause: "Pause", Unpause: "Go on", SaveCheckpoint: "Save now"}[type(command)]
