"""`ftconsole parity`, as a person meets it."""

from __future__ import annotations

import pytest

from tests.servers.running import Running
from tests.servers.tiny_gguf import write_tiny_gguf
from tests.tui.cli.command_line import CommandLine, Here


def test_a_file_and_a_server_of_the_model_are_the_same_and_say_so(cli: CommandLine, llama_server: Running) -> None:
    write_tiny_gguf(cli.workspace / "tiny.gguf")
    (cli.workspace / "prompts.txt").write_text("What is 2+2?\n\nWho wrote Romeo and Juliet?\n")
    forms = ("--against", "tiny.gguf", "--against", f"{llama_server.url}#tiny")
    reply = cli("parity", "tiny", *forms, "--prompts", "prompts.txt", "--max-tokens", "8")
    assert reply.code == 0, reply.err
    assert reply.out.startswith("tiny on tiny, 2 prompts, greedy:\ntiny.gguf (gguf, f16): the same model\n")
    assert "ok  prompt tokens          equal in all 2 prompts." in reply.out
    assert f"{llama_server.url}#tiny (server): the same model\n" in reply.out
    assert "--  logits                 not compared: a server gives none." in reply.out
    assert "Kept in tiny.parity.json." in reply.err
    assert (cli.workspace / "tiny.parity.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        (("tiny",), 2, "usage"),
        (("tiny", "--against", "none.gguf"), 3, "not-found"),
        (("tiny", "--against", "lmstudio:"), 2, "usage"),
        (("tiny", "--against", "http://127.0.0.1:9/v1"), 2, "usage"),
        (("nothing", "--against", "none.gguf"), 3, "not-found"),
        (("tiny", "--prompts", "none.txt"), 3, "not-found"),
        (("tiny", "--prompts", "empty.txt"), 2, "usage"),
        (("tiny", "--prompts", "binary.txt"), 7, "workspace"),
    ],
)
def test_what_cannot_be_proven_is_refused(
    here: Here, cli: CommandLine, arguments: tuple[str, ...], code: int, name: str
) -> None:
    (cli.workspace / "empty.txt").write_text("\n")
    (cli.workspace / "binary.txt").write_bytes(b"\xff\xfe\x00")
    reply = here("parity", *arguments, "--json")
    assert (reply.code, reply.error["code"]) == (code, name)
