from __future__ import annotations

import json
import math
from pathlib import Path

from benchmarks.synthetic import METRICS, write_run
from engine import events
from engine.events import DeviceMeasured, EvaluationFinished, StepFinished, TrainingStarted
from engine.runs.follow import EventReader


def test_every_line_is_what_the_journal_would_have_written(tmp_path: Path) -> None:
    path = write_run(tmp_path, 3000, resumed_at={2000: 1500}, spikes={7: math.nan, 8: 1e6})
    for line in path.read_text().splitlines():
        record = json.loads(line)
        event = events.from_json(record)
        assert event is not None
        head = f'{{"seq":{record["seq"]},"time":{record["time"]:.3f},'
        assert line == head + json.dumps(events.to_json(event), separators=(",", ":"))[1:]


def test_a_synthetic_run_has_what_a_run_has(tmp_path: Path) -> None:
    path = write_run(tmp_path, 3000, resumed_at={2000: 1500}, spikes={7: math.inf, 8: 1e6})
    batch = EventReader(path).read()
    found = [record.event for record in batch.records]
    steps = [event for event in found if isinstance(event, StepFinished)]

    assert (batch.damaged, batch.unknown, batch.missing, batch.repeated) == (0, 0, 0, 0)
    assert [step.step for step in steps] == [*range(1, 2001), *range(1501, 3001)]
    assert all(tuple(step.metrics) == METRICS for step in steps)
    assert (steps[6].metrics["loss"], steps[7].metrics["loss"]) == (math.inf, 1e6)
    assert [event.resumed_from_step for event in found if isinstance(event, TrainingStarted)] == [0, 1500]
    assert [event.step for event in found if isinstance(event, EvaluationFinished)] == [1000, 2000, 2000, 3000]
    assert sum(isinstance(event, DeviceMeasured) for event in found) == 10 + 8
