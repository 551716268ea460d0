"""The mask microscope: one row as read, as messages, as rendered, and token by token as the run would train on it.

The tokens and masks are made by `engine.data.preparing` in a process of its own, which takes some seconds to load;
this is its client and imports nothing heavy.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import EngineError

_LINE_BYTES = 256 << 20
"""A reply's longest line."""


class MicroscopeEnded(EngineError):
    """The process behind it ended, or could not be started."""

    code = "microscope-ended"


@dataclass(frozen=True, slots=True)
class Lens:
    """What a row is looked at with. Plain values, since another process reads them."""

    model: str
    """Folder of the model, from `engine.data.templates.local_folder`."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """For `trl.SFTConfig`, as `engine.config.arguments.sft_arguments` gives them for a run. Preference pairs are
    prepared as `trl.DPOTrainer` does it, and marked answers as `trl.KTOTrainer`, with what these share with it."""
    chat_template: str | None = None
    """Text of a template instead of the model's own."""
    trust_remote_code: bool = False
    mapping: Mapping[str, str] | None = None
    """Column by field, where the recognition of the shape was corrected."""


@dataclass(frozen=True, slots=True)
class Token:
    """One position of what the model is given."""

    text: str
    """Foreign: to be shown, never obeyed."""
    id: int
    trained: bool
    """Whether the loss counts it."""
    truncated: bool = False
    """Whether the maximum length cuts it off: the model never sees it."""
    padding: bool = False
    only_here: bool = False
    """Of a preference pair: whether the other side lacks it."""


@dataclass(frozen=True, slots=True)
class Examined:
    """One row under the microscope."""

    path: str
    line: int
    raw: str
    """The line as it stands in the file, or the record as JSON."""
    messages: list[dict[str, str]]
    rendered: str
    """By the chat template; the text itself for plain text, empty for rows already tokenised."""
    tokens: list[Token]
    trained_share: float
    """Of the tokens the model is given, padding not counted; 0.0 to 1.0."""
    ends_trained: bool
    """Whether the last trained token, white space left aside, is one that ends an answer."""
    bos_count: int
    """Beginning-of-sequence tokens; 0 is right for a tokenizer that has none."""
    bos_expected: int
    """How many there should be: 1, or 0."""
    dropped_reason: str | None
    """Why the run would not learn from this row; None when it does."""
    rejected_tokens: list[Token] = field(default_factory=list)
    """Of a preference, prompt and rejected answer, masked in the same way."""
    common_prefix: int = 0
    """How many tokens chosen and rejected begin with in common."""
    rejected_ends_trained: bool = False
    """As `ends_trained`, of the rejected answer."""
    rejected_rendered: str = ""
    """As `rendered`, with the rejected answer of a preference."""
    about: str = ""
    """What a method does with the row that is not told by its mask: of an answer marked as bad, of a row to unlearn."""


class Microscope:
    """Looks at rows through one model and one configuration. Close it, or the process stays."""

    def __init__(self, lens: Lens) -> None:
        self.lens = lens
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self._reader: asyncio.Task[None] | None = None

    async def examine(self, path: str | Path, line: int, *, batch_rows: int = 1) -> Examined:
        """Return a row as training has it. Cancelling this leaves the process as it is.

        Args:
            path: Data file.
            line: 1 is the first.
            batch_rows: Rows of the batch it is padded with, itself and those behind it in the file; 1 for no padding
                but that of the shorter answer of a pair.

        Raises:
            DataError: The line is no example, or the template refuses it or does not end.
            MicroscopeEnded: The process is gone; the next call starts another.
        """
        reply = await self._ask({"path": str(path), "line": line, "batch_rows": batch_rows})
        return Examined(
            **{
                **reply,
                "tokens": [Token(*one) for one in reply["tokens"]],
                "rejected_tokens": [Token(*one) for one in reply["rejected_tokens"]],
            }
        )

    async def warm(self) -> None:
        """Start the process and load the tokenizer, so that the first row need not wait.

        Raises:
            MicroscopeEnded: It could not be started.
            EngineError: The tokenizer cannot be loaded.
        """
        await self._ask({})

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._reader is not None:
            await self._reader

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        process = await self._started()
        number = next(self._numbers)
        reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = reply
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps({"number": number, **request}).encode() + b"\n")
            await process.stdin.drain()
            said = await reply
        except (BrokenPipeError, ConnectionResetError):
            raise _ended() from None
        finally:
            self._waiting.pop(number, None)
        if "error" in said:
            raise _rebuilt(said["error"])
        examined: dict[str, Any] = said["examined"]
        return examined

    async def _started(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                try:
                    self._process = await asyncio.create_subprocess_exec(
                        sys.executable, "-P", "-m", "engine.data.microscope_worker",
                        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                        stderr=asyncio.subprocess.DEVNULL, limit=_LINE_BYTES,
                    )  # fmt: skip
                except OSError as error:
                    raise MicroscopeEnded(f"Python cannot be started: {error.strerror}.") from error
                assert self._process.stdin is not None
                self._process.stdin.write(json.dumps(asdict(self.lens), default=str).encode() + b"\n")
                self._reader = asyncio.create_task(self._read(self._process))
            return self._process

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                said = json.loads(line)
                waiting = self._waiting.get(said["number"])
                if waiting is not None and not waiting.done():  # nobody waits for a row that was passed over
                    waiting.set_result(said)
        except ValueError:
            process.kill()
        await process.wait()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(_ended())


def _ended() -> MicroscopeEnded:
    return MicroscopeEnded(
        "The process that prepares rows ended.", remedy="Look again: another one is started. It may want for memory."
    )


def _rebuilt(read: dict[str, Any]) -> EngineError:
    error = EngineError(read["message"], remedy=read["remedy"])
    error.code, error.exit_code = read["code"], read["exit_code"]  # type: ignore[misc]
    return error
