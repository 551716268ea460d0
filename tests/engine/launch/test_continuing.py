"""Which adapter a new run begins with, on which base, and what is refused before anything is made."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from engine.adapters import AdapterUnusable
from engine.config.load import GivenConfig, loads
from engine.errors import CheckpointError, ConfigError, NotFound, UsageError
from engine.launch.continuing import Start, continued, starting_adapter
from engine.runs.directory import RunDirectory
from engine.runs.entries import CheckpointEntry
from engine.runs.finding import find_entry
from engine.runs.promotion import plan_promote
from engine.runs.shelf import carry_out
from engine.spec import BaseChanged
from engine.workspace import Workspace
from tests.engine.adapter_files import make_run, save, write_adapter, write_model

SETTINGS = """
model:
  name: base  # given: run.yaml:1
data:
  train: [old.jsonl]  # given: run.yaml:2
  max_length: 512  # automatic: 20 examples
lora:
  r: 2  # given: run.yaml:3
  lora_alpha: 4  # automatic: twice the rank
  target_modules: [q_proj]  # automatic: the catalogue
training:
  learning_rate: 0.001  # preset demo
  num_train_epochs: 10  # automatic: few examples
  per_device_train_batch_size: 2  # automatic: few
  gradient_accumulation_steps: 4  # automatic: few
  warmup_steps: 0.1  # automatic: few
  activation_checkpointing: false  # automatic: small
evaluation:
  eval_steps: null  # automatic: none
  per_device_eval_batch_size: 2  # automatic: few
  prompts: []  # automatic: none
  behaviour: false  # automatic: none
saving:
  save_steps: 10  # automatic: ten
  best_metric: eval_loss  # automatic: one set
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A run of the model "base", whose settings say where each came from."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    write_model(tmp_path / "models" / "base")
    run = make_run(tmp_path / "runs", "voice-1", tmp_path / "models" / "base", SETTINGS)
    save(run, 10)
    save(run, 20, "best")
    return Workspace(tmp_path)


def given(text: str = "{}") -> GivenConfig:
    return loads(text, "new.yaml")


def start(workspace: Workspace, text: str) -> tuple[GivenConfig, Start]:
    settings, found = starting_adapter(workspace, given(text))
    assert found is not None
    return settings, found


def run_of(workspace: Workspace) -> RunDirectory:
    return RunDirectory(workspace.runs / "voice-1")


def test_what_was_written_for_the_parent_stands_and_what_was_decided_does_not(workspace: Workspace) -> None:
    settings = continued(workspace, "voice-1", given("data: {train: new.jsonl}")).settings
    values = {key: setting.value for key, setting in settings.items()}
    assert values == {
        "model.name": "base",
        "model.adapter": "voice-1",
        "data.train": "new.jsonl",
        "training.learning_rate": 0.001,
    }
    assert settings["training.learning_rate"].preset


def test_another_adapter_in_the_settings_is_refused(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="what is to be continued"):
        continued(workspace, "voice-1", given("model: {adapter: voice-2}"))


def test_the_settings_of_lora_are_the_adapters(workspace: Workspace) -> None:
    settings, found = start(workspace, "model: {adapter: voice-1@10}")
    values = {key: setting.value for key, setting in settings.settings.items()}
    assert (values["lora.r"], values["lora.lora_alpha"], values["lora.target_modules"]) == (2, 4, ["q_proj"])
    assert values["model.name"] == "base"
    assert (found.parent, found.source.checkpoint, found.source.step) == ("voice-1", "checkpoint-10", 10)
    assert sorted(found.copies) == ["start/adapter_config.json", "start/adapter_model.safetensors"]


def test_a_setting_of_lora_that_contradicts_the_adapter_is_refused(workspace: Workspace) -> None:
    with pytest.raises(ConfigError) as caught:
        starting_adapter(workspace, given("model: {adapter: voice-1}\nlora: {r: 8, lora_alpha: 4}"))
    assert caught.value.problems == ["lora.r is 8, but the adapter voice-1@best has 2 (new.yaml:2)"]


def test_without_an_adapter_nothing_changes(workspace: Workspace) -> None:
    asked = given("model: {adapter: null}")
    assert starting_adapter(workspace, asked) == (asked, None)


def test_another_base_is_refused(workspace: Workspace) -> None:
    write_model(workspace.models / "other", {"model.embed_tokens.weight": (16, 8)})
    with pytest.raises(BaseChanged, match=r"was trained on base, and model\.name is other"):
        start(workspace, "model: {adapter: voice-1, name: other}")


def test_a_copy_of_the_base_under_another_name_is_the_same_base(workspace: Workspace) -> None:
    write_model(workspace.models / "copy")
    settings, _ = start(workspace, "model: {adapter: voice-1, name: copy}")
    assert settings.settings["model.name"].value == "copy"


def test_a_base_that_has_no_name_here_is_named_by_its_folder(workspace: Workspace, tmp_path: Path) -> None:
    base = write_model(tmp_path / "elsewhere" / "far")
    save(make_run(workspace.runs, "voice-2", base, SETTINGS), 10)
    settings, _ = start(workspace, "model: {adapter: voice-2}")
    assert settings.settings["model.name"].value == str(base)


def test_a_base_that_was_changed_is_refused(workspace: Workspace) -> None:
    (workspace.models / "base" / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(BaseChanged):
        start(workspace, "model: {adapter: voice-1}")


def test_damaged_weights_are_refused(workspace: Workspace) -> None:
    path = run_of(workspace).best / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="differs from its hash"):
        start(workspace, "model: {adapter: voice-1@best}")


@pytest.mark.parametrize(
    ("said", "why"),
    [({"init_lora_weights": "pissa"}, "rewrites its base"), ({"bias": "all"}, "holds biases"),
     ({"peft_type": "IA3"}, "only LoRA")],
)  # fmt: skip
def test_adapters_that_cannot_be_trained_on_are_refused(workspace: Workspace, said: dict[str, Any], why: str) -> None:
    write_adapter(workspace.path / "other", str(workspace.models / "base"), **said)
    with pytest.raises(AdapterUnusable, match=why):
        start(workspace, "model: {adapter: ./other}".replace("./", f"{workspace.path}/"))


def test_an_adapter_of_another_tool_has_no_parent(workspace: Workspace) -> None:
    folder = write_adapter(workspace.path / "peft", str(workspace.models / "base"), lora_dropout=0.1)
    settings, found = start(workspace, f"model: {{adapter: {folder}}}")
    assert found.parent is None
    assert settings.settings["lora.lora_dropout"].value == 0.1


def test_a_copy_in_models_knows_the_run_it_came_from(workspace: Workspace) -> None:
    carry_out(plan_promote(workspace, find_entry(workspace, "voice-1@best"), "latest"))
    _, found = start(workspace, "model: {adapter: latest}")
    assert (found.parent, found.source.checkpoint) == ("voice-1", "best")
    provenance = json.loads(run_of(workspace).provenance.read_text())
    run_of(workspace).provenance.write_text(json.dumps({**provenance, "run_id": "another"}))
    assert start(workspace, "model: {adapter: latest}")[1].parent is None


@pytest.mark.parametrize(
    ("text", "error"),
    [("nobody", NotFound), ("voice-1@7", NotFound), ("http://host:1/v1#m", UsageError), ("base", UsageError)],
)
def test_what_names_no_adapter_is_refused(workspace: Workspace, text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        start(workspace, f'model: {{adapter: "{text}"}}')


def test_a_damaged_checkpoint_is_found_by_name_all_the_same(workspace: Workspace) -> None:
    (run_of(workspace).checkpoints / "checkpoint-10" / "adapter_model.safetensors").unlink()
    found = find_entry(workspace, "voice-1@10")
    assert isinstance(found, CheckpointEntry)
    assert found.fault == "adapter_model.safetensors is missing"
