"""Commands: every one survives its journey, and no line anyone writes can hurt the worker that reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine import commands
from engine.commands import COMMANDS, Command, Pause, SaveCheckpoint, SetEarlyStopping, SetLearningRate, Stop, Unpause

EVERY_COMMAND = [
    Pause(), Unpause(), SaveCheckpoint(), Stop(), Stop(save=False), SetLearningRate(2e-4), SetEarlyStopping(True),
    SetEarlyStopping(False),
]  # fmt: skip


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=str)
def test_a_command_survives_the_journey_as_json(command: Command) -> None:
    assert commands.from_json(json.loads(json.dumps(commands.to_json(command)))) == command


def test_every_command_has_its_name_a_docstring_and_a_test() -> None:
    assert set(COMMANDS) == {cls.__name__ for cls in Command.__subclasses__()}
    assert set(COMMANDS.values()) == {type(command) for command in EVERY_COMMAND}
    assert all(cls.__doc__ and not cls.__doc__.startswith(f"{name}(") for name, cls in COMMANDS.items())


def test_keys_of_the_journal_and_of_later_versions_do_no_harm() -> None:
    record = {"seq": 4, "time": 1.5, "id": "ab", "by": "me", "colour": "red", **commands.to_json(Stop())}
    assert commands.from_json(record) == Stop()


def test_a_stop_that_does_not_say_so_saves() -> None:
    assert commands.from_json({"command": "Stop"}) == Stop(save=True)


def test_a_whole_number_is_a_learning_rate() -> None:
    assert commands.from_json({"command": "SetLearningRate", "learning_rate": 1}) == SetLearningRate(1.0)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        pytest.param({}, "Unknown command None.", id="nothing"),
        pytest.param({"command": "Dance"}, "Unknown command 'Dance'.", id="another version"),
        pytest.param({"command": "Command"}, "Unknown command 'Command'.", id="the base class"),
        pytest.param({"command": ["Stop"]}, "Unknown command ['Stop'].", id="a list"),
        pytest.param({"command": "Stop", "save": 1}, "save must be true or false, not 1.", id="save 1"),
        pytest.param({"command": "Stop", "save": None}, "save must be true or false, not None.", id="save null"),
    ],
)
def test_what_is_no_command_is_refused_in_a_sentence(record: dict[str, Any], said: str) -> None:
    assert commands.from_json(record) == said


@pytest.mark.parametrize(
    "rate",
    [0, -1e-4, True, None, "0.001", [], float("nan"), float("inf"), float("-inf"), 10**400, -(10**400)],
    ids=lambda rate: str(rate)[:10],
)
def test_only_a_finite_number_above_zero_is_a_learning_rate(rate: object) -> None:
    said = commands.from_json({"command": "SetLearningRate", "learning_rate": rate})
    assert isinstance(said, str)
    assert said.startswith("learning_rate must be a number above 0, not ")


def test_a_missing_learning_rate_is_refused() -> None:
    assert isinstance(commands.from_json({"command": "SetLearningRate"}), str)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", ["x" * 1_000_000, nested(5_000), {str(n): "y" * 100 for n in range(999)}], ids=type)
@pytest.mark.parametrize("key", ["command", "save", "learning_rate"])
def test_a_refusal_stays_short_whatever_was_written(key: str, value: object) -> None:
    record = {"command": "Stop" if key == "save" else "SetLearningRate", key: value}
    said = commands.from_json(record)
    assert isinstance(said, str)
    assert len(said) < 200
