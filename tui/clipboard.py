"""Copying where there may be no clipboard: tmux's buffer, the terminal's clipboard, and always a file.

In tmux with its default `set-clipboard external` an OSC 52 from a program sets nothing, so tmux is asked itself:
`load-buffer -w` fills its buffer and hands the text on to the terminal outside.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tui.settings import state_folder, write_private

OSC_52_MAX_BYTES = 56_000
"""Longest text sent as an escape sequence. Base64 makes it 74,668; several terminals drop more than 74,994."""
TMUX_SECONDS = 2.0
"""How long tmux may take."""


@dataclass(frozen=True, slots=True)
class Copied:
    """Where a copied text went."""

    tmux: bool
    """tmux has it in its buffer, and has offered it to the terminal outside."""
    terminal: bool
    """It was sent to the terminal, which never says whether it took it."""
    file: Path | None
    """It was written there. None when nothing could be written."""
    too_long: bool = False
    """It is longer than terminals take."""

    def __str__(self) -> str:
        places = []
        if self.tmux:
            places.append("tmux buffer (paste with prefix ])")
        if self.terminal:
            places.append("terminal clipboard, if it allows that")
        if self.file is not None:
            places.append(str(self.file))
        if not places:
            return "Nothing could be copied: neither a terminal clipboard nor a file took it."
        said = "Copied to " + " and ".join(places) + "."
        return f"{said} It is too long for the terminal's clipboard." if self.too_long else said


async def copy(text: str, send: Callable[[str], None], environ: Mapping[str, str] = os.environ) -> Copied:
    """Put `text` where it can be pasted from.

    Args:
        text: Any text.
        send: Writes a control sequence to the terminal.
        environ: `TMUX` and `STY` say what stands between us and the terminal.
    """
    raw = text.encode("utf-8", "replace")
    path: Path | None = None
    with suppress(OSError):
        file = state_folder(environ) / "clip.txt"
        write_private(file, text)
        path = file
    in_tmux = bool(environ.get("TMUX")) and await _tmux_takes(raw)
    if in_tmux:
        return Copied(tmux=True, terminal=False, file=path)
    too_long = len(raw) > OSC_52_MAX_BYTES
    # GNU screen (STY) keeps the sequence to itself.
    offered = not too_long and not environ.get("STY")
    if offered:
        send(f"\x1b]52;c;{base64.b64encode(raw).decode()}\x07")
    return Copied(tmux=False, terminal=offered, file=path, too_long=too_long)


async def _tmux_takes(raw: bytes) -> bool:
    try:
        process = await asyncio.create_subprocess_exec(
            "tmux",
            "load-buffer",
            "-w",
            "-",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return False
    try:
        await asyncio.wait_for(process.communicate(raw), TMUX_SECONDS)
    except (TimeoutError, OSError):
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        return False
    return process.returncode == 0
