"""The processes that train one run together: which of them this is, and how they agree.

The first one reports, hears commands, asks the model and writes. What it decides is told to the others where all come
by, in the same order. What it does alone the others wait for. Texts pass between them as JSON over gloo, whatever the
devices speak: nothing waits for a device, and no order of the kind "stop now" is held up by one. Where torch is used it
is imported: what reports and hears begins before that.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from engine.errors import DiskFull, EngineError
from engine.training.orders import ORDERS

T = TypeVar("T")
PATIENCE = timedelta(days=7)
"""How long one process waits for another. One that has died is noticed at once, whatever stands here; one that asks
10,000 questions of a suite, or waits for room on the disk, is not dead. The library's half hour would end the run."""


class AnotherFailed(Exception):  # no error of this process
    """Another process of the run has failed, and says why."""


@dataclass(slots=True)
class Ranks:
    """This process among those of its run. One alone agrees with itself, at no cost."""

    rank: int = 0
    """0 is the first, on the first machine."""
    count: int = 1
    local: int = 0
    """Among those of this machine: the number of its device."""
    group: Any = None
    """Of gloo, for texts."""
    alone_now: bool = False
    """Whether the first is doing something while the others wait."""

    @classmethod
    def joined(cls, *, on_cpu: bool) -> Ranks:
        """Find the others, whom the launcher has told of in the environment. Called once, before any trainer is made.

        Through accelerate, so that the group is the one its trainers go on with, but for the patience.
        """
        import torch
        from accelerate import PartialState

        state = PartialState(cpu=on_cpu, timeout=PATIENCE)
        group = torch.distributed.new_group(backend="gloo", timeout=PATIENCE)
        return cls(state.process_index, state.num_processes, state.local_process_index, group)

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are others to be told."""
        return self.count > 1 and not self.alone_now

    def same(self, value: T) -> T:
        """Return what the first process holds, in all of them. What JSON can say; tuples become lists."""
        if not self.several:
            return value
        told: T = self._broadcast(value)
        return told

    def all(self, true: bool) -> bool:
        """Return whether it is true in every process."""
        if not self.several:
            return true
        import torch

        flag = torch.tensor([int(true)])
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MIN, group=self.group)
        return bool(flag.item())

    def alone(self, work: Callable[[], T], *, helping: Callable[[Any], None] | None = None) -> T | None:
        """Have the first process do something while the others wait; return what it returned, elsewhere None.

        An order to stop that it hears meanwhile is raised in all.

        Args:
            work: Done by the first process. It may call `ask_all`.
            helping: Called in every process with what `ask_all` was given.

        Raises:
            AnotherFailed: In the others, when the work failed: the first says why.
        """
        if self.count == 1 or self.alone_now:  # within another piece of such work
            return work()
        if not self.first:
            self._wait(helping)
            return None
        self.alone_now = True
        try:
            result = work()
        except BaseException as error:
            with contextlib.suppress(RuntimeError):  # the others are gone: that is another error's fault
                self._broadcast({"end": type(error).__name__ if isinstance(error, ORDERS) else "failed"})
            raise
        else:
            self._broadcast({"end": ""})
        finally:
            self.alone_now = False
        return result

    def ask_all(self, argument: Any, helping: Callable[[Any], None]) -> None:
        """Do one thing in every process, from within `alone`, and come back when all have done it.

        Raises:
            DiskFull: One of the others found the disk full.
            AnotherFailed: One of the others failed otherwise.
        """
        if self.count == 1:
            helping(argument)
            return
        self._broadcast({"help": argument})
        failed: BaseException | None = None
        try:
            helping(argument)
        except Exception as error:  # noqa: BLE001 - the others are to come back first
            failed = error
        outcomes = self._gather(None)
        if failed is not None:
            raise failed
        for outcome in outcomes:
            if outcome is not None and outcome["code"] == DiskFull.code:
                raise DiskFull(outcome["message"], remedy=outcome["remedy"])
            if outcome is not None:
                raise AnotherFailed(outcome["message"])

    def _wait(self, helping: Callable[[Any], None] | None) -> None:
        """Help the first process as it asks, until its work has ended."""
        while True:
            told = self._broadcast(None)
            if "help" in told:
                assert helping is not None
                self._help(helping, told["help"])
            elif told["end"] == "failed":
                raise AnotherFailed("The first process failed.")
            elif told["end"]:
                raise next(order for order in ORDERS if order.__name__ == told["end"])
            else:
                return

    def _help(self, helping: Callable[[Any], None], argument: Any) -> None:
        try:
            helping(argument)
        except Exception as error:
            from engine.training.failures import explained

            failure = error if isinstance(error, EngineError) else explained(error, "saving")
            self._gather(failure.as_dict())
            if not isinstance(failure, DiskFull):  # which the first waits out, and asks again
                raise
        else:
            self._gather(None)

    def _broadcast(self, value: Any) -> Any:
        """Return the first process's value. Nothing new, None, is 8 bytes."""
        import torch

        text = b"" if value is None else json.dumps(value).encode()
        size = torch.tensor([len(text)])
        torch.distributed.broadcast(size, src=0, group=self.group)
        if not int(size):
            return None
        content = torch.frombuffer(bytearray(text), dtype=torch.uint8) if self.first else torch.empty(
            int(size), dtype=torch.uint8
        )  # fmt: skip
        torch.distributed.broadcast(content, src=0, group=self.group)
        return value if self.first else json.loads(content.numpy().tobytes())

    def _gather(self, value: Any) -> list[Any]:
        """Return every process's value, in all of them."""
        import torch

        text = json.dumps(value).encode()
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        torch.distributed.all_gather(sizes, torch.tensor([len(text)]), group=self.group)
        longest = max(int(size) for size in sizes)
        padded = torch.frombuffer(bytearray(text.ljust(longest)), dtype=torch.uint8)
        texts = [torch.empty(longest, dtype=torch.uint8) for _ in range(self.count)]
        torch.distributed.all_gather(texts, padded, group=self.group)
        return [json.loads(text.numpy().tobytes()[: int(size)]) for text, size in zip(texts, sizes, strict=True)]
