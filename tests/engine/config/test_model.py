"""The declaration: what it takes, and that nothing is left unsaid."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from engine.config.model import RunConfig, settled


def validation_sets(value: Any) -> dict[str, str]:
    return RunConfig.model_validate({"data": {"validation": value}}).data.validation


@pytest.mark.parametrize(
    ("written", "sets"),
    [
        pytest.param("val.jsonl", {"validation": "val.jsonl"}, id="one file"),
        pytest.param(["val.jsonl"], {"validation": "val.jsonl"}, id="a list of one file"),
        pytest.param(
            ["d/retain_val.jsonl", "d/unlearn_val.jsonl"],
            {"retain": "d/retain_val.jsonl", "unlearn": "d/unlearn_val.jsonl"},
            id="the retain and unlearn pair",
        ),
        pytest.param(
            ["a-eval.json", "b_validation.jsonl"], {"a": "a-eval.json", "b": "b_validation.jsonl"}, id="endings"
        ),
        pytest.param([{"path": "x.jsonl", "name": "held_out"}], {"held_out": "x.jsonl"}, id="a file with a name"),
        pytest.param(["x.jsonl", {"path": "y.jsonl", "name": "z"}], {"x": "x.jsonl", "z": "y.jsonl"}, id="both"),
        pytest.param({"b": "1.jsonl", "a": "2.jsonl"}, {"b": "1.jsonl", "a": "2.jsonl"}, id="a mapping"),
        pytest.param({}, {}, id="an empty mapping"),
        pytest.param([], {}, id="an empty list"),
        pytest.param(None, {}, id="null"),
    ],
)
def test_validation_files_may_be_written_in_many_forms(written: Any, sets: dict[str, str]) -> None:
    assert validation_sets(written) == sets
    assert list(validation_sets(written)) == list(sets)


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(["a/val.jsonl", "b/val.jsonl"], id="two sets of one name"),
        pytest.param([{"name": "x"}], id="no path"),
        pytest.param([{"path": "x", "weight": 2}], id="an unknown key"),
        pytest.param([{"path": 3}], id="a number as path"),
        pytest.param([["x"]], id="a list in a list"),
        pytest.param({"x y": "a.jsonl"}, id="a space in the name"),
        pytest.param({"../x": "a.jsonl"}, id="a slash in the name"),
        pytest.param({"x" * 33: "a.jsonl"}, id="a long name"),
        pytest.param({"x": ""}, id="an empty path"),
        pytest.param({"x": ["a.jsonl"]}, id="a list of files in one set"),
        pytest.param(3, id="a number"),
    ],
)
def test_other_forms_of_validation_files_are_refused(written: Any) -> None:
    with pytest.raises(ValidationError):
        validation_sets(written)


def test_one_training_file_needs_no_list() -> None:
    assert RunConfig.model_validate({"data": {"train": "a.jsonl"}}).data.train == ["a.jsonl"]


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("lora", "r", "16"),
        ("lora", "r", True),
        ("lora", "r", 16.0),
        ("lora", "r", 0),
        ("lora", "init_lora_weights", False),
        ("lora", "init_lora_weights", "loftq"),
        ("lora", "target_modules", []),
        ("training", "learning_rate", float("nan")),
        ("training", "learning_rate", float("inf")),
        ("training", "learning_rate", 0),
        ("training", "learning_rate", 2),
        ("training", "seed", 2**32),
        ("training", "warmup_steps", 1.0),
        ("training", "warmup_steps", -1),
        ("training", "report_to", "wandb"),
        ("training", "report_to", ["mlflow"]),
        ("training", "lr_scheduler_type", "reduce_lr_on_plateau"),
        ("model", "trust_remote_code", 1),
        ("model", "device", "cuda:x"),
        ("model", "device", "cpu\n"),
        ("model", "name", ""),
        ("saving", "best_metric", "a metric"),
        ("early_stopping", "window", 2),
        ("dpo", "loss_type", "sft"),
        ("dpo", "label_smoothing", 0.5),
        ("unlearning", "retain_floor", 1.0),
        ("saving", "save_total_limit", 0),
        ("method", "name", "orpo"),
    ],
)
def test_values_out_of_range_or_of_another_type_are_refused(section: str, name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        RunConfig.model_validate({section: {name: value}})


@pytest.mark.parametrize("value", [0, 10, 0.0, 0.1, 0.99, "auto"])
def test_warmup_is_steps_or_a_fraction_of_all_steps(value: object) -> None:
    kept = RunConfig.model_validate({"training": {"warmup_steps": value}}).training.warmup_steps
    assert kept == value
    assert type(kept) is type(value)


def test_a_whole_number_will_do_where_a_number_is_wanted() -> None:
    epochs = RunConfig.model_validate({"training": {"num_train_epochs": 3}}).training.num_train_epochs
    assert isinstance(epochs, float)


def test_remote_code_is_never_trusted_by_default() -> None:
    assert RunConfig().model.trust_remote_code is False


def test_nothing_is_reported_elsewhere_by_default() -> None:
    assert RunConfig().training.report_to == []


def test_a_configuration_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError):
        RunConfig().training.learning_rate = 1.0


def test_a_value_that_is_not_settled_is_our_bug() -> None:
    assert settled(3) == 3
    with pytest.raises(AssertionError):
        settled("auto")
