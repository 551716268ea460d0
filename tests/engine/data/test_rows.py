"""Rows: every shape, every damage a file can have, and no line that vanishes."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.data import jsonl
from engine.data.rows import Problem, Row, check_file, parse_row, read_rows, row_at
from engine.data.shapes import recognise, row_of
from engine.data.spellings import CHOSEN_REJECTED, FIELDS, PAIRS
from engine.errors import DataError, NotFound
from tests.engine.faults import permissions_hold

PATH = Path("data.jsonl")
GOOD = b'{"instruction": "Say hi.", "output": "hi"}'
USER, ASSISTANT = {"role": "user", "content": "Say hi."}, {"role": "assistant", "content": "hi"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data.jsonl"


def one(record: object) -> Row | Problem:
    return parse_row(PATH, 7, json.dumps(record).encode())


def row(record: object) -> Row:
    found = one(record)
    assert isinstance(found, Row), found
    return found


def reason(record: object) -> str:
    found = one(record)
    assert isinstance(found, Problem), found
    assert not found.malformed
    assert (found.path, found.line) == (PATH, 7)
    return found.reason


def read(path: Path, content: bytes, limit: int | None = None) -> tuple[list[Row], list[Problem]]:
    path.write_bytes(content)
    items = list(read_rows(path, limit=limit))
    return [item for item in items if isinstance(item, Row)], [item for item in items if isinstance(item, Problem)]


def asked(found: Sequence[Row]) -> list[tuple[int, str]]:
    return [(each.line, each.prompt[-1]["content"]) for each in found]


# -- shapes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("question", "answer"), [*PAIRS[:5], ("Problem", " Solution ")])
def test_a_pair_is_a_question_and_an_answer(question: str, answer: str) -> None:
    found = row({question: "Say hi.", answer: "hi", "other": 1})
    assert (found.prompt, found.completion) == ([USER], [ASSISTANT])


@pytest.mark.parametrize(
    ("given", "prompt"),
    [
        pytest.param("in French", "Say hi.\n\nin French", id="text"),
        pytest.param("", "Say hi.", id="empty"),
        pytest.param("  ", "Say hi.", id="blank"),
        pytest.param(None, "Say hi.", id="null"),
        pytest.param(5, "Say hi.", id="a number"),
    ],
)
def test_an_input_is_added_to_the_instruction(given: object, prompt: str) -> None:
    assert row({"instruction": "Say hi.", "input": given, "output": "hi"}).prompt[0]["content"] == prompt


def test_a_system_text_comes_first() -> None:
    found = row({"prompt": "Say hi.", "completion": "hi", "system": "Be brief."})
    assert found.prompt == [{"role": "system", "content": "Be brief."}, USER]
    assert row({"prompt": "Say hi.", "completion": "hi", "system": "  "}).prompt == [USER]


def test_messages_are_a_prompt_and_its_last_answer() -> None:
    before = [{"role": "system", "content": "Be brief."}, USER, ASSISTANT, {"role": "user", "content": "Again."}]
    found = row({"messages": [*before, ASSISTANT]})
    assert (found.prompt, found.completion) == (before, [ASSISTANT])


def test_prompt_and_completion_may_be_messages() -> None:
    completion = [ASSISTANT, {"role": "tool", "content": "4"}, ASSISTANT]
    found = row({"prompt": [USER], "completion": completion})
    assert (found.prompt, found.completion) == ([USER], completion)


def test_keys_of_a_message_that_are_not_needed_are_left_out() -> None:
    assert row({"messages": [{**USER, "name": "x", "tool_calls": None}, ASSISTANT]}).prompt == [USER]


def test_text_is_kept_as_it_is() -> None:
    text = "  </s><s> [INST] naïve 東京 🙂 \u202e\u2028\x85 \\n\n\ttail "
    assert row({"question": text, "answer": text}).completion[0]["content"] == text


def test_null_keys_of_another_shape_do_no_harm() -> None:
    nothing = dict.fromkeys(["messages", "instruction", "output", "prompt", "completion", "question", "answer"])
    assert row({**nothing, "question": "Say hi.", "answer": "hi"}).prompt == [USER]
    assert row({**nothing, "messages": [USER, ASSISTANT]}).prompt == [USER]


@pytest.mark.parametrize(
    "text", ['{"role": "none"}', "[{'a': 1}]", '[{"role": 1}, 2]', "[[1, 2], [3]]", '{"a":":": 1', '{"x": {1: []}}']
)
def test_a_text_that_looks_like_a_structure_stays_a_text(text: str) -> None:
    assert row({"prompt": text, "completion": text}).completion == [{"role": "assistant", "content": text}]
    pair = one({"prompt": text, "chosen": text, "rejected": "c"})
    assert isinstance(pair, Row)
    assert (pair.prompt[0]["content"], pair.completion[0]["content"]) == (text, text)


def test_no_record_is_too_odd_to_be_told() -> None:
    dice = random.Random(5)
    names = [*FIELDS, *CHOSEN_REJECTED[0], "instruction", "output", "conversations", "good", "bad", "kto_tag", "", "x"]
    values: list[Any] = [
        None,
        "",
        "a",
        0,
        1,
        -1.5,
        True,
        10**30,
        "[{",
        "{'a':",
        "human: a\nbot: b",
        [],
        {},
        [[]],
        [None],
    ]
    values += [["a"], ["a", "b"], [[1]], [{}], {"a": {}}, [USER], [USER, ASSISTANT], ASSISTANT, [["a", "b"]], [1, 2]]
    values += [[{"from": 5, "value": []}], [{"human": "a"}]]
    read = 0
    for _ in range(4_000):
        records = [{name: dice.choice(values) for name in dice.sample(names, dice.randrange(5))} for _ in range(3)]
        recognised = recognise(records)
        for record in records:
            found = row_of(record, recognised, PATH, 1)
            read += isinstance(found, Row)
            if isinstance(found, Row) and found.kind in ("sft", "preference", "kto"):
                assert found.prompt
                assert found.completion[-1]["role"] == "assistant"
            assert isinstance(found, Row) or found.reason
    assert read > 100


@pytest.mark.parametrize(
    ("metadata", "kept", "kind"),
    [
        ({"dataset_type": "retain", "answer": "hi"}, {"dataset_type": "retain", "answer": "hi"}, "retain"),
        ({"dataset_type": 5}, {"dataset_type": 5}, None),
        ({}, {}, None),
        ("retain", {}, None),
        (None, {}, None),
    ],
    ids=str,
)
def test_metadata_is_kept_when_it_is_an_object(metadata: object, kept: dict[str, Any], kind: str | None) -> None:
    found = row({"question": "Say hi.", "answer": "hi", "metadata": metadata})
    assert (found.metadata, found.dataset_type) == (kept, kind)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({}, "no question and answer among its keys (none)"),
        ({"instruction": "a"}, "no question and answer among its keys (instruction)"),
        ({"a" * 500: 1}, f"no question and answer among its keys ({'a' * 120})"),
        ({"instruction": "a", "output": None}, "output is null, not text"),
        ({"instruction": None, "output": None}, "instruction is null, not text"),
        ({"instruction": 5, "output": "b"}, "instruction is a number, not text"),
        ({"prompt": "a", "completion": ["b"]}, "completion is a list, not text"),
        ({"prompt": ["a"], "completion": "b"}, "prompt is a list, not text"),
        ({"prompt": True, "completion": "b"}, "prompt is true or false, not text"),
        ({"question": {}, "answer": "b"}, "question is an object, not text"),
        ({"question": "", "answer": "b"}, "question is empty"),
        ({"question": "a", "answer": " \n"}, "answer is empty"),
        ({"messages": []}, "messages is empty"),
        ({"messages": None}, "messages is null, not a list"),
        ({"messages": "hi"}, "messages is text, not a list"),
        ({"messages": ["hi"]}, "message 1 is text, not an object"),
        ({"messages": [None]}, "message 1 is null, not an object"),
        ({"messages": [{}]}, "message 1 has null for a role"),
        ({"messages": [{"role": ["user"], "content": "a"}]}, "message 1 has a list for a role"),
        ({"messages": [{"role": "narrator", "content": "a"}]}, "message 1 has the role 'narrator'"),
        ({"messages": [{"role": "x" * 99, "content": "a"}]}, f"message 1 has the role '{'x' * 40}'"),
        ({"messages": [USER, {"role": "assistant"}]}, "message 2 has null for content"),
        ({"messages": [USER, {"role": "assistant", "content": [1]}]}, "message 2 has a list for content"),
        ({"messages": [USER]}, "the last message is user's, not the assistant's"),
        ({"messages": [USER, ASSISTANT, USER]}, "the last message is user's, not the assistant's"),
        ({"messages": [ASSISTANT]}, "there is no question before the answer"),
        ({"messages": [USER, {"role": "assistant", "content": " "}]}, "the answer is empty"),
        ({"prompt": [], "completion": [ASSISTANT]}, "there is no question before the answer"),
        ({"prompt": [USER], "completion": []}, "the answer is empty"),
        ({"prompt": [USER], "completion": [USER]}, "the last message is user's, not the assistant's"),
        ({"prompt": [USER], "completion": ["hi"]}, "message 1 is text, not an object"),
        ({"prompt": [5], "completion": [ASSISTANT]}, "message 1 is a number, not an object"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_a_row_that_cannot_be_learned_from_says_why(record: dict[str, Any], said: str) -> None:
    assert reason(record) == said


# -- lines that are not JSON ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"instruction": "a", "output": "b",}', "trailing comma at column 35"),
        (b'{"messages": [1, 2, ] }', "trailing comma at column 19"),
        (b"{'instruction': 'a'}", "single quotes at column 2, where JSON has double ones"),
        (b'{"instruction": "a", "outp', "Unterminated string starting at column 22"),
        (b'{"instruction": "a",', "it ends in the middle, at column 21"),
        (b'{"instruction": "a"', "it ends in the middle, at column 20"),
        (b'{"a": 1} {"a": 2}', "Extra data at column 10"),
        (b'{"a": "\xff"}', "byte 8 is not UTF-8"),
        (b'{"a": "caf\xe9"}', "byte 11 is not UTF-8"),
        (b'{"a": "\x00"}', "it has NUL bytes; the file is not UTF-8 text"),
        (bytes(500), "it has NUL bytes; the file is not UTF-8 text"),
        (b'{"a": NaN}', "not standard JSON (NaN, a lone surrogate or a number out of range)"),
        (b'{"a": "\\ud83d"}', "not standard JSON (NaN, a lone surrogate or a number out of range)"),
        (b'{"a": 1e999}', "not standard JSON (NaN, a lone surrogate or a number out of range)"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "nested too deeply"),
        (b'{"instruction": "a", "output": "b", "output": "c"}', "the key 'output' stands twice"),
        (b'{"messages": [{"role": "user", "role": "user", "content": "\\":\\":"}]}', "the key 'role' stands twice"),
        (b"hello", "Expecting value at column 1"),
        (b"<html><body>404</body></html>", "this is a web page"),
        (b"[", "this is a JSON array"),
        (b"[INST] hi [/INST]", "Expecting value at column 2"),
        (b"version https://git-lfs.github.com/spec/v1", "this is a git-lfs pointer, not the file"),
        (b"7", "a JSON object is needed, not a number"),
        (b'["a"]', "a JSON object is needed, not a list"),
        (b"null", "a JSON object is needed, not null"),
        (b'"a"', "a JSON object is needed, not text"),
    ],
    ids=lambda value: ascii(value[:24]),
)
def test_a_line_that_is_no_json_object_says_why_and_where(path: Path, line: bytes, said: str) -> None:
    found, problems = read(path, GOOD + b"\n" + line + b"\n" + GOOD + b"\n")
    assert [(p.line, p.reason, p.malformed) for p in problems] == [(2, said, True)]
    assert asked(found) == [(1, "Say hi."), (3, "Say hi.")]


# -- files ---------------------------------------------------------------------------------------------------

CLEAN = [f'{{"question": "q{n}", "answer": "a\u2028b\u0085c"}}'.encode() for n in range(1, 4)]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\n".join(CLEAN) + b"\n", id="clean"),
        pytest.param(b"\n".join(CLEAN), id="no final newline"),
        pytest.param(b"\xef\xbb\xbf" + b"\n".join(CLEAN), id="byte order mark"),
        pytest.param(b"\r\n".join(CLEAN) + b"\r\n", id="CRLF"),
        pytest.param(b"\r".join(CLEAN) + b"\r", id="CR"),
        pytest.param(b"\xef\xbb\xbf" + b"\r".join(CLEAN), id="CR and byte order mark"),
        pytest.param(b"\n".join(b"  \t" + line + b"  " for line in CLEAN), id="space around"),
    ],
)
def test_however_lines_end_the_rows_are_the_same(path: Path, content: bytes) -> None:
    found, problems = read(path, content)
    assert problems == []
    assert asked(found) == [(1, "q1"), (2, "q2"), (3, "q3")]
    assert {each.completion[0]["content"] for each in found} == {"a\u2028b\u0085c"}


def test_blank_lines_are_no_rows_but_count_as_lines(path: Path) -> None:
    found, problems = read(path, b"\n \n\t\r\n" + GOOD + b"\n\n\n" + GOOD)
    assert (asked(found), problems) == ([(4, "Say hi."), (7, "Say hi.")], [])


def test_a_carriage_return_inside_a_line_is_damage_of_that_line_only(path: Path) -> None:
    found, problems = read(path, GOOD + b"\n" + b'{"a": "x\ry"}' + b"\n" + GOOD)
    assert [each.line for each in found] == [1, 3]
    assert [(p.line, p.malformed) for p in problems] == [(2, True)]


def test_a_byte_order_mark_in_the_middle_is_damage(path: Path) -> None:
    _, problems = read(path, GOOD + b"\n\xef\xbb\xbf" + GOOD)
    assert [(p.line, p.malformed) for p in problems] == [(2, True)]


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 99])
def test_a_limit_counts_lines_that_are_not_blank(path: Path, limit: int) -> None:
    found, problems = read(path, GOOD + b"\n\n{}\n" + GOOD + b"\n", limit)
    assert len(found) + len(problems) == min(limit, 3)


def test_a_line_longer_than_the_limit_is_one_problem(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 1 << 20)
    for length in (1 << 20, (1 << 20) + 1, (2 << 20) - 1, 2 << 20, 5_000_000):
        found, problems = read(path, GOOD + b"\n" + b"x" * length + b"\n" + GOOD)
        assert [each.line for each in found] == [1, 3]
        assert [(p.line, p.reason, p.malformed) for p in problems] == [(2, "longer than 1 MB", True)]
    _, problems = read(path, b"x" * 5_000_000)
    assert [p.line for p in problems] == [1]


def test_a_long_line_within_the_limit_is_a_row(path: Path) -> None:
    found, problems = read(path, json.dumps({"question": "q" * 20_000_000, "answer": "a"}).encode())
    assert (len(found), problems) == (1, [])


def test_every_line_that_is_not_blank_is_a_row_or_a_problem(path: Path) -> None:
    dice = random.Random(11)
    pieces = [
        GOOD,
        b"{}",
        b"",
        b"  ",
        b"{",
        b"\xff",
        b"\x00\x00",
        b'{"messages": []}',
        b"\r",
        b"null",
        b"'",
        b"\xef\xbb\xbf",
    ]
    for _ in range(200):
        lines = [dice.choice(pieces) for _ in range(dice.randrange(12))]
        content = b"\n".join(lines)
        whole, problems = read(path, content)
        expected = [n for n, line in enumerate(content.split(b"\n"), 1)
                    if (line.removeprefix(b"\xef\xbb\xbf") if n == 1 else line).strip()]  # fmt: skip
        assert sorted([r.line for r in whole] + [p.line for p in problems]) == expected


# -- whole files ---------------------------------------------------------------------------------------------


def test_a_good_file_is_counted_with_its_problems(path: Path) -> None:
    path.write_bytes(GOOD + b"\n{}\n" + GOOD + b"\n" + b'{"question": "", "answer": "a"}\n')
    count, problems = check_file(path)
    assert count == 2
    assert [(p.line, p.reason) for p in problems] == [
        (2, "no question and answer among its keys (none)"),
        (4, "question is empty"),
    ]


def test_a_damaged_file_is_refused_with_its_lines(path: Path) -> None:
    path.write_bytes(b"\n".join([GOOD] * 1233 + [b'{"a": 1,}'] + [GOOD] * 5))
    with pytest.raises(DataError) as refused:
        check_file(path)
    assert refused.value.message == f"{path} has 1 line that cannot be read (line 1234: trailing comma at column 8)."
    assert "Nothing was started" in refused.value.remedy


def test_of_many_damaged_lines_the_first_are_shown(path: Path) -> None:
    path.write_bytes(GOOD + b"\n" + b"x\n" * 40)
    with pytest.raises(DataError, match=r"has 40 lines that cannot be read \(line 2: .*line 6: .* and 35 more\)"):
        check_file(path)


@pytest.mark.parametrize(
    ("content", "what", "remedy"),
    [
        pytest.param(
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            "a git-lfs pointer, not the file", "git lfs pull", id="git-lfs pointer",
        ),
        pytest.param(
            gzip.compress(GOOD * 99)[:20],
            "a damaged gzip file: Compressed file ended before the end-of-stream marker was reached",
            "Download or write it again", id="torn gzip",
        ),
        pytest.param(b"PK\x03\x04\x14\x00", "a zip archive", "Unpack", id="zip"),
        pytest.param(GOOD.decode().encode("utf-16"), "UTF-16 text", "iconv", id="UTF-16"),
        pytest.param("\ufeff{}".encode("utf-16-be"), "UTF-16 text", "iconv", id="UTF-16, the other way round"),
        pytest.param(b"\n<!DOCTYPE html>\n<html>", "a web page", "Download", id="HTML after a blank line"),
        pytest.param(b"<!DOCTYPE html>\n<html>", "a web page", "Download", id="HTML"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_named_for_what_it_is(path: Path, content: bytes, what: str, remedy: str) -> None:
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        check_file(path)
    assert refused.value.message == f"{path} is {what}."
    assert remedy in refused.value.remedy


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "has no row to learn from."),
        (b"\n \n\r\n", "has no row to learn from."),
        (b"\xef\xbb\xbf", "has no row to learn from."),
        (b'\n{"name": "a"}\n{}', "has no row to learn from: no question and answer among its keys (name) (line 2)."),
    ],
    ids=["empty", "blank", "byte order mark", "no shape"],
)
def test_a_file_without_a_row_is_refused(path: Path, content: bytes, why: str) -> None:
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        check_file(path)
    assert refused.value.message == f"{path} {why}"
    assert '{"instruction"' in refused.value.remedy


@pytest.mark.parametrize(
    ("record", "said", "remedy"),
    [
        (
            {"prompt": "a", "chosen": "b", "rejected": "c"},
            "preference pairs (columns prompt, chosen, rejected)",
            "--to prompt-completion",
        ),
        (
            {"prompt": "a", "bad": "b", "good": "c"},
            "preference pairs (columns prompt, good, bad)",
            "--to",
        ),
        (
            {"prompt": "a", "completion": "b", "label": False},
            "answers marked as good or bad (columns prompt, completion, label)",
            "--to prompt-completion",
        ),
        ({"input_ids": [1, 2], "labels": [1, 2]}, "token ids (columns input_ids, labels)", "made from"),
    ],
    ids=["preference", "bad and good", "kto", "tokenised"],
)
def test_rows_of_another_kind_are_refused_with_what_to_do(
    path: Path, record: dict[str, Any], said: str, remedy: str
) -> None:
    path.write_text(f"{json.dumps(record)}\n" * 3)
    with pytest.raises(DataError) as refused:
        check_file(path)
    assert refused.value.message == (
        f"{path} holds {said}; this method learns from questions with answers or plain text."
    )
    assert remedy in refused.value.remedy
    assert check_file(path, kinds=["preference", "kto", "tokenised"]) == (3, [])


def test_the_user_says_what_the_columns_hold(path: Path) -> None:
    record = {"question": "not this", "answer": "nor this", "ask": "Say hi.", "reply": "hi", "who": "Be brief."}
    path.write_text(f"{json.dumps(record)}\n{json.dumps({'question': 'q', 'answer': 'a'})}\n")
    mapping = {"prompt": "ask", "completion": "reply", "system": "who"}
    found, problem = read_rows(path, mapping=mapping)
    assert isinstance(found, Row)
    assert isinstance(problem, Problem)
    assert (found.prompt, found.completion) == ([{"role": "system", "content": "Be brief."}, USER], [ASSISTANT])
    assert problem.reason == "it has no column 'ask', which data.mapping names"
    assert check_file(path, mapping) == (1, [problem])
    with pytest.raises(DataError, match="needs chosen and rejected"):
        check_file(path, {"chosen": "reply"})


def test_a_column_that_changes_its_type_far_into_the_file_is_told_at_its_line(path: Path) -> None:
    odd = b'{"instruction": "Say hi.", "output": 5}'
    found, problems = read(path, b"\n".join([GOOD] * 30_000 + [odd] + [GOOD] * 5))
    assert (len(found), [(p.line, p.reason) for p in problems]) == (30_005, [(30_001, "output is a number, not text")])


def test_a_row_of_another_kind_is_listed(path: Path) -> None:
    pair = b'{"prompt": "a", "chosen": "b", "rejected": "c"}'
    found, problems = read(path, b"\n".join([GOOD] * 5 + [pair, b'{"question": "q", "answer": "a"}']))
    assert [row.line for row in found] == [1, 2, 3, 4, 5, 7]
    assert [(p.line, p.reason) for p in problems] == [
        (6, "it holds preference pairs, in a file of questions with answers")
    ]


def test_a_row_is_read_at_its_line(path: Path) -> None:
    path.write_bytes(b"\n" + GOOD + b'\n{"a": \n' + b'{"messages": []}\n')
    assert isinstance(row_at(path, 2), Row)
    assert row_at(path, 3) == Problem(path, 3, "it ends in the middle, at column 6", malformed=True)
    assert row_at(path, 4) == Problem(path, 4, "messages is empty", malformed=False)
    for line in (0, 1, 5, -3):
        with pytest.raises(NotFound, match=rf"has no line {line} with a row"):
            row_at(path, line)


def test_a_file_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(NotFound, match="There is no data file") as missing:
        check_file(path)
    assert str(path) in missing.value.message


def test_a_file_that_may_not_be_read_is_refused(path: Path) -> None:
    path.write_bytes(GOOD)
    path.chmod(0o000)
    with permissions_hold(), pytest.raises(DataError, match="Permission denied"):
        check_file(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder, not a file of rows"):
        check_file(tmp_path)
