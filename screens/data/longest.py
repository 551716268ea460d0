"""The longest lines of a file, found in a process of its own: a loop over ten million lines would hold up every frame.

python -P -m screens.data.longest FILE
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from heapq import nlargest
from pathlib import Path
from typing import Any, Final

from engine.data.data_worker import Cancelled, answer, ask, never

COUNT: Final = 20
_LINE_BYTES: Final = 1 << 20
"""Read at once, so that a line of a gigabyte takes no memory."""


def longest_lines(path: Path, cancelled: Cancelled = never) -> list[int]:
    """Return the numbers of the longest lines, ascending. Blocks: for a thread.

    Raises:
        WorkCancelled: `cancelled` returned True.
        DataWorkerFailed: The file cannot be read.
    """
    for said in ask(__name__, [os.fspath(path.absolute())], cancelled):
        return sorted(said["lines"])
    return []


def _work(arguments: list[str], say: Callable[[dict[str, Any]], None]) -> None:
    lengths: list[int] = []
    best: list[tuple[int, int]] = []
    number = 0
    with Path(arguments[0]).open("rb", buffering=1 << 20) as file:
        while line := file.readline(_LINE_BYTES):
            number += 1
            length = len(line)
            while not line.endswith(b"\n") and (line := file.readline(_LINE_BYTES)):
                length += len(line)
            lengths.append(length)
            if len(lengths) == 1 << 16:
                best = _merged(best, lengths, number)
                lengths = []
    best = _merged(best, lengths, number)
    say({"lines": [number for _, number in best]})


def _merged(best: list[tuple[int, int]], lengths: list[int], last: int) -> list[tuple[int, int]]:
    first = last - len(lengths) + 1
    return nlargest(COUNT, [*best, *((length, first + place) for place, length in enumerate(lengths))])


if __name__ == "__main__":
    sys.exit(answer(_work))
