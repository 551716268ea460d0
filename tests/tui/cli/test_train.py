"""Starting and resuming runs: what is refused is refused in one sentence, before anything is made."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.load import GivenConfig
from engine.errors import ConfigError, UsageError
from engine.launch.start import wait_until_dead
from engine.runs.directory import RunDirectory
from engine.workspace import Workspace
from tests.conftest import Runs
from tests.tui.cli.command_line import CommandLine, MakeRun, ending, training
from tui.cli.train import Asked, given

ROW = '{"instruction": "Say hello.", "output": "Hello."}\n'


def rows(text: str | bytes) -> Callable[[Path], None]:
    def write(workspace: Path) -> None:
        (workspace / "rows.jsonl").write_bytes(text if isinstance(text, bytes) else text.encode())

    return write


def nothing(workspace: Path) -> None:
    """Everything as it should be."""
    rows(ROW * 20)(workspace)


def a_file_for_runs(workspace: Path) -> None:
    nothing(workspace)
    (workspace / "runs").write_text("")


def a_taken_name(workspace: Path) -> None:
    nothing(workspace)
    (workspace / "runs" / "taken").mkdir(parents=True)


def configuration(text: str) -> Callable[[Path], None]:
    def write(workspace: Path) -> None:
        nothing(workspace)
        (workspace / "run.yaml").write_text(text)

    return write


BAD_INPUT = [
    pytest.param(nothing, ["--set", "model.name=nobody/"], 3, "nobody/", id="no such model"),
    pytest.param(nothing, ["--set", "data.train=none.jsonl"], 3, "none.jsonl", id="no such data file"),
    pytest.param(nothing, ["--set", "data.validation=none.jsonl"], 3, "none.jsonl", id="no such validation file"),
    pytest.param(nothing, ["--set", "training.lerning_rate=1"], 4, "training.learning_rate", id="an unknown key"),
    pytest.param(nothing, ["--set", "training.learning_rate=fast"], 4, "fast", id="a wrong type"),
    pytest.param(nothing, ["--set", "training.learning_rate"], 4, "key=value", id="no value"),
    pytest.param(nothing, ["--set", "model.name: x"], 4, "key=value", id="no assignment"),
    pytest.param(nothing, ["--dev"], 4, "data.dev", id="no file for a quick test"),
    pytest.param(nothing, ["--preset", "demmo"], 3, "Did you mean demo?", id="no such preset"),
    pytest.param(nothing, ["--name", "../x"], 2, "../x", id="a name outside of the folder"),
    pytest.param(nothing, ["--name", "/tmp/x"], 2, "/tmp/x", id="a path for a name"),
    pytest.param(nothing, ["--name", "-rf"], 2, "-rf", id="a name like an option"),
    pytest.param(nothing, ["--name", "x" * 300], 2, "xxx", id="a very long name"),
    pytest.param(nothing, ["--name", ""], 2, "''", id="an empty name"),
    pytest.param(a_taken_name, ["--name", "taken"], 2, "taken", id="a name in use"),
    pytest.param(a_file_for_runs, [], 7, "runs", id="a workspace that cannot be written"),
    pytest.param(rows(""), [], 5, "rows.jsonl", id="an empty file"),
    pytest.param(rows("\n \n\n"), [], 5, "rows.jsonl", id="blank lines only"),
    pytest.param(rows(ROW * 3 + '{"instruction": "Say'), [], 5, "4", id="a torn last line"),
    pytest.param(rows(ROW * 3 + "not json\n" + ROW), [], 5, "4", id="a line that is no JSON"),
    pytest.param(rows(ROW.encode("utf-16")), [], 5, "UTF-8", id="another encoding"),
    pytest.param(rows(b"\x00" * 100), [], 5, "rows.jsonl", id="zeros"),
    pytest.param(rows('{"question": "?"}\n'), [], 5, "rows.jsonl", id="rows of another shape"),
    pytest.param(rows("version https://git-lfs.github.com/spec/v1\n"), [], 5, "git lfs pull", id="an LFS pointer"),
    pytest.param(configuration("model: [tiny\n"), [], 4, "run.yaml", id="damaged YAML"),
    pytest.param(configuration("- a\n- b\n"), [], 4, "run.yaml", id="a list for a configuration"),
    pytest.param(configuration(""), [], 4, "empty", id="an empty configuration"),
    pytest.param(configuration("model: {name: tiny}\n"), [], 4, "data.train", id="no data"),
    pytest.param(configuration("model: !!python/object/apply:os.system [id]\n"), [], 4, "run.yaml", id="code in YAML"),
]


@pytest.mark.parametrize(("prepare", "options", "code", "said"), BAD_INPUT)
def test_bad_input_is_one_sentence_a_remedy_and_nothing_left_behind(
    cli: CommandLine, prepare: Callable[[Path], None], options: list[str], code: int, said: str
) -> None:
    (cli.workspace / "run.yaml").write_text("model: {name: tiny}\ndata: {train: rows.jsonl}\n")
    prepare(cli.workspace)
    before = sorted(cli.workspace.rglob("*"))
    reply = cli("train", "run.yaml", *options)
    assert (reply.code, reply.out) == (code, "")
    assert said in reply.err
    sentence, *remedy = reply.err.splitlines()
    assert sentence.startswith("error: ")
    assert remedy
    as_json = cli("train", "run.yaml", *options, "--json")
    assert as_json.code == code
    assert as_json.error["message"]
    assert as_json.error["remedy"]
    after = sorted(path for path in cli.workspace.rglob("*") if path != cli.runs or cli.runs in before)
    assert after == before


def test_all_problems_are_told_at_once(cli: CommandLine) -> None:
    reply = cli("train", "--preset", "demo", "--set", "training.lerning_rate=1", "--set", "lora.r=no", "--json")
    assert reply.code == 4
    assert len(reply.error["problems"]) == 2
    text = cli("train", "--preset", "demo", "--set", "training.lerning_rate=1", "--set", "lora.r=no").err
    assert text.startswith("error: The configuration has 2 problems:\n  - ")


def test_a_missing_configuration_and_nothing_at_all(cli: CommandLine) -> None:
    reply = cli("train", "none.yaml")
    assert reply.code == 3
    assert "none.yaml" in reply.err
    reply = cli("train")
    assert reply.code == 2
    assert "--preset demo" in reply.err


def test_data_that_stands_where_settings_do_is_told_with_the_setting_for_it(cli: CommandLine) -> None:
    reply = cli("train", "my/rows.jsonl")
    assert reply.code == 2
    assert "--set data.train=my/rows.jsonl" in reply.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_workspace_without_permission(cli: CommandLine) -> None:
    cli.workspace.chmod(0o500)
    try:
        reply = cli("train", "--preset", "demo")
        assert reply.code == 7
        assert "-w" in reply.err
    finally:
        cli.workspace.chmod(0o700)


def test_a_read_only_file_system(cli: CommandLine) -> None:
    reply = cli("-w", "/proc/self", "train", "--preset", "demo")
    assert reply.code == 7
    assert "/proc/self" in reply.err.replace(
        "/proc/" + reply.err.partition("/proc/")[2].partition("/")[0], "/proc/self"
    )


def test_an_escape_sequence_in_a_path_is_shown_and_not_obeyed(cli: CommandLine) -> None:
    for arguments in (["\x1b[2J.yaml"], ["--preset", "\x1b[2J"], ["--preset", "demo", "--set", "\x1b[2J=1"]):
        reply = cli("train", *arguments)
        assert reply.code in (3, 4)
        assert "\x1b" not in reply.err
        assert re.search(r"\\(x|u00)1b\[2J", reply.err)


# What a configuration is made of


def test_options_stand_above_the_file_and_the_file_above_the_preset(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("training: {learning_rate: 1e-5, seed: 7}\n")
    settings = given(Asked("run.yaml", "demo", ("training.seed=8",)), Workspace(tmp_path)).settings
    assert settings["training.seed"].value == 8
    assert settings["training.learning_rate"].value == 1e-5
    assert settings["model.name"].value == "tiny"  # the preset's


def test_settings_alone_are_enough(tmp_path: Path) -> None:
    asked = Asked(None, sets=("model.name=tiny", "data.train=rows.jsonl"))
    assert given(asked, Workspace(tmp_path)).check().data.train == ["rows.jsonl"]


def test_a_quick_test_learns_from_the_dev_file_for_one_epoch(tmp_path: Path) -> None:
    asked = Asked(None, "demo", dev=True)
    config = given(asked, Workspace(tmp_path)).check()
    assert config.data.train == ["datasets/dev/dev_subset.jsonl"]
    assert config.training.num_train_epochs == 1


def test_the_file_of_the_current_folder_comes_before_the_workspaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, workspace = tmp_path / "here", tmp_path / "workspace"
    for number, folder in enumerate((here, workspace), 1):
        folder.mkdir()
        (folder / "run.yaml").write_text(f"training: {{seed: {number}}}\n")
    monkeypatch.chdir(here)

    def seed() -> object:
        settings: GivenConfig = given(Asked("run.yaml"), Workspace(workspace))
        return settings.settings["training.seed"].value

    assert seed() == 1
    (here / "run.yaml").unlink()
    assert seed() == 2


def test_nothing_to_train_from() -> None:
    with pytest.raises(UsageError):
        given(Asked(None), Workspace(Path("/")))
    with pytest.raises(ConfigError):
        given(Asked(None, "demo", ("nonsense",)), Workspace(Path("/"))).check()


# Resuming


def test_a_finished_run_has_nothing_to_go_on_with(cli: CommandLine, make_run: MakeRun) -> None:
    make_run(said=[*training(2), *ending(2)])
    reply = cli("resume", "run-1")
    assert reply.code != 0
    assert reply.out == ""
    assert len(reply.err.splitlines()) >= 2


def test_a_living_run_is_not_started_a_second_time(cli: CommandLine, runs: Runs) -> None:
    run = runs.create("live-1")
    runs.start(run, "signal.pause()\n")
    reply = cli("resume", "live-1", "--json")
    assert reply.code in (4, 6)  # a run made by hand has no settings to go on with either
    assert reply.error["remedy"]
    log = run.events.read_bytes()
    assert log.count(b"KeeperStarted") == 1


def test_a_run_without_its_files_is_not_resumed(cli: CommandLine, make_run: MakeRun) -> None:
    run = make_run(said=training(2))
    run.config.unlink()
    before = run.events.read_bytes()
    reply = cli("resume", "run-1")
    assert reply.code != 0
    assert "run.yaml" in reply.err
    assert run.events.read_bytes() == before


def test_the_name_is_all_there_is_on_stdout_and_the_run_outlives_the_command(cli: CommandLine) -> None:
    (cli.workspace / "rows.jsonl").write_text(ROW * 40)
    (cli.workspace / "run.yaml").write_text("data: {train: rows.jsonl}\ntraining: {max_steps: 1000}\n")
    reply = cli("train", "run.yaml", "--name", "voice-1")
    try:
        assert (reply.code, reply.out) == (0, "voice-1\n")
        assert "ftconsole watch voice-1" in reply.err
        assert "ftconsole stop voice-1" in reply.err
        listed = cli("runs", "--json").json
        assert [run["name"] for run in listed] == ["voice-1"]
        assert listed[0]["state"] in ("starting", "running")
    finally:
        stopped = cli("stop", "voice-1", "--now", "--yes", "--timeout", "100")
    assert stopped.code == 0


def test_what_a_started_run_is_as_json(cli: CommandLine) -> None:
    (cli.workspace / "rows.jsonl").write_text(ROW * 40)
    (cli.workspace / "run.yaml").write_text("data: {train: rows.jsonl}\ntraining: {max_steps: 1000}\n")
    reply = cli("-w", str(cli.workspace), "train", "run.yaml", "--json")
    name = reply.json["run"]
    assert reply.json["path"] == str(cli.runs / name)
    process = cli.start("watch", name, "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["event"] == "RunCreated"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert cli("stop", name, "--now", "--yes", "--timeout", "100").code == 0
    wait_until_dead(RunDirectory(cli.runs / name), timeout_seconds=60)


def test_much_data_is_announced_before_it_is_looked_through(cli: CommandLine) -> None:
    row = '{"instruction": "Say hello.",' + " " * 51_000_000 + '"output": ""}\n'
    (cli.workspace / "rows.jsonl").write_text(row)
    done = cli("train", "--preset", "small-dataset", "--set", "data.train=rows.jsonl", "--set", "data.validation={}")
    assert "Looking through 51 MB of data" in done.err
    assert done.code == 5
