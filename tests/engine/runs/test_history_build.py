from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from engine import events
from engine.errors import DiskFull
from engine.events import (
    CheckpointSaved,
    DeviceMeasured,
    EvaluationFinished,
    Event,
    RunPaused,
    StepFinished,
    TrainingStarted,
    Warned,
)
from engine.runs import history_build
from engine.runs.directory import RunDirectory
from engine.runs.follow import LINE_LIMIT, EventReader
from engine.runs.history import MetricHistory, RunHistory
from engine.runs.history_build import build
from engine.runs.history_index import open_history
from engine.runs.segment import AXES


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    return RunDirectory(folder)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut logs into many pieces."""
    monkeypatch.setattr(history_build, "_PIECE_BYTES", 3000)


def line(seq: int, time: float, event: Event) -> bytes:
    return json.dumps({"seq": seq, "time": time, **events.to_json(event)}, separators=(",", ":")).encode() + b"\n"


def a_log(chance: random.Random, rows: int, *, seq: int = 0, first_step: int = 1, clock: float = 1e9) -> list[bytes]:
    """Return the lines of a run with evaluations, measurements, resumes, a jumping clock and damage."""
    lines: list[bytes] = []
    step = first_step - 1

    def say(event: Event) -> None:
        nonlocal seq
        seq += 1
        lines.append(line(seq, round(clock, 3), event))

    say(TrainingStarted(rows, 1.0, step, 10, 5, "cpu", "float32"))
    for _ in range(rows):
        clock += chance.random()
        step += 1
        metrics = {"loss": chance.gauss(2, 1), "grad_norm": chance.random(), "learning_rate": 2e-4 / step}
        if chance.random() < 0.01:
            metrics["loss"] = chance.choice([math.nan, math.inf, -math.inf, 1e300, -1e30])
        if chance.random() < 0.01:
            metrics["entropy"] = chance.random()
        if chance.random() < 0.01:
            del metrics["grad_norm"]
        say(StepFinished(step, math.nan if chance.random() < 0.01 else step / 100, step * 4096, 0.5, metrics))
        happening = chance.random()
        if happening < 0.02:
            say(EvaluationFinished(step, step / 100, step * 4096, 1.0, {"eval_loss": chance.random(), "eval_b": 1.0}))
            say(CheckpointSaved(step, f"checkpoints/checkpoint-{step}", 5, "scheduled"))
        elif happening < 0.03:
            say(EvaluationFinished(step, step / 100, step * 4096, 1.0, {"eval_loss": math.nan}))
        elif happening < 0.10:
            say(DeviceMeasured("cuda:0, a: {b}", step, None, None, chance.random(), None, None))
        elif happening < 0.11:
            clock += chance.choice([-3600.0, 86_400.0])
        elif happening < 0.12:
            lines.append(lines[-1][: chance.randrange(len(lines[-1]))] + chance.choice([b"\n", b"", bytes(40)]))
        elif happening < 0.13:
            lines.append(b'{"seq":7,"time":1.0,"event":"MoonPhase","phase":"full"}\n')
        elif happening < 0.14:
            clock += 5000
            step = chance.randrange(max(0, step - 60), step + 1)
            say(TrainingStarted(rows, 1.0, step, 10, 5, "cpu", "float32"))
        elif happening < 0.145:
            step = chance.randrange(max(0, step - 20), step + 1)
        elif happening < 0.15:
            say(Warned("slow", "Ümlaut", ""))
    return lines


def read_one_by_one(run: RunDirectory) -> tuple[RunHistory, list[str], int]:
    """Return what a console without an index makes of the log."""
    history, others, damaged = RunHistory(), [], 0
    reader = EventReader(run.events)
    while True:
        batch = reader.read()
        damaged += batch.damaged
        for record in batch.records:
            history.apply(record.time, record.event)
            if not isinstance(record.event, StepFinished | DeviceMeasured):
                others.append(repr(record))
        if not batch.more:
            return history, others, damaged


def assert_equal_histories(one: MetricHistory, other: MetricHistory) -> None:
    assert [repr(row[:4]) for row in one.rows(0, len(one))] == [repr(row[:4]) for row in other.rows(0, len(other))]
    assert set(one.metrics) == set(other.metrics)
    rows = [sorted(row.metrics.items()) for row in one.rows(0, len(one))]
    assert repr(rows) == repr([sorted(row.metrics.items()) for row in other.rows(0, len(other))])
    for name in other.metrics:
        assert one.non_finite(name) == other.non_finite(name)
        assert repr(one.last(name)) == repr(other.last(name))
    for axis in AXES:
        assert one.x_range(axis) == other.x_range(axis)
        low, high = other.x_range(axis) or (0.0, 0.0)
        for width in (1, 7, 100):
            for name in other.metrics:
                ours = one.columns(name, axis, low, high + 1, width)
                theirs = other.columns(name, axis, low, high + 1, width)
                for first, second in zip(ours, theirs, strict=True):
                    assert (first is None) == (second is None)
                    if first is not None and second is not None:
                        rounded = pytest.approx(
                            second.mean, abs=1e-12 * max(abs(second.low), abs(second.high)), nan_ok=True
                        )
                        assert repr(first._replace(mean=0.0)) == repr(second._replace(mean=0.0))
                        assert first.mean == rounded if second.count else math.isnan(first.mean)


def assert_as_without_an_index(run: RunDirectory) -> None:
    opened = open_history(run)
    history, damaged = opened.history, opened.damaged
    others = [repr(r) for r in opened.records if not isinstance(r.event, StepFinished | DeviceMeasured)]
    while True:
        batch = opened.reader.read()
        damaged += batch.damaged
        for record in batch.records:
            history.apply(record.time, record.event)
            if not isinstance(record.event, StepFinished | DeviceMeasured):
                others.append(repr(record))
        if not batch.more:
            break
    expected, expected_others, expected_damaged = read_one_by_one(run)
    assert_equal_histories(history.train, expected.train)
    assert_equal_histories(history.evaluation, expected.evaluation)
    assert (history.clock.seconds, history.clock.last) == (expected.clock.seconds, expected.clock.last)
    assert others == expected_others
    assert damaged == expected_damaged


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("seed", range(8))
def test_an_index_holds_what_reading_the_log_gives(run: RunDirectory, seed: int) -> None:
    chance = random.Random(seed)
    run.events.write_bytes(b"".join(a_log(chance, chance.choice([1, 30, 1500]))))
    build(run)

    assert open_history(run).offset == run.events.read_bytes().rindex(b"\n") + 1
    assert_as_without_an_index(run)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("seed", range(8))
def test_an_index_that_is_extended_is_the_one_made_at_once(run: RunDirectory, seed: int) -> None:
    chance = random.Random(100 + seed)
    data = b"".join(a_log(chance, 1200))
    cuts = sorted(chance.randrange(len(data)) for _ in range(3))
    for cut in cuts:
        run.events.write_bytes(data[:cut])
        build(run)
        run.events.write_bytes(data)
        opened = open_history(run)
        assert opened.offset == data[:cut].rfind(b"\n") + 1
        assert_as_without_an_index(run)
    build(run)

    assert_as_without_an_index(run)


def test_the_rows_after_the_index_may_supersede_it(run: RunDirectory) -> None:
    chance = random.Random(3)
    first = a_log(chance, 3000)
    run.events.write_bytes(b"".join(first))
    build(run)
    for first_step in (2500, 2048, 32, 1):
        with run.events.open("ab") as log:
            log.write(b"".join(a_log(chance, 40, seq=10_000, first_step=first_step, clock=2e9)))
        assert_as_without_an_index(run)


def test_nothing_new_leaves_the_index_as_it_is(run: RunDirectory) -> None:
    run.events.write_bytes(b"".join(a_log(random.Random(1), 50)))
    build(run)
    before = (run.path / "events.history").stat()
    build(run)

    assert (run.path / "events.history").stat().st_ino == before.st_ino


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"seq":1,"ti', id="one torn line"),
        pytest.param(bytes(9000), id="zeros"),
        pytest.param(b"\n" * 9000, id="newlines"),
        pytest.param(line(1, 1.0, RunPaused(1)) + b"x" * 2_000_000, id="a long torn line"),
        pytest.param(
            line(1, 1.0, RunPaused(1)) + b"x" * 2_000_000 + b"\n" + line(2, 2.0, RunPaused(2)), id="a long line"
        ),
        pytest.param((b"y" * (LINE_LIMIT - 1) + b"\n") * 3 + line(2, 2.0, RunPaused(2)), id="lines as long as may be"),
        pytest.param((b"y" * 3000 + b"\n") * 30 + line(2, 2.0, RunPaused(2)), id="lines longer than a piece"),
    ],
)
def test_a_log_of_rubbish_is_indexed_like_any_other(run: RunDirectory, data: bytes) -> None:
    run.events.write_bytes(data)
    build(run)

    assert_as_without_an_index(run)


def test_the_last_step_and_the_last_measurement_are_kept(run: RunDirectory) -> None:
    run.events.write_bytes(
        b"".join(line(n, float(n), StepFinished(n, 0.1, n, 0.5, {"loss": float(n)})) for n in range(1, 50))
        + line(50, 50.0, DeviceMeasured("cpu", 1, 2, None, 0.1, None, None))
        + line(51, 51.0, DeviceMeasured("cpu", 3, 4, None, 0.2, None, None))
        + line(52, 52.0, RunPaused(49))
    )
    build(run)

    assert [record.seq for record in open_history(run).records] == [49, 51, 52]


def test_a_failed_write_leaves_nothing_half_made(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(run.path.parent / "cache"))
    run.events.write_bytes(b"".join(a_log(random.Random(1), 50)))

    def no_room(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(history_build, "_write_sections", no_room)
    with pytest.raises(DiskFull) as raised:
        build(run)

    assert raised.value.code == "disk-full"
    assert [path.name for path in run.path.iterdir()] == ["events.jsonl"]
    assert not [path for path in (run.path.parent / "cache").rglob("*") if path.is_file()]
