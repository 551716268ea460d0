"""What somebody is told before and after a resume."""

from __future__ import annotations

import json

from engine.launch.prepare import Resumed
from engine.runs.checkpoints import Checkpoint
from screens.live.resuming import Prospect, consequence, prospect, said
from tests.conftest import Runs


def test_where_it_would_go_on(runs: Runs) -> None:
    run = runs.create()
    assert prospect(run, 7).checkpoint is None
    for step in (5, 10):
        folder = run.checkpoints / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "manifest.json").write_text(json.dumps({"run_id": "0123456789abcdef", "files": {}}))
    found = prospect(run, 12)
    assert (found.checkpoint, found.repeated_steps) == ("checkpoint-10", 2)


def test_what_it_means() -> None:
    assert consequence(Prospect("checkpoint-10", 0, [])) == "It goes on from checkpoint-10."
    assert consequence(Prospect(None, 0, [])) == "It has no checkpoint and begins again."
    told = consequence(Prospect("checkpoint-10", 2, ["run.yaml was edited", "a.jsonl was changed"]))
    assert told.endswith("2 steps after that are done again. It will not go on exactly: run.yaml was edited; "
                         "a.jsonl was changed.")  # fmt: skip


def test_what_was_passed_over(runs: Runs) -> None:
    folder = runs.create().checkpoints
    old, new = (Checkpoint(folder / f"checkpoint-{step}", step, None, {}, {}) for step in (5, 10))
    assert said(Resumed(old, [(new, "it has no manifest")])).splitlines() == [
        "It goes on from checkpoint-5.", "checkpoint-10 was passed over: it has no manifest.",
    ]  # fmt: skip
    assert said(Resumed(None, [])) == "It begins again."
