"""A model without a chat template is trained with one of the user's, and rows a template refuses are left out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import events
from engine.config.load import loads
from engine.config.resolved import ResolvedConfig
from engine.config.yaml_text import read_file
from engine.data.findings import DataRefused
from engine.launch.prepare import new_run
from engine.runs.directory import RunDirectory
from engine.runs.provenance import read_provenance
from engine.training.control import CommandReader, Control
from engine.training.reporter import Reporter
from engine.workspace import Workspace
from tests.chat_models import TEMPLATES
from tests.conftest import read_records
from tests.engine.training.conftest import rows, write_rows

SHORT = {"max_steps": 2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "warmup_steps": 0}
REFUSES_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"


@pytest.fixture
def base_model(small_model: Path, tmp_path: Path) -> Path:
    """The small model without its chat template, as a base model is."""
    folder = tmp_path / "base"
    shutil.copytree(small_model, folder)
    (folder / "chat_template.jinja").unlink()
    return folder


def train(run: RunDirectory) -> None:
    from engine.training.worker import work

    reporter = Reporter(run.events)
    work(run, reporter, Control(CommandReader(run.commands), reporter), resume=None)


def test_a_base_model_is_refused_without_a_template_and_trained_with_one(
    base_model: Path, config_text: Callable[..., str], tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path / "workspace")
    model = {"name": str(base_model), "device": "cpu"}
    with pytest.raises(DataRefused, match=r"no chat template.*\(template-missing\)"):
        new_run(workspace, loads(config_text(model=model, training=SHORT), "run.yaml"))
    shutil.copy(TEMPLATES / "chatml.jinja", workspace.path / "own.jinja")
    text = config_text(model={**model, "chat_template": "own.jinja"}, training=SHORT)
    run = new_run(workspace, loads(text, "run.yaml"))
    (workspace.path / "own.jinja").unlink()  # the run has taken it into its own file
    train(run)
    ended = read_records(run)[-1].event
    assert isinstance(ended, events.RunEnded)
    assert ended.outcome == "finished"


def test_rows_the_template_refuses_are_grave_and_once_accepted_left_out(
    config_text: Callable[..., str], tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path / "workspace")
    config_text()
    made: list[dict[str, Any]] = rows(count=12)
    made[4]["system"] = "Be brief."
    write_rows(workspace.path / "data" / "system.jsonl", made)
    (workspace.path / "gemma.jinja").write_text(REFUSES_SYSTEM + (TEMPLATES / "chatml.jinja").read_text())
    settings = json.loads(config_text(training=SHORT, data={"train": "data/system.jsonl", "validation": {}},
                                      evaluation={"eval_steps": None, "prompts": []}))  # fmt: skip
    settings["model"]["chat_template"] = "gemma.jinja"
    with pytest.raises(DataRefused, match=r"System role not supported.*template-refuses, system\.jsonl line 5"):
        new_run(workspace, loads(json.dumps(settings), "run.yaml"))
    settings["data"]["accept"] = ["template-refuses"]
    run = new_run(workspace, loads(json.dumps(settings), "run.yaml"))
    train(run)
    (prepared,) = [r.event for r in read_records(run) if isinstance(r.event, events.DataPrepared)]
    assert (prepared.rows_in, prepared.rows_kept) == (12, 11)
    assert prepared.dropped[0]["line"] == 5
    assert "System role not supported" in prepared.dropped[0]["reason"]


def test_rows_are_examined_by_the_worker_once_a_hub_models_template_is_there(
    small_model: Path, config_text: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.training.reading import refuse_wasted

    place = tmp_path / "hub" / "models--org--name"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0123abc")
    (place / "snapshots").mkdir()
    (place / "snapshots" / "0123abc").symlink_to(small_model)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    text = config_text(data={"max_length": 8, "accept": "trains-on-nothing"}, training=SHORT)
    run = new_run(Workspace(tmp_path / "workspace"), loads(text, "run.yaml"))
    whole = ResolvedConfig.from_yaml(read_file(run.config))
    provenance = read_provenance(run)
    provenance = replace(provenance, model=replace(provenance.model, kind="hub", source="org/name"))
    refuse_wasted(whole, provenance)
    config = whole.config
    refusing = config.model_copy(update={"data": config.data.model_copy(update={"accept": []})})
    with pytest.raises(DataRefused, match="trains-on-nothing"):
        refuse_wasted(replace(whole, config=refusing), provenance)
