"""The options that are passed on to TRL, known without importing it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.config.declaration import settings
from engine.config.trainer_options import (
    OPTIONS_FILE,
    OWNED,
    Option,
    in_words,
    is_setting,
    options,
    why_owned,
    wrong_value,
)

ROOT = Path(__file__).parents[3]


def test_the_file_is_what_the_installed_libraries_say() -> None:
    command = [sys.executable, str(ROOT / "tools" / "option_schema.py"), "--print"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == json.loads(OPTIONS_FILE.read_text("utf-8")), "run tools/option_schema.py"


def test_no_option_is_both_passed_on_and_ours() -> None:
    assert options().keys().isdisjoint(OWNED)


def test_every_setting_that_replaces_an_option_exists() -> None:
    ours = {setting for setting in OWNED.values() if is_setting(setting) and "," not in setting}
    assert ours <= settings().keys()


def test_options_that_hold_secrets_or_run_code_are_not_passed_on() -> None:
    assert {"hub_token", "trust_remote_code", "push_to_hub", "output_dir"} <= OWNED.keys()
    harmless = {"include_num_input_tokens_seen", "eos_token"}
    assert not [name for name in options() if "token" in name and name not in harmless]


def test_every_option_has_a_type_and_the_librarys_words() -> None:
    for option in options().values():
        assert option.accepts, option.name
        assert option.help, option.name
        assert wrong_value(option, option.default) is None, option.name


def test_the_reason_names_our_setting_or_why_there_is_none() -> None:
    assert why_owned("learning_rate") == "set training.learning_rate instead"
    assert why_owned("logging_nan_inf_filter") == "a loss that is not finite must be seen"
    assert why_owned("adam_beta1") is None


@pytest.mark.parametrize(
    ("accepts", "choices", "value", "right"),
    [
        (("number",), (), 1, True),
        (("number",), (), 1.5, True),
        (("number",), (), True, False),
        (("number",), (), "1", False),
        (("integer", "null"), (), None, True),
        (("integer",), (), 1.0, False),
        (("boolean",), (), 1, False),
        (("string", "array", "null"), (), ["a"], True),
        (("string", "object"), (), {"a": 1}, True),
        (("string",), ("fork", "spawn"), "fork", True),
        (("string",), ("fork", "spawn"), "thread", False),
        (("string", "null"), ("fork", "spawn"), None, True),
    ],
)
def test_a_value_must_be_of_the_options_type(
    accepts: tuple[str, ...], choices: tuple[str, ...], value: object, right: bool
) -> None:
    option = Option("x", accepts, choices, None, "")
    assert wrong_value(option, value) == (None if right else in_words(option))
