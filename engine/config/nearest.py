"""What a person who wrote an unknown key most likely meant."""

from __future__ import annotations

import difflib

from engine.config import trainer_options
from engine.config.declaration import TRAINER, sections, settings

OTHER_NAMES = {
    # from the scripts people come from, and from older or neighbouring libraries
    "alpha": "lora.lora_alpha",
    "base_model": "model.name",
    "batch_size": "training.per_device_train_batch_size",
    "bf16": "model.dtype",
    "checkpoint_every": "saving.save_steps",
    "dataset": "data.train",
    "dev_path": "data.dev",
    "dropout": "lora.lora_dropout",
    "epochs": "training.num_train_epochs",
    "eval_strategy": "evaluation.eval_steps",
    "eval_batch_size": "evaluation.per_device_eval_batch_size",
    "fp16": "model.dtype",
    "grad_accum": "training.gradient_accumulation_steps",
    "gradient_checkpointing": "training.activation_checkpointing",
    "gradient_clipping": "training.max_grad_norm",
    "load_4bit": "model.load_in_4bit",
    "load_8bit": "model.load_in_8bit",
    "lora_r": "lora.r",
    "lora_rank": "lora.r",
    "lr": "training.learning_rate",
    "lr_scheduler": "training.lr_scheduler_type",
    "max_seq_len": "data.max_length",
    "max_seq_length": "data.max_length",
    "max_tokens": "evaluation.max_new_tokens",
    "metric_for_best_model": "saving.best_metric",
    "model_name": "model.name",
    "model_name_or_path": "model.name",
    "num_epochs": "training.num_train_epochs",
    "optimizer": "training.optim",
    "rank": "lora.r",
    "retain_train": "data.train",
    "retain_val": "data.validation",
    "save_strategy": "saving.save_steps",
    "scheduler": "training.lr_scheduler_type",
    "test_file": "data.validation",
    "torch_dtype": "model.dtype",
    "train_file": "data.train",
    "unlearn_train": "data.train",
    "unlearn_val": "data.validation",
    "use_4bit": "model.load_in_4bit",
    "use_8bit": "model.load_in_8bit",
    "val": "data.validation",
    "validation_file": "data.validation",
    "wandb": "training.report_to",
    "warmup": "training.warmup_steps",
    "warmup_ratio": "training.warmup_steps",
}
"""Names of other tools for our settings. Without section."""

OTHER_SECTIONS = {
    "checkpoints": "saving",
    "dataset": "data",
    "datasets": "data",
    "eval": "evaluation",
    "optimizer": "training",
    "peft": "lora",
    "sft": "training",
    "train": "training",
}
NOT_OFFERED = {
    "bias": "training the base's biases would change the base model, not only the adapter",
}
"""Settings of the libraries that are left out on purpose, and why."""


def why_not_offered(name: str) -> str | None:
    """Return why a library's setting of this name (without section) cannot be set; None when it can, or is unknown."""
    reason = NOT_OFFERED.get(name) or trainer_options.OWNED.get(name)
    return None if reason is None or trainer_options.is_setting(reason) else reason


def nearest_setting(key: str) -> str | None:
    """Return the setting an unknown `key` stands for, from any section; None when nothing is near."""
    section, _, name = key.rpartition(".")
    name = name.replace("-", "_")
    known = settings()
    for candidate in (f"{section}.{name}", *(OTHER_NAMES[n] for n in (name, name.lower()) if n in OTHER_NAMES)):
        if candidate in known:
            return candidate
    same_name = [other.key for other in known.values() if other.name == name]
    if same_name:
        return same_name[0]
    options = trainer_options.options()
    if name in options:
        return f"{TRAINER}.{name}"
    own_section = [other.name for other in known.values() if other.section == section]
    if section == TRAINER:
        own_section = list(options)
    if trainer_options.is_setting(ours := trainer_options.OWNED.get(name, "")):
        return ours
    if near := difflib.get_close_matches(name, own_section, n=1, cutoff=0.6):
        return f"{section}.{near[0]}"
    if near := difflib.get_close_matches(name, [*(other.name for other in known.values()), *options], n=1, cutoff=0.75):
        return next((other.key for other in known.values() if other.name == near[0]), f"{TRAINER}.{near[0]}")
    if near := difflib.get_close_matches(name, list(OTHER_NAMES), n=1, cutoff=0.8):
        return OTHER_NAMES[near[0]]
    return None


def nearest_section(name: str) -> str | None:
    """Return the section an unknown one stands for; None when nothing is near."""
    if name.lower() in OTHER_SECTIONS:
        return OTHER_SECTIONS[name.lower()]
    near = difflib.get_close_matches(name.lower(), [*sections(), TRAINER], n=1, cutoff=0.6)
    return near[0] if near else None
