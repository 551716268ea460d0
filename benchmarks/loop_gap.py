"""Runs the console with a heartbeat in its event loop and writes the largest gap: `loop_gap.py OUT ARGUMENTS...`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

BEAT_SECONDS = 0.02


def main() -> int:
    """Run `ftconsole` with the arguments after the first, which names the file for the result."""
    out = Path(sys.argv.pop(1))
    run = asyncio.run
    largest = 0.0

    async def beat() -> None:
        nonlocal largest
        await asyncio.sleep(1.0)  # the start is another figure's business
        while True:
            began = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)
            largest = max(largest, time.monotonic() - began - BEAT_SECONDS)
            out.write_text(f"{largest:.4f}\n")

    def run_with_beat(program: Coroutine[Any, Any, Any], **named: Any) -> Any:
        async def both() -> Any:
            task = asyncio.create_task(beat())
            try:
                return await program
            finally:
                task.cancel()

        return run(both(), **named)

    asyncio.run = run_with_beat
    from tui.cli.main import main as ftconsole

    return ftconsole()


if __name__ == "__main__":
    sys.exit(main())
