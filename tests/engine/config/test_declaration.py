"""The declaration as data."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt

from engine.config.declaration import in_words, section_help, sections, settings
from engine.config.model import RunConfig


def test_every_setting_has_a_key_a_meaning_and_words_for_what_it_takes() -> None:
    for key, setting in settings().items():
        assert key == f"{setting.section}.{setting.name}"
        assert setting.description.endswith((".", "?")), key
        assert setting.accepts, key


def test_every_setting_that_takes_null_says_what_null_means() -> None:
    silent = [s.key for s in settings().values() if "null" in s.accepts and "null: " not in s.description]
    assert not silent


def test_every_setting_that_takes_auto_says_what_auto_does() -> None:
    silent = [s.key for s in settings().values() if s.automatic and "auto: " not in s.description]
    assert not silent


def test_auto_is_taken_exactly_where_it_is_said() -> None:
    free_text = {
        "data.train",
        "data.validation",
        "data.dev",
        "model.name",
        "model.revision",
        "model.chat_template",
        "model.adapter",
        "saving.promote",
        "forgetting.probe",
        "evaluation.suite_test",
        "launch.config_file",
        "launch.main_process_ip",
    }
    for setting in settings().values():
        if setting.key not in free_text:
            assert _accepts(setting.section, setting.name, "auto") == setting.automatic, setting.key


def test_null_is_taken_exactly_where_it_is_said() -> None:
    for setting in settings().values():
        # No validation sets can be written as null as well as {}.
        assert _accepts(setting.section, setting.name, None) == (
            "null" in setting.accepts or setting.key == "data.validation"
        ), setting.key


def test_choices_are_all_taken_and_nothing_beside_them() -> None:
    for setting in settings().values():
        for choice in setting.choices:
            assert _accepts(setting.section, setting.name, choice), (setting.key, choice)
        if setting.choices:
            assert not _accepts(setting.section, setting.name, "something else"), setting.key


def test_every_section_says_what_it_is_about() -> None:
    for section in (*sections(), "trainer"):
        assert section_help(section).endswith(".")


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (bool, "true or false"),
        (Annotated[int, Ge(1)], "a whole number from 1"),
        (Annotated[float, Gt(0), Le(1)], "a number above 0 up to 1"),
        (Annotated[float, Ge(0), Lt(1)], "a number from 0 up to below 1"),
        (Annotated[int, Ge(1)] | Literal["auto", "epoch"] | None, "a whole number from 1, epoch, null or auto"),
        (list[str] | None, "a list of texts or null"),
        (Literal[True, "gaussian"], "true or gaussian"),
    ],
)
def test_types_are_put_into_words(annotation: object, words: str) -> None:
    assert in_words(annotation) == words


def test_a_type_without_words_is_our_bug() -> None:
    with pytest.raises(TypeError, match="accepts"):
        in_words(dict[str, str])


def _accepts(section: str, name: str, value: object) -> bool:
    try:
        RunConfig.model_validate({section: {name: value}})
    except ValueError:
        return False
    return True
