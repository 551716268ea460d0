"""Every preset is a beginning that works."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.automatic import Facts, decide
from engine.config.catalogue import catalogue
from engine.config.load import preset
from engine.config.model import RunConfig, settled
from engine.config.presets import presets
from engine.hardware.memory import Batch, estimate
from engine.hardware.model_shape import find_shape
from engine.workspace import Workspace

NAMES = [known.name for known in presets()]


def test_the_demo_comes_first() -> None:
    assert NAMES[0] == "demo"


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_right_and_says_what_it_is_for(name: str) -> None:
    given = preset(name)
    needs_data = any("data.train" not in part.settings for _, part in given.parts())
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


def test_sessions_of_continual_learning_stand_on_each_other() -> None:
    config = preset("continual-learning").check()
    assert (config.model.adapter, config.model.adapter_mode, config.saving.promote) == ("latest", "merge", "latest")
    assert {config.lora.r, config.lora.lora_alpha, config.data.max_length, config.training.num_train_epochs} == {"auto"}
    assert config.training.activation_checkpointing is True


def test_both_stages_of_instruction_and_preference_stop_when_nothing_falls_any_more() -> None:
    first, second = (
        preset(f"freethought-{stage}").override(["data.train=a.jsonl"]).check() for stage in ("sft", "dpo")
    )
    assert (first.method.name, second.method.name) == ("sft", "dpo")
    assert first.model.name == second.model.name
    for config in (first, second):
        assert config.early_stopping.armed
        assert (config.early_stopping.criterion, config.early_stopping.minimum_exposure) == ("drop", 1.0)


def test_both_stages_are_there_as_one_run() -> None:
    (_, first), (_, second) = preset("sft-then-dpo").override(["data.train=a.jsonl"]).parts()
    alone = [preset(f"freethought-{stage}").override(["data.train=a.jsonl"]).check() for stage in ("sft", "dpo")]
    assert first.check() == alone[0]
    # One adapter goes through both, and it is the first stage's.
    assert second.check() == alone[1].model_copy(update={"lora": alone[0].lora})


def test_a_development_run_is_one_epoch_in_4_bits_over_the_small_file() -> None:
    config = preset("retain-unlearn-dev").check()
    assert config.data.train == [config.data.dev] == ["datasets/dev/dev_subset.jsonl"]
    assert (config.lora.r, config.lora.lora_alpha, config.data.max_length) == (8, 16, 512)
    assert (config.training.num_train_epochs, config.training.per_device_train_batch_size) == (1, 2)
    assert config.model.load_in_4bit


@pytest.mark.parametrize(
    ("name", "other", "keys"),
    [
        ("retain-unlearn", "retain-unlearn-4bit", {"model.load_in_4bit"}),
        ("domain-voice", "domain-voice-3b", {"model.name"}),
    ],
)
def test_a_variant_differs_in_what_its_name_says(name: str, other: str, keys: set[str]) -> None:
    one, two = preset(name).settings, preset(other).settings
    values = {
        key: (one[key].value if key in one else None, two[key].value if key in two else None) for key in {*one, *two}
    }
    assert {key for key, (before, after) in values.items() if before != after} == keys


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [
        ("freethought-sft", 12),
        ("freethought-dpo", 12),
        ("retain-unlearn-4bit", 8),
        ("retain-unlearn", 16),
        ("size-0.5b", 8),
        ("size-1.5b", 16),
        ("size-3b", 24),
        ("size-7b-4bit", 24),
    ],
)
def test_a_preset_fits_the_card_it_is_for(name: str, gigabytes: int) -> None:
    workspace = Workspace(Path("/"))
    given = preset(name)
    written = given.override([] if "data.train" in given.settings else ["data.train=a.jsonl"]).check()
    entry = catalogue(workspace)[written.model.name]
    decisions, _ = decide(written, Facts(2000, device="cuda", num_parameters=entry.num_parameters))
    values = written.model_dump()
    for key, decision in decisions.items():
        section, _, setting = key.partition(".")
        values[section][setting] = decision.value
    config = RunConfig.model_validate(values)
    batch = Batch(settled(config.training.per_device_train_batch_size), settled(config.data.max_length))
    shape = find_shape(workspace.model(config.model.name), entry)
    assert estimate(config, shape, kind="cuda", batch=batch).total_bytes < gigabytes * 1e9
