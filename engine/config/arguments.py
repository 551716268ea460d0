"""A resolved configuration as the keyword arguments of TRL, PEFT and transformers. Imports none of them.

What the trainer must not do itself is switched off here: it writes no checkpoints, draws no progress bar, and hides
no loss that is not finite.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.config.methods import method_of
from engine.config.model import settled
from engine.config.resolved import ResolvedConfig
from engine.config.trainer_options import options
from engine.errors import ConfigError


def trainer_arguments(resolved: ResolvedConfig, output_dir: Path) -> dict[str, Any]:
    """Return the keyword arguments of the method's configuration class in TRL, `trainer:` included.

    `model_init_kwargs` is for a trainer that loads the model from its name; take it out where the model is passed.

    Args:
        resolved: The run's settings.
        output_dir: Where the trainer may write; the run's own files are not its business.
    """
    config = resolved.config
    trainer = method_of(config).trainer
    if trainer == "sft":
        return sft_arguments(resolved, output_dir)
    arguments = _common_arguments(resolved, output_dir)
    if trainer == "dpo":
        dpo = config.dpo
        arguments |= {
            "beta": dpo.beta,
            "loss_type": [dpo.loss_type],
            "label_smoothing": dpo.label_smoothing,
            "precompute_ref_log_probs": settled(dpo.precompute_ref_log_probs),
        }
    else:
        kto = config.kto
        arguments |= {
            "beta": kto.beta,
            "loss_type": kto.loss_type,
            "desirable_weight": kto.desirable_weight,
            "undesirable_weight": kto.undesirable_weight,
            # The library pairs each row with its neighbour for the divergence, and refuses any other order. They are
            # mixed once, before they are prepared.
            "train_sampling_strategy": "sequential",
        }
    return {**arguments, **config.trainer}


def sft_arguments(resolved: ResolvedConfig, output_dir: Path) -> dict[str, Any]:
    """Return the keyword arguments of `trl.SFTConfig`, `trainer:` included.

    `model_init_kwargs` is for a trainer that loads the model from its name; take it out where the model is passed.

    Args:
        resolved: The run's settings.
        output_dir: Where the trainer may write; the run's own files are not its business.
    """
    data = resolved.config.data
    arguments = {
        **_common_arguments(resolved, output_dir),
        "completion_only_loss": data.completion_only_loss,
        "packing": data.packing,
        # The sampler shuffles sequences; what packing puts into one has to be mixed before.
        "shuffle_dataset": data.packing and data.shuffle,
    }
    # What another method's trainer has and this one has not is left out: rows are looked at and tried with this one.
    own = {name: value for name, value in resolved.config.trainer.items() if name in options("sft")}
    return {**arguments, **own}


def _common_arguments(resolved: ResolvedConfig, output_dir: Path) -> dict[str, Any]:
    """Return what every trainer of TRL takes."""
    config = resolved.config
    model, data, training, evaluation = config.model, config.data, config.training, config.evaluation
    on_cpu = model.device == "cpu"
    eval_steps = settled(evaluation.eval_steps)
    arguments: dict[str, Any] = {
        "output_dir": str(output_dir),
        "run_name": output_dir.name,
        # training
        "num_train_epochs": settled(training.num_train_epochs),
        "max_steps": -1 if training.max_steps is None else training.max_steps,
        "per_device_train_batch_size": settled(training.per_device_train_batch_size),
        "gradient_accumulation_steps": settled(training.gradient_accumulation_steps),
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": training.lr_scheduler_type,
        "warmup_steps": settled(training.warmup_steps),
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "optim": training.optim,
        "seed": training.seed,
        # Always given: TRL's default is True, under the name that transformers 5.23 deprecates.
        "activation_checkpointing": settled(training.activation_checkpointing),
        "dataloader_num_workers": training.dataloader_num_workers,
        "dataloader_pin_memory": not on_cpu,
        # data
        "max_length": settled(data.max_length),
        "train_sampling_strategy": "random" if data.shuffle else "sequential",
        # arithmetic: TRL's default for bf16 is True, on every device
        "bf16": model.dtype == "bfloat16",
        "fp16": model.dtype == "float16",
        "use_cpu": on_cpu,
        "model_init_kwargs": model_arguments(resolved),
        # reporting
        "logging_strategy": "steps",
        "logging_steps": training.logging_steps,
        # With the filter a NaN loss is logged as the mean of the losses before it.
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": list(training.report_to) or "none",
        "eval_strategy": "no" if eval_steps is None else "epoch" if eval_steps == "epoch" else "steps",
        "per_device_eval_batch_size": settled(evaluation.per_device_eval_batch_size),
        "save_strategy": "no",
    }
    if isinstance(eval_steps, int):
        arguments["eval_steps"] = eval_steps
    if settled(config.launch.num_processes) > 1:
        # Every matrix of an adapter has a part in every step. The library's default, true for an adapter, looks for
        # those that have none, through the whole graph at each step; of a mixture of experts that may be needed.
        arguments["ddp_find_unused_parameters"] = False
    return arguments


def lora_arguments(resolved: ResolvedConfig) -> dict[str, Any]:
    """Return the keyword arguments of `peft.LoraConfig`."""
    lora = resolved.config.lora
    return {
        "task_type": "CAUSAL_LM",
        "r": settled(lora.r),
        "lora_alpha": settled(lora.lora_alpha),
        "lora_dropout": lora.lora_dropout,
        "target_modules": settled(lora.target_modules),
        "bias": "none",
        "use_rslora": lora.use_rslora,
        "use_dora": lora.use_dora,
        "init_lora_weights": lora.init_lora_weights,
        "modules_to_save": lora.modules_to_save,
    }


def model_arguments(resolved: ResolvedConfig) -> dict[str, Any]:
    """Return the keyword arguments of `AutoModelForCausalLM.from_pretrained`, without quantisation.

    `dtype` is always named: TRL would load float32, and transformers the type of the files.
    """
    model = resolved.config.model
    arguments: dict[str, Any] = {"dtype": model.dtype, "trust_remote_code": model.trust_remote_code}
    if model.revision is not None:
        arguments["revision"] = model.revision
    if model.attn_implementation is not None:
        arguments["attn_implementation"] = model.attn_implementation
    return arguments


def quantization_arguments(resolved: ResolvedConfig) -> dict[str, Any] | None:
    """Return the keyword arguments of `transformers.BitsAndBytesConfig`; None when the base is not quantised."""
    model = resolved.config.model
    if model.load_in_4bit:
        return {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": model.bnb_4bit_quant_type,
            "bnb_4bit_use_double_quant": model.bnb_4bit_use_double_quant,
            "bnb_4bit_compute_dtype": model.dtype,
        }
    return {"load_in_8bit": True} if model.load_in_8bit else None


def device_environment(resolved: ResolvedConfig, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables a worker has to start with so that torch sees the chosen device alone.

    The trainer spreads over every GPU it sees (`nn.DataParallel`) and has no argument to choose one.

    Args:
        resolved: The run's settings.
        environment: The worker's environment so far. Where `CUDA_VISIBLE_DEVICES` is set already, cuda:1 is the
            second of its devices, as for torch.

    Raises:
        ConfigError: It names fewer devices than that.
    """
    return visible_device(resolved.config.model.device, environment)


def visible_device(device: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables with which torch sees one device alone: a settled `model.device`.

    Raises:
        ConfigError: The environment names fewer devices than that.
    """
    kind, _, index = device.partition(":")
    if kind == "cpu":
        return {"CUDA_VISIBLE_DEVICES": ""}
    if kind != "cuda":
        return {}
    visible = [name.strip() for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    number = int(index or 0)
    if not visible:
        return {"CUDA_VISIBLE_DEVICES": str(number)}
    if number >= len(visible):
        names = ",".join(visible)
        raise ConfigError(
            [f"model.device is cuda:{number}, but CUDA_VISIBLE_DEVICES={names} leaves {len(visible)} to choose"]
        )
    return {"CUDA_VISIBLE_DEVICES": visible[number]}
