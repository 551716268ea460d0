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

from engine.config.automatic import num_optimizer_steps
from engine.config.catalogue import catalogue
from engine.config.load import GivenConfig, loads
from engine.config.model import settled
from engine.errors import ConfigError, EngineError
from engine.hardware.memory import Batch
from engine.hardware.model_shape import ModelShape, NotEstimated, find_shape
from engine.launch.prepare import Known, Settled, settle
from engine.launch.probe import predict
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
        "steps": steps(found),
        "rows": found.facts.num_train_examples,
    }
    try:
        answer["memory"] = memory(workspace, found)
    except NotEstimated as error:
        answer["without_memory"] = str(error)
    return answer


def memory(workspace: Workspace, found: Settled) -> dict[str, Any]:
    """Return the predicted memory, as the arguments of `screens.configure.memory.Memory`.

    Raises:
        NotEstimated: Nobody knows how large the model is.
    """
    predicted = predict(found, shape(workspace, found), batch(found))
    return {
        "components": predicted.components,
        "free_bytes": predicted.free_bytes,
        "kind": predicted.kind,
        "rows": predicted.batch.rows,
        "length": predicted.batch.length,
        "reason": predicted.correction.reason,
    }


def shape(workspace: Workspace, found: Settled) -> ModelShape:
    """Return the shape of the base model. Raises NotEstimated."""
    entries = catalogue(workspace)
    return find_shape(found.model, entries.get(found.model.name) or entries.get(found.resolved.config.model.name))


def batch(found: Settled) -> Batch:
    """Return the largest batch of the run: rows as long as the longest of the sample, or as the limit."""
    config = found.resolved.config
    length = settled(config.data.max_length)
    if found.facts.lengths is not None and not config.data.packing:
        length = min(length, found.facts.lengths.longest)
    return Batch(settled(config.training.per_device_train_batch_size), length)


def steps(found: Settled) -> int:
    """Return the optimizer steps of the run, packing aside."""
    training = found.resolved.config.training
    if training.max_steps is not None:
        return training.max_steps
    return num_optimizer_steps(
        found.facts.num_train_examples,
        settled(training.per_device_train_batch_size),
        settled(training.gradient_accumulation_steps),
        settled(training.num_train_epochs),
    )


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
