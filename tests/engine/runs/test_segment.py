from __future__ import annotations

import math
import random
from array import array

import pytest

from engine.runs.segment import FACTOR, LEVELS, NO_ROWS, GrowingSegment, Metric

GAP = math.nan


def a_metric(values: list[float]) -> Metric:
    segment = GrowingSegment()
    segment.add_metric("loss")
    for row, value in enumerate(values):
        segment.append(row, 0.0, 0, 0.0, {"loss": value})
    return segment.metrics["loss"]


def float32(value: float) -> float:
    return array("f", [value])[0]


def test_blocks_of_every_level_are_what_their_rows_are() -> None:
    rows = FACTOR**3 + 5 * FACTOR + 3
    metric = a_metric([math.sin(row) * row for row in range(rows)])

    for level in range(LEVELS):
        size = FACTOR ** (level + 1)
        blocks = metric.levels[level].tolist()
        assert len(blocks) == 4 * (rows // size)
        for block in range(0, rows // size, max(1, rows // size // 20)):
            values = metric.raw[block * size : (block + 1) * size].tolist()
            low, high, total, count = blocks[4 * block : 4 * block + 4]
            assert (low, high, count) == (min(values), max(values), size)
            assert total == pytest.approx(math.fsum(values), abs=1e-6 * size)


@pytest.mark.parametrize("gaps", [0.0, 0.02, 0.6, 1.0])
def test_any_range_folds_to_what_its_values_are(gaps: float) -> None:
    chance = random.Random(round(100 * gaps))
    values = [GAP if chance.random() < gaps else float32(chance.gauss(0, 10)) for _ in range(5000)]
    metric = a_metric(values)

    for _ in range(300):
        start = chance.randrange(5001)
        stop = min(5000, start + chance.choice([0, 1, 31, 32, 33, 64, 700, 5000]))
        finite = [value for value in values[start:stop] if value == value]
        fold = metric.fold(start, stop)
        if not finite:
            assert fold == NO_ROWS
            continue
        assert (fold.low, fold.high, fold.num_values) == (min(finite), max(finite), len(finite))
        assert fold.total == pytest.approx(math.fsum(finite), abs=1e-6)


@pytest.mark.parametrize("where", [0, 1, 31, 32, 1023, 1024, 40_000, 65_999])
def test_the_last_finite_row_is_found_behind_a_long_gap(where: int) -> None:
    values = [GAP] * 66_000
    values[where] = 1.0
    metric = a_metric(values)

    assert metric.last_finite(0, 66_000) == where
    assert metric.last_finite(where + 1, 66_000) == -1
    assert metric.last_finite(0, where) == -1


def test_truncated_rows_leave_nothing_behind() -> None:
    chance = random.Random(5)
    values = [chance.random() if chance.random() > 0.1 else math.inf for _ in range(3000)]
    for rows in (0, 1, 31, 32, 1024, 1500, 2999, 3000):
        segment = GrowingSegment()
        segment.add_metric("loss")
        for row, value in enumerate(values):
            segment.append(row, 0.0, 0, 0.0, {"loss": value})
        segment.truncate(rows)
        for row, value in enumerate(values[rows:], rows):
            segment.append(row, 0.0, 0, 0.0, {"loss": value})
        again, once = segment.metrics["loss"], a_metric(values)

        assert again.raw.tobytes() == array("f", once.raw.tolist()).tobytes()
        assert [level.tolist() for level in again.levels] == [level.tolist() for level in once.levels]
        assert again.non_finite.tolist() == once.non_finite.tolist()
