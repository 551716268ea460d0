"""Configurations of other tools, as their documentation has them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.config.foreign import Imported, import_file
from engine.config.load import loads
from engine.errors import ConfigError, NotFound, UsageError

AXOLOTL = """\
base_model: NousResearch/Llama-3.2-1B
load_in_8bit: false
load_in_4bit: true
adapter: qlora
lora_r: 32
lora_alpha: 16
lora_dropout: 0.05
lora_target_linear: true
sequence_len: 2048
sample_packing: true
datasets:
  - path: data/rows.jsonl
    type: alpaca
val_set_size: 0.05
micro_batch_size: 2
gradient_accumulation_steps: 4
num_epochs: 3
optimizer: adamw_8bit
lr_scheduler: cosine
learning_rate: 0.0002
train_on_inputs: no
bf16: auto
tf32: false
gradient_checkpointing: true
flash_attention: true
warmup_ratio: 0.1
evals_per_epoch: 4
saves_per_epoch: 1
weight_decay: 0.0
special_tokens:
  pad_token: "<|end_of_text|>"
output_dir: ./out
liger_rope: true
"""
FACTORY = """\
model_name_or_path: meta-llama/Llama-3.1-8B-Instruct
trust_remote_code: true
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all
dataset: identity
template: llama3
cutoff_len: 2048
max_samples: 1000
output_dir: saves/llama3-8b
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
quantization_bit: 4
eval_strategy: steps
eval_steps: 500
save_steps: 500
report_to: none
adam_beta2: 0.95
"""
TRL = """\
model_name_or_path: Qwen/Qwen2.5-0.5B
dataset_name: rows.jsonl
dtype: bfloat16
max_length: 1024
learning_rate: 2.0e-4
num_train_epochs: 1
packing: true
gradient_checkpointing: false
use_peft: true
lora_r: 32
lora_alpha: 16
lora_target_modules: [q_proj, v_proj]
max_steps: -1
eval_strategy: "no"
neftune_noise_alpha: 5
"""


def taken_from(folder: Path, text: str, tool: str | None = None) -> Imported:
    path = folder / "theirs.yaml"
    path.write_text(text)
    return import_file(path, tool)


def left(found: Imported) -> dict[str, str]:
    return {one.name: one.reason for one in found.left}


def test_a_configuration_of_axolotl(tmp_path: Path) -> None:
    found = taken_from(tmp_path, AXOLOTL)
    assert found.tool == "axolotl"
    assert found.settings == {
        "model.name": "NousResearch/Llama-3.2-1B",
        "model.load_in_8bit": False,
        "model.load_in_4bit": True,
        "lora.r": 32,
        "lora.lora_alpha": 16,
        "lora.lora_dropout": 0.05,
        "lora.target_modules": "all-linear",
        "data.max_length": 2048,
        "data.packing": True,
        "data.train": ["data/rows.jsonl"],
        "training.per_device_train_batch_size": 2,
        "training.gradient_accumulation_steps": 4,
        "training.num_train_epochs": 3,
        "training.optim": "adamw_bnb_8bit",
        "training.lr_scheduler_type": "cosine",
        "training.learning_rate": 0.0002,
        "data.completion_only_loss": True,
        "model.dtype": "auto",
        "trainer.tf32": False,
        "training.activation_checkpointing": True,
        "model.attn_implementation": "flash_attention_2",
        "training.warmup_steps": 0.1,
        "saving.save_steps": "epoch",
        "training.weight_decay": 0.0,
    }
    reasons = left(found)
    assert set(reasons) == {"val_set_size", "evals_per_epoch", "special_tokens", "output_dir", "liger_rope"}
    assert "ftconsole data split" in reasons["val_set_size"]


def test_a_configuration_of_llama_factory(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps({"identity": {"file_name": "identity.json"}}))
    found = taken_from(tmp_path, FACTORY)
    assert found.tool == "llamafactory"
    assert found.settings["data.train"] == [str(tmp_path / "data" / "identity.json")]
    assert found.settings["lora.target_modules"] == "all-linear"
    assert found.settings["model.load_in_4bit"] is True
    assert found.settings["model.trust_remote_code"] is True
    assert found.settings["data.limit"] == 1000
    assert found.settings["training.learning_rate"] == 1e-4
    assert found.settings["trainer.adam_beta2"] == 0.95
    assert "evaluation.eval_steps" not in found.settings  # there is no validation set
    assert {"template", "do_train", "output_dir", "report_to", "eval_steps"} <= set(left(found))


@pytest.mark.parametrize(
    ("stage", "written", "settings"),
    [
        ("dpo", "pref_beta: 0.2\npref_loss: ipo\npref_ftx: 0.0\nld_alpha: 0.5",
         {"dpo.beta": 0.2, "dpo.loss_type": "ipo", "trainer.ld_alpha": 0.5}),
        ("kto", "pref_beta: 0.2\nkto_chosen_weight: 1.5\nkto_rejected_weight: 0.5",
         {"kto.beta": 0.2, "kto.desirable_weight": 1.5, "kto.undesirable_weight": 0.5}),
        ("sft", "pissa_init: true\npissa_iter: 16", {"lora.init_lora_weights": "pissa_niter_16"}),
    ],
)  # fmt: skip
def test_the_stages_of_llama_factory(tmp_path: Path, stage: str, written: str, settings: dict[str, object]) -> None:
    found = taken_from(tmp_path, f"{written}\nmodel_name_or_path: tiny\nfinetuning_type: lora\nstage: {stage}\n")
    assert found.settings == {**settings, "model.name": "tiny", "method.name": stage}
    loads(found.to_yaml(), "run.yaml").override(["data.train=a.jsonl"]).check()


@pytest.mark.parametrize(
    ("stage", "line", "reason"),
    [
        ("ppo", "ppo_epochs: 4", "no counterpart"),
        ("rm", "pref_beta: 0.1", "its stage is not imported"),
        ("sft", "pref_beta: 0.1", "for stage dpo and kto"),
        ("sft", "kto_chosen_weight: 2.0", "for stage kto"),
        ("dpo", "pref_loss: simpo", "not trained"),
        ("dpo", "pref_ftx: 0.5", "no loss on the chosen answers"),
        ("dpo", "dpo_label_smoothing: 0.1", "robust"),
        ("dpo", "ref_model: other/model", "as it begins"),
        ("dpo", "packing: true", "one by one"),
        ("kto", "per_device_train_batch_size: 1", "2 or more"),
        ("kto", "ld_alpha: 0.5", "no counterpart"),
    ],
)
def test_what_a_stage_of_llama_factory_has_no_counterpart_for(
    tmp_path: Path, stage: str, line: str, reason: str
) -> None:
    found = taken_from(tmp_path, f"model_name_or_path: tiny\nstage: {stage}\n{line}\n")
    assert reason in left(found)[line.partition(":")[0]]
    taken = stage in ("sft", "dpo", "kto") and "simpo" not in line
    assert found.settings == {"model.name": "tiny", **({"method.name": stage} if taken else {})}


def test_names_of_data_sets_that_cannot_be_looked_up_are_listed(tmp_path: Path) -> None:
    reasons = left(taken_from(tmp_path, FACTORY))
    assert "dataset_info.json" in reasons["dataset"]


def test_a_configuration_of_trl(tmp_path: Path) -> None:
    found = taken_from(tmp_path, TRL)
    assert found.tool == "trl"
    assert found.settings["model.dtype"] == "bfloat16"
    assert found.settings["lora.target_modules"] == ["q_proj", "v_proj"]
    assert found.settings["trainer.neftune_noise_alpha"] == 5
    assert found.settings["evaluation.eval_steps"] is None
    assert "training.max_steps" not in found.settings


@pytest.mark.parametrize("text", [AXOLOTL, FACTORY, TRL], ids=["axolotl", "llamafactory", "trl"])
def test_every_key_is_taken_or_listed_and_what_is_written_loads(tmp_path: Path, text: str) -> None:
    found = taken_from(tmp_path, text)
    names = [line.partition(":")[0] for line in text.splitlines() if line[0] not in " -"]
    assert {one.name for one in found.taken} | {one.name for one in found.left} == set(names)
    assert all(one.reason for one in found.left)
    given = loads(found.to_yaml(), "run.yaml")
    if "data.train" not in given.settings:
        given = given.override(["data.train=a.jsonl"])
    given.check()


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("adapter: ia3", "adapter"),
        ("lora_r: many", "lora_r"),
        ("learning_rate: 7", "learning_rate"),
        ("lora_target_modules: '.*_proj'", "lora_target_modules"),
        ("lr_scheduler: cosine_with_min_lr", "lr_scheduler"),
        ("sample_packing: perhaps", "sample_packing"),
        ("trust_remote_code:", "trust_remote_code"),
        ("datasets: []", "datasets"),
    ],
)
def test_a_value_that_cannot_be_taken_is_listed_with_the_reason(tmp_path: Path, line: str, name: str) -> None:
    found = taken_from(tmp_path, f"base_model: tiny\n{line}\n")
    assert list(left(found)) == [name]
    assert found.settings == {"model.name": "tiny"}


def test_two_that_belong_together_are_taken_together(tmp_path: Path) -> None:
    text = "model_name_or_path: tiny\nlr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr: 1e-5}\n"
    assert left(taken_from(tmp_path, text)) == {}


def test_what_is_of_none_of_them_is_refused(tmp_path: Path) -> None:
    for text in ("model: {name: tiny}\n", "colour: blue\n"):
        with pytest.raises(UsageError, match="not recognised"):
            taken_from(tmp_path, text)
    with pytest.raises(UsageError, match="ludwig"):
        taken_from(tmp_path, "colour: blue\n", "ludwig")
    with pytest.raises(ConfigError):
        taken_from(tmp_path, "- a\n")
    with pytest.raises(NotFound):
        import_file(tmp_path / "none.yaml")


def test_names_that_act_on_a_terminal_are_written_down_harmless(tmp_path: Path) -> None:
    found = taken_from(tmp_path, 'base_model: "x\\e[2J"\n"key\\e[2J": 1\n')
    assert "\x1b" not in found.to_yaml()
