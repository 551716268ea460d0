"""The conversations of a workspace: a new one, one opened again, and the list."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.chat.conversation import CHATS, ENDING, Conversation
from engine.errors import EngineError, InvalidName, NotFound, WorkspaceError
from engine.workspace import Workspace

VOTES = "votes.jsonl"
"""In the same folder; no conversation."""
_HEAD_BYTES = 1 << 16
_TAIL_BYTES = 1 << 18
_TITLE = 120


@dataclass(frozen=True, slots=True)
class Summary:
    """A conversation in a list."""

    name: str
    path: Path
    title: str
    """The beginning of its first question. Foreign."""
    left: str
    right: str
    blind: bool
    created: float
    changed: float
    """Unix seconds of the last line."""


def new_conversation(
    workspace: Workspace, left: str, right: str, *, system: str = "", blind_seed: int | None = None
) -> Conversation:
    """Return a conversation with a name of its own, after the time. Its file is made with its first line."""
    folder = workspace.path / CHATS
    stem = time.strftime("%Y-%m-%d-%H%M%S")
    names = (stem, *(f"{stem}-{number}" for number in range(2, 1_000)))
    path = next(path for name in names if not (path := folder / f"{name}{ENDING}").exists())
    return Conversation(path, left, right, system=system, blind_seed=blind_seed)


def open_conversation(workspace: Workspace, name: str) -> Conversation:
    """Return a conversation as it was left. Lines that cannot be read, as one torn by a crash, are passed over.

    Raises:
        NotFound: There is none of that name.
        InvalidName: It is no name.
        WorkspaceError: It cannot be read, or is no conversation.
    """
    if not name or name != os.path.basename(name) or name.startswith((".", "-")) or "\0" in name:
        raise InvalidName(f"{name[:100]!r} is no name of a conversation.", remedy="`ftconsole chats` lists them.")
    path = workspace.path / CHATS / f"{name.removesuffix(ENDING)}{ENDING}"
    if not path.is_file() or path.name == VOTES:
        raise NotFound(f"There is no conversation {name[:100]!r}.", remedy="`ftconsole chats` lists them.")
    found = Conversation(path, "", "")
    opened = False
    for record in _records(path, found):
        try:
            found.read(record)
            opened = opened or record.get("kind") == "opened"
        except (KeyError, TypeError, ValueError, AttributeError, EngineError):
            found.left_out += 1
    if not opened:
        raise WorkspaceError(f"{path} is no conversation of ours.", remedy="Remove it, or put it elsewhere.")
    return found


def list_conversations(workspace: Workspace) -> list[Summary]:
    """Return the conversations of the workspace, the last changed first. Reads the ends of each file."""
    found = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(workspace.path / CHATS):
            if entry.name.endswith(ENDING) and not entry.name.startswith(".") and entry.name != VOTES:
                with contextlib.suppress(OSError):
                    if (summary := _summary(Path(entry.path))) is not None:
                        found.append(summary)
    return sorted(found, key=lambda summary: (-summary.changed, summary.name))


def _summary(path: Path) -> Summary | None:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        size = os.fstat(file.fileno()).st_size
        file.seek(max(len(head), size - _TAIL_BYTES))
        tail = head if size <= len(head) else file.read()
    opened = title = None
    for line in head.split(b"\n"):
        record = _record(line)
        if record is None:
            continue
        opened = opened or (record if record.get("kind") == "opened" else None)
        if record.get("kind") == "turn":
            title = " ".join(str(record.get("prompt", "")).split())[:_TITLE]
            break
    if opened is None:
        return None
    left, right = str(opened.get("left", "")), str(opened.get("right", ""))
    created, changed = _time(opened), 0.0
    for line in reversed(tail.split(b"\n")):
        record = _record(line)
        if record is None:
            continue
        changed = changed or _time(record)
        if record.get("kind") == "models":
            left, right = str(record.get("left", left)), str(record.get("right", right))
            break
    name = path.name.removesuffix(ENDING)
    blind = isinstance(opened.get("blind_seed"), int)
    return Summary(name, path, title or "", left, right, blind, created, changed or created)


def _records(path: Path, found: Conversation) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            for line in file:
                record = _record(line)
                if record is not None:
                    yield record
                elif line.strip():
                    found.left_out += 1
    except OSError as error:
        raise WorkspaceError(f"Cannot read {path}: {error.strerror}.", remedy="Check its permissions.") from error


def _record(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(b"{"):
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _time(record: Mapping[str, Any]) -> float:
    value = record.get("time")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
