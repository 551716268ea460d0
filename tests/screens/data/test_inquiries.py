"""What is asked of a whole file: which files belong together, what a search means, which rows are longest."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest

from screens.data import inquiries
from screens.data.book import Book
from screens.data.inquiries import in_metadata, validation_beside
from screens.data.lens import length_problem, settled_length
from screens.data.work_state import Activity, Found
from tests.screens.data.files import question, questions, write


@pytest.mark.parametrize(
    ("train", "validation"),
    [
        ("retain_train.jsonl", "retain_val.jsonl"),
        ("train.jsonl", "validation.jsonl"),
        ("Training-2.csv", "valid-2.csv"),
        ("train_of_train.jsonl", "train_of_dev.jsonl"),
    ],
)
def test_the_validation_file_is_the_one_that_is_called_like_the_training_file(
    tmp_path: Path, train: str, validation: str
) -> None:
    assert validation_beside(tmp_path / train) is None
    (tmp_path / validation).touch()
    assert validation_beside(tmp_path / train) == tmp_path / validation
    assert validation_beside(tmp_path / "other.jsonl") is None


def test_a_key_of_the_metadata_is_found_without_its_prefix(tmp_path: Path) -> None:
    book = Book(questions(tmp_path), "questions")
    book.first()
    assert in_metadata("Carmen category=event output=x", book) == "Carmen metadata.category=event output=x"
    assert in_metadata('"a category=b"', book) == '"a category=b"'
    found = [
        line
        for lines in inquiries.search(book, 'Brexit category="kind 0"', Activity(""), lambda: None)
        for line in lines
    ]
    assert found[:3] == [6, 12, 18]


def test_a_search_that_is_stopped_ends(tmp_path: Path) -> None:
    book, activity = Book(questions(tmp_path), "questions"), Activity("")
    activity.stopped.set()
    with pytest.raises(inquiries.Stopped):
        list(inquiries.search(book, "Brexit", activity, lambda: None))


def test_the_longest_rows_are_found(tmp_path: Path) -> None:
    rows = [question(number, output="x" * (5000 if number in (7, 90) else number)) for number in range(1, 101)]
    book = Book(write(tmp_path / "rows.jsonl", rows), "rows")
    found = inquiries.longest(book)
    assert found == sorted(found)
    assert len(found) == 20
    assert {7, 90, 100} <= set(found)


def test_from_one_found_row_to_the_next_and_round() -> None:
    found = Found("x", array("Q", [3, 7, 9]), complete=True)
    assert [found.after(line) for line in (0, 3, 4, 9)] == [3, 7, 7, 3]
    assert [found.before(line) for line in (3, 4, 9, 100)] == [9, 3, 7, 9]
    assert [found.place(line) for line in (3, 4, 9)] == [1, 0, 3]


def test_a_length_is_settled_as_a_run_would() -> None:
    assert settled_length(50, None)[0] == 512
    assert settled_length(846, None)[0] == 768
    assert settled_length(846, 256) == (256, "the model's longest sequence")
    assert settled_length(None, None)[0] == 768
    assert length_problem("1024") is None
    assert length_problem("ten") is not None
    assert length_problem("3") is not None
