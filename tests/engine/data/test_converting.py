"""Rows in one form from any, and no row that vanishes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.data.converting import Form, convert
from engine.data.rows import check_file
from engine.errors import DataError, UsageError, WorkspaceError

USER, ASSISTANT = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
WORSE = {"role": "assistant", "content": "c"}
PAIR = {"prompt": "a", "bad": "c", "good": "b", "category": "x"}


def written(path: Path, *records: object) -> Path:
    path.write_text("".join(f"{record if isinstance(record, str) else json.dumps(record)}\n" for record in records))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("record", "form", "expected"),
    [
        ({"instruction": "a", "output": "b"}, "messages", {"messages": [USER, ASSISTANT]}),
        ({"question": "a", "answer": "b"}, "prompt-completion", {"prompt": [USER], "completion": [ASSISTANT]}),
        (PAIR, "preference", {"prompt": [USER], "chosen": [ASSISTANT], "rejected": [WORSE]}),
        (PAIR, "messages", {"messages": [USER, ASSISTANT]}),
        ({"prompt": "a", "completion": "b", "label": True}, "messages", {"messages": [USER, ASSISTANT]}),
    ],
    ids=["sft to messages", "sft to prompt-completion", "bad-good to preference", "the chosen", "the good"],
)
def test_each_kind_in_each_form_it_has(tmp_path: Path, record: dict[str, Any], form: Form, expected: object) -> None:
    source, out = written(tmp_path / "x.jsonl", record), tmp_path / "out.jsonl"
    done = convert([source], out, form)
    assert (done.rows_in, done.rows_written, done.left_out) == (1, 1, [])
    assert isinstance(expected, dict)
    metadata = {"metadata": {"category": "x"}} if record is PAIR else {}
    assert lines(out) == [{**expected, **metadata}]
    again = convert([out], tmp_path / "again.jsonl", form)
    assert (again.rows_written, lines(tmp_path / "again.jsonl")) == (1, lines(out))
    if form != "preference":
        assert check_file(out) == (1, [])


def test_rows_in_are_rows_written_and_rows_listed(tmp_path: Path) -> None:
    good = {"prompt": "a", "completion": "b", "label": True}
    source = written(tmp_path / "x.jsonl", good, {**good, "label": False}, "{torn", {**good, "prompt": ""}, good)
    done = convert([source, source], tmp_path / "out.jsonl", "messages")
    assert (done.rows_in, done.rows_written) == (10, 4)
    assert [(problem.line, problem.reason) for problem in done.left_out[:3]] == [
        (2, "its answer is marked as bad"),
        (3, "Expecting property name enclosed in double quotes at column 2"),
        (4, "prompt is empty"),
    ]
    assert done.read_as[source].shape == "kto"


def test_what_has_no_such_form_writes_nothing(tmp_path: Path) -> None:
    source, out = written(tmp_path / "x.jsonl", {"question": "a", "answer": "b"}), tmp_path / "out.jsonl"
    with pytest.raises(DataError, match=r"No row of x.jsonl .* have no worse answer to compare with \(line 1\)"):
        convert([source], out, "preference")
    with pytest.raises(DataError, match="plain text cannot be told apart"):
        convert([written(source, {"text": "a"})], out, "messages")
    assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl"]


def test_the_user_may_say_what_the_columns_hold(tmp_path: Path) -> None:
    source, out = written(tmp_path / "x.jsonl", {"ask": "a", "yes": "b", "no": "c"}), tmp_path / "out.jsonl"
    with pytest.raises(DataError, match="no question and answer among its keys"):
        convert([source], out, "preference")
    convert([source], out, "preference", mapping={"prompt": "ask", "chosen": "yes", "rejected": "no"})
    assert lines(out) == [{"prompt": [USER], "chosen": [ASSISTANT], "rejected": [WORSE]}]


def test_nothing_is_written_over_unasked(tmp_path: Path) -> None:
    source = written(tmp_path / "x.jsonl", {"question": "a", "answer": "b"})
    there = written(tmp_path / "there.jsonl", "mine")
    with pytest.raises(UsageError, match="is there already"):
        convert([source], there, "messages")
    with pytest.raises(UsageError, match="is the file that is read"):
        convert([source], source, "messages", overwrite=True)
    with pytest.raises(UsageError, match=r"does not end in \.jsonl"):
        convert([source], tmp_path / "out.csv", "messages")
    with pytest.raises(WorkspaceError, match="Cannot write"):
        convert([source], source / "out.jsonl", "messages")  # a file is no folder
    assert convert([source], tmp_path / "missing" / "out.jsonl", "messages").rows_written
    assert there.read_text() == "mine\n"
    assert convert([source], there, "messages", overwrite=True).rows_written == 1
