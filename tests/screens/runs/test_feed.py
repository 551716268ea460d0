"""Following every run of a folder: what is read, when, and how much of it at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import events
from engine.errors import EngineError
from engine.journal import Journal
from engine.runs import summary
from engine.runs.directory import RunDirectory, create_run
from engine.runs.liveness import liveness
from engine.runs.summary import RunSummary
from screens.runs import feed as feeds
from screens.runs.feed import RunsFeed
from tests.conftest import Runs

FINISHED = """
    say(events.TrainingStarted(4, 1.0, 0, 1000, 10, "cpu", "float32"))
    for step in range(1, 5):
        say(events.StepFinished(step, step / 4, 50 * step, 0.1, {"loss": 3.0 / step}))
    say(events.RunEnded("finished", 4, 1.0))
"""
WAITING = """
    say(events.TrainingStarted(4, 1.0, 0, 1000, 10, "cpu", "float32"))
    while True:
        time.sleep(0.05)
"""


def make(folder: Path, name: str) -> RunDirectory:
    created = events.RunCreated(name=name, method="sft", model="tiny", parent=None)
    return create_run(folder, name, created=created, files={"run.yaml": "{}\n"})


def say(run: RunDirectory, *said: events.Event) -> None:
    journal = Journal(run.events)
    for event in said:
        journal.append(events.to_json(event))
    journal.close()


def settle(feed: RunsFeed) -> None:
    """Look until everything has been read."""
    while feed.look():
        pass


def test_a_folder_that_is_not_there_yet_is_an_empty_one(tmp_path: Path) -> None:
    feed = RunsFeed(tmp_path / "runs")
    assert not feed.complete
    settle(feed)
    assert feed.complete
    assert dict(feed.summaries) == {}
    make(tmp_path / "runs", "run-1")
    settle(feed)
    assert list(feed.summaries) == ["run-1"]


def test_new_runs_appear_and_deleted_ones_vanish(tmp_path: Path) -> None:
    make(tmp_path, "run-1")
    feed = RunsFeed(tmp_path)
    settle(feed)
    make(tmp_path, "run-2")
    settle(feed)
    assert set(feed.summaries) == {"run-1", "run-2"}
    (tmp_path / "run-1").rename(tmp_path / ".run-1")
    settle(feed)
    assert set(feed.summaries) == {"run-2"}


def test_what_is_appended_to_a_log_is_noticed_and_nothing_else_is_read(tmp_path: Path) -> None:
    run = make(tmp_path, "run-1")
    make(tmp_path, "run-2")
    feed = RunsFeed(tmp_path)
    settle(feed)
    before = feed.summaries
    settle(feed)
    assert feed.summaries is before, "nothing has changed, so nothing is replaced"
    say(run, events.TrainingStarted(10, 1.0, 0, 1000, 10, "cpu", "float32"),
        events.StepFinished(3, 0.1, 10, 0.1, {"loss": 0.5}))  # fmt: skip
    settle(feed)
    assert feed.summaries["run-1"].loss == 0.5
    assert feed.summaries["run-2"] is before["run-2"]


def test_a_run_at_work_is_followed_to_its_end(
    runs: Runs, wait_for: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "LIFE_SECONDS", 0.0)
    run = runs.create()
    runs.start(run, WAITING)
    feed = RunsFeed(runs.folder)

    def state() -> str:
        settle(feed)
        return feed.summaries["run-1"].state

    wait_for(lambda: state() == "running", "the training to begin")
    assert feed.active
    runs.end_all()
    wait_for(lambda: state() not in ("running", "stopping"), "the end")
    assert not feed.active


def test_a_run_whose_processes_vanish_without_a_word_is_noticed(
    runs: Runs, wait_for: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "LIFE_SECONDS", 0.0)
    run = runs.create()
    runs.start(run, WAITING)
    feed = RunsFeed(runs.folder)

    def state() -> str:
        settle(feed)
        return feed.summaries["run-1"].state

    wait_for(lambda: state() == "running", "the training to begin")
    found = liveness(run.path)
    for identity in (found.keeper, found.worker):
        assert identity is not None
        identity.send(9)  # type: ignore[arg-type]
    wait_for(lambda: state() == "died", "the death to be noticed")


def test_a_finished_run_that_is_resumed_elsewhere_is_noticed(tmp_path: Path) -> None:
    many = [make(tmp_path, f"run-{number}") for number in range(3 * feeds.STATS_PER_LOOK // 2)]
    for run in many:
        say(run, events.KeeperStarted(1, 1, None), events.RunEnded("finished", 4, 1.0),
            events.WorkerExited(0, None, False, 0))  # fmt: skip
    feed = RunsFeed(tmp_path)
    settle(feed)
    say(many[-1], events.KeeperStarted(2, 1, "checkpoints/checkpoint-2"))
    for _ in range(3):  # each looks at a hundred of them, in turn
        settle(feed)
    assert feed.summaries[many[-1].name].state != "finished"


def test_a_run_that_was_just_told_something_is_looked_at_at_once(tmp_path: Path) -> None:
    many = [make(tmp_path, f"run-{number}") for number in range(3 * feeds.STATS_PER_LOOK)]
    feed = RunsFeed(tmp_path)
    settle(feed)
    last = list(feed.summaries)[-1]
    say(next(run for run in many if run.name == last), events.RunEnded("finished", 4, 1.0))
    feed.look_at(last)
    feed.look()
    assert feed.summaries[last].state == "finished"


def test_one_look_reads_so_long_and_the_newest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        run = make(tmp_path, f"run-{number}")
        os.utime(run.events, (1_000 + number, 1_000 + number))
    monkeypatch.setattr(feeds, "LOOK_SECONDS", -1.0)
    feed = RunsFeed(tmp_path)
    for known in range(1, 6):
        assert feed.look()
        assert set(feed.summaries) == {f"run-{5 - number}" for number in range(known)}
        assert not feed.complete
    assert not feed.look()
    assert len(feed.summaries) == 6
    assert feed.complete


def test_a_log_that_cannot_be_read_hides_no_other_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "run-1")
    make(tmp_path, "run-2")

    def summarise(run: RunDirectory) -> RunSummary:
        if run.name == "run-1":
            raise EngineError("The log cannot be read: Input/output error.", remedy="Check its disk.")
        return summary.summarise(run)

    monkeypatch.setattr(feeds, "summarise", summarise)
    feed = RunsFeed(tmp_path)
    settle(feed)
    broken = feed.summaries["run-1"]
    assert (broken.state, broken.explanation) == (
        "unknown",
        "The log cannot be read: Input/output error. Check its disk.",
    )
    assert feed.summaries["run-2"].model == "tiny"


def test_details_are_read_from_log_and_disk(runs: Runs, wait_for: Callable[..., object]) -> None:
    run = runs.create()
    runs.start(run, FINISHED)
    feed = RunsFeed(runs.folder)

    def over() -> bool:
        settle(feed)
        return feed.summaries["run-1"].state == "finished"

    wait_for(over, "the end")
    details = feed.details("run-1")
    assert details is not None
    assert details.state.device == "cpu"
    assert [list(curve.values) for curve in details.curves] == [[3.0, 1.5, 1.0, 0.75]]
    assert details.newest is None
    assert feed.details("run-2") is None
