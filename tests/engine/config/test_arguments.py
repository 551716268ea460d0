"""What the libraries are given, and that they take it without complaint."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.config.arguments import (
    device_environment,
    lora_arguments,
    model_arguments,
    quantization_arguments,
    sft_arguments,
)
from engine.config.automatic import Facts, decide
from engine.config.declaration import settings
from engine.config.model import RunConfig, Scheduler
from engine.config.resolved import ResolvedConfig, Source
from engine.config.trainer_options import OWNED, options
from engine.errors import ConfigError

OUT = Path("runs/my-run")


CPU = Facts(106)


def resolved(facts: Facts = CPU, **sections: Any) -> ResolvedConfig:
    """Return settings with every "auto" decided, without a workspace."""
    config = RunConfig.model_validate({"data": {"train": ["a.jsonl"]}, **sections})
    decisions, problems = decide(config, facts)
    assert not problems
    values = config.model_dump()
    for key, decision in decisions.items():
        section, _, name = key.partition(".")
        values[section][name] = decision.value
    return ResolvedConfig(RunConfig.model_validate(values), dict.fromkeys(settings(), Source("default")))


def with_data(**data: Any) -> dict[str, Any]:
    return {"train": ["a.jsonl"], "validation": {"retain": "r", "unlearn": "u"}, **data}


def test_the_trainer_neither_hides_nor_saves_nor_reports_by_itself() -> None:
    arguments = sft_arguments(resolved(), OUT)
    assert arguments["logging_nan_inf_filter"] is False
    assert arguments["save_strategy"] == "no"
    assert arguments["report_to"] == "none"
    assert arguments["disable_tqdm"] is True


def test_arithmetic_on_cpu_is_float32_and_said_so() -> None:
    arguments = sft_arguments(resolved(), OUT)
    assert (arguments["use_cpu"], arguments["bf16"], arguments["fp16"]) == (True, False, False)
    assert arguments["dataloader_pin_memory"] is False
    assert arguments["model_init_kwargs"]["dtype"] == "float32"


def test_arithmetic_on_a_gpu_is_that_of_the_weights() -> None:
    arguments = sft_arguments(resolved(Facts(106, device="cuda")), OUT)
    assert (arguments["use_cpu"], arguments["bf16"], arguments["fp16"]) == (False, True, False)
    arguments = sft_arguments(resolved(Facts(106, device="cuda", bfloat16=False)), OUT)
    assert (arguments["bf16"], arguments["fp16"]) == (False, True)
    assert arguments["dataloader_pin_memory"] is True


@pytest.mark.parametrize(("eval_steps", "strategy"), [(5, "steps"), ("epoch", "epoch"), (None, "no")])
def test_the_trainer_evaluates_as_often_as_written(eval_steps: object, strategy: str) -> None:
    arguments = sft_arguments(resolved(data=with_data(), evaluation={"eval_steps": eval_steps}), OUT)
    assert arguments["eval_strategy"] == strategy
    assert arguments.get("eval_steps") == (5 if strategy == "steps" else None)


def test_the_trainer_does_not_evaluate_without_a_validation_set() -> None:
    assert sft_arguments(resolved(evaluation={"eval_steps": 5}), OUT)["eval_strategy"] == "no"


def test_no_limit_of_steps_is_minus_one_to_the_trainer() -> None:
    assert sft_arguments(resolved(), OUT)["max_steps"] == -1
    assert sft_arguments(resolved(training={"max_steps": 7}), OUT)["max_steps"] == 7


def test_rows_are_mixed_before_they_are_packed() -> None:
    assert sft_arguments(resolved(), OUT)["shuffle_dataset"] is False
    packed = sft_arguments(resolved(data={"train": ["a"], "packing": True}), OUT)
    assert (packed["shuffle_dataset"], packed["train_sampling_strategy"]) == (True, "random")
    ordered = sft_arguments(resolved(data={"train": ["a"], "packing": True, "shuffle": False}), OUT)
    assert (ordered["shuffle_dataset"], ordered["train_sampling_strategy"]) == (False, "sequential")


def test_options_of_the_trainer_are_passed_on() -> None:
    arguments = sft_arguments(resolved(trainer={"adam_beta1": 0.8, "run_name": "mine"}), OUT)
    assert arguments["adam_beta1"] == 0.8
    assert arguments["run_name"] == "mine"


def test_what_is_passed_on_can_replace_nothing_of_ours_but_the_name_of_the_run() -> None:
    ours = sft_arguments(resolved(data=with_data()), OUT).keys()
    assert ours & options().keys() == {"run_name"}
    assert ours - options().keys() <= OWNED.keys()


def test_the_base_is_loaded_as_written() -> None:
    model = {"revision": "v1", "attn_implementation": "eager", "dtype": "bfloat16", "trust_remote_code": True}
    assert model_arguments(resolved(model=model)) == model
    assert model_arguments(resolved()) == {"dtype": "float32", "trust_remote_code": False}


def test_quantisation_has_the_names_of_transformers() -> None:
    assert quantization_arguments(resolved()) is None
    assert quantization_arguments(resolved(model={"load_in_8bit": True})) == {"load_in_8bit": True}
    four = quantization_arguments(resolved(Facts(1, device="cuda"), model={"load_in_4bit": True}))
    assert four == {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": "bfloat16",
    }


def test_the_base_is_left_as_it_is_by_the_adapter() -> None:
    arguments = lora_arguments(resolved())
    assert arguments["bias"] == "none"
    assert arguments["init_lora_weights"] is True


@pytest.mark.parametrize(
    ("device", "visible", "environment"),
    [
        ("cpu", None, {"CUDA_VISIBLE_DEVICES": ""}),
        ("cuda", None, {"CUDA_VISIBLE_DEVICES": "0"}),
        ("cuda:3", None, {"CUDA_VISIBLE_DEVICES": "3"}),
        ("cuda", "GPU-a,GPU-b", {"CUDA_VISIBLE_DEVICES": "GPU-a"}),
        ("cuda:1", "5, 6", {"CUDA_VISIBLE_DEVICES": "6"}),
        ("mps", None, {}),
    ],
)
def test_the_worker_sees_one_device(device: str, visible: str | None, environment: dict[str, str]) -> None:
    kind = device.partition(":")[0]
    facts = Facts(1, device="mps" if kind == "mps" else "cuda" if kind == "cuda" else "cpu")
    before = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert device_environment(resolved(facts, model={"device": device}), before) == environment


def test_a_device_that_is_hidden_is_refused() -> None:
    config = resolved(Facts(1, device="cuda"), model={"device": "cuda:2"})
    with pytest.raises(ConfigError, match=r"cuda:2.*leaves 2 to choose"):
        device_environment(config, {"CUDA_VISIBLE_DEVICES": "0,1"})


SCRIPT = """
import json, sys, warnings
import torch, trl, peft, transformers
from transformers.optimization import get_scheduler
answers = []
for sft, lora, quantization in json.load(sys.stdin):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        config = trl.SFTConfig(**sft)
        peft.LoraConfig(**lora)
        if quantization:
            transformers.BitsAndBytesConfig(**quantization)
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        get_scheduler(config.lr_scheduler_type, optimizer, 1, 10, config.lr_scheduler_kwargs)
    kept = {name: getattr(config, name) for name in sft if name not in ("model_init_kwargs", "report_to")}
    answers.append({"warnings": [str(w.message) for w in seen], "kept": json.loads(json.dumps(kept, default=str))})
print(json.dumps(answers))
"""

KWARGS: dict[str, dict[str, Any]] = {
    "cosine_with_min_lr": {"min_lr": 1e-6},
    "warmup_stable_decay": {"num_decay_steps": 2},
}


def test_the_libraries_take_every_kind_of_configuration_without_a_warning(tmp_path: Path) -> None:
    # One process for all of them: importing TRL takes seconds.
    configs = [
        resolved(data=with_data()),
        resolved(Facts(5000), training={"activation_checkpointing": True, "warmup_steps": 0.1, "max_steps": 20}),
        resolved(data=with_data(packing=True), evaluation={"eval_steps": "epoch"}),
        resolved(model={"dtype": "bfloat16", "load_in_4bit": True}),
        resolved(model={"load_in_8bit": True}),
        resolved(lora={"target_modules": ["q_proj"], "init_lora_weights": "gaussian", "modules_to_save": ["lm_head"]}),
        resolved(trainer={"adam_beta1": 0.8, "neftune_noise_alpha": 5, "full_determinism": False}),
        *(
            resolved(
                training={"lr_scheduler_type": kind},
                trainer={"lr_scheduler_kwargs": KWARGS[kind]} if kind in KWARGS else {},
            )
            for kind in Scheduler.__args__  # type: ignore[attr-defined]
        ),
    ]
    asked = [(sft_arguments(c, tmp_path), lora_arguments(c), quantization_arguments(c)) for c in configs]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for (sft, _, _), answer in zip(asked, json.loads(done.stdout.splitlines()[-1]), strict=True):
        assert answer["warnings"] == []
        assert answer["kept"] == {name: sft[name] for name in answer["kept"]}
