"""Where data, models and runs are looked for, and what a run may be called."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from engine.errors import EngineError, InvalidName, NotFound, WorkspaceError
from engine.workspace import ModelReference, Workspace, check_run_name, named_path, shipped_folder


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace, and an empty current folder beside it."""
    for name in ("here", "workspace"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return Workspace(tmp_path / "workspace")


def put(path: Path, text: str = "{}\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def refusal(error: pytest.ExceptionInfo[EngineError]) -> str:
    """Return what is shown of an error, which must be safe to show and say what to do."""
    assert error.value.message.isprintable()
    assert error.value.remedy
    return str(error.value)


# Finding a workspace


def test_the_workspace_is_the_current_folder_unless_one_is_named(tmp_path: Path, workspace: Workspace) -> None:
    assert Workspace.find().path == tmp_path / "here"
    assert Workspace.find(workspace.path).path == workspace.path
    assert Workspace.find("../workspace").path == workspace.path


def test_home_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Workspace.find("~").path == tmp_path


def test_finding_a_workspace_makes_nothing(workspace: Workspace) -> None:
    Workspace.find(workspace.path)
    assert list(workspace.path.iterdir()) == []


def test_a_workspace_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as error:
        Workspace.find(tmp_path / "none")
    assert "mkdir" in refusal(error)


def test_a_file_is_no_workspace(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="is not a folder"):
        Workspace.find(put(tmp_path / "file"))


@pytest.mark.parametrize("path", ["a\0b", "~nobody-of-that-name/x", "x" * 5000, "\x1b[2J"])
def test_a_path_that_cannot_be_is_no_workspace(path: str) -> None:
    with pytest.raises((WorkspaceError, NotFound)) as error:
        Workspace.find(path)
    refusal(error)


def test_a_deleted_current_folder_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises((WorkspaceError, NotFound)) as error:
        Workspace.find()
    refusal(error)


# The runs folder


def test_the_runs_folder_is_private_and_left_clean(workspace: Workspace) -> None:
    old = os.umask(0)
    try:
        runs = workspace.make_runs_folder()
    finally:
        os.umask(old)
    assert stat.S_IMODE(runs.stat().st_mode) == 0o700
    assert list(runs.iterdir()) == []


def test_a_runs_folder_that_is_there_is_taken_as_it_is(workspace: Workspace) -> None:
    workspace.runs.mkdir(mode=0o755)
    workspace.runs.chmod(0o755)
    put(workspace.runs / "a" / "events.jsonl")
    workspace.make_runs_folder()
    assert stat.S_IMODE(workspace.runs.stat().st_mode) == 0o755
    assert [path.name for path in workspace.runs.iterdir()] == ["a"]


def test_a_file_called_runs_is_refused(workspace: Workspace) -> None:
    put(workspace.runs)
    with pytest.raises(WorkspaceError) as error:
        workspace.make_runs_folder()
    assert "-w" in refusal(error)
    assert workspace.runs.is_file()


def test_a_workspace_that_cannot_be_written_is_refused_and_nothing_is_left(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tests may run as root, whom no permission bits stop: the file system itself has to say no.
    def refuse(*_: object, **__: object) -> int:
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(WorkspaceError, match="Read-only file system") as error:
        workspace.make_runs_folder()
    refusal(error)
    assert not workspace.runs.exists()


def test_a_folder_under_proc_cannot_be_written() -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("needs /proc")
    with pytest.raises(WorkspaceError) as error:
        Workspace(Path("/proc/self")).make_runs_folder()
    refusal(error)


# Data files


def test_data_is_looked_for_in_the_workspace_then_here_then_among_the_samples(workspace: Workspace) -> None:
    name = "datasets/retain/retain_val.jsonl"
    assert workspace.data_file(name) == shipped_folder() / name
    here = put(Path.cwd() / name)
    assert workspace.data_file(name) == here
    own = put(workspace.path / name)
    assert workspace.data_file(name) == own


def test_an_absolute_path_is_taken_as_it_is(tmp_path: Path, workspace: Workspace) -> None:
    path = put(tmp_path / "far" / "a.jsonl")
    assert workspace.data_file(str(path)) == path


def test_a_path_in_home_is_understood(tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = put(tmp_path / "a.jsonl")
    assert workspace.data_file("~/a.jsonl") == path
    assert workspace.lasting_path("~/a.jsonl") == str(path)


def test_a_missing_file_names_the_places_and_the_nearest_name(workspace: Workspace) -> None:
    put(workspace.path / "datasets" / "mine" / "athletics.jsonl")
    with pytest.raises(NotFound) as error:
        workspace.data_file("datasets/mine/athletcs.jsonl")
    said = refusal(error)
    assert str(workspace.path) in said
    assert str(shipped_folder()) in said
    assert "Did you mean datasets/mine/athletics.jsonl?" in said


@pytest.mark.parametrize("text", ["retain_trian.jsonl", "datasets/retian/retain_train.jsonl"])
def test_a_sample_is_suggested_from_its_name_alone(workspace: Workspace, text: str) -> None:
    with pytest.raises(NotFound, match=r"Did you mean datasets/retain/retain_train\.jsonl\?"):
        workspace.data_file(text)


def test_a_file_beside_a_wrong_absolute_path_is_suggested(tmp_path: Path, workspace: Workspace) -> None:
    path = put(tmp_path / "far" / "train.jsonl")
    with pytest.raises(NotFound) as error:
        workspace.data_file(str(path.with_name("trian.jsonl")))
    assert f"Did you mean {path}?" in refusal(error)


def test_nothing_is_suggested_where_nothing_is_near(workspace: Workspace) -> None:
    with pytest.raises(NotFound) as error:
        workspace.data_file("zzzz.parquet")
    assert "Did you mean" not in refusal(error)


def test_a_folder_is_no_data_file(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="is a folder, not a file of rows"):
        workspace.data_file("datasets/retain")


@pytest.mark.parametrize("text", ["", " ", "a\0b", "x" * 5000, "~nobody-of-that-name/a.jsonl", "\x1b]0;title\x07"])
def test_a_text_that_is_no_path_is_refused_in_a_sentence(workspace: Workspace, text: str) -> None:
    with pytest.raises(NotFound) as error:
        workspace.data_file(text)
    refusal(error)


def test_a_path_through_a_file_is_not_found(workspace: Workspace) -> None:
    put(workspace.path / "a.jsonl")
    with pytest.raises(NotFound):
        workspace.data_file("a.jsonl/b.jsonl")


def test_only_paths_outside_the_workspace_become_absolute(workspace: Workspace) -> None:
    put(workspace.path / "own.jsonl")
    put(Path.cwd() / "here.jsonl")
    assert workspace.lasting_path("own.jsonl") == "own.jsonl"
    assert workspace.lasting_path("here.jsonl") == str(Path.cwd() / "here.jsonl")
    assert workspace.lasting_path("datasets/dev/dev_subset.jsonl") == "datasets/dev/dev_subset.jsonl"


def test_a_thousand_files_do_not_make_a_missing_one_slow_to_report(workspace: Workspace) -> None:
    folder = workspace.path / "datasets" / "many"
    folder.mkdir(parents=True)
    for number in range(3000):
        (folder / f"{number}.jsonl").touch()
    with pytest.raises(NotFound):
        workspace.data_file("datasets/many/x.jsonl")


# Models


def test_the_built_in_model_is_found_from_anywhere(workspace: Workspace) -> None:
    folder = shipped_folder() / "models" / "tiny"
    if not (folder / "config.json").is_file():
        pytest.skip("the built-in model is not made yet")
    assert workspace.model("tiny") == ModelReference("builtin", "tiny", folder, None)
    assert workspace.lasting_model("tiny") == "tiny"


def test_a_folder_and_a_cached_data_set_have_the_files_of_a_split(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "hf"
    monkeypatch.setenv("HF_HOME", str(cache))
    for name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    snapshot = cache / "hub" / "datasets--ada--pairs" / "snapshots" / "abc"
    for folder in (workspace.datasets / "mine", snapshot):
        folder.mkdir(parents=True)
        for name in ("train-0.jsonl", "train-1.jsonl", "val.jsonl"):
            (folder / name).write_text("{}\n")
    for text, folder in (("datasets/mine", workspace.datasets / "mine"), ("ada/pairs", snapshot)):
        assert workspace.data_files(text, "train") == (folder / "train-0.jsonl", folder / "train-1.jsonl")
        assert workspace.data_files(text, "validation") == (folder / "val.jsonl",)
        assert workspace.lasting_path(text) == text
        with pytest.raises(NotFound, match=r"no data files for test\. It has train, validation"):
            workspace.data_files(text, "test")
    one = workspace.datasets / "mine" / "val.jsonl"
    assert workspace.data_files("datasets/mine/val.jsonl", "train") == (one,)
    with pytest.raises(NotFound, match="no data file 'ada/other'") as missing:
        workspace.data_files("ada/other", "train")
    assert "hf download ada/other --repo-type dataset" in missing.value.remedy


def test_a_model_of_the_workspace_goes_by_its_folders_name(workspace: Workspace) -> None:
    config = put(workspace.models / "tiny" / "config.json")
    assert workspace.model("tiny") == ModelReference("folder", "tiny", config.parent, None)
    assert workspace.model("models/tiny").path == config.parent
    assert workspace.model(str(config.parent)).source == str(config.parent)
    assert workspace.lasting_model("tiny") == "tiny"


def test_a_folder_of_the_models_name_that_holds_no_model_is_not_in_the_way(workspace: Workspace) -> None:
    put(workspace.models / "mine" / "config.json")
    (workspace.path / "mine").mkdir()
    assert workspace.model("mine").path == workspace.models / "mine"


def test_a_model_here_is_named_so_that_it_is_found_from_elsewhere(workspace: Workspace) -> None:
    put(Path.cwd() / "merged" / "config.json")
    assert workspace.lasting_model("./merged") == str(Path.cwd() / "merged")


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-1.5B-Instruct", "microsoft/phi-2", "a/b", "o_1/m.v-2"])
def test_a_hub_name_is_taken_without_looking_for_it(workspace: Workspace, name: str) -> None:
    assert workspace.model(name, "main") == ModelReference("hub", name, None, "main")
    assert workspace.model(name).source == name
    assert workspace.lasting_model(name) == name


def test_a_name_of_the_catalogue_stands_for_its_hub_name(workspace: Workspace) -> None:
    put(workspace.models / "catalogue.yaml", "models: [{name: short, hub: org/Long-Name}]")
    assert workspace.model("short", "v2") == ModelReference("hub", "org/Long-Name", None, "v2")
    assert workspace.lasting_model("short") == "org/Long-Name"


def test_a_folder_without_a_model_is_refused(workspace: Workspace) -> None:
    (workspace.path / "empty").mkdir()
    with pytest.raises(NotFound, match=r"it has no config\.json"):
        workspace.model("empty")


def test_an_adapter_is_no_base_model(workspace: Workspace) -> None:
    put(workspace.path / "final" / "adapter_config.json")
    with pytest.raises(NotFound, match="name the base model it was trained on"):
        workspace.model("final")


@pytest.mark.parametrize("name", ["tinny", "gpt2", "./x", "a/b/c", "a--b/c", "a/b.", "-a/b", "a b/c", "a/" + "b" * 96])
def test_what_is_neither_folder_nor_hub_name_is_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(NotFound) as error:
        workspace.model(name)
    refusal(error)


def test_the_nearest_model_is_suggested(workspace: Workspace) -> None:
    with pytest.raises(NotFound, match=r"Did you mean tiny\?"):
        workspace.model("tinny")


def test_an_address_is_refused_without_repeating_the_password_in_it(workspace: Workspace) -> None:
    with pytest.raises(NotFound) as error:
        workspace.model("https://user:secret@huggingface.co/org/name")
    assert "secret" not in refusal(error)


# Names of runs


@pytest.mark.parametrize("name", ["a", "sft-tiny-1", "Run.2_b", "9", "x" * 64, "a.b"])
def test_plain_names_are_taken(name: str) -> None:
    assert check_run_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *["", ".", "..", "../x", "/abs", "a/b", "a\\b", "-rf", "--name", ".hidden", "_x", "a..b", "x" * 65, "x" * 300],
        *["a\nb", "a\n", "\x1b[2J", "a\0", "a b", "é", "a\u202eb", "٣", "a:b", "$(x)", "~", "*"],
    ],
)
def test_names_that_could_leave_the_folder_or_the_line_are_refused(name: str) -> None:
    with pytest.raises(InvalidName) as error:
        check_run_name(name)
    refusal(error)


def test_the_home_of_a_user_there_is_none_of_is_a_name_as_to_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert named_path("~/out.gguf") == Path("/home/me/out.gguf")
    assert named_path("~nobody-of-that-name/out.gguf") == Path("~nobody-of-that-name/out.gguf")
