"""The answers to a run's fixed prompts through time, read from `samples.jsonl` as it grows.

Standard library and orjson only. What the file says is foreign: a line of another shape is passed over, and no
answer, round or file is held at more than a bounded size.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import orjson

READ_BYTES = 1 << 20
"""Bytes one `read` takes at most: some 3,000 answers, 10 ms."""
LINE_BYTES = 256 << 10
"""A longer line is passed over."""
TEXT_CHARACTERS = 4_000
"""Of a prompt or an answer that are kept."""
ROUNDS_KEPT = 400
"""Besides the first one, which everything is compared with. Older ones are in the file."""
PROMPTS_KEPT = 64


@dataclass(frozen=True, slots=True)
class Sample:
    """One fixed prompt and its answer at one step."""

    prompt: str
    answer: str
    dataset: str
    """The validation set the prompt was taken from; empty for the user's own prompts."""


@dataclass(slots=True)
class Round:
    """The answers at one step."""

    step: int
    """0 before the first update."""
    samples: dict[int, Sample] = field(default_factory=dict)
    """By the prompt's number."""


@dataclass(slots=True)
class SampleBook:
    """Every round that is kept, oldest first.

    Args:
        path: `samples.jsonl`; need not exist yet.
    """

    path: Path
    rounds: list[Round] = field(default_factory=list)
    _offset: int = 0
    _torn: bytes = b""
    _file: tuple[int, int] | None = None

    def read(self) -> bool:
        """Take what was appended since the last call, `READ_BYTES` at most; return whether that was anything."""
        try:
            status = self.path.stat()
        except OSError:
            return False
        file = (status.st_dev, status.st_ino)
        if file != self._file or status.st_size < self._offset:
            self._offset, self._torn, self._file = 0, b"", file
            self.rounds.clear()
        if status.st_size == self._offset:
            return False
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return False
        try:
            data = os.pread(descriptor, READ_BYTES, self._offset)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        self._offset += len(data)
        *lines, self._torn = (self._torn + data).split(b"\n")
        if len(self._torn) > LINE_BYTES:
            self._torn = b""  # its rest will be no JSON, and passed over
        self.take(lines)
        return bool(data)

    def take(self, lines: Iterable[bytes]) -> None:
        """Add answers in the order in which they were written."""
        for line in lines:
            found = _parse(line)
            if found is not None:
                self._add(*found)

    def _add(self, step: int, index: int, sample: Sample) -> None:
        # A resume goes back to a checkpoint: what was answered after it is superseded.
        while self.rounds and self.rounds[-1].step > step:
            self.rounds.pop()
        if not self.rounds or self.rounds[-1].step < step:
            self.rounds.append(Round(step))
            if len(self.rounds) > ROUNDS_KEPT + 1:
                del self.rounds[1]
        samples = self.rounds[-1].samples
        if index in samples or len(samples) < PROMPTS_KEPT:
            samples[index] = sample


def _parse(line: bytes) -> tuple[int, int, Sample] | None:
    if not line or len(line) > LINE_BYTES:
        return None
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(record, dict):
        return None
    step, index = record.get("step"), record.get("index")
    texts = [record.get(key) for key in ("prompt", "answer", "set")]
    if type(step) is not int or type(index) is not int or not all(isinstance(text, str) for text in texts):
        return None
    prompt, answer, dataset = (str(text)[:TEXT_CHARACTERS] for text in texts)
    return step, index, Sample(prompt, answer, dataset)
