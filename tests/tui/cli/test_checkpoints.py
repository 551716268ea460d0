"""`ftconsole checkpoints` and what is done with them: through the command line, on runs that nobody works on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.runs.directory import RunDirectory
from tests.engine.adapter_files import make_run, save, write_adapter, write_model
from tests.tui.cli.command_line import CommandLine

SETTINGS = "model:\n  name: base  # given: run.yaml:1\n"


@pytest.fixture
def run(cli: CommandLine) -> RunDirectory:
    """A run on the model "base" with checkpoints at 10, 20 and 30, and a best."""
    write_model(cli.workspace / "models" / "base")
    made = make_run(cli.runs, "voice-1", cli.workspace / "models" / "base", SETTINGS)
    for step in (10, 20, 30):
        save(made, step)
    save(made, 20, "best")
    return made


def there(run: RunDirectory) -> list[int]:
    return sorted(int(path.name[11:]) for path in run.checkpoints.glob("checkpoint-*"))


def test_every_run_is_listed_with_its_checkpoints(cli: CommandLine, run: RunDirectory) -> None:
    reply = cli("checkpoints")
    assert reply.code == 0
    assert [line.split()[0] for line in reply.out.splitlines()] == [
        "voice-1", "CHECKPOINT", "best", "checkpoint-30", "checkpoint-20", "checkpoint-10",
    ]  # fmt: skip
    (told,) = cli("checkpoints", "--json").json
    assert (told["run"], told["base"], told["parent"]) == ("voice-1", "base", None)
    assert told["room"]["to_come_bytes"] == 0
    assert [one["name"] for one in told["checkpoints"]][:2] == ["best", "checkpoint-30"]


def test_what_a_checkpoint_was_evaluated_to_be_is_data(cli: CommandLine, run: RunDirectory) -> None:
    run.evaluations.mkdir(exist_ok=True)
    kept = {"created": "2026-11-28T10:00:00+00:00", "scores": {"retain_answered": {"value": 0.9}}, "grade": "excellent"}
    result = run.evaluations / "temporal-best-0a1b2c3d.json"
    result.write_text(json.dumps(kept))
    wanted = {"suite": "temporal", "created": kept["created"], "step": None, "grade": "excellent",
              "scores": {"retain_answered": 0.9}, "path": str(result)}  # fmt: skip
    (told,) = cli("checkpoints", "--json").json
    assert [one["evaluations"] for one in told["checkpoints"]] == [[wanted], [], [], []]
    assert [one["behaviour"] for one in told["checkpoints"]] == [None] * 4
    (best,) = cli("checkpoints", "voice-1", "--filter", "best", "--sort", "name", "--json").json[:1]
    assert best["evaluations"] == [wanted]


def test_a_list_is_sorted_filtered_and_verified(cli: CommandLine, run: RunDirectory) -> None:
    weights = run.checkpoints / "checkpoint-20" / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    found = cli("checkpoints", "voice-1", "--filter", "step>=20 !best", "--sort", "step", "--reverse", "--json").json
    assert [(one["step"], one["valid"]) for one in found] == [(20, True), (30, True)]
    found = cli("checkpoints", "voice-1", "--filter", "damaged", "--verify", "--json").json
    assert [one["fault"] for one in found] == ["adapter_model.safetensors differs from its hash"]
    reply = cli("checkpoints", "voice-1", "--sort", "magic", "--json")
    assert (reply.code, reply.error["code"]) == (2, "usage")


def test_the_output_folder_of_another_tool_is_listed(cli: CommandLine) -> None:
    folder = cli.workspace / "out"
    for step in (5, 10):
        write_adapter(folder / f"checkpoint-{step}", "org/base")
    took = {"eval_runtime": 1.7, "eval_samples_per_second": 4.6}  # no figures of what was learned
    history = [{"step": 10, "eval_loss": 1.5, **took}, {"step": 5, "loss": 2.0}]
    state = {"global_step": 10, "epoch": 2.0, "log_history": history}
    (folder / "checkpoint-10" / "trainer_state.json").write_text(json.dumps(state))
    (folder / "checkpoint-5" / "adapter_model.safetensors").write_bytes(b"\x08")
    found = cli("checkpoints", "out", "--json").json
    assert [(one["name"], one["epoch"], one["metrics"]) for one in found] == [
        ("checkpoint-10", 2.0, {"eval_loss": 1.5, "loss": 2.0}),
        ("checkpoint-5", None, {}),
    ]
    assert "too few" in found[1]["fault"]
    assert found[0]["base"] == "org/base"


@pytest.mark.parametrize("name", ["nobody", "../runs", "a\x1b[2Jb", "x" * 300])
def test_what_is_not_there_is_not_found(cli: CommandLine, run: RunDirectory, name: str) -> None:
    reply = cli("checkpoints", name)
    assert reply.code in (2, 3)
    assert "\x1b" not in reply.out + reply.err


def test_names_with_escapes_are_shown_and_not_obeyed(cli: CommandLine) -> None:
    write_adapter(cli.workspace / "out" / "checkpoint-5", "org/\x1b]0;evil\x07base", note="\x1b[2J")
    reply = cli("checkpoints", "out")
    assert reply.code == 0
    assert "\x1b" not in reply.out


def test_prune_says_what_is_lost_and_does_nothing_unasked(cli: CommandLine, run: RunDirectory) -> None:
    reply = cli("prune", "voice-1", "--keep", "1")
    assert reply.code == 2
    assert "gone for good" in reply.err
    assert there(run) == [10, 20, 30]
    plan = cli("prune", "voice-1", "--keep", "1", "--dry-run", "--json").json
    assert plan["done"] is None
    assert [Path(one["path"]).name for one in plan["plan"]["actions"]] == ["checkpoint-20", "checkpoint-10"]
    assert there(run) == [10, 20, 30]


def test_what_is_pinned_stays(cli: CommandLine, run: RunDirectory) -> None:
    assert cli("pin", "voice-1@10").code == 0
    done = cli("prune", "voice-1", "--keep", "1", "--yes", "--json").json["done"]
    assert [Path(one["path"]).name for one in done["done"]] == ["checkpoint-20"]
    assert there(run) == [10, 30]
    reply = cli("delete", "voice-1@10", "--yes", "--json")
    assert (reply.code, reply.error["code"]) == (8, "not-done")
    assert "pinned" in reply.error["message"]
    assert cli("unpin", "voice-1@10").code == 0
    assert cli("delete", "voice-1@10", "--yes").code == 0
    assert there(run) == [30]
    assert cli("prune", "voice-1", "--yes").code == 0


def test_a_run_without_a_checkpoint_named_is_not_deleted(cli: CommandLine, run: RunDirectory) -> None:
    reply = cli("delete", "voice-1", "--yes", "--json")
    assert (reply.code, reply.error["message"]) == (2, "'voice-1' names no checkpoint.")


def test_weights_are_promoted_and_rolled_back(cli: CommandLine, run: RunDirectory) -> None:
    assert cli("promote", "voice-1@10", "--as", "latest").code == 0
    assert cli("promote", "voice-1@20", "--name", "latest").code == 0
    reply = cli("promote", "voice-1@30", "--name", "latest")
    assert reply.code == 2
    assert "models/previous (voice-1@checkpoint-10) is deleted" in reply.err
    assert cli("rollback", "--yes").code == 0
    (told,) = cli("checkpoints", "models/latest", "--json").json
    assert told["step"] == 10
    assert cli("promote", "voice-1", "--name", "../x", "--json").error["code"] == "invalid-name"
    assert cli("promote", "voice-1@77", "--json").error["code"] == "not-found"


def test_another_base_is_refused_before_a_run_is_made(cli: CommandLine, run: RunDirectory) -> None:
    write_model(cli.workspace / "models" / "other", {"model.embed_tokens.weight": (16, 8)})
    (cli.workspace / "new.jsonl").write_text('{"instruction": "Say hello.", "output": "Hello."}\n' * 20)
    asked = ("continue", "voice-1@10", "--set", "data.train=new.jsonl", "--json")
    reply = cli(*asked, "--set", "model.name=other")
    assert (reply.code, reply.error["code"]) == (8, "base-changed")
    reply = cli(*asked, "--set", "lora.r=64")
    assert (reply.code, reply.error["code"]) == (4, "invalid-config")
    assert cli("continue", "nobody", "--json").error["code"] == "not-found"
    told = cli(*asked, "--dry-run").json
    assert (told["run"], told["parent"], told["train"][0]["rows"]) == (None, "voice-1", 20)
    assert [path.name for path in cli.runs.iterdir() if path.is_dir()] == ["voice-1"]
