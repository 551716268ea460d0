"""Following checkpoints: what is new, gone, pinned, cut short, on a folder of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engine.runs import shelf
from engine.runs.directory import RunDirectory
from screens.checkpoints.feed import CatalogueFeed
from tests.engine.saved import make_run, write


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = make_run(tmp_path / "runs", "voice-1")
    for step in (10, 20):
        write(made, step)
    return made


@pytest.fixture
def feed(run: RunDirectory) -> CatalogueFeed:
    """A feed that has read everything once, and looks at the run closely."""
    made = CatalogueFeed(run.path.parent, near="voice-1")
    while made.look():
        pass
    made.look()
    return made


def listed(feed: CatalogueFeed) -> list[str]:
    return [one.spec for entry in feed.catalogue.runs for one in entry.checkpoints]


def test_nothing_is_replaced_while_nothing_changes(feed: CatalogueFeed) -> None:
    before = feed.catalogue
    feed.look()
    assert feed.catalogue is before
    assert listed(feed) == ["voice-1@checkpoint-20", "voice-1@checkpoint-10"]


def test_a_checkpoint_that_is_written_appears(feed: CatalogueFeed, run: RunDirectory) -> None:
    version = feed.version
    write(run, 30)
    feed.look()
    assert "voice-1@checkpoint-30" in listed(feed)
    assert feed.version > version


def test_one_that_is_deleted_goes(feed: CatalogueFeed, run: RunDirectory) -> None:
    shutil.rmtree(run.checkpoints / "checkpoint-10")
    feed.look()
    assert listed(feed) == ["voice-1@checkpoint-20"]


def test_what_another_console_pins_is_pinned(feed: CatalogueFeed) -> None:
    shelf.carry_out(shelf.plan_pin([feed.catalogue.runs[0].checkpoints[0]]))
    feed.look()
    assert feed.catalogue.runs[0].checkpoints[0].pinned


def test_what_was_pinned_while_nobody_looked_is_seen_by_the_second_look(feed: CatalogueFeed, run: RunDirectory) -> None:
    shelf.carry_out(shelf.plan_pin([feed.catalogue.runs[0].checkpoints[0]]))
    later = CatalogueFeed(run.path.parent)
    assert not later.look()
    assert [one.pinned for one in later.catalogue.runs[0].checkpoints] == [False, False]  # as it is remembered
    later.look()
    assert [one.pinned for one in later.catalogue.runs[0].checkpoints] == [True, False]


def test_a_run_that_is_made_or_removed_is_noticed(feed: CatalogueFeed, run: RunDirectory) -> None:
    other = make_run(run.path.parent, "voice-2")
    write(other, 5, target=other.best)
    feed.look()
    assert "voice-2@best" in listed(feed)
    shutil.rmtree(other.path)
    feed.look()
    assert "voice-2@best" not in listed(feed)


def test_a_file_cut_short_is_found_when_the_run_is_asked_for(feed: CatalogueFeed, run: RunDirectory) -> None:
    (run.checkpoints / "checkpoint-20" / "adapter_model.safetensors").write_bytes(b"x")
    feed.look_at("voice-1")
    feed.look()
    assert feed.catalogue.runs[0].checkpoints[0].fault is not None


def test_a_folder_that_is_not_there_has_no_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    feed = CatalogueFeed(tmp_path / "nowhere")
    assert not feed.look()
    assert feed.complete
    assert feed.catalogue.runs == ()
