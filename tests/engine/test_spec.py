"""What a person calls a model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engine.errors import CheckpointError, EngineError, InvalidName, NotFound, UsageError
from engine.runs.directory import RunDirectory
from engine.spec import (
    Base,
    BaseChanged,
    BaseMissing,
    Endpoint,
    LocalModel,
    Spec,
    base_of,
    find_spec,
    local_model,
    pair_of,
    prove_base,
)
from engine.workspace import Workspace
from tests.engine.adapter_files import LORA, make_run, save, write_adapter, write_model


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with a base model called "base" in `models/`, and another current folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    write_model(tmp_path / "work" / "models" / "base")
    return Workspace(tmp_path / "work")


@pytest.fixture
def run(workspace: Workspace) -> RunDirectory:
    """A run with checkpoints at 10 and 20, the best at 10."""
    made = make_run(workspace.runs, "voice-1", workspace.models / "base")
    save(made, 10)
    save(made, 20)
    save(made, 10, "best")
    return made


def found(workspace: Workspace, text: str) -> LocalModel:
    spec = find_spec(workspace, text)
    assert isinstance(spec, LocalModel)
    return spec


# Runs


def test_a_run_is_its_best_then_its_final_then_its_newest_whole_checkpoint(
    workspace: Workspace, run: RunDirectory
) -> None:
    model = found(workspace, "voice-1")
    assert (model.label, model.checkpoint, model.step) == ("voice-1@best", "best", 10)
    assert model.adapter == run.best
    shutil.rmtree(run.best)
    save(run, 20, "final")
    assert found(workspace, "voice-1").checkpoint == "final"
    (run.final / "adapter_model.safetensors").unlink()
    assert found(workspace, "voice-1").checkpoint == "checkpoint-20"


@pytest.mark.parametrize(("name", "folder"), [("20", "checkpoint-20"), ("checkpoint-10", "checkpoint-10")])
def test_a_checkpoint_is_named_by_its_step_or_folder(
    workspace: Workspace, run: RunDirectory, name: str, folder: str
) -> None:
    model = found(workspace, f"voice-1@{name}")
    assert model.adapter == run.checkpoints / folder
    assert model.label == f"voice-1@{folder}"


def test_a_checkpoint_there_is_not_and_what_there_is(workspace: Workspace, run: RunDirectory) -> None:
    with pytest.raises(NotFound, match="no checkpoint '15'") as error:
        find_spec(workspace, "voice-1@15")
    assert "checkpoint-20, checkpoint-10, best" in error.value.remedy


def test_a_damaged_checkpoint_is_told_with_its_fault(workspace: Workspace, run: RunDirectory) -> None:
    (run.checkpoints / "checkpoint-20" / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors is missing"):
        find_spec(workspace, "voice-1@20")


def test_a_run_without_checkpoints_has_none(workspace: Workspace) -> None:
    make_run(workspace.runs, "empty", workspace.models / "base")
    with pytest.raises(NotFound, match="no checkpoint yet"):
        find_spec(workspace, "empty")


def test_what_the_run_was_told_of_its_model_is_known(workspace: Workspace) -> None:
    settings = "model:\n  name: base\n  load_in_4bit: true\n  chat_template: '{{ messages }}'\n  later: 3\n"
    save(make_run(workspace.runs, "four", workspace.models / "base", settings), 1)
    model = found(workspace, "four")
    assert (model.training_bits, model.chat_template, model.trust_remote_code) == (4, "{{ messages }}", False)


def test_a_run_wins_over_a_folder_of_its_name(workspace: Workspace, run: RunDirectory) -> None:
    write_model(workspace.path / "voice-1")
    assert found(workspace, "voice-1").run == "voice-1"
    assert found(workspace, "./voice-1").adapter is None


@pytest.mark.parametrize("text", ["runs/voice-1/best", "runs/voice-1/checkpoints/checkpoint-20", "runs/voice-1"])
def test_the_folders_of_a_run_are_the_runs(workspace: Workspace, run: RunDirectory, text: str) -> None:
    model = found(workspace, text)
    assert model.run == "voice-1"
    assert model.base.fingerprint


def test_a_workspace_that_was_moved_still_has_its_bases(workspace: Workspace, run: RunDirectory) -> None:
    moved = workspace.path.rename(workspace.path.with_name("moved"))
    model = found(Workspace(moved), "voice-1")
    assert model.base.source == str(moved / "models" / "base")
    assert prove_base(model).fingerprint == model.base.fingerprint


# Folders


def test_an_adapter_of_another_tool_stands_on_the_base_it_names(workspace: Workspace, tmp_path: Path) -> None:
    write_adapter(tmp_path / "here" / "lora", "base")
    model = found(workspace, "lora")
    assert model.adapter == tmp_path / "here" / "lora"
    assert model.base.source == str(workspace.models / "base")
    assert (model.run, model.base.fingerprint) == (None, "")


def test_a_folder_of_a_trainer_is_its_newest_checkpoint(workspace: Workspace, tmp_path: Path) -> None:
    for step in (5, 40, 100):
        write_adapter(tmp_path / "here" / "out" / f"checkpoint-{step}", "base")
    (tmp_path / "here" / "out" / "checkpoint-200").mkdir()
    assert found(workspace, "out").step == 100
    assert found(workspace, "out@5").label == "out@checkpoint-5"
    assert found(workspace, "out@checkpoint-40").step == 40
    assert found(workspace, "out/checkpoint-40").label == "out@checkpoint-40"
    with pytest.raises(NotFound, match="no checkpoint '41'") as error:
        find_spec(workspace, "out@41")
    assert "checkpoint-100, checkpoint-40, checkpoint-5" in error.value.remedy


def test_a_full_model_has_no_adapter(workspace: Workspace) -> None:
    model = found(workspace, "./models/base")
    assert (model.adapter, model.base.source) == (None, str(workspace.models / "base"))


def test_names_of_models_are_as_everywhere(workspace: Workspace) -> None:
    assert found(workspace, "tiny").base.kind == "builtin"
    assert found(workspace, "models/base").base.kind == "folder"
    hub = found(workspace, "Qwen/Qwen2.5-0.5B-Instruct@v2")
    assert (hub.base.kind, hub.base.source, hub.base.revision) == ("hub", "Qwen/Qwen2.5-0.5B-Instruct", "v2")


def test_an_adapter_in_models_is_found_by_name(workspace: Workspace) -> None:
    write_adapter(workspace.models / "mine", "base")
    assert found(workspace, "mine").adapter == workspace.models / "mine"


def test_a_missing_base_is_told_and_may_be_named(workspace: Workspace, tmp_path: Path) -> None:
    write_adapter(tmp_path / "here" / "lora", "/somewhere/else")
    with pytest.raises(BaseMissing, match="trained on /somewhere/else") as error:
        find_spec(workspace, "lora")
    assert "--base" in error.value.remedy
    assert local_model(workspace, "lora", base="tiny").base.kind == "builtin"
    with pytest.raises(NotFound, match="There is no model 'nowhere'"):
        local_model(workspace, "lora", base="nowhere")


# The base proven


def test_a_base_that_was_changed_since_is_refused(workspace: Workspace, run: RunDirectory) -> None:
    model = found(workspace, "voice-1")
    assert prove_base(model) == model.base
    (workspace.models / "base" / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(BaseChanged, match="not those that voice-1@best was trained on"):
        prove_base(model)
    shutil.rmtree(workspace.models / "base")
    with pytest.raises(BaseMissing):
        prove_base(model)


def test_an_adapter_for_another_base_is_refused_by_its_shapes(workspace: Workspace, tmp_path: Path) -> None:
    wide = {name: tuple(99 if side == 8 else side for side in shape) for name, shape in LORA.items()}
    write_adapter(tmp_path / "here" / "lora", "base", wide)
    with pytest.raises(BaseChanged, match="is for 99 of them"):
        prove_base(found(workspace, "lora"))


# Addresses, and pairs


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("lmstudio:voice", Endpoint("lmstudio:voice", "lmstudio:voice", "lmstudio", "", "voice")),
        (
            "http://localhost:8080/v1/#qwen@q4",
            Endpoint("http://localhost:8080/v1/#qwen@q4", "qwen@q4 at localhost:8080", "openai",
                     "http://localhost:8080/v1", "qwen@q4"),
        ),
        ("base", Base("base")),
    ],
)  # fmt: skip
def test_addresses_are_taken_apart(workspace: Workspace, text: str, spec: Spec) -> None:
    if text == "base":
        shutil.rmtree(workspace.models / "base")
    assert find_spec(workspace, text) == spec


@pytest.mark.parametrize(
    "text",
    ["http://ada:secret@host/v1#m", "http://host/v1", "ftp://host/x#m", "http://#m", "http://h:99999/v1#m", "lmstudio:",
     "", " ", "a\0b", "http://h/v1?key=secret#m"],
)  # fmt: skip
def test_what_is_no_name_is_refused_without_a_password_in_the_words(workspace: Workspace, text: str) -> None:
    with pytest.raises(UsageError) as error:
        find_spec(workspace, text)
    assert error.value.remedy
    assert "ada:secret" not in str(error.value)


def test_base_is_the_base_of_the_other_side(workspace: Workspace, run: RunDirectory) -> None:
    left, right = pair_of(workspace, "base", "voice-1@20")
    assert isinstance(left, LocalModel)
    assert isinstance(right, LocalModel)
    assert left == base_of(right)
    assert (left.adapter, left.identity, left.chat_template) == (None, right.identity, right.chat_template)


@pytest.mark.parametrize("other", ["base", "tiny", "lmstudio:m"])
def test_what_has_no_base_says_so(workspace: Workspace, other: str) -> None:
    with pytest.raises(UsageError):
        pair_of(workspace, "base", other)


def test_weights_are_not_looked_for_behind_an_address(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="behind an address"):
        local_model(workspace, "lmstudio:m")


@pytest.mark.parametrize(
    "text",
    ["voice-9", "-rf", "../../etc", "a@b@c", "[red]x[/red]", "x" * 5000, "no\x1b[31mred", "~nobody-here/x", "runs",
     "@best", "voice-1@", "модель"],
)  # fmt: skip
def test_names_of_nothing_are_refused_in_a_sentence(workspace: Workspace, run: RunDirectory, text: str) -> None:
    with pytest.raises(EngineError) as error:
        find_spec(workspace, text)
    assert not isinstance(error.value, InvalidName)
    assert error.value.message.isprintable()
    assert error.value.remedy
    assert len(str(error.value)) < 1500


def test_the_nearest_name_is_offered(workspace: Workspace, run: RunDirectory) -> None:
    with pytest.raises(NotFound) as error:
        find_spec(workspace, "voice-2")
    assert "Did you mean voice-1?" in error.value.remedy
