"""A data file, opened: what stands on its lines, whatever is in it."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from engine.data.row import Problem, Row
from engine.errors import DataError, EngineError
from screens.data.book import READ_TO, Book
from tests.screens.data.files import NASTY, preferences, question, questions, write, wrong


def opened(path: Path, mapping: dict[str, str] | None = None) -> Book:
    book = Book(path, path.name, mapping)
    book.first()
    book.pages.build_index()
    book.find_numbers()
    book.sample()
    return book


def test_the_first_rows_come_with_their_shape(tmp_path: Path) -> None:
    book = Book(questions(tmp_path), "questions")
    rows = book.first()
    assert book.recognised is not None
    assert (book.recognised.shape, book.kind) == ("alpaca", "sft")
    assert rows[2].line == 3
    assert rows[2].texts == (
        "What do you know of Tintin, number 3?", "This is what one learns of Tintin: it has number 3.", "unlearn",
    )  # fmt: skip


def test_any_rows_are_read_in_any_order(tmp_path: Path) -> None:
    book = opened(questions(tmp_path, 500))
    assert [row.line for row in book.read([499, 3, 4, 250])] == [3, 4, 250, 499]
    entry = book.entry(499)
    assert entry is not None
    assert isinstance(entry.row, Row)
    assert "number 499" in entry.row.prompt[0]["content"]


def test_what_is_wrong_with_a_line_is_said_beside_it(tmp_path: Path) -> None:
    rows = {row.line: row for row in opened(wrong(tmp_path)).read(range(1, 121))}
    assert rows[20].problem == "trailing comma at column 40"
    assert "empty" in rows[60].problem
    assert "\x1b" not in rows[80].texts[1]
    assert rows[19].problem == rows[100].problem == ""


def test_a_line_of_20_megabytes_is_named_and_not_read(tmp_path: Path) -> None:
    long = json.dumps(question(2, output="x" * 20_000_000))
    book = opened(write(tmp_path / "long.jsonl", [question(1), long, question(3)]))
    first, second, third = book.read([1, 2, 3])
    assert "20.0 MB" in second.problem
    assert first.problem == third.problem == ""


def test_rows_of_a_table_stand_on_the_lines_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["question", "answer"])
        table.writerows([f"Q{number}\nsecond line", f"A{number}"] for number in range(5))
    book = opened(path)
    assert book.pages.num_lines == 5
    assert [book.line_of(number) for number in (1, 2, 5)] == [2, 4, 10]
    assert [book.number_of(line) for line in (2, 4, 10)] == [1, 2, 5]
    assert book.read([2])[0].texts[:2] == ("Q1⏎second line", "A1")


def test_what_cannot_be_read_of_a_packed_file_is_no_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"question": "a", "answer": "b"}\n\n{"question": "a",}\n'))
    book = opened(path)
    assert book.pages.num_lines == 2
    assert book.line_of(2) == 3
    entry = book.entry(2)
    assert entry is not None
    assert isinstance(entry.row, Problem)
    assert "comma" in entry.row.reason


def test_a_row_far_into_the_file_is_looked_at_in_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    path.write_text("".join(f'{{"question": "q{n}", "answer": "a"}}\n' for n in range(1, READ_TO + 11)))
    book = opened(path)
    assert book.row_file(READ_TO, tmp_path) == (path, READ_TO)
    for number in (READ_TO + 10, READ_TO + 5):
        alone, line = book.row_file(number, tmp_path)
        assert (alone.parent, line) == (tmp_path, 1)
        assert json.loads(alone.read_text())["question"] == f"q{number}"


def test_the_user_may_say_how_the_columns_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "odd.jsonl", [{"foo": "asked", "bar": "said"}] * 3)
    assert opened(path).read([1])[0].problem
    corrected = opened(path, {"prompt": "foo", "completion": "bar"})
    assert corrected.read([1])[0].texts == ("asked", "said", "")
    with pytest.raises(DataError, match="a label needs"):
        Book(path, "odd", {"label": "foo"}).first()


def test_rows_far_into_the_file_decide_as_well_how_it_is_read(tmp_path: Path) -> None:
    pairs = [{"prompt": f"p{n}", "chosen": "c", "rejected": "r"} for n in range(3000)]
    path = write(tmp_path / "late.jsonl", [*[question(1)] * 210, *pairs])
    book = Book(path, "late")
    book.first()
    assert book.kind == "sft"
    book.pages.build_index()
    assert book.sample()
    assert book.kind == "preference"


def test_the_sides_of_a_preference_are_columns(tmp_path: Path) -> None:
    assert opened(preferences(tmp_path)).read([1])[0].texts == (
        "Are you a person, asked 1 times?", "I am a program, and I say so when I am asked.",
        "I am a program, which is a sad thing to be.",
    )  # fmt: skip


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda path: path.mkdir(), id="a folder"),
        pytest.param(lambda path: None, id="nothing"),
        pytest.param(lambda path: path.write_bytes(b"PAR1" + b"x" * 99), id="half of a Parquet file"),
        pytest.param(lambda path: path.write_bytes(b"<!doctype html><p>Not found"), id="a web page"),
    ],
)
def test_what_is_no_data_file_has_a_sentence_and_a_remedy(tmp_path: Path, made: object) -> None:
    path = tmp_path / "data.parquet"
    made(path)  # type: ignore[operator]
    with pytest.raises(EngineError) as raised:
        Book(path, "data").first()
    assert raised.value.message
    assert raised.value.remedy


def test_foreign_names_of_columns_are_cleaned(tmp_path: Path) -> None:
    book = opened(write(tmp_path / "nasty.jsonl", [{NASTY: "x"}]))
    assert all("\x1b" not in name for name in book.columns)
    assert "\x1b" not in book.read([1])[0].problem
