from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from engine.data import row_measures, statistics_worker
from engine.data.data_worker import WorkCancelled
from engine.data.plain_rows import names_of
from engine.data.row_measures import Piece, Source, cuts, measure
from engine.data.shapes import recognise
from engine.data.statistics import Progress, Request, Statistics, count
from engine.errors import EngineError, NotFound

MODEL = Path(__file__).parents[3] / "models" / "tiny"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def written(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def last(request: Request) -> Statistics:
    return list(count(request))[-1]


def words(seed: int, count: int = 30) -> str:
    random = Random(seed)
    return " ".join(f"w{random.randrange(10_000)}" for _ in range(count))


def test_everything_that_can_be_counted_is_counted(tmp_path: Path) -> None:
    def row(question: str, answer: str, kind: str) -> dict[str, Any]:
        return {"instruction": question, "output": answer, "metadata": {"dataset_type": kind, "category": kind[0]}}

    path = written(
        tmp_path / "rows.jsonl",
        [
            row("a" * 10, "b" * 5, "retain"),
            row("a" * 20, "c" * 10, "unlearn"),
            "",
            row("a" * 10, "b" * 5, "unlearn"),
            "not json",
            row("a" * 10, "", "retain"),
            row("a" * 10, "b" * 5, "retain"),
            row("a" * 30, "d" * 70, "retain"),
        ],
    )
    told: list[Progress] = []
    found = list(count(Request([path]), told.append))
    file = found[-1].files[0]

    assert [statistics.done for statistics in found] == [False, True]
    assert (file.shape, file.rows, file.usable, file.bytes) == ("alpaca", 7, 5, path.stat().st_size)
    assert file.unusable == {"not JSON": 1, "output is empty": 1}
    assert file.unusable_lines == [(5, "not JSON"), (6, "output is empty")]
    assert file.characters is not None
    assert (file.characters.minimum, file.characters.maximum, file.characters.total) == (15, 100, 175)
    assert file.characters.quantiles == {"p5": 15, "p25": 15, "p50": 15, "p75": 30, "p95": 100, "p99": 100}
    assert sum(file.characters.counts) == 5
    assert len(file.characters.edges) == len(file.characters.counts) + 1
    assert file.answers is not None
    assert file.answers.quantiles["p50"] == 5
    assert file.roles == {"user": 5, "assistant": 5}
    assert (file.dataset_types, file.categories) == ({"retain": 3, "unlearn": 2}, {"r": 3, "u": 2})
    assert (file.duplicates.rows, file.duplicates.first) == (2, [(4, 1), (7, 1)])
    assert told[-1].total


def test_rows_that_are_nearly_equal_are_found_and_those_that_only_begin_alike_are_not(tmp_path: Path) -> None:
    base = [{"question": f"Question {n}", "answer": words(n)} for n in range(50)]
    near = {"question": "question 7!", "answer": words(7) + " indeed"}
    alike = [{"question": f"What is the capital of country {n}?", "answer": f"City {n}"} for n in range(20)]
    validation = [{"question": "Question 3", "answer": words(3).upper()}, base[9], {"question": "new", "answer": "n"}]
    train = written(tmp_path / "train.jsonl", [*base, near, *alike, base[2]])
    found = last(Request([train], [written(tmp_path / "valid.jsonl", validation)]))
    file, overlap = found.files[0], found.overlaps[0]

    assert (file.duplicates.first, file.near and file.near.first) == ([(72, 3)], [(51, 8)])
    assert (overlap.exact.rows, overlap.exact.first) == (1, [(2, 10)])
    assert overlap.near is not None
    assert (overlap.near.rows, overlap.near.first, overlap.near.examined) == (1, [(1, 4)], 3)
    assert [Path(each.path).name for each in found.files] == ["train.jsonl", "valid.jsonl"]


MIXED: list[Any] = [
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "category": "x"},
    {"messages": [{"role": "user", "content": "a"}], "metadata": {"category": "y"}},
    {"messages": [{"role": "gpt", "content": "a"}, {"role": "assistant", "content": "b"}]},
    {"messages": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}]},
    {"messages": [{"role": "user", "content": ["a"]}, {"role": "assistant", "content": "b"}]},
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "system": "s"},
    {"messages": "text"},
    {"messages": [1]},
    {"instruction": "a", "output": "b", "input": "c", "metadata": '{"category": "z"}'},
    {"instruction": "a", "output": "b", "input": " "},
    {"instruction": "a", "output": 5},
    {"instruction": "[1]", "output": "b", "metadata.category": "w"},
    {"instruction": "a", "output": "b", "history": [["x", "y"]], "system": "s"},
    {"instruction": " ", "output": "b"},
    {"prompt": "a", "chosen": "b", "rejected": "c"},
    {"messages": [{"role": "user", "content": "a", "human": "c", "assistant": "d"}, {"role": "user", "content": "b"}]},
    {"messages": [{"role": r, "content": r, "weight": 1} for r in ("user", "assistant", "user", "assistant")], "id": 7},
    {
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        "metadata": {"category": 5},
    },
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "category": "", 's"': 1},
    {
        "messages": [{"role": "user", "content": "é\ud83d\ude00"}, {"role": "assistant", "content": "b\n"}],
        "dataset_type": "retain",
        "metadata": {"category": None, "source": [{}]},
    },
    {"instruction": "a", "output": "b", "dataset_type": "unlearn", "metadata": {"category": "v", "dataset_type": None}},
    {"instruction": "a", "output": "b", "context": "c", "input": "d"},
    {"instruction": "a", "output": "b", "input": {"c": 1}, "System": None},
    [1],
    5,
    "",
    "{",
    '{"instruction": "a", "output": "b"} {}',
    '{"instruction": "a", "output": "b", "input": "\\ud800"}',
    '{"instruction": "a", "instruction": 5, "output": "b"}',
    '{"inst\\u0072uction": "a", "output": "b", "id": 1e999}',
    '{"instruction": "a", "output": "b", "id": NaN}',
]
"""Rows that differ from what is plainly of a shape, each in one way; as text where JSON has no other way."""


@pytest.mark.parametrize("shape", ["messages", "alpaca"])
def test_the_quick_way_finds_what_the_thorough_one_finds(
    tmp_path: Path, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = MIXED[0] if shape == "messages" else MIXED[9]
    path = written(tmp_path / "rows.jsonl", [first, *MIXED])
    recognised = recognise([first])
    records = [row for row in MIXED if isinstance(row, dict)]
    source = Source(path, path, b"\n", recognised, names_of(records, recognised))

    def whole() -> list[Piece]:
        with path.open("rb") as file:
            return [measure(source, piece, 0) for piece in cuts(file.fileno(), b"\n")]

    assert source.recognised.shape == shape
    quick = whole()
    monkeypatch.setattr(row_measures, "plain_reader", lambda *_: lambda _: None)
    assert quick == whole()


WORK = """
import json, os, signal, sys
from pathlib import Path
from engine.data import row_measures, statistics_worker
from engine.data.statistics import Request
def killed(*_): os.kill(os.getpid(), signal.SIGKILL)
exec(sys.argv[2])
said = []
statistics_worker.work(Request([Path(sys.argv[1])]), said.append)
print(json.dumps(said[-1]["result"]["files"][0]))
"""
"""The worker in a process without threads, because it forks."""


def test_many_pieces_make_what_one_makes(tmp_path: Path) -> None:
    rows = [{"question": words(n % 300, 5), "answer": words(n % 300, n % 15 + 1)} for n in range(2000)]
    path = written(tmp_path / "rows.jsonl", [*rows, "", "broken"])

    def whole(change: str) -> Any:
        command = [sys.executable, "-c", WORK, str(path), change]
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        return json.loads(subprocess.run(command, check=True, capture_output=True, env=environment).stdout)

    one = whole("")
    assert one["duplicates"]["rows"] == 1700
    assert whole("row_measures.PIECE_BYTES = 1000") == one


def test_of_a_file_sorted_by_length_short_and_long_rows_are_drawn_alike(tmp_path: Path) -> None:
    rows = [{"question": f"{n} and?", "answer": "x"} for n in range(2_000)]
    rows += [{"question": f"{n} and?", "answer": "word " * 200} for n in range(500)]
    change = f"""
row_measures.PIECE_BYTES = 20_000
statistics_worker.LARGE_SAMPLE, statistics_worker._SAMPLE_BYTES = 1_000, 150_000
from functools import partial
Request = partial(Request, model=Path({str(MODEL)!r}))
"""
    command = [sys.executable, "-c", WORK, str(written(tmp_path / "rows.jsonl", rows)), change]
    tokens = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["tokens"]
    lengths = tokens["lengths"]
    assert tokens["sampled"]
    assert 50 < lengths["rows"] < 1_000
    # By pieces of equal bytes three quarters of those drawn would be long ones, and none with all room in the first.
    assert (lengths["mean"] - lengths["minimum"]) / (lengths["maximum"] - lengths["minimum"]) == pytest.approx(0.2, 0.3)


def test_a_process_that_is_killed_ends_the_counting(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", MIXED)
    command = [sys.executable, "-c", WORK, str(path), "statistics_worker._measure = killed"]
    reply = subprocess.run(command, capture_output=True, text=True, check=False)

    assert reply.returncode == 1
    assert "BrokenProcessPool" in reply.stderr


def test_tokens_are_counted_as_the_template_writes_them(tmp_path: Path) -> None:
    from engine.data.templates import load_template

    rows = [{"question": "Who wrote Faust?", "answer": "Goethe " * n} for n in (1, 10, 20, 40)]
    path = written(tmp_path / "rows.jsonl", rows)
    tokens = last(Request([path], model=MODEL, max_length=40)).files[0].tokens
    template = load_template(MODEL)
    lengths = sorted(
        len(
            template.encode(
                template.render(
                    [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": str(row["answer"])}]
                )
            )
        )
        for row in rows
    )

    assert tokens is not None
    assert (tokens.lengths.minimum, tokens.lengths.maximum, tokens.lengths.total) == (
        lengths[0],
        lengths[-1],
        sum(lengths),
    )
    assert (tokens.sampled, tokens.refused) == (False, 0)
    assert tokens.truncated_share == sum(length > 40 for length in lengths) / 4


@pytest.mark.parametrize(
    ("rows", "shape", "learned"),
    [
        pytest.param([{"prompt": "abc", "chosen": "de", "rejected": "fghi"}], "preference", (9, 2), id="preference"),
        pytest.param([{"prompt": "abc", "completion": "de", "label": True}], "kto", (5, 2), id="kto"),
        pytest.param([{"text": "abcdef"}], "text", (6, 6), id="text"),
    ],
)
def test_every_kind_has_its_lengths(tmp_path: Path, rows: list[Any], shape: str, learned: tuple[int, int]) -> None:
    file = last(Request([written(tmp_path / "rows.jsonl", rows)])).files[0]

    assert file.characters is not None
    assert file.answers is not None
    assert (file.shape, file.usable, file.characters.total, file.answers.total) == (shape, 1, *learned)
    assert file.labels == ({"true": 1} if shape == "kto" else {})


def test_a_tokenised_file_has_its_lengths_in_tokens(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", [{"input_ids": [1, 2, 3]}, {"input_ids": [4, 5]}])
    file = last(Request([path], max_length=2)).files[0]

    assert file.characters is None
    assert file.tokens is not None
    assert (file.tokens.lengths.total, file.tokens.truncated_share, file.tokens.sampled) == (5, 0.5, False)


def test_a_file_of_no_rows_has_statistics_too(tmp_path: Path) -> None:
    for rows in ([], ["nonsense", "{}"]):
        file = last(Request([written(tmp_path / "rows.jsonl", rows)])).files[0]
        assert (file.usable, file.rows, file.characters) == (0, len(rows), None)


def test_what_cannot_be_counted_is_told_and_what_is_cancelled_ends(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        list(count(Request([tmp_path / "missing.jsonl"])))
    path = written(tmp_path / "rows.jsonl", MIXED)
    with pytest.raises(EngineError, match="tokenizer"):
        list(count(Request([path], model=tmp_path)))
    with pytest.raises(WorkCancelled):
        list(count(Request([path]), cancelled=lambda: True))


@pytest.mark.parametrize("counted_below", [1 << 20, 0], ids=["counted", "sorted"])
def test_quantiles_are_lengths_of_rows_and_every_row_is_in_a_bar(
    counted_below: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics_worker, "_COUNTED_BELOW", counted_below)
    chance = Random(1)
    for count_of in (1, 2, 19, 1000):
        values = [int(chance.paretovariate(0.7)) for _ in range(count_of)]
        ordered = sorted(values)
        lengths = statistics_worker.lengths_of(values)
        assert lengths is not None
        for name, quantile in lengths.quantiles.items():
            share = int(name[1:]) / 100
            assert sum(value <= quantile for value in values) >= share * count_of - 1e-9
            assert sum(value < quantile for value in values) < share * count_of + 1e-9
        assert (lengths.total, lengths.minimum, lengths.maximum) == (sum(values), ordered[0], ordered[-1])
        bars = zip(lengths.edges, lengths.edges[1:], lengths.counts, strict=False)
        assert all(number == sum(low <= value < high for value in values) for low, high, number in bars)
        assert sum(lengths.counts) == count_of


def test_of_a_table_the_lines_of_the_file_are_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('question,answer\n"two\nlines",a\nragged\nq,b\n"two\nlines",a\nq,\n')
    file = last(Request([path])).files[0]

    assert (file.rows, file.usable, file.duplicates.first) == (5, 3, [(6, 2)])
    assert file.unusable_lines == [(4, "1 value where the header has 2 columns"), (8, "answer is empty")]


def test_a_line_of_20_megabytes_and_a_column_that_changes_its_type_are_counted(tmp_path: Path) -> None:
    rows: list[Any] = [{"question": "q", "answer": f"a{n}"} for n in range(1000)]
    path = written(
        tmp_path / "rows.jsonl", [*rows, {"question": "q", "answer": "y" * (20 << 20)}, {"question": 1, "answer": 2}]
    )
    file = last(Request([path])).files[0]

    assert file.characters is not None
    assert (file.usable, file.characters.maximum) == (1001, (20 << 20) + 1)
    assert file.unusable_lines == [(1002, "question is a number, not text")]
