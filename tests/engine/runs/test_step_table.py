from __future__ import annotations

import json
import math

import numpy as np
import pytest

from engine import events
from engine.events import DeviceMeasured, EvaluationFinished, Event, StepFinished, Warned
from engine.runs.step_table import Irregular, common_shape, read_table


def line(seq: int, event: Event) -> bytes:
    body = {"seq": seq, "time": 1e9 + seq / 8, **events.to_json(event)}
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def steps(first: int, last: int, **metrics: float) -> list[bytes]:
    return [
        line(n, StepFinished(n, n / 7, n * 4096, 0.125, metrics or {"loss": n / 3, "grad_norm": -1e-7}))
        for n in range(first, last + 1)
    ]


def test_steps_become_columns() -> None:
    data = b"".join(steps(8, 1200))
    shape = common_shape(data)
    assert shape is not None
    rows, seq, odd = read_table(data, shape)

    assert (seq, odd) == (1200, [])
    assert rows.step.tolist() == list(range(8, 1201))
    assert rows.epoch.tolist() == [n / 7 for n in range(8, 1201)]
    assert rows.num_tokens.tolist() == [n * 4096 for n in range(8, 1201)]
    assert rows.time.tolist() == [1e9 + n / 8 for n in range(8, 1201)]
    assert list(rows.metrics) == ["loss", "grad_norm"]
    assert rows.metrics["loss"].tolist() == np.array([n / 3 for n in range(8, 1201)]).astype(np.float32).tolist()


def test_what_is_not_finite_is_infinity() -> None:
    data = b"".join([*steps(1, 3), line(4, StepFinished(4, 0.5, 1, 0.1, {"loss": math.nan, "grad_norm": 1e300}))])
    shape = common_shape(data)
    assert shape is not None
    rows = read_table(data, shape).rows

    assert rows.metrics["loss"][3] == rows.metrics["grad_norm"][3] == math.inf


def test_other_lines_are_handed_back_with_their_numbers() -> None:
    others = {
        0: b'{"seq":1,"ti\n',
        7: line(8, DeviceMeasured("cuda:0, a: {b}}", 1, 2, None, 0.5, None, None)),
        8: b"\n",
        12: line(12, EvaluationFinished(3, 0.5, 7, 0.5, {"loss": 1.0, "grad_norm": 2.0})),
        13: line(13, Warned("x", "ä}}")),
        14: steps(14, 14, loss=1.0)[0],
        15: steps(15, 15)[0][:-3] + b"\n",
        40: "ä{}}\n".encode(),
        61: b"\xff\xc3\n",
    }
    data = steps(1, 62)
    for number, other in others.items():
        data[number] = other
    text = b"".join(data)
    shape = common_shape(text)
    assert shape is not None
    rows, _, odd = read_table(text, shape)

    assert dict(odd) == {number: other[:-1] for number, other in others.items()}
    assert rows.step.tolist() == [n + 1 for n in range(62) if n not in others]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(b'"grad_norm"', b'"grad_morn"', id="another name as long"),
        pytest.param(b'"grad_norm"', b'"grad_norms"', id="another name"),
        pytest.param(b'"loss":', b'"loss":"x', id="a text for a number"),
        pytest.param(b'"seconds":0', b'"seconds":null', id="half a null"),
        pytest.param(b'"step":', b'"step":-', id="a negative step"),
        pytest.param(b'"step":', b'"step":0.', id="a step that is a fraction"),
        pytest.param(b"0.125", b"0.125}", id="a brace more"),
        pytest.param(b'"seconds"', b'\r"seconds"', id="a carriage return"),
    ],
)
def test_a_line_that_only_looks_like_the_others_is_noticed(old: bytes, new: bytes) -> None:
    data = steps(1, 60)
    data[30] = data[30].replace(old, new)
    shape = common_shape(b"".join(data))
    assert shape is not None
    with pytest.raises(Irregular):
        read_table(b"".join(data), shape)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(line(1, Warned("a", "b")), id="no step"),
        pytest.param(steps(1, 1)[0][:-3] + b"\n", id="no end"),
        pytest.param(steps(1, 1)[0].replace(b'"time"', b'"when"'), id="no time"),
        pytest.param(steps(1, 1)[0].replace(b'"loss"', b'"lo:ss"'), id="a separator in a name"),
        pytest.param(steps(1, 1)[0].replace(b'"loss"', b'"loss":1,"loss"'), id="a name twice"),
    ],
)
def test_what_has_no_shape_we_can_use_has_none(data: bytes) -> None:
    assert common_shape(data) is None
