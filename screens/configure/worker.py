"""Decides automatic values and looks a run over, in a process of its own: `python -P -m screens.configure.worker`.

Data files are read whole for that, which may take minutes and must not take a frame. One JSON object per line on
stdin asks, lines on stdout answer; what was read is remembered, so that the next answer takes milliseconds. Closing
stdin ends it, killing it cancels.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from engine.config.load import GivenConfig, loads
from engine.errors import ConfigError, EngineError
from engine.hardware.memory import Estimate
from engine.hardware.model_shape import NotEstimated
from engine.launch.forecast import forecast, num_steps
from engine.launch.prepare import Known, settle
from engine.workspace import Workspace


def given(text: str, source: str) -> GivenConfig:
    """Return the settings of a text, also of one with nothing in it. Raises ConfigError."""
    blank = all(not line.strip() or line.lstrip().startswith("#") for line in text.splitlines())
    return GivenConfig({}) if blank else loads(text, source)


def decide(workspace: Workspace, text: str, source: str, known: Known) -> dict[str, Any]:
    """Return every value as a run would use it, and what it comes to, in JSON.

    Raises:
        EngineError: It cannot be decided.
    """
    found = settle(workspace, given(text, source), known=known)
    answer: dict[str, Any] = {
        "values": {key: [value, origin.kind, origin.reason] for key, value, origin in found.resolved.values()},
        "steps": num_steps(found),
        "rows": sum(stage.facts.num_train_examples for _, stage in found.parts()),
    }
    try:
        answer["memory"] = as_arguments(forecast(workspace, found).memory)
    except NotEstimated as error:
        answer["without_memory"] = str(error)
    return answer


def as_arguments(memory: Estimate) -> dict[str, Any]:
    """Return an estimate as the arguments of `screens.configure.memory.Memory`."""
    return {
        "components": memory.components,
        "free_bytes": memory.free_bytes,
        "kind": memory.kind,
        "rows": memory.batch.rows,
        "length": memory.batch.length,
        "reason": memory.correction.reason,
    }


def refusal(error: EngineError) -> dict[str, Any]:
    """Return an error in JSON, with all the problems of a configuration."""
    problems = error.problems if isinstance(error, ConfigError) else [error.message]
    return {"problems": problems, "remedy": error.remedy, "code": error.code}


def main() -> int:
    """Answer until nobody asks."""
    known: Known = {}
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = decide(Workspace(Path(asked["workspace"])), asked["text"], asked["source"], known)
        except EngineError as error:
            answer = refusal(error)
        print(json.dumps({"id": asked["id"], **answer}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
