"""A chat with two models at once: what either side says, whoever answers it and wherever that is.

Made for any two of local models and endpoints. Opening it loads what has to be loaded; nothing is loaded before. All
of it is for one event loop, and imports nothing heavy: the weights are in a process of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from engine.chat.asking import (
    SIDES,
    AnswerFailed,
    AnswerFinished,
    Progress,
    Question,
    Said,
    Side,
    TextArrived,
)
from engine.chat.needs import Needs, needs_of
from engine.chat.placing import LoadOptions, Local, Pair, path_taken, place, placed, settled
from engine.chat.resident import BaseModel, Resident, rebuilt
from engine.config.arguments import visible_device
from engine.errors import EngineError, UsageError
from engine.spec import Endpoint, LocalModel
from engine.workspace import Workspace

_STOP_SECONDS = 5.0


def make_session(
    workspace: Workspace,
    left: LocalModel | Endpoint,
    right: LocalModel | Endpoint,
    *,
    load: LoadOptions | None = None,
) -> Session:
    """Return a session for a pair; nothing is loaded yet. Reads some megabytes of files: in a console, in a thread.

    Args:
        workspace: Whose runs may be training on the same device.
        left: From `engine.spec.pair_of`.
        right: Likewise.
        load: How local models are loaded; None for the usual.

    Raises:
        EngineError: An adapter is damaged or not for its base, a base is gone or changed, or it cannot be loaded so on
            this device.
    """
    options = settled(load or LoadOptions()) if any(isinstance(one, LocalModel) for one in (left, right)) else None
    return Session(workspace, place(left, right, options or LoadOptions()), options or LoadOptions())


class Session:
    """Two sides and what answers them. Close it, or the models stay in memory until the console ends."""

    def __init__(self, workspace: Workspace, pair: Pair, options: LoadOptions) -> None:
        self.workspace = workspace
        self.pair = pair
        self.options = options
        self._residents: dict[BaseModel, Resident] = {}
        self._rows: dict[Side, tuple[Resident, int]] = {}
        self._stops: dict[Side, asyncio.Event] = {}
        self._early_stops: set[Side] = set()
        """Sides that were stopped before anybody could be told."""
        self._over: dict[Side, asyncio.Event] = {}
        """Set when the process or server has said its last word of the newest answer."""
        self._answering: set[Side] = set()

    @property
    def path(self) -> str:
        """How both sides are answered, as a sentence. Holds foreign names: to be shown, never obeyed."""
        return self.pair.path

    def needs(self) -> Needs:
        """Return what opening it would take of the device, and what trains there now.

        Reads sizes and the ends of all runs' logs: in a console, in a thread.
        """
        return needs_of(self.workspace, self.pair, self.options, self.loaded)

    @property
    def loaded(self) -> frozenset[BaseModel]:
        """The models that are in memory."""
        return frozenset(base for base, resident in self._residents.items() if resident.device is not None)

    @property
    def answering(self) -> frozenset[Side]:
        """The sides whose answers are not over."""
        return frozenset(self._answering)

    async def open(self) -> AsyncGenerator[Progress, None]:
        """Load what is needed, one model after the other, and say what is being done. Open already: nothing.

        Raises:
            EngineError: Something cannot be loaded; what could be stays.
        """
        for side in SIDES:
            async with contextlib.aclosing(self._ready(side)) as progress:
                async for said in progress:
                    yield said

    async def ask(self, questions: Mapping[Side, Question]) -> AsyncGenerator[Said, None]:
        """Ask one side or both; yields what they say, as it comes, until each has finished or failed.

        Answers asked in one call begin as one batch where the sides share a model. What is not loaded is loaded first.
        Both may be asked apart, too: a side can be asked again while the other still answers. Closing the iterator
        stops what was asked with it.

        Args:
            questions: By side.

        Raises:
            UsageError: A side is still answering, or is asked nothing.
        """
        if busy := sorted(self._answering & set(questions)):
            raise UsageError(f"The {busy[0]} side is still answering.", remedy="Stop it, or wait for its end.")
        if any(not question.messages for question in questions.values()):
            raise UsageError("There is no question to answer.", remedy="Write one.")
        self._answering |= set(questions)
        said: asyncio.Queue[Said] = asyncio.Queue()
        tasks = [asyncio.create_task(work) for work in self._asking(questions, said)]
        waiting = set(questions)
        try:
            while waiting:
                one = await said.get()
                if isinstance(one, AnswerFinished | AnswerFailed):
                    waiting.discard(one.side)
                    self._answering.discard(one.side)
                yield one
        finally:
            self._answering -= waiting
            for task in tasks:
                task.cancel()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(ended, Exception) and not isinstance(ended, EngineError):
                    raise ended

    async def stop(self, side: Side | None = None) -> None:
        """End the answer of one side, or of both. The other goes on. What has come stays; it finishes as "stopped"."""
        for one in SIDES if side is None else (side,):
            if one in self._rows:
                resident, row = self._rows[one]
                await resident.stop([row])
            elif one in self._stops:
                self._stops[one].set()
            elif one in self._answering:
                self._early_stops.add(one)

    async def switch(self, side: Side, model: LocalModel | Endpoint) -> AsyncGenerator[Progress, None]:
        """Put another model on a side, and load it. Another checkpoint of the same base is an adapter more.

        An answer that is under way on this side is stopped. Until something was yielded nothing has changed.

        Raises:
            EngineError: It cannot be used; the pair is then as it was, unless loading itself failed.
        """
        options = self.options
        if isinstance(model, LocalModel):
            options = settled(options)
        there = await asyncio.to_thread(placed, model, options)
        await self._stopped(side)
        left, right = (there, self.pair.right) if side == "left" else (self.pair.left, there)
        self.pair, self.options = Pair(left, right, path_taken(left, right)), options
        wanted = {one.base for one in (left, right) if isinstance(one, Local)}
        for base in [base for base in self._residents if base not in wanted]:
            await self._residents.pop(base).close()
        async with contextlib.aclosing(self._ready(side)) as progress:
            async for said in progress:
                yield said

    async def close(self) -> None:
        """End what was started. Nothing of it is in memory afterwards."""
        for resident in list(self._residents.values()):
            await resident.close()
        self._residents.clear()

    async def _stopped(self, side: Side) -> None:
        """Stop a side and wait until it has ended, so that its text is whole before its model goes."""
        await self.stop(side)
        over = self._over.get(side)
        if over is not None:
            with contextlib.suppress(TimeoutError):  # a long conversation is being read: its end is not waited for
                await asyncio.wait_for(over.wait(), _STOP_SECONDS)

    async def _ready(self, side: Side) -> AsyncGenerator[Progress, None]:
        there = self.pair.side(side)
        if not isinstance(there, Local):
            return
        async with contextlib.aclosing(self._resident(there).have(there.speaker)) as loading:
            async for what in loading:
                yield Progress(None if self.pair.shares else side, what)

    def _resident(self, local: Local) -> Resident:
        if local.base not in self._residents:
            self._residents[local.base] = Resident(local.base, visible_device(local.base.device))
        return self._residents[local.base]

    def _asking(self, questions: Mapping[Side, Question], said: asyncio.Queue[Said]) -> list[Any]:
        """Return what asks: one coroutine for each process and each server."""
        together: dict[BaseModel, list[Side]] = {}
        asking: list[Any] = []
        for side in questions:
            self._over[side] = asyncio.Event()
            self._early_stops.discard(side)
            there = self.pair.side(side)
            if isinstance(there, Local):
                together.setdefault(there.base, []).append(side)
            else:
                asking.append(self._ask_endpoint(there, side, questions[side], said))
        return asking + [self._ask_local(sides, questions, said) for sides in together.values()]

    async def _ask_local(
        self, sides: list[Side], questions: Mapping[Side, Question], said: asyncio.Queue[Said]
    ) -> None:
        places = {side: self.pair.side(side) for side in sides}
        locals_ = {side: there for side, there in places.items() if isinstance(there, Local)}
        resident = self._resident(locals_[sides[0]])
        over = {side: self._over[side] for side in sides}
        waiting: dict[int, Side] = {}
        try:
            rows, heard = await resident.ask([(locals_[side].speaker, questions[side]) for side in sides])
            waiting = dict(zip(rows, sides, strict=True))
            self._rows.update({side: (resident, row) for row, side in waiting.items()})
            if early := [row for row, side in waiting.items() if side in self._early_stops]:
                await resident.stop(early)
            while waiting:
                told = await heard.get()
                if "progress" in told:
                    said.put_nowait(Progress(sides[0] if len(sides) == 1 else None, str(told["progress"])))
                    continue
                side = waiting.get(told["row"])
                if side is None:
                    continue
                if "text" in told:
                    said.put_nowait(TextArrived(side, told["text"], told["pieces"]))
                    continue
                resident.forget([told["row"]])
                del waiting[told["row"]]
                self._rows.pop(side, None)
                over[side].set()
                if "finished" in told:
                    said.put_nowait(AnswerFinished(side, **told["finished"]))
                else:
                    said.put_nowait(AnswerFailed(side, rebuilt(told["error"])))
        except EngineError as error:
            for side in sides:
                said.put_nowait(AnswerFailed(side, error))
        finally:
            for event in over.values():
                event.set()
            for row, side in waiting.items():  # nobody listens any longer
                self._rows.pop(side, None)
                resident.forget([row])
            if waiting:
                await resident.stop(list(waiting))

    async def _ask_endpoint(
        self, endpoint: Endpoint, side: Side, question: Question, said: asyncio.Queue[Said]
    ) -> None:
        from engine.chat.endpoint import ask  # the protocol of servers, where there is one

        self._stops[side] = stop = asyncio.Event()
        over = self._over[side]
        if side in self._early_stops:
            stop.set()
        try:
            async with contextlib.aclosing(ask(endpoint, question, side, stop=stop)) as answering:
                async for one in answering:
                    said.put_nowait(one)
        finally:
            self._stops.pop(side, None)
            over.set()
