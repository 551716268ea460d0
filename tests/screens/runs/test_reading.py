"""The details of one run, read from its folder."""

from __future__ import annotations

import json
from pathlib import Path

from engine import events
from engine.journal import Journal
from engine.runs.directory import RunDirectory, create_run
from engine.runs.summary import summarise
from screens.live.controls import what_stopping_now_loses
from screens.runs.reading import kept_on_disk, read_details


def make(folder: Path, *said: events.Event) -> RunDirectory:
    created = events.RunCreated(name="run-1", method="sft", model="tiny", parent=None)
    run = create_run(folder, "run-1", created=created, files={"run.yaml": "{}\n"})
    journal = Journal(run.events)
    for event in said:
        journal.append(events.to_json(event))
    journal.close()
    return run


def checkpoint(path: Path, step: int, **metadata: object) -> None:
    path.mkdir(parents=True)
    manifest = {"version": 1, "run_id": "0" * 32, "step": step, "files": {"a": {"size": 7, "sha256": "0" * 64}}}
    (path / "manifest.json").write_text(json.dumps(manifest))
    (path / "metadata.json").write_text(json.dumps({"step": step, **metadata}))


def test_weights_behaviour_and_last_words_are_found(tmp_path: Path) -> None:
    scores = {"retain_answered": 0.9}
    run = make(
        tmp_path, events.KeeperStarted(1, 1, None), events.BehaviourMeasured(0, "before", scores, {"retain": 10}, 1.0),
        *(events.StepFinished(step, 0.1, 10, 0.1, {"loss": 1.0}) for step in range(1, 500)),
        events.WorkerExited(None, 9, True, 0),
    )  # fmt: skip
    checkpoint(run.checkpoints / "checkpoint-400", 400)
    checkpoint(run.checkpoints / "checkpoint-200", 200)
    checkpoint(run.best, 300, metrics={"eval_loss": 0.5})
    run.log.write_text("first\nsecond\n\x1b[31mthird\nfourth\n")
    details = read_details(run, summarise(run))
    assert details.newest is not None
    assert details.newest.step == 400
    assert details.best is not None
    assert (details.best.step, details.best.used_bytes) == (300, 7)
    assert details.final is None
    assert details.state.behaviour["before"].scores == scores
    assert details.last_words == ["second", "\x1b[31mthird", "fourth"]
    assert len(details.curves[0].steps) == 499


def test_a_run_without_anything_has_details_without_anything(tmp_path: Path) -> None:
    run = make(tmp_path)
    details = read_details(run, summarise(run))
    assert (details.newest, details.best, details.final, list(details.curves)) == (None, None, None, [])
    assert details.reason == "nobody holds its lock"


def test_what_stopping_loses_is_told_from_the_checkpoints_on_disk(tmp_path: Path) -> None:
    run = make(tmp_path)
    assert "all 50 steps are lost" in what_stopping_now_loses(kept_on_disk(run, 50))
    checkpoint(run.checkpoints / "checkpoint-40", 40)
    assert what_stopping_now_loses(kept_on_disk(run, 50)) == "10 steps since checkpoint-40 would be lost."
