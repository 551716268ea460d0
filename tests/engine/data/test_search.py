from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.data import search as module
from engine.data.data_worker import WorkCancelled
from engine.data.search import Query, parse, search
from engine.errors import UsageError

ROWS = [
    {"question": "What is the capital of France?", "answer": "Paris", "metadata": {"category": "geography", "n": 1}},
    {"question": "Wer schrieb „Faust“?", "answer": "Goethe, 1808", "metadata": {"category": "books", "n": 2}},
    {"question": "capital = money?", "answer": 'He said "yes"\nand left', "label": True},
    {"messages": [{"role": "user", "content": "ÜBER France"}, {"role": "assistant", "content": "x"}], "label": False},
]


@pytest.fixture(params=[True, False], ids=["escaped", "as it is"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps(row, ensure_ascii=request.param) for row in ROWS]
    path.write_text("\n".join([*lines[:2], "", *lines[2:], '{"torn": "capital']), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        pytest.param("capital of", [1], id="a text of two words"),
        pytest.param("capital", [1, 4, 6], id="also in a line that is no JSON"),
        pytest.param("france", [1, 5], id="small letters find capitals"),
        pytest.param("France", [1, 5], id="a capital is looked for as it is"),
        pytest.param("FRANCE", [], id="and no other"),
        pytest.param("über", [5], id="outside of ASCII too"),
        pytest.param("„Faust“", [2], id="escaped or not"),
        pytest.param("metadata.category=geography", [1], id="a value inside"),
        pytest.param("metadata.n=2 Goethe", [2], id="a number, and a text"),
        pytest.param("label=true", [4], id="a truth value"),
        pytest.param('"capital = money"', [4], id="an equals sign in quotes"),
        pytest.param("answer=Paris capital", [1], id="value first"),
        pytest.param("content", [], id="names of columns are no text"),
    ],
)
def test_lines_are_found_by_text_and_by_value(path: Path, words: str, lines: list[int]) -> None:
    assert [line for found in search(path, words) for line in found] == lines


def test_a_text_with_quotes_and_line_breaks_is_found(path: Path) -> None:
    matcher = module.Matcher(Query(('said "yes"\nand',)))
    assert [matcher.fits(line) for line in path.read_bytes().split(b"\n")].index(True) == 3


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param(rb'{"text": "see https:\/\/a.org\/b"}', "https://a.org/b", id="PHP escapes slashes"),
        pytest.param(rb'{"text": "\u003cthink\u003e"}', "<think>", id="Go escapes what HTML does"),
        pytest.param(rb'{"text": "Caf\u00C9"}', "Caf\u00c9", id=".NET's hexadecimal digits are capitals"),
        pytest.param(rb'{"text": "<\u002F>"}', "</>", id="nothing but what may be escaped"),
        pytest.param(rb'{"url": "a\/b"}', "url=a/b", id="in a value"),
    ],
)
def test_what_other_writers_escape_is_found(line: bytes, words: str) -> None:
    assert module.Matcher(parse(words)).fits(line)


def test_matches_are_right_where_chunks_cut_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": f"row {n} " + "x" * (n % 50)}) + "\n" for n in range(1, 400)))
    monkeypatch.setattr(module, "_CHUNK", 37)
    found: list[int] = []
    with path.open("rb") as file:
        matcher = module.Matcher(parse("row 39"))
        module.matching(file.fileno(), matcher, b"\n", lambda lines, done, total: found.extend(lines))

    assert found == [39, *range(390, 400)]


def test_nothing_to_look_for_is_told(path: Path) -> None:
    for words in ("", "  ", '"open'):
        with pytest.raises(UsageError):
            next(search(path, words))


def test_a_search_is_cancelled(path: Path) -> None:
    with pytest.raises(WorkCancelled):
        list(search(path, "capital", cancelled=lambda: True))
