"""The options that are passed on to TRL, known without importing it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.config.declaration import settings
from engine.config.methods import CONFIG_CLASSES
from engine.config.trainer_options import (
    OWNED,
    Option,
    in_words,
    is_setting,
    options,
    options_file,
    owned,
    why_owned,
    wrong_value,
)

ROOT = Path(__file__).parents[3]


def test_the_files_are_what_the_installed_libraries_say() -> None:
    command = [sys.executable, str(ROOT / "tools" / "option_schema.py"), "--print"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    written = {trainer: json.loads(options_file(trainer).read_text("utf-8")) for trainer in CONFIG_CLASSES}
    assert json.loads(done.stdout) == written, "run tools/option_schema.py"


def test_no_option_is_both_passed_on_and_ours() -> None:
    assert options().keys().isdisjoint(OWNED)
    for trainer in CONFIG_CLASSES:
        assert options(trainer).keys().isdisjoint(owned(trainer))


def test_an_option_can_be_ours_with_one_trainer_and_the_librarys_with_another() -> None:
    assert why_owned("loss_type", "dpo") == "set dpo.loss_type instead"
    assert why_owned("loss_type", "sft") is None
    assert "precompute_ref_batch_size" in options("dpo")
    assert "precompute_ref_batch_size" not in options("sft")


def test_every_setting_that_replaces_an_option_exists() -> None:
    every = [setting for trainer in CONFIG_CLASSES for setting in owned(trainer).values()]
    ours = {setting for setting in every if is_setting(setting) and "," not in setting}
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
