"""Training with TRL as anyone would write it, for a method each: what the runs are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer, unpair_preference_dataset

ROOT = Path(__file__).resolve().parent.parent


def bare_trainer(method: str, settings: dict[str, Any], folder: Path) -> Any:
    """Return a trainer of TRL on the same model, rows and settings.

    Args:
        method: "sft", "dpo", "kto" or "npo".
        settings: As a run's.
        folder: Where it may write.
    """
    training, lora = settings["training"], settings["lora"]
    arguments: dict[str, Any] = {
        "output_dir": str(folder), "max_steps": training["max_steps"],
        "per_device_train_batch_size": training["per_device_train_batch_size"], "gradient_accumulation_steps": 1,
        "learning_rate": training["learning_rate"], "lr_scheduler_type": "cosine", "max_length": 128, "bf16": False,
        "use_cpu": True, "activation_checkpointing": False, "logging_steps": 1, "save_strategy": "no",
        "report_to": "none", "disable_tqdm": True, "dataloader_pin_memory": False, "optim": "adamw_torch_fused",
        "train_sampling_strategy": "sequential",
    }  # fmt: skip
    tiny = ROOT / "models" / "tiny"
    common = {
        "model": AutoModelForCausalLM.from_pretrained(tiny, dtype="float32"),
        "processing_class": AutoTokenizer.from_pretrained(tiny),
        "peft_config": LoraConfig(r=lora["r"], lora_alpha=lora["lora_alpha"], lora_dropout=0.0,
                                  target_modules="all-linear", task_type="CAUSAL_LM"),
    }  # fmt: skip
    files = settings["data"]["train"]
    if method == "dpo":
        rows = _preferences(files)
        return DPOTrainer(args=DPOConfig(**arguments), train_dataset=rows, **common)
    if method == "kto":
        marked = unpair_preference_dataset(_preferences(files))
        return KTOTrainer(args=KTOConfig(**arguments), train_dataset=marked, **common)
    limit = settings["data"]["limit"]
    parts = [_answers(file, limit) for file in files]
    every = Dataset.from_list([row for part in parts for row in part])
    if method == "sft":
        return SFTTrainer(args=SFTConfig(**arguments), train_dataset=every, **common)
    return BareNPO(len(parts[0]), train_dataset=every, args=SFTConfig(**arguments), **common)


class BareNPO(SFTTrainer):
    """NPO with a retain loss in forty lines: rows to retain come first in the data, those to unlearn after them."""

    def __init__(self, num_retain: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        retain = self.train_dataset.select(range(num_retain))
        unlearn = self.train_dataset.select(range(num_retain, len(self.train_dataset)))
        collate = self.data_collator
        self.train_dataset = [(unlearn[n], retain[n % num_retain]) for n in range(len(unlearn))]

        def pairs(items: list[Any]) -> dict[str, Any]:
            batch: dict[str, Any] = collate([one for one, _ in items] + [other for _, other in items])
            return {**batch, "num_unlearn": len(items)}

        self.data_collator = pairs

    def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> Any:
        """Return NPO on the first half of the batch and the likelihood of the other."""
        count = inputs.pop("num_unlearn")
        outputs = model(**inputs, use_cache=False, fused_lm_head=True)
        with torch.no_grad(), model.disable_adapter():
            half = {name: value[:count] for name, value in inputs.items()}
            reference = model(**half, use_cache=False, fused_lm_head=True).log_probs.sum(1)
        ratio = outputs.log_probs[:count].sum(1) - reference
        forget = -(2 / 0.1) * torch.nn.functional.logsigmoid(-0.1 * ratio).mean()
        kept = -outputs.log_probs[count:].sum() / outputs.label_mask[count:].sum()
        return forget + kept


def _answers(file: str, limit: int) -> list[dict[str, Any]]:
    rows = load_dataset("json", data_files=[file], split="train")
    return [
        {
            "prompt": [{"role": "user", "content": row["instruction"]}],
            "completion": [{"role": "assistant", "content": row["output"]}],
        }
        for row in rows.select(range(min(limit, len(rows))))
    ]


def _preferences(files: list[str]) -> Dataset:
    rows = load_dataset("json", data_files=files, split="train")
    return Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": row["prompt"]}],
                "chosen": [{"role": "assistant", "content": row["chosen"]}],
                "rejected": [{"role": "assistant", "content": row["rejected"]}],
            }
            for row in rows
        ]
    )
