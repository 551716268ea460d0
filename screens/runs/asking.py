"""What the user is asked before a run is told something, and what becomes of it. Loaded when that first happens."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from textual.app import App

from engine.commands import Command, Stop
from engine.events import CommandConfirmed
from engine.launch.start import send
from engine.runs.directory import RunDirectory
from engine.runs.follow import tail
from engine.runs.liveness import Life, liveness
from engine.runs.summary import RunSummary
from screens.live.controls import in_words, what_stopping_now_loses
from screens.live.dialogs import StopDialog
from screens.runs.reading import kept_on_disk
from tui.widgets.confirm import Confirm

ANSWER_SECONDS = 120.0
"""How long an answer is waited for: a step, an evaluation or a save may be under way."""
LOOK_SECONDS = 0.3


async def tell(app: App[Any], run: RunDirectory, command: Command) -> None:
    """Send a command and say what becomes of it.

    Raises:
        NotRunning: Nobody works on it.
        WorkspaceError: Its journal cannot be written.
    """
    said = in_words(command)
    command_id = await asyncio.to_thread(send, run, command)
    app.notify(f"{said} asked. {run.name} hears it at its next step.", timeout=4)
    answer = await _answer(run, command_id)
    if answer is not None and answer.accepted:
        app.notify(answer.detail, title=f"{run.name}: {said}")
    elif answer is not None:
        app.notify(answer.detail, title=f"{run.name}: {said} refused", severity="warning")


async def _answer(run: RunDirectory, command_id: str) -> CommandConfirmed | None:
    """Return the answer to a command; None when the run did not live to give one, or takes too long."""
    deadline = time.monotonic() + ANSWER_SECONDS
    lives = True
    while lives and time.monotonic() < deadline:
        lives = (await asyncio.to_thread(liveness, run.path)).life is not Life.DEAD
        for record in await asyncio.to_thread(tail, run.events):
            if isinstance(record.event, CommandConfirmed) and record.event.command_id == command_id:
                return record.event
        await asyncio.sleep(LOOK_SECONDS)
    return None


async def ask_how_to_stop(app: App[Any], run: RunDirectory, summary: RunSummary) -> Stop | None:
    """Return how the user wants the run to end; None when he does not."""
    state = await asyncio.to_thread(kept_on_disk, run, summary.step)
    loss = what_stopping_now_loses(state)
    return await app.push_screen_wait(StopDialog(run.name, loss, stopping=summary.state == "stopping"))


async def ask_and_resume(app: App[Any], run: RunDirectory, summary: RunSummary) -> bool:
    """Go on with a run once the user has seen from where, and what has changed; return whether it does.

    Raises:
        EngineError: What `resume_run` refuses.
    """
    resuming = await asyncio.to_thread(_resuming)
    found = await asyncio.to_thread(resuming.prospect, run, summary.step)
    question = f"Resume {run.name}{' although something has changed' if found.changes else ''}?"
    if not await app.push_screen_wait(Confirm(question, resuming.consequence(found), yes="Resume")):
        return False
    app.notify("Starting; the libraries take some seconds to load.", title=f"Resuming {run.name}")
    resumed = await asyncio.to_thread(resuming.resume, run, bool(found.changes))
    app.notify(resuming.said(resumed), title=f"Resumed {run.name}", timeout=10)
    return True


async def ask_for_demo(app: App[Any], counted: str) -> bool:
    """Return whether the demo shall start, also beside runs that are at work.

    Args:
        app: The application.
        counted: How many are at work, as from `words.tally`; empty: none.
    """
    question, told = "Start the demo?", "A run of its own trains the built-in model on this machine for two minutes."
    if counted:
        question = "Start the demo beside what is running?"
        told = f"{counted}: it will share this machine with them for two minutes."
    return bool(await app.push_screen_wait(Confirm(question, told, yes="Start")))


def _resuming() -> Any:
    from screens.live import resuming  # settings and provenance are 0.2 s

    return resuming
