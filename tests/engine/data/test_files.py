"""Files: every format gives the same rows, every damage has a sentence, and nothing is held whole."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.data import files, json_documents
from engine.data.files import Record, counts_lines, format_of, open_source, read_record, records, sample
from engine.data.row import Problem, Row
from engine.data.rows import check_file, read_rows
from engine.errors import DataError, NotFound

RECORDS: list[dict[str, Any]] = [{"question": f"q{n}", "answer": f'a,"{n}"\nnaïve 東京 🙂'} for n in range(1, 6)]


def as_jsonl(found: list[dict[str, Any]] = RECORDS) -> bytes:
    return "".join(f"{json.dumps(record)}\n" for record in found).encode()


def as_csv(found: list[dict[str, Any]] = RECORDS, separator: str = ",") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(found[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue().encode()


def as_parquet(found: list[dict[str, Any]] = RECORDS) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(found), sink, row_group_size=2)
    return sink.getvalue()


def as_arrow(found: list[dict[str, Any]] = RECORDS, *, stream: bool = True) -> bytes:
    sink, table = io.BytesIO(), pa.Table.from_pylist(found)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue()


def zst(content: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(content, asbytes=True))


FORMATS: dict[str, Callable[[], bytes]] = {
    "x.jsonl": as_jsonl,
    "x.json": lambda: json.dumps(RECORDS).encode(),
    "indented.json": lambda: b"\xef\xbb\xbf" + json.dumps(RECORDS, indent=2).encode(),
    "lines.json": as_jsonl,
    "array.jsonl": lambda: json.dumps(RECORDS).encode(),
    "pretty.jsonl": lambda: "\n".join(json.dumps(record, indent=1) for record in RECORDS).encode(),
    "wrapped.json": lambda: json.dumps({"version": 1, "data": RECORDS}).encode(),
    "columns.json": lambda: json.dumps({name: [r[name] for r in RECORDS] for name in RECORDS[0]}).encode(),
    "x.csv": as_csv,
    "semicolons.csv": lambda: b"\xef\xbb\xbf" + as_csv(separator=";"),
    "x.tsv": lambda: as_csv(separator="\t"),
    "x.parquet": as_parquet,
    "no-ending": as_parquet,
    "x.arrow": as_arrow,
    "file.arrow": lambda: as_arrow(stream=False),
    "x.jsonl.gz": lambda: gzip.compress(as_jsonl()),
    "gzip called.jsonl": lambda: gzip.compress(as_jsonl()),
    "x.csv.gz": lambda: gzip.compress(as_csv()),
    "x.json.zst": lambda: zst(json.dumps(RECORDS).encode()),
    "x.jsonl.zst": lambda: zst(as_jsonl()),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FORMATS[name]())
    found = list(records(path))
    assert [item.value for item in found if isinstance(item, Record)] == RECORDS
    lines = [item.line for item in found]
    assert lines == ([2, 4, 6, 8, 10] if "csv" in name or "tsv" in name else [1, 2, 3, 4, 5])
    assert [read_record(path, line) for line in lines] == RECORDS
    assert [item.line for item in records(path, start=3, limit=1)] == lines[3:4]
    assert sample(path, 100) == RECORDS
    assert [row.completion[0]["content"] for row in read_rows(path) if isinstance(row, Row)] == [
        record["answer"] for record in RECORDS
    ]
    assert check_file(path) == (5, [])
    with pytest.raises(NotFound, match=r"has no (line|row) 99"):
        read_record(path, 99)
    assert open_source(path).files == {"train": path}


def test_what_a_file_is_is_told_by_its_content(tmp_path: Path) -> None:
    expected = {"x.csv.gz": "csv", "no-ending": "parquet", "gzip called.jsonl": "jsonl", "lines.json": "jsonl"}
    for name, kind in expected.items():
        path = tmp_path / name
        path.write_bytes(FORMATS[name]())
        assert format_of(path) == kind
        assert counts_lines(path) == (kind != "parquet")


def test_messages_and_marks_are_read_from_a_table(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    path.write_bytes(as_csv([{"messages": json.dumps(messages)}, {"messages": str(messages)}]))
    assert check_file(path) == (2, [])
    path.write_bytes(as_csv([{"prompt": "a", "completion": "b", "label": "True"}]))
    assert check_file(path, kinds=["kto"]) == (1, [])


def test_rows_in_lists_by_category_keep_it(tmp_path: Path) -> None:
    path = tmp_path / "corpus.json"
    pairs = {"ethics": [{"prompt": "a", "bad": "c", "good": "b"}], "logic": [{"prompt": "d", "bad": "f", "good": "e"}]}
    for document in ({"about": "pairs", **pairs}, {"about": "pairs", "pairs": pairs}):
        path.write_text(json.dumps(document, indent=2))
        found = [row for row in read_rows(path) if isinstance(row, Row)]
        assert [(row.category, row.kind, row.rejected[0]["content"]) for row in found] == [
            ("ethics", "preference", "c"),
            ("logic", "preference", "f"),
        ]


# -- damage --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "line", "said"),
    [
        pytest.param(
            "x.csv", b"question,answer\na,b\nc\nd,e\n", 3, "1 value where the header has 2 columns", id="too few"
        ),
        pytest.param("x.csv", b"question,answer\na,b\nc,d,e\n", 3, "3 values where the header has 2", id="too many"),
        pytest.param(
            "x.csv", b'question,answer\na,b\n"c,d\ne,f\n', 3,
            "a quotation mark that is never closed; the 1 line after it cannot be read", id="open quote",
        ),
        pytest.param("x.csv", b'question,answer\n"a"b,c\n', 2, "text follows a closing quotation mark", id="odd quote"),
        pytest.param("x.csv", b"question,answer\na,caf\xe9\nb,c\n", 2, "line 2 of the file is not UTF-8", id="latin-1"),
        pytest.param("x.json", b'[{"question": "a", "answer": "b"},]', 2, "line 1: trailing comma", id="comma"),
        pytest.param(
            "x.json", b'[\n {"question": "a", "answer": "b"},\n {"question": \'a\'}\n]', 2,
            "line 3: single quotes at column 15", id="single quotes",
        ),
        pytest.param("x.json", b'[{"question": "a", "answer": "b"}, {"ques', 2, "line 1: ", id="torn in a row"),
        pytest.param(
            "x.json", b'[{"question": "a", "answer": "b"}', 2, "ends in the middle of the array", id="torn between"
        ),
        pytest.param(
            "x.json", b'[{"question": "a", "answer": "b"} {"q": 1}]', 2, "there is no comma between", id="no comma"
        ),
        pytest.param("x.json", b'[{"question": "a", "answer": "\\ud83d"}]', 1, "a lone surrogate", id="surrogate"),
        pytest.param("x.json", b'[{"question": "a",\n "answer": "\xff"}]', 1, "line 2: a byte that is not", id="UTF-8"),
        pytest.param("x.json", b'[{"question": "a", "answer": "b"}, 5]', 2, "a JSON object is needed", id="a number"),
        pytest.param(
            "x.json", b'{"train": [{"question": "a"}], "test": [{"question": "a"}]}', 1,
            "several sets of rows (train, test)", id="splits in one file",
        ),
    ],
)  # fmt: skip
def test_damage_is_told_where_it_is_and_the_file_refused(
    tmp_path: Path, name: str, content: bytes, line: int, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    problems = [item for item in records(path) if isinstance(item, Problem)]
    assert [(problem.line, problem.malformed) for problem in problems] == [(line, True)]
    assert said in problems[0].reason
    with pytest.raises(DataError, match="cannot be read"):
        check_file(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        pytest.param("x.parquet", as_parquet()[:300], "is a damaged Parquet file", id="Parquet cut in half"),
        pytest.param("x.arrow", as_arrow()[:400], "is a damaged Arrow file", id="Arrow cut in half"),
        pytest.param("x.parquet", b"<html></html>", "is a web page", id="a page for Parquet"),
        pytest.param("x.parquet", b"question,answer\n", "is called .parquet and is no such file", id="CSV for Parquet"),
        pytest.param("x.jsonl.gz", gzip.compress(as_jsonl())[:-20], "is a damaged gzip file", id="gzip cut"),
        pytest.param(
            "x.jsonl.gz", gzip.compress(as_jsonl())[:-30] + b"x" * 30, "is a damaged gzip file", id="gzip changed"
        ),
        pytest.param("x.jsonl.zst", zst(as_jsonl())[:-20], "is a damaged zstd file", id="zstd cut"),
        pytest.param("x.parquet.gz", gzip.compress(as_parquet()), "is a compressed parquet file", id="compressed"),
        pytest.param("x.csv", b"question,question\na,b\n", "two columns are called 'question'", id="two of a name"),
        pytest.param("x.csv", b"question,\na,b\n", "a column has no name", id="no name"),
        pytest.param("x.csv", b"", "has no row to learn from", id="empty table"),
        pytest.param("x.json", b"[]", "has no row to learn from", id="empty array"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_has_a_sentence(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        check_file(path)
    assert said in refused.value.message
    assert refused.value.remedy


def test_a_name_with_a_newline_and_escapes_is_shown_harmlessly(tmp_path: Path) -> None:
    path = tmp_path / "a\n\x1b[2Jb.jsonl"
    path.write_bytes(b"x\n")
    with pytest.raises(DataError) as refused:
        check_file(path)
    assert "\\n\\x1b[2Jb.jsonl" in refused.value.message
    with pytest.raises(NotFound, match="is no path"):
        check_file(Path("a\0b"))


def test_a_long_array_and_a_long_row_are_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_documents, "_PIECE", 7)
    path = tmp_path / "x.json"
    path.write_text(json.dumps([*RECORDS, {"question": "q" * 5_000, "answer": 1.25e3}], indent=3, ensure_ascii=False))
    found = [item.value for item in records(path) if isinstance(item, Record)]
    assert found == [*RECORDS, {"question": "q" * 5_000, "answer": 1250.0}]


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_a_large_file_is_not_held_whole(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    row = {"question": "q" * 5_000, "answer": "a" * 5_000}
    with path.open("wb") as file:
        if kind == "csv":
            file.write(as_csv([row] * 1_500))
        else:
            line = json.dumps(row).encode()
            file.write(b"[" * (kind == "json") + (b",\n" if kind == "json" else b"\n").join([line] * 1_500))
            file.write(b"]" * (kind == "json"))
    assert path.stat().st_size > 15_000_000
    tracemalloc.start()
    try:
        assert sum(isinstance(item, Record) for item in records(path)) == 1_500
        assert len(sample(path, 50)) == 50
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_a_row_of_20_mb_is_a_row(tmp_path: Path) -> None:
    long = "x" * 20_000_000
    for name, content in (
        ("x.jsonl", as_jsonl([{"question": long, "answer": "a"}])),
        ("x.json", json.dumps([{"question": long, "answer": "a"}]).encode()),
        ("x.csv", as_csv([{"question": long, "answer": "a"}])),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        assert check_file(path) == (1, [])


# -- samples -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.jsonl", "x.parquet", "x.csv", "x.jsonl.gz", "x.arrow"])
def test_a_sample_is_not_only_the_beginning(tmp_path: Path, name: str) -> None:
    rows: list[dict[str, Any]] = [{"question": f"{n:05}", "answer": "a" * 50} for n in range(6_000)]
    made = {"jsonl": as_jsonl, "parquet": as_parquet, "csv": as_csv, "gz": as_jsonl, "arrow": as_arrow}
    path = tmp_path / name
    content = made[name.rpartition(".")[2]](rows)
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    numbers = sorted(int(record["question"]) for record in sample(path, 64))
    assert 32 <= len(numbers) <= 64
    assert len(set(numbers)) == len(numbers)
    assert numbers[0] == 0
    assert numbers[-1] > 5_000


# -- folders and data sets -----------------------------------------------------------------------------------


def tree(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(as_jsonl())


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train.jsonl", "val.jsonl", "test.jsonl"], {"train": 1, "validation": 1, "test": 1}),
        (["sft.train.jsonl", "sft.val.jsonl", "README.md", "dataset_info.json"], {"train": 1, "validation": 1}),
        (["retain/retain_train.jsonl", "retain/retain_val.jsonl", "unlearn/unlearn_train.jsonl"],
         {"train": 2, "validation": 1}),
        (["data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl", "data/validation-0.jsonl"],
         {"train": 2, "validation": 1}),
        (["train/a.jsonl", "train/b.jsonl", "valid/a.jsonl"], {"train": 2, "validation": 1}),
        (["a.jsonl", "b.jsonl", ".hidden.jsonl"], {"train": 2}),
        (["train.jsonl", "train.csv"], {"train": 1}),
    ],
    ids=str,
)  # fmt: skip
def test_a_folder_has_splits(tmp_path: Path, names: list[str], expected: dict[str, int]) -> None:
    tree(tmp_path, *names)
    source = open_source(tmp_path)
    assert {split: len(parts) for split, parts in source.parts.items()} == expected
    assert source.files == {split: parts[0] for split, parts in source.parts.items()}
    assert source.format == "jsonl"


def test_a_folder_without_data_is_refused_and_one_for_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="holds no data file"):
        open_source(tmp_path)
    with pytest.raises(DataError, match="is a folder"):
        list(records(tmp_path))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_data_set_of_the_hub_is_found_in_its_cache(cache: Path) -> None:
    with pytest.raises(NotFound) as missing:
        open_source("ada/pairs")
    assert "hf download --repo-type dataset ada/pairs" in missing.value.remedy
    tree(cache / "datasets/ada___pairs/default/0.0.0/abc", "pairs-train.jsonl")
    (cache / "datasets/ada___pairs/default/0.0.0/abc/pairs-train.arrow").write_bytes(as_arrow())
    assert open_source("ada/pairs").format == "arrow"
    hub = cache / "hub/datasets--ada--pairs"
    tree(hub / "snapshots/111", "train.jsonl")
    tree(hub / "snapshots/222", "data/train-0.jsonl", "data/test-0.jsonl")
    (hub / "refs").mkdir()
    (hub / "refs/main").write_text("222")
    assert open_source("ada/pairs").files == {
        "train": hub / "snapshots/222/data/train-0.jsonl",
        "test": hub / "snapshots/222/data/test-0.jsonl",
    }


def test_shown_leaves_plain_names_alone() -> None:
    assert files.shown(Path("/data/naïve.jsonl")) == "/data/naïve.jsonl"
