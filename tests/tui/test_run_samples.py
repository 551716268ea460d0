"""The answers to fixed prompts as their file grows, is cut, is torn, or lies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tui import run_samples
from tui.run_samples import ROUNDS_KEPT, TEXT_CHARACTERS, SampleBook


def line(step: int, index: int = 0, answer: str = "a", **more: object) -> bytes:
    record = {"step": step, "index": index, "set": "retain", "prompt": "Who?", "answer": answer, **more}
    return json.dumps(record).encode() + b"\n"


def steps(book: SampleBook) -> list[int]:
    return [entry.step for entry in book.rounds]


def test_answers_are_read_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    book = SampleBook(path)
    assert not book.read(), "there is no file yet"
    path.write_bytes(line(0) + line(0, 1) + line(50)[:-9])
    assert book.read()
    assert steps(book) == [0]
    assert [sample.answer for sample in book.rounds[0].samples.values()] == ["a", "a"]
    assert not book.read(), "nothing new"
    with path.open("ab") as file:
        file.write(line(50)[-9:])
    assert book.read()
    assert steps(book) == [0, 50]


def test_a_resume_supersedes_what_was_answered_after_its_checkpoint(tmp_path: Path) -> None:
    book = SampleBook(tmp_path / "samples.jsonl")
    book.take([line(0), line(50), line(100), line(50, answer="again"), line(75)])
    assert steps(book) == [0, 50, 75]
    assert book.rounds[1].samples[0].answer == "again"


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_bytes(line(0) + line(50))
    book = SampleBook(path)
    book.read()
    path.unlink()
    path.write_bytes(line(10))
    assert book.read()
    assert steps(book) == [10]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b"\n", id="empty"), pytest.param(b"{\n", id="torn"), pytest.param(b"[1]\n", id="a list"),
        pytest.param(b"\xff\xfe\x00\n", id="no text"), pytest.param(line(1, answer=7), id="a number for an answer"),  # type: ignore[arg-type]
        pytest.param(b'{"step": true, "index": 0, "set": "", "prompt": "", "answer": ""}\n', id="true for a step"),
        pytest.param(b'{"step": 1}\n', id="fields missing"),
        pytest.param(b'{"a":' * 100_000 + b"\n", id="deep"),
        pytest.param(b"x" * (run_samples.LINE_BYTES + 1) + b"\n", id="long"),
    ],
)  # fmt: skip
def test_a_line_that_holds_no_answer_costs_only_itself(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_bytes(line(0) + bad + line(50))
    book = SampleBook(path)
    while book.read():
        pass
    assert steps(book) == [0, 50]


def test_memory_is_bounded_and_the_first_round_stays(tmp_path: Path) -> None:
    book = SampleBook(tmp_path / "samples.jsonl")
    book.take(line(step, answer="x" * 9_000) for step in range(ROUNDS_KEPT + 50))
    assert len(book.rounds) == ROUNDS_KEPT + 1
    assert steps(book)[:2] == [0, 50]
    assert len(book.rounds[-1].samples[0].answer) == TEXT_CHARACTERS
    book.take(line(1_000, index) for index in range(200))
    assert len(book.rounds[-1].samples) == run_samples.PROMPTS_KEPT
