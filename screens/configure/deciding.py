"""What automatic values are in the newest draft: asks the worker again whenever something else is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from engine.config.model import RunConfig
from engine.errors import WorkerFailed
from screens.configure.asking import Worker
from screens.configure.draft import Draft, Reading
from screens.configure.fields import Value
from screens.configure.memory import Memory

REST_SECONDS = 0.3
"""How long nothing must be typed before values are decided."""
_NAMED_BY = ("data.train", "data.validation", "data.dev", "model.name", "evaluation.prompts")
"""Settings that name files, which may not be there."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of a draft."""

    values: Mapping[str, Value]
    """Every setting; empty where it could not be decided."""
    problems: tuple[str, ...] = ()
    """Of the machine and the files; those of the settings are in the draft's own reading."""
    remedy: str = ""
    num_rows: int = 0
    num_steps: int = 0
    memory: Memory | None = None
    without_memory: str = ""
    """Why there is no estimate."""


NOTHING = Decided({})


class Deciding:
    """Keeps what is decided up to date.

    Args:
        worker: Whom to ask.
        changed: Called when there is something else to show.
    """

    def __init__(self, worker: Worker, changed: Callable[[], object]) -> None:
        self.decided = NOTHING
        self.busy = False
        """An answer is being waited for."""
        self._worker = worker
        self._changed = changed
        self._draft: Draft | None = None
        self._decided_for: Draft | None = None
        self._again = asyncio.Event()

    @property
    def current(self) -> bool:
        """Whether what is decided is about the newest draft."""
        return self._decided_for is self._draft

    def about(self, draft: Draft) -> None:
        """Decide for this draft, soon."""
        self._draft, self._decided_for = draft, None
        self._again.set()

    async def run(self) -> None:
        """Go on until cancelled."""
        try:
            while True:
                await self._again.wait()
                await self._rest()
                draft = self._draft
                assert draft is not None
                if draft.reading.problems:
                    # What was decided stays on screen: one wrong letter must not make thirty values flicker.
                    self._say(replace(self.decided, problems=(), remedy=""), draft)
                    continue
                self.busy = True
                self._changed()
                self._say(await self._answer(draft), draft)
        finally:
            self._worker.end()

    async def _rest(self) -> None:
        while self._again.is_set():
            self._again.clear()
            await asyncio.sleep(REST_SECONDS)

    async def _answer(self, draft: Draft) -> Decided:
        asking = asyncio.ensure_future(self._worker.ask(draft.text, draft.path.name if draft.path else "form"))
        try:
            while not asking.done():
                newer = asyncio.ensure_future(self._again.wait())
                await asyncio.wait({asking, newer}, return_when=asyncio.FIRST_COMPLETED)
                newer.cancel()
                if self._again.is_set() and not asking.done():
                    if self._draft is not None and _files(self._draft) != _files(draft):
                        asking.cancel()  # a large file is being read that nobody wants any more
                    await asyncio.wait({asking})
            return answered(asking.result(), draft.reading.config)
        except asyncio.CancelledError:
            if not asking.done():
                asking.cancel()
                raise
            return self.decided
        except WorkerFailed as error:
            return replace(self.decided, problems=(error.message,), remedy=error.remedy)

    def _say(self, decided: Decided, about: Draft) -> None:
        self.decided, self._decided_for, self.busy = decided, about, False
        self._changed()


def _files(draft: Draft) -> list[Any]:
    data = draft.reading.config.data
    return [data.train, data.validation, data.limit]


def answered(answer: Mapping[str, Any], config: RunConfig) -> Decided:
    """Return what the worker said."""
    if "problems" in answer:
        problems = tuple(blaming(str(problem), config) for problem in answer["problems"])
        return Decided({}, problems, str(answer.get("remedy", "")))
    memory = answer.get("memory")
    return Decided(
        {key: Value(value, kind, reason) for key, (value, kind, reason) in answer["values"].items()},
        num_rows=answer["rows"],
        num_steps=answer["steps"],
        memory=Memory(**memory) if memory is not None else None,
        without_memory=answer.get("without_memory", ""),
    )


def blaming(problem: str, config: RunConfig) -> str:
    """Return a problem with the setting in front whose file or model it names; else as it is."""
    for key in _NAMED_BY:
        section, _, name = key.partition(".")
        value = getattr(getattr(config, section), name)
        names = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        if any(isinstance(item, str) and len(item) > 1 and item in problem for item in names):
            return f"{key}: {problem}"
    return problem


def with_problems(reading: Reading, decided: Decided) -> Reading:
    """Return a reading with what is wrong beyond the text."""
    if reading.problems or not decided.problems:
        return reading
    return replace(reading, problems=decided.problems)
