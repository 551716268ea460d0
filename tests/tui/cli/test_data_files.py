"""`ftconsole data convert` and `split` as a person and as a script sees them."""

from __future__ import annotations

import json

from tests.tui.cli.command_line import CommandLine


def test_convert_says_what_was_read_and_what_was_left_out(cli: CommandLine) -> None:
    rows = ['{"Question": "a", "answer": "b"}', '{"Question": "", "answer": "b"}', "{'torn\x1b[2J"]
    (cli.workspace / "x.jsonl").write_text("\n".join(rows))
    reply = cli("data", "convert", "x.jsonl", "-o", "out.jsonl", "--to", "messages")
    assert (reply.code, reply.err) == (0, "")
    assert reply.out.splitlines() == [
        "x.jsonl was read as question-answer (prompt: Question, completion: answer).",
        "1 of 3 rows written to out.jsonl as messages.",
        "2 left out:",
        "  line 2: Question is empty",
        "  line 3: single quotes at column 2, where JSON has double ones",
    ]
    assert len((cli.workspace / "out.jsonl").read_text().splitlines()) == 1
    again = cli("data", "convert", "x.jsonl", "-o", "out.jsonl", "--to", "messages", "--json")
    assert (again.code, again.error["code"]) == (2, "target-exists")
    forced = cli("data", "convert", "x.jsonl", "-o", "out.jsonl", "--to", "messages", "--json", "--force").json
    assert (forced["rows_in"], forced["rows_written"], len(forced["left_out"])) == (3, 1, 2)


def test_columns_can_be_named(cli: CommandLine) -> None:
    (cli.workspace / "x.csv").write_text("ask,reply\na,b\n")
    refused = cli("data", "convert", "x.csv", "-o", "out.jsonl", "--to", "messages")
    assert refused.code == 5
    assert "--map" in refused.err
    for wrong in ("ask", "question=ask", "prompt=ask"):
        assert cli("data", "convert", "x.csv", "-o", "out.jsonl", "--to", "messages", "--map", wrong).code == 2
    maps = ("--map", "prompt=ask", "--map", "completion=reply")
    assert cli("data", "convert", "x.csv", "-o", "out.jsonl", "--to", "messages", *maps).code == 0
    assert cli("data", "convert", "x.csv", "-o", "out.jsonl", "--to", "alpaca", *maps).code == 2


def test_split_writes_two_files_beside_the_file(cli: CommandLine) -> None:
    (cli.workspace / "exports").mkdir()
    lines = [json.dumps({"question": f"q{n}", "answer": "a"}) for n in range(40)]
    (cli.workspace / "exports" / "sft.jsonl").write_text("\n".join(lines))
    reply = cli("data", "split", "exports/sft.jsonl", "--validation", "5%", "--seed", "7")
    assert reply.code == 0
    assert [line.split()[0] for line in reply.out.splitlines()] == ["38", "2"]
    train, validation = (cli.workspace / f"exports/sft.{side}.jsonl" for side in ("train", "val"))
    assert sorted([*train.read_text().splitlines(), *validation.read_text().splitlines()]) == sorted(lines)
    assert cli("data", "split", "exports/sft.jsonl").code == 2
    made = cli("data", "split", "exports", "-o", ".", "--validation", "3", "--json").json
    assert (made["rows_in"], made["rows_train"], made["rows_validation"]) == (38, 35, 3)
