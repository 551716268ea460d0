from __future__ import annotations

import json
from pathlib import Path

from tests.tui.cli.command_line import ROOT, CommandLine


def written(folder: Path, name: str, rows: list[object]) -> str:
    (folder / "datasets").mkdir(exist_ok=True)
    (folder / "datasets" / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return f"datasets/{name}"


def test_statistics_are_told_as_text(cli: CommandLine) -> None:
    rows = [{"question": f"Who wrote {n}\x1b[31m?", "answer": "Ada " * n, "category": "b\x1b[5m"} for n in (1, 2, 2, 3)]
    train = written(cli.workspace, "train.jsonl", [*rows, {"question": "only"}])
    reply = cli("data", "stats", train, "--validation", written(cli.workspace, "val.jsonl", list(rows[:1])))

    assert reply.code == 0, reply.err
    assert "train.jsonl: 5 rows" in reply.out
    assert "1 row: no question and answer among its keys (question) (1); first at 5" in reply.out
    assert "1 row says what an earlier one says (lines 3 = 2)" in reply.out
    assert "1 row is in both (lines 1 = 1)" in reply.out
    assert "\x1b" not in reply.out


def test_statistics_are_told_as_json(cli: CommandLine) -> None:
    train = written(cli.workspace, "train.jsonl", [{"question": "Who?", "answer": "Ada " * 200}])
    model = str(ROOT / "models" / "tiny")
    found = cli("data", "stats", train, "--model", model, "--max-length", "50", "--json").json

    assert found["done"]
    assert found["files"][0]["tokens"]["truncated_share"] == 1.0
    assert found["files"][0]["characters"]["quantiles"]["p50"] == 804


def test_a_file_that_cannot_be_counted_is_told(cli: CommandLine) -> None:
    assert cli("data", "stats", "missing.jsonl", "--json").error["code"] == "not-found"
    (cli.workspace / "rows.parquet").write_bytes(b"PAR1" + b"x" * 100)
    reply = cli("data", "stats", "rows.parquet")
    assert (reply.code, reply.out) == (5, "")
    assert "damaged Parquet file" in reply.err
