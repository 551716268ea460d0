"""What the keys of Axolotl, LLaMA-Factory and TRL are called here, and how their values are written.

From the documentation of Axolotl 0.12, LLaMA-Factory 0.9 and TRL 1.16. A function of a table takes a value and returns
settings of ours, or raises `Left` with the reason why there are none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from engine.config.declaration import settings

Settings: TypeAlias = dict[str, Any]


class Left(Exception):
    """A value has no counterpart; the text is the reason."""


class Taker:
    """The file that is read, for values that depend on others."""

    def __init__(self, values: Mapping[str, Any], folder: Path) -> None:
        self.values, self.folder = values, folder


Take: TypeAlias = Callable[[Taker, Any], Settings]


def _as(key: str) -> Take:
    return lambda _taker, value: {key: value}


def _truth(value: Any) -> bool:
    """Return a truth value; YAML 1.1, which these tools read, has further words for it."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "yes", "on"):
        return True
    if isinstance(value, str) and value.lower() in ("false", "no", "off"):
        return False
    raise Left("it is neither true nor false")


def _flag(key: str) -> Take:
    return lambda _taker, value: {key: _truth(value)}


def _not(key: str) -> Take:
    return lambda _taker, value: {key: not _truth(value)}


def _when_true(made: Settings, otherwise: str = "it is false, as here") -> Take:
    def take(_taker: Taker, value: Any) -> Settings:
        if not _truth(value):
            raise Left(otherwise)
        return dict(made)

    return take


def _only(accepted: tuple[str, ...], reason: str, made: Settings | None = None) -> Take:
    def take(_taker: Taker, value: Any) -> Settings:
        if str(value) not in accepted:
            raise Left(reason)
        return dict(made or {})

    return take


def _choice(key: str, names: Mapping[str, Any]) -> Take:
    """Other names for some values; what is not among them stays as it is."""
    return lambda _taker, value: {key: names.get(value, value) if isinstance(value, str) else value}


def _names(key: str) -> Take:
    """Return a list from a list or a text with commas."""

    def take(_taker: Taker, value: Any) -> Settings:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        return {key: value}

    return take


def _targets(_taker: Taker, value: Any) -> Settings:
    names = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if names in (["all"], ["all-linear"]):
        return {"lora.target_modules": "all-linear"}
    if isinstance(value, str) and not all(name.replace("_", "").replace(".", "").isalnum() for name in names):
        raise Left("a pattern of names is not taken; list the modules")
    return {"lora.target_modules": names}


def _max_steps(_taker: Taker, value: Any) -> Settings:
    if isinstance(value, int) and value < 1:
        raise Left("-1: the epochs decide, as here")
    return {"training.max_steps": value}


def _report_to(_taker: Taker, value: Any) -> Settings:
    names = value if isinstance(value, list) else [value]
    if names in (["none"], ["all"]):
        raise Left("reports go nowhere else unless named" if names == ["none"] else "name what to report to")
    return {"training.report_to": names}


def _interval(strategy: str, steps: str, setting: str) -> tuple[Take, Take]:
    """Return what takes "no | steps | epoch" and the number of steps that belongs to it."""

    def of_strategy(_taker: Taker, value: Any) -> Settings:
        if value in ("epoch", "no", False):
            return {setting: "epoch" if value == "epoch" else None}
        raise Left(f"{steps} says how often")

    def of_steps(taker: Taker, value: Any) -> Settings:
        if taker.values.get(strategy, "steps") != "steps":
            raise Left(f"{strategy} is not steps")
        if isinstance(value, float) and value < 1:
            raise Left(f"a fraction of all steps is not taken; set {setting} to a number of steps")
        return {setting: value}

    return of_strategy, of_steps


def _precision(dtype: str) -> Take:
    def take(_taker: Taker, value: Any) -> Settings:
        if value == "auto":
            return {"model.dtype": "auto"}
        if not _truth(value):
            raise Left("it is false")
        return {"model.dtype": dtype}

    return take


_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "torch.bfloat16": "bfloat16"}
_OPTIMIZERS = {
    "adamw_8bit": "adamw_bnb_8bit", "adamw_hf": "adamw_torch", "paged_adamw": "paged_adamw_32bit",
    "lion": "lion_32bit", "adamw": "adamw_torch_fused",
}  # fmt: skip


def _checkpointing(_taker: Taker, value: Any) -> Settings:
    return {"training.activation_checkpointing": True if value in ("unsloth", "offload") else _truth(value)}


_EVAL = _interval("eval_strategy", "eval_steps", "evaluation.eval_steps")
_SAVE = _interval("save_strategy", "save_steps", "saving.save_steps")

_SAME_NAMES = (
    "training.num_train_epochs", "training.per_device_train_batch_size", "training.gradient_accumulation_steps",
    "training.learning_rate", "training.lr_scheduler_type", "training.weight_decay", "training.max_grad_norm",
    "training.seed", "training.logging_steps", "training.dataloader_num_workers",
    "evaluation.per_device_eval_batch_size", "saving.save_total_limit", "data.packing", "data.completion_only_loss",
    "data.max_length", "model.attn_implementation", "lora.lora_alpha", "lora.lora_dropout",
)  # fmt: skip

_COMMON: dict[str, Take] = {
    **{key.partition(".")[2]: _as(key) for key in _SAME_NAMES},
    "model_name_or_path": _as("model.name"),
    "model_revision": _as("model.revision"),
    "trust_remote_code": _flag("model.trust_remote_code"),
    "load_in_4bit": _flag("model.load_in_4bit"),
    "load_in_8bit": _flag("model.load_in_8bit"),
    "bnb_4bit_quant_type": _as("model.bnb_4bit_quant_type"),
    "use_dora": _flag("lora.use_dora"),
    "use_rslora": _flag("lora.use_rslora"),
    "max_steps": _max_steps,
    "warmup_steps": _as("training.warmup_steps"),
    "warmup_ratio": _as("training.warmup_steps"),  # below 1 it is a fraction, in transformers 5 too
    "optim": _choice("training.optim", _OPTIMIZERS),
    "gradient_checkpointing": _checkpointing,
    "activation_checkpointing": _checkpointing,
    "report_to": _report_to,
    "bf16": _precision("bfloat16"),
    "fp16": _precision("float16"),
    "eval_strategy": _EVAL[0],
    "evaluation_strategy": _EVAL[0],
    "eval_steps": _EVAL[1],
    "save_strategy": _SAVE[0],
    "save_steps": _SAVE[1],
}


# -- Axolotl ---------------------------------------------------------------------------------------------


def _axolotl_adapter(_taker: Taker, value: Any) -> Settings:
    if value == "qlora":
        return {"model.load_in_4bit": True}
    if value == "lora":
        return {}
    raise Left("only LoRA and QLoRA are trained")


def _axolotl_files(key: str) -> Take:
    def take(_taker: Taker, value: Any) -> Settings:
        entries = value if isinstance(value, list) else [value]
        paths = []
        for entry in entries:
            path = entry.get("path") if isinstance(entry, dict) else entry
            if isinstance(entry, dict) and isinstance(entry.get("data_files"), list | str):
                files = entry["data_files"]
                paths += files if isinstance(files, list) else [files]
            elif isinstance(path, str):
                paths.append(path)
        if not paths:
            raise Left("it names no path")
        return {key: paths}

    return take


def _axolotl_batch(taker: Taker, value: Any) -> Settings:
    micro, steps = taker.values.get("micro_batch_size"), taker.values.get("gradient_accumulation_steps")
    if isinstance(value, int) and isinstance(micro, int) and micro > 0 and steps is None and value % micro == 0:
        return {"training.gradient_accumulation_steps": value // micro}
    raise Left("micro_batch_size and gradient_accumulation_steps say the same")


def _per_epoch(setting: str) -> Take:
    def take(_taker: Taker, value: Any) -> Settings:
        if value == 1:
            return {setting: "epoch"}
        if value == 0:
            return {setting: None}
        raise Left(f"several times in an epoch is not taken; set {setting} to a number of steps")

    return take


def _split_first(_taker: Taker, value: Any) -> Settings:
    if value in (0, 0.0):
        raise Left("nothing is split off, as here")
    raise Left("validation rows come from files of their own: `ftconsole data split FILE` makes them")


AXOLOTL: dict[str, Take] = {
    **_COMMON,
    "base_model": _as("model.name"),
    "revision_of_model": _as("model.revision"),
    "adapter": _axolotl_adapter,
    "lora_r": _as("lora.r"),
    "lora_target_modules": _targets,
    "lora_target_linear": _when_true({"lora.target_modules": "all-linear"}),
    "lora_modules_to_save": _names("lora.modules_to_save"),
    "peft_use_dora": _flag("lora.use_dora"),
    "peft_use_rslora": _flag("lora.use_rslora"),
    "sequence_len": _as("data.max_length"),
    "sample_packing": _flag("data.packing"),
    "train_on_inputs": _not("data.completion_only_loss"),
    "datasets": _axolotl_files("data.train"),
    "test_datasets": _axolotl_files("data.validation"),
    "val_set_size": _split_first,
    "micro_batch_size": _as("training.per_device_train_batch_size"),
    "eval_batch_size": _as("evaluation.per_device_eval_batch_size"),
    "batch_size": _axolotl_batch,
    "num_epochs": _as("training.num_train_epochs"),
    "optimizer": _choice("training.optim", _OPTIMIZERS),
    "lr_scheduler": _as("training.lr_scheduler_type"),
    "evals_per_epoch": _per_epoch("evaluation.eval_steps"),
    "saves_per_epoch": _per_epoch("saving.save_steps"),
    "flash_attention": _when_true({"model.attn_implementation": "flash_attention_2"}),
    "sdp_attention": _when_true({"model.attn_implementation": "sdpa"}),
    "eager_attention": _when_true({"model.attn_implementation": "eager"}),
    "chat_template": _only(("tokenizer_default",), "the model's own chat template is used, or model.chat_template"),
    "wandb_project": lambda _taker, _value: {"training.report_to": ["wandb"]},
}


# -- LLaMA-Factory ---------------------------------------------------------------------------------------


def _factory_files(key: str) -> Take:
    def take(taker: Taker, value: Any) -> Settings:
        names = value if isinstance(value, list) else [part.strip() for part in str(value).split(",")]
        folder = taker.folder / str(taker.values.get("dataset_dir") or "data")
        try:
            known = json.loads((folder / "dataset_info.json").read_bytes())
        except (OSError, ValueError):
            raise Left(f"names of dataset_info.json, which is not in {folder}; set {key} to files") from None
        paths = []
        for name in names:
            entry = known.get(name) if isinstance(known, dict) else None
            file = entry.get("file_name") if isinstance(entry, dict) else None
            if not isinstance(file, str):
                raise Left(f"dataset_info.json has no file for {str(name)[:60]!r}; set {key} to files")
            paths.append(str(folder / file))
        return {key: paths}

    return take


def _factory_bits(_taker: Taker, value: Any) -> Settings:
    if value in (4, 8):
        return {f"model.load_in_{value}bit": True}
    raise Left("only 4 and 8 bits are taken")


_PAIR_LOSSES = ("sigmoid", "hinge", "ipo")
"""Those that DPO has there and here; orpo, simpo and kto_pair are losses of other methods under its name."""


def factory_method(values: Mapping[str, Any]) -> str | None:
    """Return the method that a file of LLaMA-Factory is for; None where it is none of ours."""
    stage = values.get("stage", "sft")
    trained = stage != "dpo" or values.get("pref_loss", "sigmoid") in _PAIR_LOSSES
    return str(stage) if trained and stage in ("sft", "dpo", "kto") else None


def _factory_stage(taker: Taker, value: Any) -> Settings:
    method = factory_method(taker.values)
    if method is None:
        loss = taker.values.get("pref_loss")
        raise Left(f"pref_loss {str(loss)[:40]} is not trained" if value == "dpo" else "sft, dpo and kto are imported")
    return {"method.name": method}


def _factory_of(methods: Mapping[str, str]) -> Take:
    """Take a setting that belongs to some methods, and is called otherwise in each."""

    def take(taker: Taker, value: Any) -> Settings:
        method = factory_method(taker.values)
        if method is None or method not in methods:
            said = "its stage is not imported" if method is None else f"it is for stage {' and '.join(methods)}"
            raise Left(said)
        return {methods[method]: value}

    return take


def _factory_loss(taker: Taker, value: Any) -> Settings:
    if value not in _PAIR_LOSSES:
        raise Left("it is not trained")
    return _factory_of({"dpo": "dpo.loss_type"})(taker, value)


def _factory_smoothing(taker: Taker, value: Any) -> Settings:
    made = _factory_of({"dpo": "dpo.label_smoothing"})(taker, value)
    if value:
        raise Left("TRL smooths no labels of the sigmoid loss, for which alone it is; dpo.loss_type: robust is near it")
    return made


def _factory_batch(taker: Taker, value: Any) -> Settings:
    if value == 1 and taker.values.get("stage") == "kto":
        raise Left("kto compares the rows of one pass: set 2 or more, and as many fewer gradient_accumulation_steps")
    return {"training.per_device_train_batch_size": value}


def _factory_pissa(taker: Taker, value: Any) -> Settings:
    if not _truth(value):
        raise Left("it is false, as here")
    rounds = taker.values.get("pissa_iter", 16)
    if rounds not in (16, -1):
        raise Left("only 16 rounds, or -1, are taken: lora.init_lora_weights pissa_niter_16 and pissa")
    return {"lora.init_lora_weights": "pissa" if rounds == -1 else "pissa_niter_16"}


def _nothing_beside(reason: str) -> Take:
    def take(_taker: Taker, value: Any) -> Settings:
        if value:
            raise Left(reason)
        return {}

    return take


_FACTORY_REFERENCE = _only((), "the reference is the model as it begins, or with dpo.reference: base the base")

LLAMAFACTORY: dict[str, Take] = {
    **_COMMON,
    "stage": _factory_stage,
    "pref_beta": _factory_of({"dpo": "dpo.beta", "kto": "kto.beta"}),
    "pref_loss": _factory_loss,
    "pref_ftx": _nothing_beside("no loss on the chosen answers is added"),
    "pref_bco_weight": _nothing_beside("no second loss is added; dpo.loss_type: bco_pair is that one alone"),
    "dpo_label_smoothing": _factory_smoothing,
    "kto_chosen_weight": _factory_of({"kto": "kto.desirable_weight"}),
    "kto_rejected_weight": _factory_of({"kto": "kto.undesirable_weight"}),
    "ref_model": _FACTORY_REFERENCE,
    "ref_model_adapters": _FACTORY_REFERENCE,
    "ref_model_quantization_bit": _FACTORY_REFERENCE,
    "per_device_train_batch_size": _factory_batch,
    "pissa_init": _factory_pissa,
    "pissa_iter": _only((), "it belongs to pissa_init"),
    "pissa_convert": _only((), "what is saved is an ordinary adapter, always"),
    "finetuning_type": _only(("lora",), "only LoRA is trained"),
    "lora_rank": _as("lora.r"),
    "lora_target": _targets,
    "additional_target": _names("lora.modules_to_save"),
    "quantization_bit": _factory_bits,
    "quantization_type": _as("model.bnb_4bit_quant_type"),
    "double_quantization": _flag("model.bnb_4bit_use_double_quant"),
    "dataset": _factory_files("data.train"),
    "eval_dataset": _factory_files("data.validation"),
    "dataset_dir": _only((), "it says where the names of dataset are looked for"),
    "cutoff_len": _as("data.max_length"),
    "max_samples": _as("data.limit"),
    "train_on_prompt": _not("data.completion_only_loss"),
    "val_size": _split_first,
    "template": _only((), "the model's own chat template is used, or model.chat_template"),
    "flash_attn": lambda _taker, value: _factory_attention(value),
    "disable_gradient_checkpointing": _not("training.activation_checkpointing"),
}


def _factory_attention(value: Any) -> Settings:
    names = {"fa2": "flash_attention_2", "fa3": "flash_attention_3", "sdpa": "sdpa", "disabled": "eager"}
    if value not in names:
        raise Left("what transformers chooses, as here")
    return {"model.attn_implementation": names[value]}


# -- TRL -------------------------------------------------------------------------------------------------


def _trl_data(_taker: Taker, value: Any) -> Settings:
    return {"data.train": value if isinstance(value, list) else [value]}


TRL: dict[str, Take] = {
    **_COMMON,
    "dataset_name": _trl_data,
    "use_peft": _when_true({}, "only LoRA is trained: all weights at once are not"),
    "lora_r": _as("lora.r"),
    "lora_target_modules": _targets,
    "lora_modules_to_save": _names("lora.modules_to_save"),
    "lora_task_type": _only(("CAUSAL_LM",), "only causal language models are trained"),
    "use_bnb_nested_quant": _flag("model.bnb_4bit_use_double_quant"),
    "dtype": _choice("model.dtype", _DTYPES),
    "torch_dtype": _choice("model.dtype", _DTYPES),
    "max_seq_length": _as("data.max_length"),
    "dataset_train_split": _only(("train",), "a split is named by its file"),
    "dataset_test_split": _only((), "a split is named by its file: set data.validation"),
}

TABLES: Mapping[str, Mapping[str, Take]] = {"axolotl": AXOLOTL, "llamafactory": LLAMAFACTORY, "trl": TRL}

_OWN_FOLDER = "a run is written to its own folder"
_NO_EFFECT = "it has no effect here"
_LAUNCHED = "several processes are asked for with launch.num_processes and launch.strategy"
IGNORED: Mapping[str, str] = {
    "output_dir": _OWN_FOLDER, "overwrite_output_dir": _OWN_FOLDER, "dataset_prepared_path": "prepared data is cached",
    "do_train": _NO_EFFECT, "do_eval": _NO_EFFECT, "plot_loss": "`ftconsole plot` draws it", "strict": _NO_EFFECT,
    "overwrite_cache": _NO_EFFECT, "preprocessing_num_workers": _NO_EFFECT, "pad_to_sequence_len": _NO_EFFECT,
    "model_type": "it is told by the model itself", "tokenizer_type": "it is told by the model itself",
    "ddp_timeout": _LAUNCHED, "deepspeed": _LAUNCHED, "fsdp": _LAUNCHED, "fsdp_config": _LAUNCHED,
    "resume_from_checkpoint": "`ftconsole resume` goes on with a run",
    "auto_resume_from_checkpoints": "`ftconsole resume` goes on with a run",
    "hub_model_id": "runs are not pushed to the Hub", "push_to_hub": "runs are not pushed to the Hub",
}  # fmt: skip


def looks_like(values: Mapping[str, Any]) -> str | None:
    """Return which tool a file is for, by its keys; None when it is none of them."""
    if any(isinstance(values.get(section.partition(".")[0]), dict) for section in settings()):
        return None  # ours
    if "base_model" in values:
        return "axolotl"
    if "model_name_or_path" in values:
        factory = {"stage", "finetuning_type", "cutoff_len", "dataset", "lora_rank", "quantization_bit", "template"}
        return "llamafactory" if factory & set(values) else "trl"
    return None
