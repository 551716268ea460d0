from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine import events
from engine.errors import WorkspaceError
from engine.events import StepFinished, Warned
from engine.journal import Journal
from engine.runs.follow import LINE_LIMIT, Batch, EventReader, Record, Unreadable, decode, head, tail
from tests.engine.faults import permissions_hold


def step_line(step: int, seq: int | None = None, time: float | None = None, loss: float = 1.5) -> bytes:
    """Return a line as the worker writes it."""
    event = StepFinished(step, step / 10, step * 100, 0.5, {"loss": loss})
    body = {"seq": seq or step, "time": 1000.0 + step if time is None else time, **events.to_json(event)}
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def steps_of(batch: Batch | list[Record]) -> list[int]:
    records = batch.records if isinstance(batch, Batch) else batch
    return [record.event.step for record in records if isinstance(record.event, StepFinished)]


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as log:
        log.write(data)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def test_a_missing_log_is_nothing_yet(log: Path) -> None:
    reader = EventReader(log)

    assert reader.read() == Batch()
    append(log, step_line(1))
    assert steps_of(reader.read()) == [1]


def test_each_read_returns_what_is_new(log: Path) -> None:
    reader = EventReader(log)
    append(log, step_line(1) + step_line(2))
    assert steps_of(reader.read()) == [1, 2]
    assert reader.read() == Batch()
    append(log, step_line(3))
    batch = reader.read()

    assert steps_of(batch) == [3]
    assert (batch.damaged, batch.missing, batch.repeated, batch.restarted) == (0, 0, 0, False)
    assert reader.offset == log.stat().st_size
    assert reader.seq == 3


def test_what_the_journal_writes_is_read_as_it_was_said(log: Path) -> None:
    journal = Journal(log)
    said = [
        StepFinished(1, 0.5, 10, 0.25, {"loss": float("inf"), "learning_rate": 2e-4}),
        Warned("slow", "Zeile mit Umlaut: ä, \x1b[31m, \u2028", "nothing"),
    ]
    for event in said:
        journal.append(events.to_json(event))
    journal.close()

    assert [record.event for record in EventReader(log).read().records] == said


def test_a_torn_last_line_waits_for_its_rest(log: Path) -> None:
    reader = EventReader(log)
    second = step_line(2)
    append(log, step_line(1) + second[:20])
    assert steps_of(reader.read()) == [1]
    append(log, second[20:50])
    batch = reader.read()
    assert (batch.records, batch.damaged) == ([], 0)
    append(log, second[50:])
    assert steps_of(reader.read()) == [2]


@pytest.mark.parametrize(
    ("torn", "lost"),
    [
        pytest.param(step_line(2)[:40] + b"\n", 1, id="cut, then a new line"),
        pytest.param(step_line(2)[:40], 1, id="cut, and the next line right behind it"),
        pytest.param(bytes(4096), 1, id="a block of zeros"),
        pytest.param(bytes(4096) + b"\n", 1, id="a block of zeros and a new line"),
        pytest.param('{"seq":2,"time":1.0,"event":"Warned","code":"ä'.encode()[:-1] + b"\n", 1, id="half a character"),
        pytest.param(b"\xff\xfe\n\x00\n", 2, id="two lines of rubbish"),
        pytest.param(b"[1, 2]\n", 1, id="JSON, but no object"),
        pytest.param(b'{"time":1.0,"event":"RunPaused","step":1}\n', 1, id="no seq"),
        pytest.param(b'{"seq":0,"time":1.0,"event":"RunPaused","step":1}\n', 1, id="seq 0"),
        pytest.param(b'{"seq":2,"time":"now","event":"RunPaused","step":1}\n', 1, id="no time"),
        pytest.param(b'{"seq":2,"time":NaN,"event":"RunPaused","step":1}\n', 1, id="a time that is no number"),
        pytest.param(b'{"seq":2,"time":1' + b"0" * 400 + b',"event":"RunPaused","step":1}\n', 1, id="an endless time"),
        pytest.param(b"[" * 100_000 + b"\n", 1, id="nested too deep"),
        pytest.param(b"\n\n", 0, id="empty lines"),
    ],
)
def test_damage_costs_the_damaged_line_only(log: Path, torn: bytes, lost: int) -> None:
    append(log, step_line(1) + torn + step_line(3) + step_line(4))
    batch = EventReader(log).read()

    assert steps_of(batch) == [1, 3, 4]
    assert batch.damaged == lost


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_how_a_log_is_cut_into_reads_does_not_matter(log: Path, piece: int) -> None:
    whole = step_line(1) + step_line(2)[:30] + b"\n" + step_line(3) + bytes(50) + step_line(4) + step_line(5)[:-10]
    append(log, whole)
    reader = EventReader(log)
    steps, damaged = [], 0
    while True:
        batch = reader.read(max_bytes=piece)
        steps += steps_of(batch)
        damaged += batch.damaged
        if not batch.more:
            break

    assert (steps, damaged) == ([1, 3, 4], 2)
    assert reader.offset == len(whole)


def test_a_line_over_the_limit_is_skipped_without_being_kept(log: Path) -> None:
    append(log, step_line(1) + b'{"seq":2,"time":1.0,"event":"Warned","code":"' + b"x" * (3 * LINE_LIMIT))
    reader = EventReader(log)
    damaged = 0
    steps = []
    while True:
        batch = reader.read(max_bytes=LINE_LIMIT // 2)
        damaged += batch.damaged
        steps += steps_of(batch)
        assert len(reader._torn) <= LINE_LIMIT
        if not batch.more:
            break
    append(log, b'"}\n' + step_line(3))
    batch = reader.read()

    assert steps == [1]
    assert damaged + batch.damaged == 1
    assert steps_of(batch) == [3]


def test_a_line_over_the_limit_within_one_read_is_skipped(log: Path) -> None:
    append(
        log,
        step_line(1) + b'{"seq":2,"time":1.0,"event":"Warned","code":"' + b"x" * LINE_LIMIT + b'"}\n' + step_line(3),
    )
    batch = EventReader(log).read()

    assert (steps_of(batch), batch.damaged) == ([1, 3], 1)


def test_a_truncated_log_starts_again_and_says_so(log: Path) -> None:
    append(log, step_line(1) + step_line(2) + step_line(3))
    reader = EventReader(log)
    reader.read()
    log.write_bytes(step_line(1, loss=9.0))
    batch = reader.read()

    assert batch.restarted
    assert steps_of(batch) == [1]
    assert reader.offset == log.stat().st_size
    append(log, step_line(2))
    again = reader.read()
    assert (again.restarted, steps_of(again)) == (False, [2])


def test_a_replaced_log_starts_again_and_says_so(log: Path) -> None:
    append(log, step_line(1) + step_line(2))
    reader = EventReader(log)
    reader.read()
    other = log.with_name("other")
    other.write_bytes(b"".join(step_line(step) for step in range(1, 6)))
    other.replace(log)
    batch = reader.read()

    assert (batch.restarted, steps_of(batch), reader.seq) == (True, [1, 2, 3, 4, 5], 5)


def test_a_log_rewritten_in_place_and_longer_starts_again(log: Path) -> None:
    append(log, step_line(1) + step_line(2))
    reader = EventReader(log)
    reader.read()
    log.write_bytes(b"".join(step_line(step, loss=7.25) for step in range(1, 6)))
    batch = reader.read()

    assert (batch.restarted, steps_of(batch)) == (True, [1, 2, 3, 4, 5])


def test_a_deleted_log_is_waited_for(log: Path) -> None:
    append(log, step_line(1))
    reader = EventReader(log)
    reader.read()
    log.unlink()
    assert reader.read() == Batch()
    append(log, step_line(1) + step_line(2))
    batch = reader.read()

    assert (batch.restarted, steps_of(batch)) == (True, [1, 2])


def test_numbers_that_jump_or_repeat_are_reported(log: Path) -> None:
    reader = EventReader(log)
    append(log, step_line(1) + step_line(5) + step_line(6, seq=5))
    batch = reader.read()
    assert (steps_of(batch), batch.missing, batch.repeated) == ([1, 5, 6], 3, 1)
    append(log, step_line(7, seq=3) + step_line(8, seq=6))
    batch = reader.read()

    assert (steps_of(batch), batch.missing, batch.repeated) == ([7, 8], 0, 1)
    assert reader.seq == 6


@pytest.mark.parametrize("jump", [-3600.0, 86_400.0])
def test_order_is_that_of_seq_when_the_clock_jumps(log: Path, jump: float) -> None:
    append(log, step_line(1, time=5000.0) + step_line(3, time=5000.0 + jump + 1) + step_line(2, time=5000.0 + jump))
    batch = EventReader(log).read()

    assert [record.seq for record in batch.records] == [1, 2, 3]
    assert [record.time for record in batch.records] == [5000.0, 5000.0 + jump, 5000.0 + jump + 1]


def test_an_event_of_a_newer_version_is_counted_and_not_damage(log: Path) -> None:
    append(log, b'{"seq":1,"time":1.0,"event":"MoonPhase","phase":"full"}\n' + step_line(2))
    batch = EventReader(log).read()

    assert (steps_of(batch), batch.unknown, batch.damaged) == ([2], 1, 0)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(step_line(3, loss=float("nan")), id="names for what is no JSON number"),
        pytest.param(step_line(3, loss=0.1), id="numbers"),
        pytest.param(step_line(3).replace(b"1.5", b"1"), id="an integer metric"),
        pytest.param(step_line(3).replace(b"1.5", b"null"), id="a null metric"),
        pytest.param(step_line(3)[:-2] + b',"new":"field"}', id="a field of a newer version"),
        pytest.param(step_line(3).replace(b'"seconds":0.5', b'"seconds":"NaN"'), id="seconds that are no number"),
    ],
)
def test_the_short_cut_for_steps_returns_what_from_json_does(line: bytes) -> None:
    record = decode(line)

    assert isinstance(record, Record)
    assert repr(record.event) == repr(events.from_json(json.loads(line)))


def test_a_step_without_its_metrics_is_unknown() -> None:
    assert decode(b'{"seq":1,"time":1.0,"event":"StepFinished","step":1}') is Unreadable.UNKNOWN


def test_half_a_surrogate_pair_is_read() -> None:
    record = decode(b'{"seq":1,"time":1.0,"event":"Warned","code":"x","message":"\\ud83d"}')

    assert isinstance(record, Record)
    assert record.event == Warned("x", "\ud83d")


def test_a_reader_goes_on_where_an_index_ends(log: Path) -> None:
    first = step_line(1) + step_line(2)
    append(log, first + step_line(3))
    reader = EventReader(log, offset=len(first), seq=2)
    batch = reader.read()

    assert (steps_of(batch), batch.missing, batch.restarted) == ([3], 0, False)


def test_a_folder_in_place_of_the_log_is_a_plain_error(log: Path) -> None:
    log.mkdir()
    with pytest.raises(WorkspaceError, match="is not a file"):
        EventReader(log).read()


def test_a_log_that_may_not_be_read_is_a_plain_error(log: Path) -> None:
    append(log, step_line(1))
    log.chmod(0)
    with permissions_hold(), pytest.raises(WorkspaceError, match="Permission denied"):
        EventReader(log).read()


def test_head_and_tail_read_the_ends(log: Path) -> None:
    lines = [step_line(step) for step in range(1, 101)]
    append(log, b"".join(lines) + step_line(101)[:30])
    length = len(lines[50])

    assert steps_of(head(log, 3 * length)) == [1, 2, 3]
    assert steps_of(tail(log, 3 * length)) == [99, 100]
    assert steps_of(tail(log, 1 << 20)) == list(range(1, 101))
    assert steps_of(head(log, 1 << 20)) == list(range(1, 101))
    assert head(log.with_name("none")) == tail(log.with_name("none")) == []
