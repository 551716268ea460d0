from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.data import line_index, paging
from engine.data.paging import SHOWN_BYTES, Line, Pages
from engine.data.search import search
from engine.errors import DataError, NotFound


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def rows(path: Path, count: int) -> Path:
    with path.open("w", encoding="utf-8") as file:
        for number in range(1, count + 1):
            file.write(json.dumps({"question": f"q{number}", "answer": "x" * (number * 7919 % 300)}) + "\n")
    return path


def texts(lines: list[Line]) -> list[bytes]:
    return [line.text for line in lines]


def test_pages_with_and_without_the_index_are_the_same(tmp_path: Path) -> None:
    path = rows(tmp_path / "rows.jsonl", 5000)
    expected = path.read_bytes().splitlines()
    pages = Pages(path)

    assert texts(pages.first(30)) == expected[:30]
    assert (pages.num_lines, pages.page(1001, 20)) == (None, pages.page(1001, 20))
    before = [pages.page(start, 20) for start in (1, 1001, 4990)]
    pages.build_index()
    assert pages.num_lines == 5000
    assert [pages.page(start, 20) for start in (1, 1001, 4990)] == before
    assert texts(pages.page(4990, 20)) == expected[4989:]
    assert [line.number for line in pages.page(4990, 20)] == list(range(4990, 5001))
    assert pages.page(5001, 20) == []


@pytest.mark.parametrize("ending", [b"\n", b""], ids=["closed", "open"])
def test_of_a_long_line_the_beginning_is_shown_and_the_next_is_found(tmp_path: Path, ending: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    long = b'{"text": "' + b"y" * (20 << 20) + b'"}'
    path.write_bytes(b'{"a": 1}\n' + long + b'\n{"b": 2}\n' + long + ending)
    pages = Pages(path)
    expected = [
        Line(1, b'{"a": 1}', False, 8),
        Line(2, long[:SHOWN_BYTES], True, len(long)),
        Line(3, b'{"b": 2}', False, 8),
        Line(4, long[:SHOWN_BYTES], True, len(long)),
    ]

    assert pages.first(3) == expected[:3]
    assert pages.whole(2) == long
    pages.build_index()
    assert pages.page(1, 10) == expected
    assert pages.page(3, 1) == expected[2:3]
    assert pages.whole(4) == long


def test_a_file_of_one_endless_line_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{')
    os.truncate(path, 10 << 30)  # zeros that take no room
    read = 0

    def counting(file: int, count: int, offset: int) -> bytes:
        nonlocal read
        data = pread(file, count, offset)
        read += len(data)
        return data

    pread = os.pread
    monkeypatch.setattr(os, "pread", counting)
    first = Pages(path).first(50)

    assert first[0] == Line(1, b'{"a": 1}', False, 8)
    assert (len(first), first[1].truncated, first[1].size) == (2, True, None)
    assert read < 40 << 20


def test_a_file_that_became_shorter_is_told_and_one_that_grew_is_read_on(tmp_path: Path) -> None:
    path = rows(tmp_path / "rows.jsonl", 100)
    pages = Pages(path)
    pages.build_index()
    with path.open("ab") as file:
        file.write(b'{"question": "new"}\n')

    assert len(pages.page(91, 20)) == 10
    os.truncate(path, 100)
    with pytest.raises(DataError, match="shorter"):
        pages.page(91, 20)
    with pytest.raises(NotFound):
        Pages(tmp_path / "missing.jsonl")


def test_a_line_that_is_not_there_is_told(tmp_path: Path) -> None:
    pages = Pages(rows(tmp_path / "rows.jsonl", 3))
    pages.build_index()
    with pytest.raises(NotFound, match=r"no line 4: it has 3 lines"):
        pages.whole(4)


def test_a_table_is_paged_by_record_and_says_which_line_each_is(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('question,answer\n"two\nlines",a\nq2,b\nragged\nq4,d\n')
    pages = Pages(path)
    first = pages.first(2)
    pages.build_index()

    assert texts(first) == [b'{"question":"two\\nlines","answer":"a"}', b'{"question":"q2","answer":"b"}']
    assert texts(pages.page(1, 2)) == texts(first)
    assert pages.num_lines == 4
    assert b"1 value where the header has 2 columns" in pages.page(3, 1)[0].text
    assert [pages.line_in_file(number) for number in (1, 2, 4)] == [2, 4, 6]
    assert [pages.number_at(line) for line in (2, 4, 6)] == [1, 2, 4]


@pytest.mark.parametrize("kind", ["gz", "parquet"])
def test_what_has_no_lines_is_copied_once(tmp_path: Path, kind: str) -> None:
    records = [{"question": f"q{number}", "answer": "a"} for number in range(3000)]
    text = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
    if kind == "gz":
        path = tmp_path / "rows.jsonl.gz"
        path.write_bytes(gzip.compress(text.encode()))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = tmp_path / "rows.parquet"
        pq.write_table(pa.Table.from_pylist(records), path, row_group_size=1000)
    pages = Pages(path)
    assert texts(pages.first(5)) == text.encode().splitlines()[:5]
    pages.build_index()
    copies = list((tmp_path / "cache").rglob("*.jsonl"))
    made = copies[0].stat().st_ino

    assert (pages.num_lines, texts(pages.page(2990, 20))) == (3000, text.encode().splitlines()[2989:])
    Pages(path).build_index()
    assert [copy.stat().st_ino for copy in (tmp_path / "cache").rglob("*.jsonl")] == [made]


def test_the_console_pages_without_heavy_libraries(tmp_path: Path) -> None:
    path = rows(tmp_path / "rows.jsonl", 10)
    code = (
        "import sys; from pathlib import Path; from engine.data import search, statistics;"
        "from engine.data.paging import Pages; pages = Pages(Path(sys.argv[1])); pages.first(5); pages.build_index();"
        "print(sorted({'numpy', 'pyarrow', 'torch', 'transformers', 'datasets', 'tokenizers'} & set(sys.modules)))"
    )
    reply = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)

    assert reply.stdout.strip() == "[]"


def test_indexing_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_index, "OWN_PROCESS_ABOVE", 0)
    path = rows(tmp_path / "rows.jsonl", 2000)
    told: list[tuple[int, int]] = []
    paging.Pages(path).build_index(lambda *progress: told.append(progress))

    assert told
    assert told[-1][1] == path.stat().st_size


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n')
    pages = Pages(path)
    assert texts(pages.first(2)) == [b'{"a": 1}', b'{"a": 2}']
    pages.build_index()
    assert (texts(pages.page(1, 1)), pages.whole(1)) == ([b'{"a": 1}'], b'{"a": 1}')
    assert [line for found in search(path, "a=1") for line in found] == [1]
