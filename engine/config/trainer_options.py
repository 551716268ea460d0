"""The `trainer:` section: options passed on to TRL's trainer configuration, checked without importing TRL.

Importing TRL takes four seconds, so names, types and defaults are read from `sft_options.json` and its like, which
`tools/option_schema.py` writes from the installed libraries.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from engine.config.methods import TrainerName

_DATA = "rows reach TRL as questions and answers"
_DEVICES = "the section launch says how several processes train together"
_HUB = "runs are not pushed to the Hub"
_CHECKPOINTS = "checkpoints are written by the worker itself"
_UNUSED = "it has no effect here"
_REFERENCE = "the reference is the base model, the adapter switched off"

OWNED: Mapping[str, str] = {
    # what our own settings decide: the name of ours
    "num_train_epochs": "training.num_train_epochs",
    "max_steps": "training.max_steps",
    "per_device_train_batch_size": "training.per_device_train_batch_size",
    "gradient_accumulation_steps": "training.gradient_accumulation_steps",
    "learning_rate": "training.learning_rate",
    "lr_scheduler_type": "training.lr_scheduler_type",
    "warmup_steps": "training.warmup_steps",
    "weight_decay": "training.weight_decay",
    "max_grad_norm": "training.max_grad_norm",
    "optim": "training.optim",
    "seed": "training.seed",
    "activation_checkpointing": "training.activation_checkpointing",
    "gradient_checkpointing": "training.activation_checkpointing",
    "logging_steps": "training.logging_steps",
    "logging_strategy": "training.logging_steps",
    "dataloader_num_workers": "training.dataloader_num_workers",
    "report_to": "training.report_to",
    "eval_steps": "evaluation.eval_steps",
    "eval_strategy": "evaluation.eval_steps",
    "per_device_eval_batch_size": "evaluation.per_device_eval_batch_size",
    "save_steps": "saving.save_steps",
    "save_strategy": "saving.save_steps",
    "save_total_limit": "saving.save_total_limit",
    "metric_for_best_model": "saving.best_metric",
    "greater_is_better": "saving.greater_is_better",
    "load_best_model_at_end": "saving.save_best",
    "bf16": "model.dtype",
    "fp16": "model.dtype",
    "use_cpu": "model.device",
    "model_init_kwargs": "model.revision, model.dtype and the others",
    "trust_remote_code": "model.trust_remote_code",
    "max_length": "data.max_length",
    "completion_only_loss": "data.completion_only_loss",
    "packing": "data.packing",
    "label_smoothing": "dpo.label_smoothing",
    "precompute_ref_log_probs": "dpo.precompute_ref_log_probs",
    "desirable_weight": "kto.desirable_weight",
    "undesirable_weight": "kto.undesirable_weight",
    "shuffle_dataset": "data.shuffle",
    "train_sampling_strategy": "data.shuffle",
    # what must not be changed: why
    "output_dir": "a run is written to its own folder; choose its name with --name",
    "logging_nan_inf_filter": "a loss that is not finite must be seen",
    "disable_tqdm": "the worker reports through events",
    "dataloader_pin_memory": "it follows from the device",
    "auto_find_batch_size": "a batch size is never changed silently",
    "ignore_data_skip": "a resumed run must go on where it stopped",
    "gradient_checkpointing_kwargs": "transformers calls it activation_checkpointing_kwargs now",
    "use_liger_kernel": "TRL takes it out; use_kernels replaces it",
    "pad_token": "TRL takes it out",
    "assistant_only_loss": _DATA,
    "chat_template_path": _DATA,
    "dataset_kwargs": "rows without a trained token could not be told",
    "dataset_text_field": _DATA,
    "label_names": _DATA,
    "length_column_name": _DATA,
    "remove_unused_columns": _DATA,
    "truncation_mode": _DATA,
    "accelerator_config": _DEVICES,
    "average_tokens_across_devices": _DEVICES,
    "ddp_backend": _DEVICES,
    "ddp_broadcast_buffers": _DEVICES,
    "ddp_bucket_cap_mb": _DEVICES,
    "ddp_static_graph": _DEVICES,
    "ddp_timeout": _DEVICES,
    "deepspeed": _DEVICES,
    "eval_use_gather_object": _DEVICES,
    "fsdp": _DEVICES,
    "fsdp_config": _DEVICES,
    "local_rank": _DEVICES,
    "log_level_replica": _DEVICES,
    "log_on_each_node": _DEVICES,
    "parallelism_config": _DEVICES,
    "save_on_each_node": _DEVICES,
    "hub_always_push": _HUB,
    "hub_model_id": _HUB,
    "hub_revision": _HUB,
    "hub_strategy": _HUB,
    "hub_token": _HUB + ", and no secret belongs in a file",
    "push_to_hub": _HUB,
    "enable_jit_checkpoint": _CHECKPOINTS,
    "restore_callback_states_from_checkpoint": _CHECKPOINTS,
    "save_only_model": _CHECKPOINTS,
    "resume_from_checkpoint": "`ftconsole resume` goes on with a run",
    "batch_eval_metrics": _UNUSED,
    "do_eval": _UNUSED,
    "do_predict": _UNUSED,
    "do_train": _UNUSED,
    "eval_do_concat_batches": _UNUSED,
    "include_for_metrics": _UNUSED,
    "liger_kernel_config": _UNUSED,
    "optim_args": _UNUSED,
    "optim_target_modules": _UNUSED,
    "use_cache": _UNUSED,
    "sync_ref_model": _REFERENCE,
    "ref_model_mixup_alpha": _REFERENCE,
    "ref_model_sync_steps": _REFERENCE,
}
"""Options of a trainer that `trainer:` must not hold: our setting of the same meaning, or the reason."""
_OWNED_OF_SOME: Mapping[str, Mapping[TrainerName, str]] = {
    "beta": {"dpo": "dpo.beta", "kto": "kto.beta"},
    "loss_type": {"dpo": "dpo.loss_type", "kto": "kto.loss_type"},
    "loss_weights": {"dpo": "one loss is learned"},
}
"""Options that are ours with some trainers only."""


class Option(NamedTuple):
    """One option of the trainer configuration that may be passed on."""

    name: str
    accepts: tuple[str, ...]
    """JSON types: "boolean", "integer", "number", "string", "array", "object", "null"."""
    choices: tuple[str, ...]
    """Empty when any value of the type may be given."""
    default: Any
    help: str
    """The library's own words."""


def options_file(trainer: TrainerName) -> Path:
    """Return where the options of a trainer are written down."""
    return Path(__file__).with_name(f"{trainer}_options.json")


@functools.cache
def options(trainer: TrainerName | None = None) -> Mapping[str, Option]:
    """Return the options that may be passed on, in the library's order.

    Args:
        trainer: Those of one trainer; None returns those of all, each as the first trainer that has it describes it.
    """
    if trainer is None:
        names: list[TrainerName] = ["kto", "dpo", "sft"]  # the last one's words stand
        every = {name: option for each in names for name, option in options(each).items()}
        return {name: every[name] for name in dict.fromkeys([*options("sft"), *options("dpo"), *every])}
    content = json.loads(options_file(trainer).read_text(encoding="utf-8"))
    return {
        entry["name"]: Option(
            entry["name"], tuple(entry["accepts"]), tuple(entry["choices"]), entry["default"], entry["help"]
        )
        for entry in content["options"]
    }


def owned(trainer: TrainerName) -> Mapping[str, str]:
    """Return the options that `trainer:` must not hold with a trainer, whether it has them or not."""
    return {**OWNED, **{name: by[trainer] for name, by in _OWNED_OF_SOME.items() if trainer in by}}


def why_owned(name: str, trainer: TrainerName = "sft") -> str | None:
    """Return why `trainer.<name>` is refused, as the end of a sentence; None when it is not ours."""
    ours = owned(trainer).get(name)
    if ours is None:
        return None
    return f"set {ours} instead" if is_setting(ours) else ours


def is_setting(reason: str) -> bool:
    """Return whether a value of `OWNED` names a setting of ours rather than a reason."""
    return reason.partition(".")[0] in ("model", "data", "training", "evaluation", "saving", "dpo", "kto")


def wrong_value(option: Option, value: Any) -> str | None:
    """Return what the option accepts when `value` is not that; None when it fits."""
    if _json_type(value) not in option.accepts and not ("number" in option.accepts and _json_type(value) == "integer"):
        return in_words(option)
    if option.choices and value is not None and value not in option.choices:
        return in_words(option)
    return None


def in_words(option: Option) -> str:
    """Return what may be written for an option: "a number or null"."""
    names = {
        "boolean": "true or false",
        "integer": "a whole number",
        "number": "a number",
        "string": "a text",
        "array": "a list",
        "object": "a mapping",
        "null": "null",
    }
    if option.choices:
        return " or ".join([", ".join(option.choices), *(["null"] if "null" in option.accepts else [])])
    return " or ".join(names[kind] for kind in option.accepts)


def _json_type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"
