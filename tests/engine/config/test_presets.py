"""Every preset is a beginning that works."""

from __future__ import annotations

import pytest

from engine.config.load import preset
from engine.config.presets import presets

NAMES = [known.name for known in presets()]


def test_the_demo_comes_first() -> None:
    assert NAMES[0] == "demo"


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_right_and_says_what_it_is_for(name: str) -> None:
    given = preset(name)
    needs_data = "data.train" not in given.settings
    given.override(["data.train=a.jsonl"] if needs_data else []).check()
    summary = next(known.summary for known in presets() if known.name == name)
    assert summary.endswith(".")
    assert not summary.startswith("#")


def test_the_domain_voice_has_the_settings_of_two_epochs_over_a_thousand_chats() -> None:
    config = preset("domain-voice").override(["data.train=a.jsonl"]).check()
    assert (config.lora.r, config.lora.lora_alpha, config.lora.lora_dropout) == (8, 16, 0.05)
    assert (config.training.num_train_epochs, config.training.warmup_steps) == (2, 20)
    assert (config.training.per_device_train_batch_size, config.training.gradient_accumulation_steps) == (2, 4)
    assert (config.evaluation.eval_steps, config.saving.save_steps) == (50, 100)
    assert config.training.lr_scheduler_type == "linear"


def test_retain_and_unlearn_has_the_defaults_of_its_table() -> None:
    config = preset("retain-unlearn").check()
    assert config.model.name == "Qwen/Qwen2.5-1.5B-Instruct"
    assert (config.lora.r, config.lora.lora_alpha, config.data.max_length) == (16, 32, 512)
    assert (config.training.num_train_epochs, config.training.per_device_train_batch_size) == (3, 4)
    assert (config.training.learning_rate, config.training.warmup_steps) == (2e-4, 0.1)
    assert not config.model.load_in_4bit
    assert not config.model.load_in_8bit


def test_the_preset_for_small_data_leaves_what_follows_from_the_data_to_it() -> None:
    config = preset("small-dataset").check()
    assert {config.lora.r, config.lora.lora_alpha, config.data.max_length, config.training.num_train_epochs} == {"auto"}
