"""What the demo comes to: before and after."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from engine import events
from engine.runs.directory import RunDirectory
from tests.tui.cli.command_line import CommandLine
from tui.cli.demo import print_table, summary
from tui.state import RunState


def measured(when: str, answered: float, refused: float) -> events.BehaviourMeasured:
    scores = {"retain_answered": answered, "unlearn_refused": refused, "retain_refused": 0.0}
    return events.BehaviourMeasured(0, when, scores, {"retain_answered": 100, "unlearn_refused": 80}, 1.0)


def state(*said: events.Event) -> RunState:
    made = RunState("demo-1")
    for event in said:
        made.apply(event, 1.0)
    return made


def test_the_object_for_scripts() -> None:
    made = state(measured("before", 0.96, 0.0), measured("after", 0.95, 1.0))
    assert summary(made, RunDirectory(Path("/w/runs/demo-1")), 123.456) == {
        "before": {"retain_answered": 0.96, "unlearn_refused": 0.0},
        "after": {"retain_answered": 0.95, "unlearn_refused": 1.0},
        "seconds": 123.5,
        "run": "demo-1",
    }


def test_what_was_not_measured_is_null() -> None:
    made = summary(state(measured("before", math.nan, 0.5)), RunDirectory(Path("/w/runs/demo-1")), 1.0)
    assert made["before"] == {"retain_answered": None, "unlearn_refused": 0.5}
    assert made["after"] == {"retain_answered": None, "unlearn_refused": None}
    json.dumps(made, allow_nan=False)


def test_the_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(state(measured("before", 0.96, 0.0), measured("after", 0.95, 1.0)))
    _, head, answered, refused = capsys.readouterr().out.splitlines()
    assert head.split()[-2:] == ["before", "after"]
    assert answered.split()[-2:] == ["96%", "95%"]
    assert refused.split()[-2:] == ["0%", "100%"]
    assert "100 questions" in answered
    assert len({len(line) for line in (head, answered, refused)}) == 1


def test_a_name_that_is_taken_or_dangerous_starts_nothing(cli: CommandLine) -> None:
    (cli.runs / "taken").mkdir(parents=True)
    for name, code in (("taken", 2), ("../x", 2)):
        reply = cli("demo", "--name", name, "--json")
        assert (reply.code, reply.out) == (code, "")
        assert reply.error["remedy"]
    assert [path.name for path in cli.runs.iterdir()] == ["taken"]
