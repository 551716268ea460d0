"""Replies kept as they come, so that an evaluation cut short goes on where it was.

One JSON object a line: the first says what was asked of what, each other one holds a reply. A torn last line is
passed over. Standard library only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from engine.journal import write_error


class KeptReplies:
    """The replies of one evaluation, in a file.

    Args:
        path: Made, with its folder, when the first reply is kept.
        about: What decides a reply: model, questions, how they are asked. A file about anything else is not gone on
            with but written anew.
    """

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path = path
        self._about = fingerprint(about)
        self.replies: dict[int, str] = dict(self._read())
        """By position of the question: what was there already and what was kept since."""

    def _read(self) -> Iterator[tuple[int, str]]:
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            if _parsed(file.readline()).get("about") != self._about:
                return
            for line in file:
                said = _parsed(line)
                index, reply = said.get("index"), said.get("reply")
                if isinstance(index, int) and isinstance(reply, str):
                    yield index, reply

    def keep(self, replies: Sequence[tuple[int, str]]) -> None:
        """Append replies.

        Raises:
            DiskFull, WorkspaceError: They cannot be written; those before are safe.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_APPEND if self.replies else os.O_TRUNC)
            with open(os.open(self.path, flags, 0o600), "wb") as file:
                size = os.fstat(file.fileno()).st_size
                if not size:
                    file.write(_line({"about": self._about}))
                elif os.pread(file.fileno(), 1, size - 1) != b"\n":
                    file.write(b"\n")  # torn when it was cut short: it must not swallow the next one
                file.writelines(_line({"index": index, "reply": reply}) for index, reply in replies)
        except OSError as error:
            raise write_error(self.path, error) from error
        self.replies.update(replies)


def fingerprint(about: dict[str, Any]) -> str:
    """Return a hash of JSON values that is the same whatever the order of their keys."""
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
