"""The console's end of the process that holds a local model: started when it is needed, gone when it is not."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, TypeAlias

from engine.chat.asking import Question
from engine.errors import EngineError, WorkerFailed

Heard: TypeAlias = "asyncio.Queue[dict[str, Any]]"
_LINE_BYTES = 64 << 20
_OWN = {
    "GOMP_SPINCOUNT": "20000",  # idle threads of OpenMP spin for 200 ms otherwise, after every token
    "TOKENIZERS_PARALLELISM": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}


class ChatWorkerEnded(WorkerFailed):
    """The process that answers has ended, or could not be started. The next question starts another."""

    code = "chat-worker-ended"


_PUT_AWAY = ChatWorkerEnded("The model was put away while it answered.", remedy="Ask again: it is loaded anew.")


@dataclass(frozen=True, slots=True)
class BaseModel:
    """What the process loads. Plain values, since another process reads them."""

    source: str
    revision: str | None
    label: str = field(compare=False)
    device: str
    """Settled: "cpu", "cuda", "cuda:1" or "mps"."""
    dtype: str
    """Settled: "float32", "bfloat16" or "float16"."""
    bits: int | None = None
    """4 or 8; None where the base is not quantised."""
    trust_remote_code: bool = False
    fingerprint: str = ""
    """Of its files: two bases are one only if these are equal."""
    only_for: str = ""
    """Adapter whose start changes this base, so that nobody else may use it; empty for none."""
    folder: str | None = field(default=None, compare=False)
    """Where it lies; None for a Hub model that has yet to be fetched."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who answers: an adapter of the base, or the base itself, with its tokenizer and template."""

    label: str
    adapter: Path | None = None
    tokenizer: Path | None = None
    """Folder; None takes the base's."""
    chat_template: str | None = None
    apart: bool = False
    """Whether it cannot be in one batch with others."""
    saved_whole: tuple[str, ...] = ()
    """Modules that the adapter has whole."""
    changes_base: bool = False
    """Whether the base is another one with it on."""

    def told(self) -> dict[str, Any]:
        """Return what the process has to know."""
        about = {"path": str(self.adapter), "label": self.label, "apart": self.apart, "changes_base": self.changes_base}
        return {
            "label": self.label,
            "adapter": None if self.adapter is None else {**about, "saved_whole": list(self.saved_whole)},
            "tokenizer": None if self.tokenizer is None else str(self.tokenizer),
            "chat_template": self.chat_template,
        }


class Resident:
    """One model in a process of its own. Close it, or end the console: then the process ends by itself."""

    def __init__(self, base: BaseModel, environment: Mapping[str, str] | None = None) -> None:
        self.base = base
        self.device: str | None = None
        """Where it is, in torch's words; None until it is loaded."""
        self._environment = dict(environment or {})
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._put_away = False
        self._numbers = itertools.count(1)
        self._listening: dict[int, Heard] = {}

    @property
    def pid(self) -> int | None:
        """The process; None when there is none."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if alive and self._process is not None else None

    async def have(self, speaker: Speaker) -> AsyncGenerator[str, None]:
        """Load the base and a speaker's adapter; yields what is being done, in words.

        Raises:
            EngineError: One of them cannot be loaded.
            ChatWorkerEnded: The process is gone; the next call starts another.
        """
        number = next(self._numbers)
        heard: Heard = asyncio.Queue()
        self._listening[number] = heard
        try:
            await self._send({"have": {"number": number, **speaker.told()}})
            while True:
                said = await heard.get()
                if "progress" in said:
                    yield str(said["progress"])
                elif "error" in said:
                    raise rebuilt(said["error"])
                elif said.get("had") == number:
                    return
        finally:
            self._listening.pop(number, None)

    async def ask(
        self, questions: Sequence[tuple[Speaker, Question]]
    ) -> tuple[list[int], asyncio.Queue[dict[str, Any]]]:
        """Ask several at once; what is said of them comes through the queue until each is finished or failed.

        Returns:
            A number for each, and the queue of the process's own words.

        Raises:
            ChatWorkerEnded: The process could not be started.
        """
        heard: Heard = asyncio.Queue()
        rows = [next(self._numbers) for _ in questions]
        for row in rows:
            self._listening[row] = heard
        asked = [
            {"row": row, **speaker.told(), "question": asdict(question)}
            for row, (speaker, question) in zip(rows, questions, strict=True)
        ]
        try:
            await self._send({"ask": asked})
        except EngineError:
            self.forget(rows)
            raise
        return rows, heard

    async def stop(self, rows: Sequence[int]) -> None:
        """Have answers end where they are. They then finish as "stopped"."""
        with contextlib.suppress(EngineError):  # it has ended, and they have failed
            if self.pid is not None:
                await self._send({"stop": list(rows)})

    def forget(self, rows: Sequence[int]) -> None:
        """Listen to these no longer."""
        for row in rows:
            self._listening.pop(row, None)

    async def close(self) -> None:
        """End the process, and give back what it held."""
        async with self._starting:
            process, self._put_away = self._process, True
            if process is not None and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            if self._reader is not None:
                await self._reader
            self._process = self._reader = None

    async def _send(self, said: dict[str, Any]) -> None:
        process = await self._started()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(said, default=str).encode() + b"\n")
            await process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            pass  # its end is told to all who listen, with its reason

    async def _started(self) -> asyncio.subprocess.Process:
        async with self._starting:  # two sides may ask at once
            process = self._process
            if process is not None and process.returncode is None and process.stdin and not process.stdin.is_closing():
                return process
            if self._reader is not None:
                await self._reader
            log = tempfile.TemporaryFile(prefix="ftconsole-chat-")  # noqa: SIM115 - it lives as long as the process
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-P", "-m", "engine.chat.worker",
                    stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                    stderr=log,  # never a pipe: a library that prints much would wait for ever
                    env={**_OWN, **os.environ, **self._environment}, limit=_LINE_BYTES,
                    start_new_session=True,  # Ctrl-C in the console is the console's
                )  # fmt: skip
            except OSError as error:
                log.close()
                raise ChatWorkerEnded(f"Python cannot be started: {error.strerror}.") from error
            self._process, self._put_away = process, False
            assert process.stdin is not None
            process.stdin.write(json.dumps(asdict(self.base)).encode() + b"\n")
            self._reader = asyncio.create_task(self._read(process, log))
            return process

    async def _read(self, process: asyncio.subprocess.Process, log: IO[bytes]) -> None:
        assert process.stdout is not None
        failed: EngineError | None = None
        try:
            async for line in process.stdout:
                said = json.loads(line)
                if "failed" in said:
                    failed = rebuilt(said["failed"])
                elif "ready" in said:
                    self.device = str(said["ready"]["device"])
                elif "progress" in said:
                    for heard in set(self._listening.values()):
                        heard.put_nowait(said)
                else:
                    number = said.get("row") or said.get("had")
                    if (heard_by := self._listening.get(number)) is not None:
                        heard_by.put_nowait(said)
        except ValueError:  # a line that is none, or endless: not our worker any more
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        code = await process.wait()
        error = failed or (_PUT_AWAY if self._put_away else _ended(code, _last_words(log)))
        log.close()
        told = {**error.as_dict(), "exit_code": error.exit_code}
        for number, heard in list(self._listening.items()):
            heard.put_nowait({"row": number, "had": number, "error": told})
        self._listening.clear()
        self.device = None


def rebuilt(read: Mapping[str, Any]) -> EngineError:
    """Return an error that another process told of."""
    error = EngineError(str(read["message"]), remedy=str(read["remedy"]))
    error.code, error.exit_code = read["code"], read["exit_code"]  # type: ignore[misc]
    return error


def _last_words(log: IO[bytes]) -> str:
    try:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(0, size - 4096))
        lines = log.read().decode("utf-8", "replace").strip().splitlines()
    except (OSError, ValueError):
        return ""
    return lines[-1][:300] if lines else ""


def _ended(code: int, words: str) -> ChatWorkerEnded:
    remedy = "Ask again: it is started anew."
    if code == -signal.SIGKILL:
        return ChatWorkerEnded(
            "The process that answers was ended from outside, most likely because memory ran out.",
            remedy=f"{remedy} If it ends again, load the model in 4 bits or choose a smaller one.",
        )
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    said = f" The end of what it printed: {words}" if words else ""
    return ChatWorkerEnded(f"The process that answers ended unexpectedly ({how}).{said}", remedy=remedy)
