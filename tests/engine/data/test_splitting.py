"""One file in two: the same for the same seed, nothing lost, and nothing on both sides."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from engine.data.splitting import Separated, parse_share, split
from engine.errors import DataError, UsageError


def rows(path: Path, number: int, *, kinds: bool = False) -> Path:
    with path.open("w") as file:
        for n in range(number):
            more = f', "metadata": {{"dataset_type": "{"unlearn" if n % 4 == 0 else "retain"}"}}' if kinds else ""
            file.write(f'{{"question": "q{n}",  "answer":"a"{more}}}\n')
    return path


def done(source: Path, share: float | int = 0.05, seed: int = 7) -> Separated:
    into = source.parent
    return split([source], into / "t.jsonl", into / "v.jsonl", share=share, seed=seed, overwrite=True)


def test_every_line_is_on_one_side_as_it_was(tmp_path: Path) -> None:
    source = rows(tmp_path / "x.jsonl", 1_213)
    made = done(source, 60)
    assert (made.rows_in, made.rows_train, made.rows_validation, made.left_out) == (1_213, 1_153, 60, [])
    train, validation = made.train.read_text().splitlines(), made.validation.read_text().splitlines()
    assert (len(train), len(validation)) == (1_153, 60)
    before = source.read_text().splitlines()
    assert sorted([*train, *validation]) == sorted(before)
    assert [line for line in before if line in set(train)] == train


def test_a_seed_makes_the_split(tmp_path: Path) -> None:
    source = rows(tmp_path / "x.jsonl", 200)
    first = done(source).validation.read_bytes()
    assert len(first.splitlines()) == 10
    assert done(source).validation.read_bytes() == first
    assert done(source, seed=8).validation.read_bytes() != first


def test_equal_rows_stay_together(tmp_path: Path) -> None:
    source = rows(tmp_path / "x.jsonl", 40)
    source.write_text(source.read_text() * 3)
    made = done(source, 0.25)
    train, validation = set(made.train.read_text().splitlines()), set(made.validation.read_text().splitlines())
    assert not train & validation
    assert (made.rows_train, made.rows_validation) == (90, 30)


def test_each_dataset_type_is_divided_alike(tmp_path: Path) -> None:
    made = done(rows(tmp_path / "x.jsonl", 400, kinds=True), 0.1)
    assert made.kinds == {"unlearn": (90, 10), "retain": (270, 30)}


def test_lines_that_cannot_be_read_are_listed(tmp_path: Path) -> None:
    source = rows(tmp_path / "x.jsonl", 30)
    source.write_text(f"{{torn\n\n{source.read_text()}[]\n")
    made = done(source, 3)
    assert (made.rows_in, made.rows_train, made.rows_validation) == (32, 27, 3)
    assert [problem.line for problem in made.left_out] == [1, 33]


def test_a_table_is_split_into_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["question", "answer"], *([f"q{n}\nmore", "a"] for n in range(20))])
    made = done(path, 0.5)
    found = [json.loads(line) for each in (made.train, made.validation) for line in each.read_text().splitlines()]
    assert sorted(record["question"] for record in found) == sorted(f"q{n}\nmore" for n in range(20))


@pytest.mark.parametrize(
    ("text", "share"), [("5%", 0.05), ("0.5 %", 0.005), ("60", 60), ("0.1", 0.1), ("1", 1), ("60.0", 60)]
)
def test_a_share_or_a_number(text: str, share: float | int) -> None:
    assert parse_share(text) == pytest.approx(share)
    assert isinstance(parse_share(text), type(share))


@pytest.mark.parametrize("text", ["0", "0%", "100%", "-5", "1.5", "five", "", "5%%"])
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="a share such as 5%"):
        parse_share(text)


def test_what_cannot_be_split_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    source = rows(tmp_path / "x.jsonl", 10)
    with pytest.raises(UsageError, match="leave none to train on"):
        done(source, 10)
    with pytest.raises(DataError, match="equal to each other"):
        done(rows_of_one(tmp_path / "one.jsonl"), 2)
    with pytest.raises(DataError, match="two are needed"):
        done(rows(tmp_path / "single.jsonl", 1))
    (tmp_path / "t.jsonl").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        split([source], tmp_path / "t.jsonl", tmp_path / "v.jsonl", share=0.5, seed=1)
    assert not (tmp_path / "v.jsonl").exists()


def rows_of_one(path: Path) -> Path:
    path.write_text('{"question": "q", "answer": "a"}\n' * 5)
    return path
