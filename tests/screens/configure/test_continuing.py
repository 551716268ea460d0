"""A form that is opened for a checkpoint: a new run that begins with its weights."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.errors import EngineError
from screens.configure import files
from screens.configure.draft import Draft
from screens.configure.screen import ConfigureScreen
from tests.engine.adapter_files import make_run, save, write_model
from tests.screens.configure.stage import StillWorker, form
from tests.screens.runs.stage import seen, until, until_seen
from tui.app import ConsoleApp
from tui.registry import ScreenEntry

SETTINGS = """
model:
  name: base  # given: run.yaml:1
data:
  train: [old.jsonl]  # given: run.yaml:2
lora:
  r: 2  # given: run.yaml:3
training:
  learning_rate: 0.001  # preset demo
  num_train_epochs: 10  # automatic: few examples
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of the model "base" with a checkpoint."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    write_model(tmp_path / "models" / "base")
    save(make_run(tmp_path / "runs", "voice-1", tmp_path / "models" / "base", SETTINGS), 10)
    return tmp_path


def console(workspace: Path, subject: str) -> ConsoleApp:
    def make(folder: Path) -> ConfigureScreen:
        return ConfigureScreen(folder, worker=StillWorker())

    return ConsoleApp(
        workspace, opening=("configure", subject), screens=(ScreenEntry("configure", "Configure", make, "The form"),)
    )


def test_a_run_goes_on_from_a_checkpoint_with_what_was_decided_by_hand(workspace: Path) -> None:
    draft = files.continuing(workspace, "voice-1@checkpoint-10")
    values = {key: setting.value for key, setting in draft.reading.given.settings.items()}
    assert values == {
        "model.name": "base", "model.adapter": "voice-1@checkpoint-10", "data.train": ["old.jsonl"],
        "training.learning_rate": 0.001,
    }  # fmt: skip
    assert draft.about == "continued from voice-1@checkpoint-10"
    with pytest.raises(EngineError):
        files.continuing(workspace, "voice-1@checkpoint-99")


async def test_the_form_opens_with_the_weights_it_was_opened_for_and_keeps_what_was_not_saved(workspace: Path) -> None:
    files.keep_draft(workspace, Draft("lora:\n  r: 7\n"))
    app = console(workspace, "voice-1@checkpoint-10")
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, ConfigureScreen), "the form")
        await until_seen(pilot, "continued from voice-1@checkpoint-10")
        assert 'adapter: "voice-1@checkpoint-10"' in form(app).draft.text
        await pilot.press("u")
        await until(pilot, lambda: "r: 7" in form(app).draft.text, "what was not saved")
    assert not app.failures


async def test_a_checkpoint_that_is_gone_is_said_and_the_form_is_there(workspace: Path) -> None:
    app = console(workspace, "voice-1@checkpoint-99")
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, ConfigureScreen), "the form")
        await until_seen(pilot, "checkpoint-99")
        assert "Traceback" not in seen(app)
        assert "adapter" not in form(app).draft.text
