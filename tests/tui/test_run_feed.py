"""A run as any screen follows it: its past at once, what it says next, and whether anybody works on it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from benchmarks.synthetic import write_run
from engine import events
from engine.events import Event
from engine.journal import Journal
from engine.runs.directory import RunDirectory
from engine.runs.history_index import HistoryIndexFailed, build_index
from engine.runs.liveness import Life, liveness
from tests.conftest import PATIENCE_SECONDS, Runs
from tui import run_feed
from tui.run_feed import RunFeed, last_lines

STEP = events.StepFinished(1, 0.1, 100, 0.5, {"loss": 1.0})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_feed, "ACTIVE_SECONDS", 0.02)
    monkeypatch.setattr(run_feed, "RESTING_SECONDS", 0.02)
    monkeypatch.setattr(run_feed, "LIFE_SECONDS", 0.02)


def say(run: RunDirectory, *said: Event) -> None:
    journal = Journal(run.events)
    for event in said:
        journal.append(events.to_json(event))
    journal.close()


@contextlib.asynccontextmanager
async def followed(run: RunDirectory) -> AsyncIterator[RunFeed]:
    """Follow a run until the block is left."""
    feed = RunFeed(run)

    async def follow() -> None:
        async for _ in feed.changes():
            pass

    task = asyncio.create_task(follow())
    try:
        yield feed
        assert not task.done() or task.exception() is None
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_past_is_there_at_once_and_what_is_appended_follows(runs: Runs) -> None:
    run = runs.create()
    say(run, events.KeeperStarted(1, 1, None), STEP)
    async with followed(run) as feed:
        await until(lambda: not feed.opening)
        assert feed.state.step == 1
        assert feed.state.state == "died", "nobody works on it"
        say(run, events.StepFinished(2, 0.2, 200, 0.5, {"loss": 0.5}))
        await until(lambda: feed.state.step == 2)
        assert feed.state.history.train.last("loss") == 0.5


async def test_an_indexed_past_is_not_counted_twice(runs: Runs) -> None:
    run = runs.create()
    run.events.unlink()
    write_run(run.path, 300, evaluate_every=100, finished=False)
    build_index(run)
    async with followed(run) as feed:
        await until(lambda: not feed.opening)
        assert (feed.state.step, len(feed.state.history.train), len(feed.state.history.evaluation)) == (300, 300, 3)
        assert len(feed.state.checkpoints) == 3
        say(run, events.StepFinished(301, 1.0, 301 * 4096, 0.5, {"loss": 0.5}))
        await until(lambda: feed.state.step == 301)
        assert len(feed.state.history.train) == 301


async def test_an_index_that_cannot_be_made_costs_time_and_nothing_else(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.create()
    say(run, STEP)
    said: list[str] = []

    def fails(_: RunDirectory) -> None:
        raise HistoryIndexFailed("The disk is full.", remedy="Nothing is lost.")

    monkeypatch.setattr(run_feed, "needs_index", lambda _: True)
    monkeypatch.setattr(run_feed, "build_index", fails)
    feed = RunFeed(run)
    async for _ in feed.changes():
        said.append(feed.opening)
        if not feed.opening:
            break
    assert [text.split()[0] for text in said if text] == ["Reading", "Indexing", "Reading"]
    assert feed.state.step == 1
    assert feed.state.log[-1].text == "The disk is full. Nothing is lost."


async def test_whether_somebody_works_on_it_is_looked_at_again_and_again(runs: Runs) -> None:
    run = runs.create()
    async with followed(run) as feed:
        await until(lambda: not feed.opening)
        assert feed.state.state == "died"
        runs.start(run, 'say(events.TrainingStarted(9, 1.0, 0, 1, 1, "cpu", "float32"))\ntime.sleep(300)')
        await until(lambda: feed.state.state == "running")
        found = liveness(run.path)
        assert found.keeper is not None
        assert found.worker is not None
        os.kill(found.keeper.pid, signal.SIGKILL)
        os.kill(found.worker.pid, signal.SIGKILL)
        await until(lambda: feed.state.state == "died")
        assert feed.state.life is Life.DEAD


async def test_a_run_that_died_brings_the_end_of_its_worker_log(runs: Runs) -> None:
    run = runs.create()
    runs.start(run, 'print("a word", flush=True)\nprint("10%\\r20%\\r30%")\nsys.exit(3)')
    async with followed(run) as feed:
        await until(lambda: feed.worker_log)
        assert feed.state.state == "died"
        assert feed.worker_log[-2:] == ["a word", "30%"]


async def test_a_log_that_was_replaced_is_another_run(runs: Runs) -> None:
    run = runs.create()
    say(run, STEP, events.StepFinished(2, 0.2, 200, 0.5, {"loss": 0.5}))
    async with followed(run) as feed:
        await until(lambda: feed.state.step == 2)
        run.events.unlink()
        say(run, events.RunCreated("other", "dpo", "big", None))
        await until(lambda: feed.state.method == "dpo")
        assert (feed.state.step, len(feed.state.history.train)) == (0, 0)


async def test_samples_follow(runs: Runs) -> None:
    run = runs.create()
    async with followed(run) as feed:
        await until(lambda: not feed.opening)
        run.samples.write_text('{"step": 0, "index": 0, "set": "", "prompt": "Who?", "answer": "I."}\n')
        await until(lambda: feed.samples.rounds)


async def test_nobody_looking_makes_looks_rare_and_asking_makes_one_at_once(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_feed, "RESTING_SECONDS", 3_600.0)
    run = runs.create()
    async with followed(run) as feed:
        await until(lambda: not feed.opening)
        feed.watched = False
        say(run, STEP)
        feed.look_again()
        await until(lambda: feed.state.step == 1)


async def test_a_log_that_cannot_be_read_is_an_error_with_a_name(runs: Runs) -> None:
    run = runs.create()
    run.events.unlink()
    run.events.mkdir()
    from engine.errors import WorkspaceError

    with pytest.raises(WorkspaceError):
        async for _ in RunFeed(run).changes():
            pass


def test_last_lines_of_a_missing_or_huge_file(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert last_lines(run) == []
    run.log.write_bytes(b"".join(b"line %06d \xff\n" % number for number in range(50_000)))
    lines = last_lines(run)
    assert len(lines) == run_feed.WORKER_LOG_LINES
    assert lines[-1] == "line 049999 \\xff"
