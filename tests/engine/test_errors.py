"""Errors: what they promise to scripts, documentation and people."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine import errors
from engine.errors import ConfigError, EngineError


def family(cls: type[EngineError] = EngineError) -> Iterator[type[EngineError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from family(child)


ERRORS = [cls for cls in family() if cls.__module__ == errors.__name__]


def test_every_code_is_its_own_in_lower_case_with_hyphens() -> None:
    codes = [cls.code for cls in ERRORS]
    assert len(set(codes)) == len(codes) > 10
    assert all(code.replace("-", "").isalpha() and code == code.lower() for code in codes)


@pytest.mark.parametrize("cls", ERRORS, ids=lambda cls: cls.code)
def test_every_error_says_what_it_is_and_fails_a_command(cls: type[EngineError]) -> None:
    assert cls.__doc__
    assert 1 <= cls.exit_code < 64  # 0 is success; 64 and above belong to sysexits.h, the keeper and signals


@pytest.mark.parametrize("cls", [cls for cls in ERRORS if cls is not ConfigError], ids=lambda cls: cls.code)
def test_an_error_carries_sentence_and_remedy(cls: type[EngineError]) -> None:
    error = cls("It broke at 3 %.", remedy="Press r.")
    assert str(error) == "It broke at 3 %. Press r."
    assert error.as_dict() == {"code": cls.code, "message": "It broke at 3 %.", "remedy": "Press r."}


def test_an_error_without_a_remedy_ends_after_its_sentence() -> None:
    assert str(EngineError("It broke.")) == "It broke."


@pytest.mark.parametrize(
    ("problems", "begins"),
    [
        pytest.param(["a is 1"], "The configuration has 1 problem: a is 1", id="one"),
        pytest.param(["a is 1", "b is 2"], "The configuration has 2 problems: a is 1; b is 2", id="two"),
    ],
)
def test_a_configuration_error_lists_every_problem(problems: list[str], begins: str) -> None:
    error = ConfigError(problems)
    assert error.message == begins
    assert error.problems == problems
    assert error.remedy
