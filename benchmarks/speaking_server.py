"""A server with OpenAI's protocol that says the same words at a steady pace: `speaking_server LOG TOKENS/S SECONDS`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

_TEXT = (
    "The house stood at the end of the lane, and in the evening the windows were lit. We used to walk there after "
    "supper, past the orchard and the old well, and nobody ever asked where we were going.\n\n"
)
WORDS = _TEXT.split(" ")


def _event(text: str, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    said = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(said).encode() + b"\n\n"


async def main(log: Path, tokens_per_second: int, seconds: int) -> None:
    """Serve until ended."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        began, count = time.monotonic(), tokens_per_second * seconds
        try:
            for number in range(count):
                writer.write(_event(WORDS[number % len(WORDS)] + " "))
                await writer.drain()
                await asyncio.sleep(max(0.0, began + (number + 1) / tokens_per_second - time.monotonic()))
            writer.write(_event("", "stop") + b"data: [DONE]\n\n")
            await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"tokens_per_second": count / (time.monotonic() - began)}) + "\n")

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
