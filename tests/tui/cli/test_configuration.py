"""The commands about configurations, in a workspace of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.load import load
from engine.config.presets import presets
from tests.tui.cli.command_line import CommandLine

ROW = '{"instruction": "Say hello.", "output": "Hello."}\n'


def rows(cli: CommandLine, count: int = 120) -> None:
    (cli.workspace / "rows.jsonl").write_text(ROW * count)


def test_a_configuration_is_printed_as_a_run_would_use_it(cli: CommandLine) -> None:
    rows(cli)
    reply = cli(
        "config", "--preset", "small-dataset", "--set", "data.train=rows.jsonl", "--set", "model.name=tiny", "--json"
    )
    found = {one["key"]: one for one in reply.json}
    assert found["lora.r"]["value"] == 16
    assert found["lora.r"]["source"] == "automatic"
    assert found["lora.r"]["reason"] == "120 examples: 100 to 499 -> 16"
    assert found["data.train"]["source"] == "given"
    assert found["training.learning_rate"] == {
        "key": "training.learning_rate", "value": 2e-4, "source": "preset", "reason": "small-dataset",
    }  # fmt: skip
    text = cli("config", "--preset", "demo")
    (cli.workspace / "again.yaml").write_text(text.out)
    assert cli("config", "again.yaml").code == 0
    assert not cli.runs.exists()


def test_all_problems_are_told_at_once(cli: CommandLine) -> None:
    (cli.workspace / "run.yaml").write_text("training: {lerning_rate: 1, seed: x}\n")
    reply = cli("config", "run.yaml", "--json")
    assert reply.code == 4
    assert len(reply.error["problems"]) == 3


def test_the_presets_are_listed_and_begin_a_file_that_trains(cli: CommandLine) -> None:
    names = [one["name"] for one in cli("presets", "--json").json]
    assert names == [one.name for one in presets()]
    assert {"freethought-sft", "retain-unlearn-dev", "domain-voice-3b", "small-dataset"} <= set(names)
    reply = cli("init", "retain-unlearn-dev", "-o", "run.yaml")
    assert (reply.code, reply.out) == (0, "")
    assert load(cli.workspace / "run.yaml").check().lora.r == 8
    again = cli("init", "retain-unlearn-dev", "-o", "run.yaml")
    assert again.code == 2
    assert "--force" in again.err
    assert cli("init", "demo", "-o", "run.yaml", "--force").code == 0
    assert cli("init", "demo").out == (cli.workspace / "run.yaml").read_text()
    assert cli("init", "demmo").code == 3
    assert cli("init", "demo", "-o", "none/run.yaml").code == 7


def test_what_another_tool_wrote_becomes_a_file_of_ours(cli: CommandLine) -> None:
    (cli.workspace / "axolotl.yaml").write_text("base_model: tiny\nlora_r: 8\nval_set_size: 0.1\nfsdp: []\n")
    reply = cli("import", "axolotl.yaml", "-o", "run.yaml")
    assert reply.code == 0
    assert "line 3: val_set_size" in reply.err
    assert load(cli.workspace / "run.yaml").settings["lora.r"].value == 8
    found = cli("import", "axolotl.yaml", "--json").json
    assert [one["name"] for one in found["left"]] == ["val_set_size", "fsdp"]
    assert cli("import", "run.yaml").code == 2


def test_two_configurations_are_compared(cli: CommandLine) -> None:
    (cli.workspace / "run.yaml").write_text("preset: domain-voice\nlora: {r: 64}\n")
    assert cli("diff", "domain-voice", "run.yaml", "--json").json == [{"key": "lora.r", "before": 8, "after": 64}]
    assert cli("diff", "run.yaml", "domain-voice").out == "lora.r  64 -> 8\n"
    reply = cli("diff", "domain-voice", "nowhere")
    assert reply.code == 3
    assert "nowhere" in reply.err


@pytest.mark.parametrize("name", ["\x1b[2J", "../..", ".", "a\u202e"])
def test_a_name_that_is_none_is_a_sentence(cli: CommandLine, name: str) -> None:
    for arguments in (["diff", name, "demo"], ["init", name], ["import", name]):
        reply = cli(*arguments)
        assert reply.code in (3, 4)
        assert "\x1b" not in reply.err
        assert "\u202e" not in reply.err


def test_an_estimate_says_what_it_comes_to(cli: CommandLine) -> None:
    rows(cli)
    found = cli("estimate", "--set", "data.train=rows.jsonl", "--json", "--preset", "demo").json
    assert found["total_bytes"] == sum(found["components"].values())
    assert found["components"]["weights"] == 3_936_512 * 4
    assert found["fits"] is True
    assert found["rows"] == 16
    assert 5 < found["length"] < 60
    assert found["num_steps"] == 16
    assert found["probe"] is None
    text = cli("estimate", "--set", "data.train=rows.jsonl", "--preset", "demo")
    assert "total" in text.out
    assert "fits:" in text.out


def test_a_model_that_is_not_here_is_estimated_from_the_catalogue_and_another_is_not(cli: CommandLine) -> None:
    rows(cli)
    common = ["--set", "data.train=rows.jsonl", "--json", "--preset", "domain-voice"]
    assert cli("estimate", *common).json["components"]["weights"] == 494_032_768 * 4
    reply = cli("estimate", *common, "--set", "model.name=somebody/something")
    assert reply.code == 3
    assert reply.error["code"] == "not-estimated"


def test_two_steps_are_tried_and_remembered(cli: CommandLine) -> None:
    rows(cli)
    settings = ["--set", "data.train=rows.jsonl", "--set", "training.per_device_train_batch_size=2", "--preset", "demo"]
    found = cli.with_weights("estimate", *settings, "--probe", "--seconds", "0", "--json").json
    probe = found["probe"]
    assert probe["fits"]
    assert probe["trials"][0]["rows"] == 2
    assert probe["weight_bytes"] == found["components"]["weights"]
    assert probe["adapter_bytes"] == found["components"]["adapter"]
    assert probe["optimizer_bytes"] == found["components"]["optimizer"]
    assert probe["training_seconds"] > 0
    remembered = cli.home / ".local" / "state" / "ftconsole" / "memory.jsonl"
    assert remembered.is_file()
    assert "measured here" in cli("estimate", *settings, "--json").json["correction"]
    assert not cli.runs.exists()
    assert Path(cli.workspace / "rows.jsonl").is_file()
