"""`ftconsole data check` and `data show`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.tui.cli.command_line import CommandLine


def write(cli: CommandLine, name: str, rows: list[dict[str, Any]]) -> Path:
    path = cli.workspace / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def good(count: int) -> list[dict[str, Any]]:
    return [{"instruction": f"What is {n} and {n}?", "output": f"It is {2 * n}."} for n in range(count)]


def test_wrong_rows_are_listed_and_a_grave_finding_is_the_exit_code(cli: CommandLine) -> None:
    rows = good(1000)
    rows[41]["output"] = ""
    rows[500]["output"] = "x\x1b[31m<|im_end|>"
    rows[999] = dict(rows[3])
    write(cli, "rows.jsonl", rows)
    reply = cli(
        "data", "check", "rows.jsonl", "--model", "tiny", "--max-length", "512", "--validation", "rows.jsonl", "--json"
    )
    assert reply.code == 0
    found = {one["code"]: [line for _, line in one["lines"]] for one in reply.json["findings"]}
    assert found.pop("validation-leak")[:3] == [1, 2, 3]
    assert found == {"empty-answer": [42, 42], "control-tokens": [501, 501], "duplicate-row": [1000]}
    assert (reply.json["rows_in"], reply.json["rows_kept"], reply.json["rows_listed"]) == (2000, 1998, 2)
    text = cli("data", "check", "rows.jsonl", "--model", "tiny", "--max-length", "8")
    assert text.code == 5
    assert "trains-on-nothing" in text.out
    assert "1000 rows in, 0 kept" in text.out
    assert "\x1b" not in text.out


def test_what_no_setting_lets_through_is_told_apart_from_what_one_does(cli: CommandLine) -> None:
    path = write(cli, "rows.jsonl", good(3))
    path.write_text(path.read_text() + "{broken\n")
    reply = cli("data", "check", "rows.jsonl", "--model", "tiny", "--max-length", "8")
    assert reply.code == 5
    assert "A run does not start before these are mended: malformed-line." in reply.out
    assert "unless data.accept names: trains-on-nothing" in reply.out
    assert "malformed-line" not in reply.out.partition("unless")[2]


def test_what_is_not_there_is_said(cli: CommandLine) -> None:
    write(cli, "rows.jsonl", good(3))
    assert cli("data", "check", "gone.jsonl").code == 3
    assert cli("data", "check", "rows.jsonl", "--model", "nobody/nothing").code == 3
    assert cli("data", "check", "rows.jsonl", "--model", "tiny", "--chat-template", "gone.jinja").code == 3


def test_a_row_is_shown_as_a_run_trains_on_it(cli: CommandLine) -> None:
    write(cli, "rows.jsonl", good(3))
    reply = cli("data", "show", "rows.jsonl", "--row", "2", "--max-length", "200", "--json")
    assert reply.code == 0, reply.err
    assert reply.json["messages"][1]["content"] == "It is 2."
    assert "".join(token["text"] for token in reply.json["tokens"] if token["trained"]) == "It is 2.<|im_end|>\n"
    assert reply.json["ends_trained"]
    text = cli.with_weights("data", "show", "rows.jsonl", "--row", "2", "--max-length", "16")
    assert "cut off" in text.out
    assert cli.with_weights("data", "show", "rows.jsonl", "--row", "9", "--json").error["code"] == "not-found"


def test_a_reading_of_the_columns_is_said_as_the_setting_of_a_run(cli: CommandLine) -> None:
    write(cli, "odd.jsonl", [{"ask": f"q{n}", "a: b": f"a{n}"} for n in range(3)])
    reply = cli("data", "check", "odd.jsonl", "--map", "prompt=ask", "--map", "completion=a: b")
    assert reply.code == 0
    assert "data.mapping: {prompt: ask, completion: 'a: b'}" in reply.err.replace('"', "'")


def test_a_file_is_looked_at_as_a_runs_own_options_have_it(cli: CommandLine) -> None:
    rows = good(10)
    rows[4]["output"] = "long " * 60
    write(cli, "rows.jsonl", rows)

    def codes(*options: str) -> dict[str, int]:
        reply = cli("data", "check", "rows.jsonl", "--model", "tiny", "--max-length", "64", *options, "--json")
        return {one["code"]: one["count"] for one in reply.json["findings"]}

    assert codes() == codes("--packing", "bfd", "--learn-questions", "--method", "sft") == {"answer-cut": 1}
    assert codes("--packing", "wrapped") == {}
    assert codes("--method", "dpo")["other-kind"] == 10
    for option in ("--method", "--packing"):
        assert cli("data", "check", "rows.jsonl", option, "guess", "--json").error["code"] == "usage"
    unknown = cli("data", "check", "rows.jsonl", "--model", "tiny", "--eos-token", "<nope>", "--json")
    assert "no token '<nope>'" in unknown.error["message"]
