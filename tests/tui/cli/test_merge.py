"""`ftconsole merge`, as a person meets it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.export.beside import PARTIAL
from engine.workspace import shipped_folder
from tests.engine.adapter_files import write_tiny_adapter
from tests.tui.cli.command_line import CommandLine


@pytest.fixture
def adapter(cli: CommandLine) -> Path:
    """An adapter of another tool on the built-in model."""
    return write_tiny_adapter(cli.workspace / "lora")


def test_it_merges_proves_and_lists_what_it_made(cli: CommandLine, adapter: Path) -> None:
    reply = cli("merge", "lora", "-o", "out", "--dtype", "float32", "--verify")
    assert reply.code == 0, reply.err
    assert "Needs about" in reply.err
    assert "Nothing proves that tiny is the base lora was trained on" in reply.err
    assert reply.out.startswith("Verifying merged model...\nTest generation successful!\n  Prompt: What is 2+2?\n")
    assert "  Response: The answer is 4." in reply.out
    assert "4 of 4 answers equal (float32: max_abs at most 0.0001)" in reply.out
    assert "model.safetensors" in reply.out
    assert {"config.json", "tokenizer.json", "merge.json"} <= set(os.listdir(cli.workspace / "out"))
    again = cli("merge", "lora", "-o", "out", "--json")
    assert (again.code, again.error["code"]) == (2, "target-exists")


def test_a_dry_run_says_what_it_needs_and_makes_nothing(cli: CommandLine, adapter: Path) -> None:
    found = cli("merge", "lora", "-o", "deep/out", "--dry-run", "--json").json
    assert (found["base"], found["dtype"], found["parameters"]) == ("tiny", "bfloat16", 3_936_512)
    assert found["needed_bytes"] > 7_000_000
    text = cli("merge", "lora", "-o", "deep/out", "--dry-run").out
    assert "lora into tiny, as bfloat16" in text
    assert sorted(os.listdir(cli.workspace)) == ["lora"]


@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        (("tiny", "-o", "out"), 2, "nothing-to-merge"),
        (("lora", "-o", "out", "--dtype", "int4"), 2, "usage"),
        (("lora", "-o", "lora"), 2, "target-exists"),
        (("nothing", "-o", "out"), 3, "not-found"),
        (("lora", "-o", "out", "--base", "nowhere"), 3, "not-found"),
        (("lora",), 2, "usage"),
    ],
)
def test_what_cannot_be_merged_is_refused(
    cli: CommandLine, adapter: Path, arguments: tuple[str, ...], code: int, name: str
) -> None:
    reply = cli("merge", *arguments, "--json")
    assert (reply.code, reply.error["code"]) == (code, name)
    assert sorted(os.listdir(cli.workspace)) == ["lora"]


def test_on_a_terminal_it_asks_before_it_replaces(cli: CommandLine, adapter: Path) -> None:
    (cli.workspace / "out").mkdir()
    (cli.workspace / "out" / "config.json").write_text("{}")
    terminal = cli.open_terminal("merge", "lora", "-o", "out")
    terminal.read_until("Replace it? [y/N]")
    terminal.type("n\n")
    code, text = terminal.finish()
    assert code == 2
    assert "there already" in text
    assert os.listdir(cli.workspace / "out") == ["config.json"]


def test_killed_at_half_it_leaves_nothing_that_stays(
    cli: CommandLine, adapter: Path, wait_for: Callable[..., Any]
) -> None:
    process = cli.start("merge", "lora", "-o", "out")

    def partials() -> list[Path]:
        return list(cli.workspace.glob(f"{PARTIAL}*"))

    wait_for(partials, "the folder it writes in")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_for(lambda: not partials() or cli("merge", "lora", "-o", "other", "--dry-run").code, "its folder's end")
    assert sorted(os.listdir(cli.workspace)) == ["lora"]


def test_names_cannot_act_on_the_terminal(cli: CommandLine) -> None:
    base = str(shipped_folder() / "models" / "tiny")
    write_tiny_adapter(cli.workspace / "lo\x1b[31mra", base)
    reply = cli("merge", "lo\x1b[31mra", "-o", "out", "--dry-run")
    assert "\x1b" not in reply.out + reply.err
    assert json.loads(cli("merge", "lo\x1b[31mra", "-o", "out", "--dry-run", "--json").out)["dtype"] == "bfloat16"
