"""Asks the worker process, one question at a time, and only ever the newest."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.errors import WorkerFailed

_LONGEST_ANSWER = 64 << 20
"""Bytes of a line: prompts taken from a file are part of it."""


class Worker:
    """The process, started when it is first asked.

    Args:
        workspace: Where files are looked for.
    """

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._process: asyncio.subprocess.Process | None = None
        self._asked = 0
        self._turn = asyncio.Lock()
        self._ending: list[asyncio.subprocess.Process] = []

    async def ask(self, text: str, source: str) -> dict[str, Any]:
        """Return the answer. Cancelling this ends the process; the next question starts another.

        Raises:
            WorkerFailed: It ended without an answer.
        """
        async with self._turn:
            self._asked += 1
            process = await self._started()
            question = {"id": self._asked, "workspace": str(self._workspace), "text": text, "source": source}
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(json.dumps(question).encode() + b"\n")
                await process.stdin.drain()
                line = await process.stdout.readline()
                answer: dict[str, Any] = json.loads(line)
            except (OSError, ValueError) as error:
                self.end()
                raise WorkerFailed("The settings could not be worked out: the process for it ended.") from error
            except asyncio.CancelledError:
                self.end()
                raise
            return answer

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "screens.configure.worker",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
                limit=_LONGEST_ANSWER,
            )  # fmt: skip
        return self._process

    def end(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            self._ending.append(process)

    async def ended(self) -> None:
        """End the process, and wait until it is gone."""
        self.end()
        while self._ending:
            process = self._ending.pop()
            if process.stdin is not None:
                process.stdin.close()
            await process.wait()
