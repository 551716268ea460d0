"""Files, presets and assignments on top of each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.load import GivenConfig, load, loads, preset
from engine.errors import ConfigError, NotFound

MINIMAL = "data:\n  train: a.jsonl\n"


def problems(given: GivenConfig) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        given.check()
    return caught.value.problems


def test_a_file_needs_only_its_training_data(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(MINIMAL)
    given = load(path)
    assert given.check().data.train == ["a.jsonl"]
    assert given.settings["data.train"].place == "run.yaml:2"


def test_scientific_notation_is_a_number() -> None:
    assert loads(f"{MINIMAL}training:\n  learning_rate: 2e-4\n", "r").check().training.learning_rate == 2e-4


def test_words_that_yaml_1_1_takes_for_truth_values_stay_words() -> None:
    config = loads(f"{MINIMAL}  validation: v.jsonl\nevaluation:\n  prompts: [yes, no, on]\n", "r").check()
    assert config.evaluation.prompts == ["yes", "no", "on"]


def test_an_empty_section_says_nothing() -> None:
    assert loads(f"{MINIMAL}lora:\ntrainer:\n", "r").check().lora.r == "auto"


def test_every_problem_of_a_file_is_reported_with_its_line() -> None:
    text = "data:\n  train: a.jsonl\ntraining:\n  learnin_rate: 1\n  seed: x\nlora.r: 3\n"
    assert problems(loads(text, "run.yaml")) == [
        "lora.r: write `lora:` and, below it, `r:` (run.yaml:6)",
        "training.learnin_rate is not a setting; did you mean training.learning_rate? (run.yaml:4)",
        'training.seed must be a whole number from 0 up to 4294967295, not "x" (run.yaml:5)',
    ]


def test_the_message_of_the_error_counts_and_holds_the_problems() -> None:
    with pytest.raises(ConfigError, match=r"The configuration has 2 problems: .*; .*"):
        loads("a: 1\nb: 2\n" + MINIMAL, "r").check()


def test_a_preset_lies_below_the_file_that_names_it() -> None:
    given = loads("preset: retain-unlearn\nmodel:\n  name: tiny\n", "run.yaml")
    config = given.check()
    assert config.model.name == "tiny"
    assert config.data.validation["retain"] == "datasets/retain/retain_val.jsonl"
    assert given.settings["lora.r"].preset
    assert not given.settings["model.name"].preset


def test_no_preset_may_be_named_as_null() -> None:
    assert loads(f"preset: null\n{MINIMAL}", "r").check().data.train == ["a.jsonl"]


@pytest.mark.parametrize(("written", "said"), [("dmo", "Did you mean demo"), ("[a]", "preset must be demo, ")])
def test_a_preset_that_is_none_is_a_problem_among_the_others(written: str, said: str) -> None:
    first, second = problems(loads(f"preset: {written}\nlora:\n  r: x\n{MINIMAL}", "run.yaml"))
    assert said in first
    assert "run.yaml:1" in first
    assert second.startswith("lora.r must be")


def test_an_unknown_preset_is_not_found() -> None:
    with pytest.raises(NotFound, match=r"no preset 'nope'.*Presets are demo, "):
        preset("nope")


def test_assignments_win_over_the_file_and_the_last_one_over_the_others() -> None:
    given = loads(f"{MINIMAL}lora:\n  r: 4\n", "r").override(["lora.r=8", "lora.r=16"])
    assert given.check().lora.r == 16
    assert given.settings["lora.r"].place == "--set"


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("training.learning_rate=1e-3", "training.learning_rate", 1e-3),
        ("training.learning_rate = 1e-3", "training.learning_rate", 1e-3),
        ("data.train=[a.jsonl, b.jsonl]", "data.train", ["a.jsonl", "b.jsonl"]),
        ("data.validation={x: a=b.jsonl}", "data.validation", {"x": "a=b.jsonl"}),
        ("data.limit=null", "data.limit", None),
        ("data.limit=", "data.limit", None),
        ("model.name=org/name", "model.name", "org/name"),
        ("trainer.adam_beta2=0.95", "trainer.adam_beta2", 0.95),
        ("trainer={adam_beta2: 0.95}", "trainer.adam_beta2", 0.95),
        ("training={seed: 3}", "training.seed", 3),
    ],
)
def test_an_assignment_holds_a_yaml_value(text: str, key: str, value: object) -> None:
    assert loads(MINIMAL, "r").override([text]).settings[key].value == value


def test_wrong_assignments_are_problems_like_any_other() -> None:
    given = loads(MINIMAL, "r").override(["lora.r", "=3", "lora.r=[1", "lorra.r=3", "lora.r=x"])
    assert problems(given) == [
        '"lora.r" is not of the form key=value (--set)',
        '"=3" is not of the form key=value (--set)',
        "lora.r cannot be read: not YAML: did not find expected ',' or ']' (--set)",
        "lorra.r is not a setting; did you mean lora.r? (--set)",
        'lora.r must be a whole number from 1 or auto, not "x" (--set)',
    ]


def test_a_wrong_value_that_an_assignment_replaces_is_no_problem() -> None:
    assert loads(f"{MINIMAL}lora:\n  r: x\n", "r").override(["lora.r=4"]).check().lora.r == 4


def test_the_quick_test_learns_from_the_dev_file_alone_for_one_epoch() -> None:
    text = "data:\n  train: a.jsonl\n  dev: dev.jsonl\ntraining:\n  num_train_epochs: 5\n  max_steps: 9\n  seed: 7\n"
    config = loads(text, "r").for_dev().check()
    assert config.data.train == ["dev.jsonl"]
    assert config.training.num_train_epochs == 1
    assert config.training.max_steps is None
    assert config.training.seed == 7


def test_an_assignment_wins_over_the_quick_test() -> None:
    given = preset("demo").for_dev().override(["training.num_train_epochs=2"])
    assert given.check().training.num_train_epochs == 2


def test_a_quick_test_without_a_dev_file_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.dev names no file"):
        loads(MINIMAL, "r").for_dev()


def test_settings_are_not_changed_by_what_is_put_on_top() -> None:
    given = loads(MINIMAL, "r")
    given.override(["lora.r=8"])
    assert "lora.r" not in given.settings
