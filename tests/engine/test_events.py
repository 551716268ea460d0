"""Events: every sentence survives its journey as strict JSON, and foreign lines cannot become a wrong one."""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest

from engine import events
from engine.events import EVENTS, Event, from_json, number_from_json, to_json

SAMPLES: dict[str, list[Any]] = {
    "str": ["", "one line", "two\nlines", "naïve 東京 \u202e\u2028\x1b[2J", "NaN", "\ud800"],
    "int": [0, 1, -1, 10**15],
    "bool": [True, False],
    "float": [0.0, 2.5e-4, -1.0, math.nan, math.inf, -math.inf],
    "str | None": [None, "run-1"],
    "int | None": [None, 9],
    "float | None": [None, 0.5, math.nan],
    "list[dict[str, Any]]": [[], [{"path": "a.jsonl", "line": 3, "reason": "output is empty"}]],
    "dict[str, float]": [{}, {"loss": 1.5, "grad_norm": math.nan, "entropy": math.inf, "größe": -math.inf}],
    "dict[str, int]": [{}, {"retain": 40, "unlearn": 0}],
}
"""Values of each type that a field of an event has."""
KINDS = pytest.mark.parametrize("kind", sorted(EVENTS))


def examples(kind: str) -> Iterator[Event]:
    """Yield events of one kind in which every sample of every field's type occurs."""
    columns = [SAMPLES[str(field.type)] for field in fields(EVENTS[kind])]
    for row in range(max(map(len, columns))):
        yield EVENTS[kind](*(column[row % len(column)] for column in columns))


def same(a: object, b: object) -> bool:
    """Whether two events agree in type and every field, NaN being equal to NaN."""
    return type(a) is type(b) and repr(a) == repr(b)


def strictly(record: dict[str, Any]) -> dict[str, Any]:
    """Return what a strict parser makes of what a strict encoder wrote."""
    text = json.dumps(record, allow_nan=False)
    return dict(json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON")))


@KINDS
def test_an_event_survives_the_journey_as_json(kind: str) -> None:
    for event in examples(kind):
        assert same(from_json(strictly(to_json(event))), event)


@KINDS
def test_keys_of_the_journal_and_of_later_versions_are_passed_over(kind: str) -> None:
    event = next(examples(kind))
    record = {"seq": 7, "time": 1.5, "invented_later": {"a": [1]}, **to_json(event)}
    assert same(from_json(record), event)


@KINDS
def test_a_field_that_is_missing_without_a_default_makes_the_event_unknown(kind: str) -> None:
    event = next(examples(kind))
    required = inspect.signature(EVENTS[kind]).parameters.values()
    for parameter in required:
        record = to_json(event)
        del record[parameter.name]
        assert (from_json(record) is None) == (parameter.default is inspect.Parameter.empty)


@KINDS
def test_a_field_of_another_type_makes_the_event_unknown(kind: str) -> None:
    event = next(examples(kind))
    wrong: dict[str, list[object]] = {
        "str": [None, 1, ["a"]],
        "int": [None, "1", 1.5, True, "NaN"],
        "bool": [None, 1, "true"],
        "float": [None, [], {}, True],
        "str | None": [1, []],
        "int | None": ["1", 1.5, False],
        "float | None": [[], True],
        "list[dict[str, Any]]": [None, {}, ["a"], "ab"],
        "dict[str, float]": [None, [], "ab"],
        "dict[str, int]": [None, [], {"retain": "many"}, {"retain": None}, {"retain": True}],
    }
    for field in fields(EVENTS[kind]):
        for value in wrong[str(field.type)]:
            assert from_json({**to_json(event), field.name: value}) is None, (field.name, value)


@pytest.mark.parametrize("kind", [None, 1, [], {}, "", "Event", "StepPlanned", "stepfinished"], ids=repr)
def test_a_kind_of_another_version_is_no_event(kind: object) -> None:
    assert from_json({"event": kind, "step": 1}) is None
    assert from_json({}) is None


def test_every_class_of_event_can_be_read_back_under_its_name() -> None:
    assert set(EVENTS) == {cls.__name__ for cls in Event.__subclasses__()}
    assert all(cls.__dataclass_params__.frozen and "__dict__" not in dir(cls) for cls in EVENTS.values())  # type: ignore[attr-defined]


def test_numbers_that_json_cannot_hold_are_written_as_their_names() -> None:
    event = events.StepFinished(1, 0.5, 8, math.inf, {"loss": math.nan, "grad_norm": -math.inf})
    record = to_json(event)
    assert record["seconds"] == "Infinity"
    assert record["metrics"] == {"loss": "NaN", "grad_norm": "-Infinity"}


READ: list[tuple[object, float]] = [
    *((1, 1.0), (-0.5, -0.5), (10**400, math.inf), (-(10**400), -math.inf)),
    *(("Infinity", math.inf), ("-Infinity", -math.inf), ("NaN", math.nan)),
    *(("1.5", math.nan), ("", math.nan), (None, math.nan), ([], math.nan), ({}, math.nan)),
]


@pytest.mark.parametrize(("value", "number"), READ, ids=[str(value)[:10] for value, _ in READ])
def test_a_json_value_is_read_as_a_float(value: object, number: float) -> None:
    assert number_from_json(value) == pytest.approx(number, nan_ok=True)


def test_an_integer_too_large_for_a_float_is_infinite_wherever_a_float_belongs() -> None:
    said = from_json({"event": "StepFinished", "step": 1, "epoch": 10**400, "num_tokens": 1, "seconds": 1,
                      "metrics": {"loss": 10**400}})  # fmt: skip
    assert isinstance(said, events.StepFinished)
    assert (said.epoch, said.metrics["loss"]) == (math.inf, math.inf)
    assert isinstance(said.seconds, float)


def written_classes() -> list[ast.ClassDef]:
    """Return the event classes as they stand in the source."""
    return [node for node in ast.parse(inspect.getsource(events)).body
            if isinstance(node, ast.ClassDef) and node.name in EVENTS]  # fmt: skip


@pytest.mark.parametrize("written", written_classes(), ids=lambda node: str(node.name))
def test_an_event_and_its_fields_say_what_the_signature_cannot(written: ast.ClassDef) -> None:
    assert (ast.get_docstring(written) or "").rstrip().endswith((".", "`", '"'))
    for statement, after in itertools.pairwise([*written.body, ast.Pass()]):
        if isinstance(statement, ast.AnnAssign):
            documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            kind = ast.unparse(statement.annotation)
            needs_words = "None" in kind or "dict" in kind or "list" in kind
            assert documented or not needs_words, f"{written.name}.{ast.unparse(statement.target)}: {kind}"
