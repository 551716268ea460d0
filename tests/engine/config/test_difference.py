"""What differs between two configurations."""

from __future__ import annotations

import pytest

from engine.config.automatic import Facts
from engine.config.difference import Difference, differences, values_of
from engine.config.load import loads, preset
from engine.config.resolved import resolve
from engine.errors import ConfigError
from engine.workspace import Workspace, shipped_folder


def test_only_what_differs_is_told_and_defaults_count_as_written() -> None:
    one = loads("training: {learning_rate: 1e-4, seed: 42}", "a.yaml")
    other = loads("training: {weight_decay: 0.1}\ntrainer: {adam_beta2: 0.95}", "b.yaml")
    assert differences(values_of(one), values_of(other)) == [
        Difference("training.learning_rate", 1e-4, 2e-4),
        Difference("training.weight_decay", 0.0, 0.1),
        Difference("trainer.adam_beta2", None, 0.95),
    ]


def test_the_same_is_no_difference_and_a_preset_without_data_is_compared_too() -> None:
    assert differences(values_of(preset("domain-voice")), values_of(preset("domain-voice"))) == []


def test_a_run_is_compared_by_what_it_used(tmp_path: object) -> None:
    given = preset("demo")
    resolved = resolve(given, Facts(300), Workspace(shipped_folder()))
    found = {one.key: one for one in differences(values_of(given), values_of(resolved))}
    assert found["data.max_length"] == Difference("data.max_length", "auto", 640)
    assert "training.learning_rate" not in found


def test_a_wrong_configuration_is_refused_and_not_compared() -> None:
    with pytest.raises(ConfigError, match="lerning_rate"):
        values_of(loads("training: {lerning_rate: 1}", "a.yaml"))
