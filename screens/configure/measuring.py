"""Tries two steps of a run and measures them, in a process of its own: `python -P -m screens.configure.measuring`.

The first line on stdin says what to try; each line on stdout is what is being done, or what was found. The end of
stdin, which a console that dies brings about too, ends the trial.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.launch.forecast import forecast, training_seconds
from engine.launch.prepare import settle
from engine.launch.probe import probe, remember
from engine.workspace import Workspace
from screens.configure.worker import as_arguments, given


def measure(
    asked: dict[str, Any], say: Callable[[dict[str, Any]], None], cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """Return what was found, in JSON, and remember it on this machine.

    Raises:
        EngineError: It could not be tried.
    """
    workspace = Workspace(Path(asked["workspace"]))
    say({"now": "reading the data"})
    settled = settle(workspace, given(asked["text"], asked["source"]))
    told = forecast(workspace, settled)
    found = probe(told.largest, progress=lambda what: say({"now": what}), cancelled=cancelled)
    remember(found, told.largest, told.shape, now=time.time())
    return {
        "trials": [asdict(trial) for trial in found.trials],
        "largest_rows": found.largest_rows,
        "proven": found.proven,
        "length": found.best.length if found.best is not None else 0,
        "max_length": found.best.max_length if found.best is not None else 0,
        "said": found.said,
        "free_bytes": found.room.free_bytes,
        "device": found.room.device,
        "seconds": training_seconds(found, told.num_tokens),
        "memory": as_arguments(forecast(workspace, settled).memory),
    }


def main() -> int:
    """Read what to try, write what was found."""
    asked = json.loads(sys.stdin.readline())
    left = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        left.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()

    def say(what: dict[str, Any]) -> None:
        print(json.dumps(what), flush=True)

    try:
        say({"found": measure(asked, say, left.is_set)})
    except EngineError as error:
        say({"error": error.as_dict()})
        return 1
    except BrokenPipeError:  # the console is gone
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
