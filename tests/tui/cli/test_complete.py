"""What the shell is offered when tab is pressed."""

from __future__ import annotations

import subprocess

import pytest

from tests.tui.cli.command_line import CommandLine, MakeRun, training


def offered(cli: CommandLine, words: str) -> list[str]:
    """Return what bash would offer for the last word."""
    process = cli.start(
        _FTCONSOLE_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1)
    )
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out.split()


def test_commands(cli: CommandLine) -> None:
    assert {"demo", "train", "set-lr"} <= set(offered(cli, "ftconsole "))
    assert offered(cli, "ftconsole wat") == ["watch"]


@pytest.mark.parametrize("command", ["watch", "resume", "plot", "pause", "unpause", "save", "stop", "set-lr"])
def test_names_of_runs(cli: CommandLine, make_run: MakeRun, command: str) -> None:
    for name in ("voice-1", "voice-2", "demo-1"):
        make_run(name)
    assert offered(cli, f"ftconsole {command} vo") == ["voice-1", "voice-2"]


def test_names_of_runs_of_another_workspace(cli: CommandLine, make_run: MakeRun) -> None:
    make_run("voice-1")
    (cli.workspace / "elsewhere").mkdir()
    assert offered(cli, "ftconsole -w elsewhere watch ") == []
    assert offered(cli, f"ftconsole -w {cli.workspace} watch ") == ["voice-1"]
    assert offered(cli, "ftconsole -w missing watch ") == []


def test_presets_metrics_and_checkpoints(cli: CommandLine, make_run: MakeRun) -> None:
    run = make_run(said=training(3))
    for number in (5, 10):
        (run.checkpoints / f"checkpoint-{number}").mkdir()
    assert "demo" in offered(cli, "ftconsole train --preset de")
    assert offered(cli, "ftconsole plot run-1 --metric le") == ["learning_rate"]
    assert offered(cli, "ftconsole resume run-1 --from ") == ["checkpoint-10", "checkpoint-5"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_each_shell_is_printed(cli: CommandLine, shell: str) -> None:
    process = cli.start(_FTCONSOLE_COMPLETE=f"source_{shell}")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "_FTCONSOLE_COMPLETE" in out
    if shell == "bash":
        subprocess.run(["bash", "-n", "-c", out], check=True)
