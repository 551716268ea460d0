"""A server that says exactly what a test wrote down, byte by byte, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Step: TypeAlias = bytes | asyncio.Event | None
"""Bytes to send, something to wait for first, or None: say nothing more and keep the connection."""

SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


@dataclass
class Request:
    """What a client asked."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Scripted:
    """Answers the n-th request with the n-th script; the last one stays."""

    scripts: list[Sequence[Step]]
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client has closed its connection before the script was done."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self.scripts[min(len(self.requests), len(self.scripts) - 1)]
        self.requests.append(await _read(reader))
        closed = asyncio.ensure_future(reader.read())
        try:
            for step in script:
                if isinstance(step, bytes):
                    writer.write(step)
                    await writer.drain()
                else:
                    waits = asyncio.ensure_future(step.wait() if step is not None else asyncio.Event().wait())
                    await asyncio.wait({waits, closed}, return_when=asyncio.FIRST_COMPLETED)
                    waits.cancel()
                if closed.done():
                    break
        except OSError:
            self.gone.set()
        finally:
            if closed.done():
                self.gone.set()
            closed.cancel()
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return Request(head[0], headers, await reader.readexactly(int(headers.get("content-length", 0))))


@contextlib.asynccontextmanager
async def scripted(*scripts: Sequence[Step]) -> AsyncIterator[Scripted]:
    """Serve scripts on a free port of this machine."""
    made = Scripted(list(scripts))
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


def response(status: str, body: bytes, kind: str = "application/json", **headers: str) -> bytes:
    """Return a whole response."""
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{more}connection: close\r\n\r\n"
    )
    return head.encode() + body


def error(status: str, message: str, **more: str) -> bytes:
    """Return a refusal in the form most servers use."""
    return response(status, json.dumps({"error": {"message": message, **more}}).encode())


def piece(text: str = "", *, reason: str | None = None, usage: dict[str, int] | None = None, **delta: str) -> bytes:
    """Return one event of a stream."""
    said: dict[str, Any] = {
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": text, **delta}, "finish_reason": reason}],
    }
    if usage is not None:
        said["usage"] = usage
    return b"data: " + json.dumps(said).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
