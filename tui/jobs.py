"""Work that takes minutes and outlives the screen that began it. It ends with the console, which asks before.

A job runs in a thread that waits for a process of its own: what loads weights is never in the console.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from engine.errors import EngineError
from tui.widgets.failure_panel import Failure

if TYPE_CHECKING:
    from textual.app import App

Tell: TypeAlias = Callable[[str, float | None], None]
"""Says from the thread what is being done, in words, and which part of that is: 0 to 1, None where nobody knows."""
Work: TypeAlias = Callable[[Tell, Callable[[], bool]], str]
"""Does it: is given `Tell` and what says whether it was stopped; returns in a sentence what has become of it."""
TELL_SECONDS = 0.2
"""Between two drawings of what is told."""


@dataclass(slots=True)
class Job:
    """One piece of work."""

    title: str
    """What it does: "Merging voice-1@best". Cleaned when it is drawn."""
    doing: str = ""
    """What it is at."""
    fraction: float | None = None
    can_stop: bool = True
    """Whether it ends when it is told to. What cannot be is safe to be killed."""
    began: float = field(default_factory=time.monotonic)
    stopped: threading.Event = field(default_factory=threading.Event)


class Jobs:
    """What is under way.

    Args:
        app: The application it ends with.
    """

    def __init__(self, app: App[Any]) -> None:
        self._app = app
        self.running: list[Job] = []
        """The newest is last."""
        self.listeners: set[Callable[[], None]] = set()
        """Called, from any thread, when something has changed."""

    def start(self, title: str, work: Work, *, after: Callable[[], None] = lambda: None, can_stop: bool = True) -> Job:
        """Begin; the application says what becomes of it.

        Args:
            title: See `Job`.
            work: Run in a thread.
            after: Called in the end, however it ends.
            can_stop: See `Job`.
        """
        job = Job(title, can_stop=can_stop)
        self.running.append(job)
        self._app.run_worker(self._run(job, work, after), group="jobs", description=title, exit_on_error=False)
        self._changed()
        return job

    def stop_all(self) -> None:
        """End everything."""
        for job in self.running:
            job.stopped.set()

    async def _run(self, job: Job, work: Work, after: Callable[[], None]) -> None:
        last = 0.0

        def tell(doing: str, fraction: float | None) -> None:
            nonlocal last
            new = doing != job.doing
            job.doing, job.fraction = doing, fraction
            if new or time.monotonic() - last > TELL_SECONDS:
                last = time.monotonic()
                self._changed()

        try:
            said = await asyncio.to_thread(work, tell, job.stopped.is_set)
            if said:
                self._app.notify(said, title=job.title, timeout=15)
        except EngineError as error:
            self._failed(job, Failure(error.code, f"{job.title}: {error.message}", error.remedy))
        except Exception:
            if not job.stopped.is_set():
                raise
            self._app.notify("It was stopped; nothing is left of it.", title=job.title)
        finally:
            # The thread may still wait for its process when the console ends before it.
            job.stopped.set()
            self.running.remove(job)
            self._changed()
            after()

    def _failed(self, job: Job, failure: Failure) -> None:
        """Say it on the screen that is open, which need not be the one the work was begun on."""
        for screen in reversed(self._app.screen_stack):
            if (show := getattr(screen, "show_failure", None)) is not None:
                show(failure)
                return
        self._app.notify(str(failure), title=job.title, severity="error")

    def _changed(self) -> None:
        for listener in tuple(self.listeners):
            listener()
