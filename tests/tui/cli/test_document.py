"""`docs/command-line.md` against the program."""

from __future__ import annotations

import importlib
import pkgutil
import re
import shlex
from collections.abc import Iterator

import engine
import tui.cli
from engine.errors import EngineError
from tests.tui.cli.command_line import ROOT, Here

TEXT = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")


def errors() -> Iterator[type[EngineError]]:
    """Yield every kind of error there is."""
    for package in (engine, tui.cli):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    waiting = [EngineError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.partition(".")[0] in ("engine", "tui"):
            yield kind


def documented() -> dict[str, int]:
    """Return the exit code of each error code in the table."""
    table = TEXT[TEXT.index("## Exit codes") :]
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", table, re.MULTILINE)
    return {name: int(code) for code, names in rows for name in re.findall("`([a-z-]+)`", names)}


def test_every_error_is_in_the_table_with_its_exit_code() -> None:
    assert {kind.code: kind.exit_code for kind in errors()} == documented()


def listed(help_text: str) -> list[str]:
    """Return the commands a help text lists."""
    return re.findall(r"^  ([a-z-]+) ", help_text.partition("Commands:")[2], re.MULTILINE)


def test_every_command_has_a_section_and_every_option_is_told(here: Here) -> None:
    commands = listed(here("--help").out)
    assert len(commands) > 15
    for command in commands:
        assert re.search(rf"^## .*\b{command}\b", TEXT, re.MULTILINE), command
        told = TEXT if command not in ("demo", "watch", "plot") else TEXT[TEXT.index(f"\n## {command}") :]
        for option in re.findall(r"(--[a-z][a-z-]+)", here(command, "--help").out):
            assert option in told or option == "--help", f"{command} {option}"


def test_every_command_of_a_family_is_told_with_its_options(here: Here) -> None:
    for family in ("data", "lmstudio", "keys"):
        section = TEXT[TEXT.index(f"\n## {family}\n") :].split("\n## ")[1]
        for command in listed(here(family, "--help").out):
            assert f"ftconsole {family} {command} " in section, command
            for option in re.findall(r"(--[a-z][a-z-]+)", here(family, command, "--help").out):
                assert option in section or option == "--help", f"{family} {command} {option}"


def test_every_example_is_one_the_parser_takes(here: Here) -> None:
    examples = [
        line for block in TEXT.split("```")[1::2] for line in block.splitlines() if line.startswith("ftconsole ")
    ]
    assert len(examples) > 15
    for example in examples:
        if "[" in example or "complet" in example:
            continue
        words = shlex.split(re.split(r" [|>#] ?", example)[0])[1:]
        if words and words[0] in ("lmstudio", "keys"):  # they have nothing to do with a workspace
            assert here(*words, FTCONSOLE_LMSTUDIO="http://127.0.0.1:9").code != 2, example
            continue
        # A folder that is not there is looked for after the arguments were parsed.
        reply = here("-w", "missing", *words)
        assert reply.code == 3, (example, reply.err)
        assert "missing" in reply.err
