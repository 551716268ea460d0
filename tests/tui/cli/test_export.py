"""`ftconsole export`, as a person and as a script calls it. The export itself is tested with the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.export.converter import Converter, fetched_folder
from tests.tui.cli.command_line import CommandLine


@pytest.fixture
def checkout(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What looks like a checkout of llama.cpp, for what needs none that works."""
    folder = tmp_path_factory.mktemp("llama.cpp")
    for name in ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "gguf-py/gguf/__init__.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(
            "raise SystemExit('this is no converter')\n" if name.startswith("convert_hf") else ""
        )
    return str(folder)


def test_needs_are_said_and_nothing_is_done(cli: CommandLine, checkout: str) -> None:
    reply = cli("export", "tiny", "-o", "t.gguf", "--quant", "f16,q4_k_m", "--dry-run", LLAMA_CPP_DIR=checkout)
    assert reply.code == 0, reply.err
    assert "3,936,512 weights, converted to f16" in reply.out
    assert "t-q4_k_m.gguf" in reply.out
    assert "$LLAMA_CPP_DIR" in reply.out
    told = cli("export", "tiny", "-o", "t.gguf", "--dry-run", "--json").json
    assert told["converter"] is None
    assert [Path(file["path"]).name for file in told["files"]] == ["t.gguf"]
    assert told["disk_bytes"] > told["files"][0]["bytes"]
    assert sorted(path.name for path in cli.workspace.iterdir()) == []


def test_the_converter_is_not_fetched_without_being_asked_for(cli: CommandLine) -> None:
    reply = cli("export", "tiny", "-o", "t.gguf", "--json")
    assert reply.code == 9
    assert reply.error["code"] == "converter-missing"
    assert "--yes" in reply.error["remedy"]
    assert not fetched_folder({"XDG_CACHE_HOME": str(cli.home / ".cache")}).exists()


def test_on_a_terminal_it_asks_and_a_no_is_a_no(cli: CommandLine) -> None:
    terminal = cli.open_terminal("export", "tiny", "-o", "t.gguf")
    terminal.read_until("[y/N]")
    assert "76.6 MB" in terminal.text or "77 MB" in terminal.text
    terminal.type("n\n")
    code, _ = terminal.finish()
    assert code == 9


def test_a_file_that_is_there_is_not_replaced_by_a_script(cli: CommandLine, checkout: str) -> None:
    (cli.workspace / "t.gguf").write_text("mine")
    reply = cli("export", "tiny", "-o", "t.gguf", "--yes", LLAMA_CPP_DIR=checkout)
    assert reply.code == 2
    assert "--force" in reply.err
    assert (cli.workspace / "t.gguf").read_text() == "mine"


def test_a_converter_that_is_none_is_a_sentence(cli: CommandLine, checkout: str) -> None:
    reply = cli("export", "tiny", "-o", "t.gguf", "--llama-cpp-path", str(cli.workspace / "none"))
    assert reply.code == 3
    (Path(checkout) / "convert_lora_to_gguf.py").unlink()
    reply = cli("export", "tiny", "-o", "t.gguf", "--llama-cpp-path", checkout, "--json")
    assert reply.error["code"] == "converter-unusable"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["tiny", "-o", "t.gguf", "--quant", "q5"], 2, "no quantisation 'q5'"),
        (["tiny", "-o", "t.gguf", "--adapter"], 2, "is no adapter"),
        (["nothing-here", "-o", "t.gguf"], 3, "nothing-here"),
        (["base", "-o", "t.gguf"], 2, "the weights themselves are needed"),
        (["http://localhost:1/v1#m", "-o", "t.gguf"], 2, "the weights themselves are needed"),
        (["tiny"], 2, "--output"),
        (["tiny", "-o", "t.gguf", "--install-lmstudio", "--yes"], 3, "LM Studio is not on this machine"),
    ],
)
def test_what_cannot_be_exported_is_a_sentence(arguments: list[str], code: int, says: str, cli: CommandLine) -> None:
    reply = cli("export", *arguments)
    assert reply.code == code
    assert says in reply.err


def test_types_and_runs_are_completed(cli: CommandLine) -> None:
    completing = {
        "_FTCONSOLE_COMPLETE": "complete_bash",
        "COMP_WORDS": "ftconsole export tiny --quant f16,q4",
        "COMP_CWORD": "4",
    }
    said = cli(**completing).out.split()
    assert [word for word in said if word.startswith("f16,q4")] == ["f16,q4_k_m", "f16,q4_k_s"]


def test_an_export_is_installed_and_told(cli: CommandLine, converter: Converter) -> None:
    (cli.home / ".lmstudio").mkdir()
    options = ["--quant", "bf16", "--install-lmstudio", "--name", "my tiny", "--json"]
    reply = cli("export", "tiny", "-o", "out/t.gguf", *options, LLAMA_CPP_DIR=str(converter.folder))
    assert reply.code == 0, reply.err
    told = reply.json
    assert told["files"][0]["quantisation"] == "bf16"
    assert told["files"][0]["bits_per_weight"] == pytest.approx(16.0, abs=0.1)
    installed = cli.home / ".lmstudio" / "models" / "local" / "my tiny" / "t.gguf"
    assert told["lmstudio"] == [{"path": str(installed), "name": "my tiny", "how": "hard link", "loaded": None}]
    assert installed.stat().st_size == told["files"][0]["bytes"]
