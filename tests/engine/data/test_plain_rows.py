from __future__ import annotations

import json
from random import Random

import orjson
import pytest

from engine.data.plain_rows import names_of, plain_reader
from engine.data.shapes import recognise

CHAT = {
    "messages": [{"role": "user", "content": 'q"\\ é😀'}, {"role": "assistant", "content": "a\n"}],
    "metadata": {"category": "c", "source": {"page": [1, 2.5, None]}},
    "id": -17,
}
ALPACA = {"instruction": "q", "input": "i\t", "output": "a", "tags": ["é", True], "score": 0.5}


@pytest.mark.parametrize("record", [CHAT, ALPACA], ids=["messages", "alpaca"])
@pytest.mark.parametrize("ascii_only", [True, False], ids=["escaped", "utf-8"])
def test_a_line_that_is_taken_is_json_however_it_was_damaged(record: dict[str, object], ascii_only: bool) -> None:
    recognised = recognise([record])
    read = plain_reader(recognised, names_of([record], recognised))
    whole = json.dumps(record, ensure_ascii=ascii_only).encode()
    chance, taken = Random(1), 0
    for _ in range(5_000):
        line = bytearray(whole)
        for _ in range(chance.randint(1, 2)):
            place = chance.randrange(len(line))
            damage = bytes([chance.choice((*b'"\\{}[],:u0d8e. \n\x00\x1f', chance.randrange(256)))])
            line[place : place + chance.randint(0, 2)] = damage * chance.randint(0, 2)
        found = read(bytes(line))
        if found is not None:
            taken += 1
            assert isinstance(orjson.loads(bytes(line)), dict), bytes(line)

    assert read(whole) is not None
    assert taken > 200


def test_a_column_that_no_row_of_the_sample_had_is_looked_at_elsewhere() -> None:
    recognised = recognise([ALPACA])
    read = plain_reader(recognised, names_of([ALPACA], recognised))

    assert read(orjson.dumps({**ALPACA, "note": "n"})) is None
    assert read(orjson.dumps({**ALPACA, "system": "s"})) is None
    assert read(orjson.dumps({**ALPACA, "score": ["of another type"]})) == (
        "q\n\ni\t\0a",
        (("user", "assistant"), None, None),
        1,
    )
