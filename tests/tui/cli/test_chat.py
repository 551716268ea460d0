"""`ftconsole chat` and what keeps its answers, against llama.cpp's own server on both sides."""

from __future__ import annotations

import json
from pathlib import Path

import keyring
import keyring.backends.fail
import pytest

from engine.chat.votes import is_swapped
from engine.data.rows import read_rows, recognise_file
from tests.servers.lmstudio import lmstudio
from tests.servers.running import Running
from tests.tui.cli.command_line import CommandLine, Here
from tui.cli import output

ANSWER = "Leo Tolstoy wrote War and Peace."
QUESTION = "Who wrote War and Peace?"
KEY = "canary-5f4e3d2c1b"


def both(server: Running) -> tuple[str, ...]:
    return ("--left", f"{server.url}#one", "--right", f"{server.url}#two", "--temperature", "0")


def test_questions_come_from_stdin_and_both_answers_go_out(here: Here, cli: CommandLine, llama_server: Running) -> None:
    reply = here("chat", *both(llama_server), stdin=f"{QUESTION}\n\n  \n")
    assert reply.code == 0
    assert reply.out.split() == f"> {QUESTION} -- left {ANSWER} -- right {ANSWER}".split()
    assert "no model is loaded here" in reply.err
    assert "tokens/s, stop" in reply.err
    (kept,) = (cli.workspace / "chats").iterdir()
    assert kept.stem in reply.err
    shown = here("chats", kept.stem)
    assert shown.out.count(ANSWER) == 2
    listed = here("chats", "--json").json
    assert [(one["name"], one["title"]) for one in listed] == [(kept.stem, QUESTION)]


def test_a_file_of_questions_becomes_a_line_of_json_each(here: Here, cli: CommandLine, llama_server: Running) -> None:
    rows = [{"prompt": QUESTION, "category": "books"}, {"prompt": "Hello!", "category": "small talk"}, {"x": 1}]
    Path(cli.workspace / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    reply = cli(
        "chat", *both(llama_server), "--prompts", "q.jsonl", "--max-tokens", "4", "--system", "Be brief.", "--json"
    )
    assert reply.code == 0
    first, second = reply.lines
    assert (first["prompt"], first["category"], second["category"]) == (QUESTION, "books", "small talk")
    assert first["left"]["reason"] == "length"
    assert first["left"]["num_tokens"] == 4
    assert first["right"]["model"] == f"{llama_server.url}#two" or "two" in first["right"]["model"]
    assert first["right"]["sampling"]["max_tokens"] == 4
    assert "left out: line 3" in reply.err


def test_blind_answers_hide_whose_they_are_until_the_vote(here: Here, cli: CommandLine, llama_server: Running) -> None:
    reply = here("chat", *both(llama_server), "-p", QUESTION, "-p", "Hello!", "--blind", "--seed", "3", "--json")
    assert "#one" not in reply.out + reply.err
    first, second = reply.lines
    assert set(first["a"]) == {"text", "reason"}
    name, turn = first["conversation"], first["turn"]
    assert "one" not in here("chats", name).out
    assert here("chats", name, "--json").json["left"] is None
    voted = here("vote", name, str(turn), "a", "--reason", "shorter", "--json").json
    assert voted["verdict"] == ("right" if is_swapped(3, turn) else "left")
    assert "one" in voted["shown"]["right" if is_swapped(3, turn) else "left"]
    said = here("vote", name, str(second["turn"]), "tie")
    assert said.out.startswith("A tie. A was ")
    summed = here("votes", "--json").json
    (tally,) = summed["tallies"]
    assert (tally["a_wins"] + tally["b_wins"], tally["ties"], tally["num_blind"]) == (1, 1, 2)
    assert tally["interval_method"] == "wilson-95"
    assert "WIN RATE" in here("votes").out


def test_votes_are_exported_as_rows_for_training(here: Here, cli: CommandLine, llama_server: Running) -> None:
    reply = here("chat", *both(llama_server), "-p", QUESTION, "--max-tokens", "3", "--json")
    name, turn = reply.lines[0]["conversation"], reply.lines[0]["turn"]
    assert here("vote", name, str(turn), "left").code == 0
    refused = here("votes", "--export", "prefs.jsonl", "--json")
    assert refused.code == 5
    assert "both answers the same" in refused.error["message"]
    for _ in range(20):  # drawn at random, two answers of a small model may be the same
        line = here("chat", *both(llama_server), "-p", "Tell me something.", "--temperature", "1.5", "--json").lines[0]
        if line["left"]["text"] != line["right"]["text"]:
            break
    here("vote", line["conversation"], str(line["turn"]), "right")
    done = here("votes", "--export", "prefs.jsonl", "--json").json["exported"]
    assert (done["num_rows"], done["left_out"]) == (1, {"both answers the same": 1})
    assert recognise_file(cli.workspace / "prefs.jsonl").kind == "preference"
    assert len(list(read_rows(cli.workspace / "prefs.jsonl"))) == 1
    assert here("votes", "--export", "prefs.jsonl").code == 2
    assert here("votes", "--export", "prefs.jsonl", "--force").code == 0


def test_a_side_that_fails_is_told_and_the_other_is_kept(here: Here, cli: CommandLine, llama_server: Running) -> None:
    sides = ("--left", "http://127.0.0.1:9/v1#gone", "--right", f"{llama_server.url}#two", "--temperature", "0")
    reply = here("chat", *sides, "-p", QUESTION, "-p", QUESTION)
    assert reply.code == 12
    assert reply.out.count(ANSWER) == 2
    assert "Nothing answers at 127.0.0.1:9" in reply.err
    gone = cli(
        "chat",
        "--left",
        "http://127.0.0.1:9/v1#a",
        "--right",
        "http://127.0.0.1:9/v1#b",
        "-p",
        "a",
        "-p",
        "b",
        "--json",
    )
    assert gone.code == 12
    assert len(gone.lines) == 1
    assert gone.lines[0]["left"]["error"]["code"] == "not-reachable"


def test_a_failure_names_no_model_while_names_are_hidden(here: Here) -> None:
    sides = ("--left", "http://127.0.0.1:9/v1#a", "--right", "http://127.0.0.1:9/v1#b")
    gone = here("chat", *sides, "-p", "x?", "--blind")
    assert (gone.code, gone.err.count("It failed."), "127.0.0.1" in gone.out + gone.err) == (12, 2, False)
    (kept,) = here("chats", "--json").json
    printed = here("chats", kept["name"])
    assert (printed.out.count("It failed."), "127.0.0.1" in printed.out) == (2, False)


def test_no_key_reaches_disk_or_output(here: Here, cli: CommandLine, llama_server: Running) -> None:
    port = llama_server.origin.rpartition(":")[2]
    environ = {f"FTCONSOLE_API_KEY_127_0_0_1_{port}": KEY, "LM_API_TOKEN": KEY}
    reply = here("chat", *both(llama_server), "-p", QUESTION, "--json", **environ)
    assert reply.code == 0
    assert KEY not in reply.out + reply.err
    places = [cli.workspace, cli.home]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_what_cannot_be_asked_is_told_before_anything_is_kept(here: Here, cli: CommandLine) -> None:
    wrong = [
        (("chat", "-p", "x"), 2, "No model is named"),
        (("chat", "--left", "http://h/v1#m", "-p", "x"), 2, "base"),
        (("chat", "--left", "http://ada:hunter2@h/v1#m", "--right", "http://h/v1#m", "-p", "x"), 2, ""),
        (("chat", "--left", "nowhere", "--right", "http://h/v1#m", "-p", "x"), 3, "nowhere"),
        (("chat", "--left", "http://h/v1#m", "--right", "http://h/v1#m", "--prompts", "no.txt"), 3, "no.txt"),
        (("chat", "--left", "http://h/v1#m", "--right", "http://h/v1#m"), 2, "no question on stdin"),
        (("chats", "nothing"), 3, "no conversation"),
        (("vote", "nothing", "1", "a"), 3, "no conversation"),
    ]
    for arguments, code, words in wrong:
        reply = here(*arguments)
        assert (reply.code, words in reply.err) == (code, True), (arguments, reply)
        assert "hunter2" not in reply.err
    assert not (cli.workspace / "chats").exists()
    assert here("chats", "--json").json == []
    assert here("votes", "--json").json == {"tallies": [], "unreadable": 0, "exported": None}
    code, shown = cli.on_terminal("chat", "--left", "http://h/v1#m", "--right", "http://h/v1#m", "--json")
    assert (code, "There is no question" in shown) == (2, True)


def test_with_a_terminal_and_no_question_the_console_opens_on_the_chat(
    here: Here, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[dict[str, object]] = []

    def run_console(workspace: Path, **given: object) -> int:
        opened.append(given)
        return 0

    monkeypatch.setattr("tui.console.run_console", run_console)
    monkeypatch.setattr(output, "is_terminal", lambda _: True)
    sides = ("--left", "http://h/v1#m", "--right", "http://h/v1#n")
    assert here("chat", *sides, "--blind", "--temperature", "0").code == 0
    assert opened[0]["opening"] == ("chat", "http://h/v1#m\nhttp://h/v1#n")
    entries = opened[0]["screens"]
    assert isinstance(entries, list)
    screen = next(entry for entry in entries if entry.name == "chat").target(cli.workspace)
    assert (screen.talk.blind, screen.talk.sampling["left"].temperature) == (True, 0)
    assert here("chat").code == 0
    assert opened[1]["opening"] == ("chat", None)
    assert here("chat", "--left", "nowhere").code == 3
    assert len(opened) == 2


def test_the_models_of_lm_studio_are_listed_loaded_and_unloaded(here: Here) -> None:
    with lmstudio("") as there:
        where = {"FTCONSOLE_LMSTUDIO": there.origin}
        listed = here("lmstudio", "list", **where)
        assert "ftconsole/tiny" in listed.out
        assert "\x1b" not in listed.out
        assert here("lmstudio", "load", "tiny", "--context-length", "512", "--json", **where).json == {
            "id": "ftconsole/tiny",
            "context_length": 512,
        }
        models = here("lmstudio", "list", "--address", there.origin, "--json").json["models"]
        assert [model["loaded"] for model in models] == [True, False]
        assert here("lmstudio", "unload", "tiny", **where).out == "Unloaded: ftconsole/tiny\n"
        wrong = here("lmstudio", "load", "tinny", "--json", **where)
        assert (wrong.code, "ftconsole/tiny" in wrong.error["remedy"]) == (3, True)
    gone = here("lmstudio", "list", "--json", **where)
    assert (gone.code, gone.error["code"]) == (12, "not-reachable")


def test_keys_are_typed_or_piped_and_only_their_place_is_told(here: Here) -> None:
    shown = here("keys", "show", "https://a.example.test/v1", "--json", FTCONSOLE_API_KEY_A_EXAMPLE_TEST=KEY).json
    assert shown == {
        "origin": "https://a.example.test",
        "source": "FTCONSOLE_API_KEY_A_EXAMPLE_TEST",
        "variables": ["FTCONSOLE_API_KEY_A_EXAMPLE_TEST"],
    }
    before = keyring.get_keyring()
    keyring.set_keyring(keyring.backends.fail.Keyring())  # type: ignore[no-untyped-call]
    try:
        stored = here("keys", "set", "https://a.example.test", "--json", stdin=KEY)
    finally:
        keyring.set_keyring(before)
    assert (stored.code, KEY in stored.out + stored.err) == (7, False)
    assert "NoKeyringError" in stored.error["message"]
    assert here("keys", "show", "a.example.test").code == 2


def test_names_of_models_and_conversations_are_completed(here: Here, cli: CommandLine, llama_server: Running) -> None:
    def completed(words: str) -> list[str]:
        reply = cli(_FTCONSOLE_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1))
        return reply.out.split()

    (cli.workspace / "models" / "mine").mkdir(parents=True)
    (cli.workspace / "models" / "mine" / "config.json").write_text("{}")
    assert completed("ftconsole chat --left b") == ["base"]
    assert completed("ftconsole chat --right m") == ["mine"]
    here("chat", *both(llama_server), "-p", QUESTION)
    (kept,) = (cli.workspace / "chats").iterdir()
    assert completed("ftconsole chats 2") == [kept.stem]
