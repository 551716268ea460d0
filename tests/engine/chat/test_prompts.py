"""Questions out of files of every kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.chat.asking import Message
from engine.chat.prompts import Prompt, from_lines, read_prompts
from engine.errors import DataError, NotFound

ROOT = Path(__file__).resolve().parents[3]


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_lines_of_text_are_questions(tmp_path: Path) -> None:
    found, left_out = read_prompts(written(tmp_path / "q.txt", "\ufeffOne?\n\n  Two? \r\n\tThree?"))
    assert [each.text for each in found] == ["One?", "Two?", "Three?"]
    assert left_out == []
    assert from_lines(["", "x"]) == [Prompt("x")]


def test_rows_are_asked_without_their_answers(tmp_path: Path) -> None:
    rows = [
        {"prompt": "One?", "category": "art"},
        {"prompt": "Two?", "metadata": {"category": "law"}, "completion": "known"},
        {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Three?"}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"nothing": 1},
    ]
    text = "\n".join(json.dumps(row) for row in rows) + "\nno json\n"
    found, left_out = read_prompts(written(tmp_path / "q.jsonl", text))
    assert found == [
        Prompt("One?", "art"),
        Prompt("Two?", "law"),
        Prompt("Three?", "", (Message("system", "S"),)),
        Prompt("a"),
    ]
    assert [each.partition(":")[0] for each in left_out] == ["line 5", "line 6"]


@pytest.mark.parametrize(
    ("name", "count", "category"),
    [("retain/retain_val.jsonl", 282, "author"), ("preferences/preferences.jsonl", 25, "remove_disclaimers")],
)
def test_sample_data_are_questions_with_categories(name: str, count: int, category: str) -> None:
    found, left_out = read_prompts(ROOT / "datasets" / name)
    assert (len(found), left_out) == (count, [])
    assert category in {each.category for each in found}


@pytest.mark.parametrize(
    "text",
    [
        'categories:\n  art: ["One?", "Two?"]\n  law:\n    - Three?\n',
        'art: ["One?", "Two?"]\nlaw: ["Three?"]\n',
        "- prompt: One?\n  category: art\n- prompt: Two?\n  category: art\n- question: Three?\n  topic: law\n",
    ],
)
def test_a_suite_has_categories(tmp_path: Path, text: str) -> None:
    found, _ = read_prompts(written(tmp_path / "suite.yaml", text))
    assert found == [Prompt("One?", "art"), Prompt("Two?", "art"), Prompt("Three?", "law")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "\n \n"),
        ("a.jsonl", '{"a": 1}\n'),
        ("a.yaml", "7"),
        ("a.yaml", "a: [[[["),
        ("a.yaml", "!!python/name:os"),
    ],
)
def test_a_file_without_a_question_is_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(DataError):
        read_prompts(written(tmp_path / name, text))


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.yaml"])
def test_a_file_that_is_not_there_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFound):
        read_prompts(tmp_path / name)
