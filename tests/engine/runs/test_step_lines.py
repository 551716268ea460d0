from __future__ import annotations

import json
import math
import random
from typing import Any

import numpy as np
import pytest

from engine import events
from engine.events import CheckpointSaved, DeviceMeasured, EvaluationFinished, Event, StepFinished, Warned
from engine.runs import step_lines
from engine.runs.follow import Record, Unreadable, decode_lines
from engine.runs.history import plausible
from engine.runs.step_lines import Piece, parse


def line(seq: int, event: Event, *, time: float | None = None, spaces: bool = False) -> bytes:
    body = {"seq": seq, "time": 1e9 + seq / 8 if time is None else time, **events.to_json(event)}
    return json.dumps(body, separators=None if spaces else (",", ":")).encode() + b"\n"


def step(number: int, **metrics: float) -> StepFinished:
    return StepFinished(number, number / 7, number * 4096, 0.125, metrics or {"loss": number / 3, "grad_norm": 1e-7})


def regular(count: int = 60) -> list[bytes]:
    return [line(number, step(number)) for number in range(1, count + 1)]


def changed(old: bytes, new: bytes, lines: slice = slice(None)) -> list[bytes]:
    """Return regular lines, some of them with one text for another."""
    data = regular()
    data[lines] = [row.replace(old, new) for row in data[lines]]
    return data


ONE = slice(7, 8)
SOME = slice(None, None, 5)


def shown(value: np.ndarray[Any, Any]) -> list[Any]:
    return [None if isinstance(number, float) and math.isnan(number) else number for number in value.tolist()]


def as_read_one_by_one(data: bytes) -> tuple[list[Any], list[Any], int]:
    """Return rows, other records with their places, and the damage, as decoding every line gives them."""
    rows: list[Any] = []
    others: list[Any] = []
    damaged = 0
    for record in decode_lines(data.split(b"\n")[:-1]):
        if isinstance(record, Record) and isinstance(record.event, StepFinished):
            event = record.event
            if plausible(event):
                with np.errstate(over="ignore"):
                    metrics = {k: float(np.float32(v)) for k, v in event.metrics.items()}
                metrics = {k: v if math.isfinite(v) else math.inf for k, v in metrics.items()}
                epoch = None if math.isnan(event.epoch) else event.epoch
                rows.append((event.step, epoch, event.num_tokens, record.time, metrics))
        elif isinstance(record, Record):
            others.append((len(rows), repr(record)))
        else:
            damaged += record is Unreadable.DAMAGED
    return rows, others, damaged


def as_parsed(piece: Piece) -> tuple[list[Any], list[Any], int]:
    rows = []
    for number in range(len(piece.rows)):
        row = piece.rows[number : number + 1]
        metrics = {k: float(v[0]) for k, v in row.metrics.items() if not np.isnan(v[0])}
        metrics = {k: v if math.isfinite(v) else math.inf for k, v in metrics.items()}
        rows.append((int(row.step[0]), shown(row.epoch)[0], int(row.num_tokens[0]), float(row.time[0]), metrics))
    return rows, [(row, repr(record)) for row, record in piece.others], piece.damaged


def assert_as_read_one_by_one(data: bytes) -> None:
    parsed, read = as_parsed(parse(data)), as_read_one_by_one(data)
    finite_epochs = [
        [row if row[1] != math.inf else (row[0], None, *row[2:]) for row in rows[0]] for rows in (parsed, read)
    ]
    assert finite_epochs[0] == finite_epochs[1]
    assert parsed[1:] == read[1:]


@pytest.fixture
def no_slow_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail when a piece that should be one table is read line by line."""

    def refuse(events: object) -> None:
        raise AssertionError("read line by line")

    monkeypatch.setattr(step_lines, "rows_of", refuse)


@pytest.mark.usefixtures("no_slow_way")
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(regular(), id="steps alone"),
        pytest.param(
            [line(n, step(n, loss=math.nan if n % 3 else -math.inf, lr=1e300 * n)) for n in range(1, 9)],
            id="numbers that are not finite",
        ),
        pytest.param(
            [*regular(20), line(21, DeviceMeasured("cuda:0, {a}: b", 1, 2, None, 0.5, None, None)), *regular(5)],
            id="device measurements between",
        ),
        pytest.param(
            [
                *regular(20),
                line(21, EvaluationFinished(20, 1.0, 5, 2.0, {"eval_loss": 1.0, "other": 2.0})),
                *regular(5),
            ],
            id="an evaluation with as many numbers as a step",
        ),
        pytest.param([b'{"event":"torn\n', *regular(20), b"\x00\x00\n", *regular(3)], id="damage between"),
        pytest.param(
            [*regular(20), line(9, CheckpointSaved(3, "a/b", 7, "best", {"loss": 2.0})), b"\n"], id="an empty line"
        ),
        pytest.param([*regular(20), *changed(b"}}\n", b"\n", SOME)], id="braces lost"),
        pytest.param([*regular(20), line(9, Warned("x", "ä")), *regular(5)], id="another line that is not ASCII"),
    ],
)
def test_regular_steps_are_read_as_a_table(data: list[bytes]) -> None:
    parse(b"".join(data))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param([], id="nothing"),
        pytest.param(regular(), id="steps alone"),
        pytest.param([line(n, step(n), spaces=True) for n in range(1, 9)], id="a writer that puts spaces"),
        pytest.param(
            [line(n, step(n, loss=math.nan if n % 3 else -math.inf, lr=1e300 * n)) for n in range(1, 9)],
            id="numbers that are not finite",
        ),
        pytest.param([line(n, step(n, loss=1.0 * n)) for n in range(1, 9)] + regular(4), id="metrics that come and go"),
        pytest.param(
            [line(n, step(n, **dict.fromkeys(("a", "b")[:: 1 if n % 2 else -1], 1.0 * n))) for n in range(1, 9)],
            id="metrics in another order",
        ),
        pytest.param([line(n, step(n, **{f"m{n % 2}": 1.0 * n})) for n in range(1, 9)], id="other metrics, as many"),
        pytest.param(
            [line(n, step(n, loss=1.0) if n % 4 else step(n, loss=1.0, extra=2.0)) for n in range(1, 40)],
            id="one more metric now and then",
        ),
        pytest.param([line(1, DeviceMeasured("cpu", 1, 2, None, 0.5, None, None))] * 9, id="no step at all"),
        pytest.param(
            [
                *regular(4),
                line(5, EvaluationFinished(4, 1.0, 5, 2.0, {"eval_loss": 1.0, "other": 2.0})),
                line(6, EvaluationFinished(4, 1.0, 5, 2.0, {"eval_loss": 1.0})),
                *regular(9),
            ],
            id="evaluations",
        ),
        pytest.param(
            [line(n, StepFinished(n, math.nan if n % 2 else 0.5, 5, 0.1, {"loss": 1.0})) for n in range(1, 9)],
            id="no epoch",
        ),
        pytest.param(
            [line(n, step(n, **{"a:b,c}": 2.0 * n, "NaN": 1.0})) for n in range(1, 9)], id="names full of separators"
        ),
        pytest.param([row[: 40 + 3 * n] + b"\n" for n, row in enumerate(regular(40))], id="torn at every place"),
        pytest.param(changed(b"}}\n", b"\n", SOME), id="braces lost"),
        pytest.param(changed(b"}}\n", b"}\n", SOME), id="a brace lost"),
        pytest.param(changed(b"\n", b"", SOME), id="lines that ran together"),
        pytest.param(changed(b'"loss":', b'"l\x00ss":', ONE), id="a zero in a name"),
        pytest.param(changed(b'"loss":', b'"l\xffss":', ONE), id="half a character in a name"),
        pytest.param(changed(b'"loss":', '"löss":'.encode()), id="a name that is not ASCII"),
        pytest.param(changed(b'"step":', b'"stop":', ONE), id="another key as long"),
        pytest.param(changed(b"0.125", b"null", ONE), id="null"),
        pytest.param(changed(b"0.125", b"true", ONE), id="true"),
        pytest.param(changed(b"0.125", b"true"), id="always true"),
        pytest.param(changed(b'"step":8', b'"step":8.5'), id="half a step"),
        pytest.param(changed(b'"step":8', b'"step":-8'), id="a negative step"),
        pytest.param(changed(b'"step":8', b'"step":"NaN"'), id="no step"),
        pytest.param(changed(b'"seq":8', b'"seq":0'), id="seq 0"),
        pytest.param(changed(b'"time":1', b'"time":"NaN","x":1'), id="no time"),
        pytest.param(changed(b"\n", b"\r\n"), id="carriage returns"),
        pytest.param(changed(b",", b",\r"), id="carriage returns inside"),
        pytest.param(changed(b"\n", b"\n\n", SOME), id="empty lines"),
        pytest.param(changed(b'"metrics":{', b'"metrics":{"in":{"deep":1},'), id="metrics inside metrics"),
        pytest.param(changed(b'"metrics"', b'"new":1,"metrics"'), id="a field of a newer version"),
        pytest.param(changed(b'"metrics"', b'"new":"1,2","metrics"'), id="a text of a newer version"),
        pytest.param(changed(b'"loss"', b'"loss":1,"loss"'), id="a name twice"),
        pytest.param([b"{}\n", b"[]\n", b'"x"\n', b"\xff\n", bytes(70_000) + b"\n", *regular(3)], id="rubbish"),
    ],
)
def test_a_piece_says_what_its_lines_say_one_by_one(data: list[bytes]) -> None:
    assert_as_read_one_by_one(b"".join(data))


@pytest.mark.parametrize("seed", range(30))
def test_random_damage_never_changes_what_is_read(seed: int) -> None:
    chance = random.Random(seed)
    lines = regular(chance.choice([3, 40, 400]))
    for _ in range(chance.randrange(6)):
        place = chance.randrange(len(lines))
        odd = [
            line(place, EvaluationFinished(place, 1.0, 5, 2.0, {"eval_loss": 1.0, "b": math.nan})),
            line(place, step(place, loss=chance.random())),
            line(place, DeviceMeasured("cpu", 1, 2, None, 0.5, None, None)),
            lines[place][: chance.randint(0, len(lines[place]))],
            lines[place][: chance.randint(0, len(lines[place]))] + b"\n",
            bytes(chance.randrange(1, 600)),
            b"\n",
        ]
        lines.insert(place, chance.choice(odd))
    data = b"".join(lines)
    if not data.endswith(b"\n"):
        data += b"\n"

    assert_as_read_one_by_one(data)


def test_the_highest_seq_and_the_last_step_line_are_known() -> None:
    lines = [*regular(5), line(9, DeviceMeasured("cpu", 1, 2, None, 0.5, None, None))]
    piece = parse(b"".join(lines))

    assert piece.seq == 9
    assert piece.last_step + b"\n" == lines[4]
    assert parse(b"").last_step == b""
