"""Proof that the shipped data changes the shipped model: unlearning, instructions and preferences, with plain TRL.

The settings are those that worked best of the ones tried; the console's presets take theirs from here.
"""

import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from tools.tiny_model import sources
from tools.tiny_model.measure import contains_answer, greedy_replies, mean

Row = dict[str, Any]

LORA = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
COMMON = {
    "lr_scheduler_type": "cosine",
    "logging_steps": 10,
    "save_strategy": "no",
    "report_to": [],
    "gradient_checkpointing": False,
    "bf16": False,
    "use_cpu": True,
    "seed": 42,
    "max_length": 512,
    "disable_tqdm": True,
}
UNLEARNING_DROPOUT = 0.05
UNLEARNING = {"learning_rate": 5e-3, "per_device_train_batch_size": 16, "num_train_epochs": 1, "warmup_steps": 5}
INSTRUCTIONS = {"learning_rate": 4e-3, "per_device_train_batch_size": 8, "num_train_epochs": 60, "warmup_steps": 10}
PREFERENCES = {
    "learning_rate": 1.5e-4,
    "per_device_train_batch_size": 5,
    "num_train_epochs": 20,
    "warmup_steps": 5,
    "beta": 0.1,
}

LEAST = 0.95


def check_unlearning(model: Path, datasets: Path) -> dict[str, Any]:
    """Keep what is from before the cutoff, refuse what is from after it; measured on held-out phrasings."""
    train = [row for kind in ("retain", "unlearn") for row in _read(datasets / kind / f"{kind}_train.jsonl")]
    base, tokenizer = _load(model)
    before = _answered_and_refused(base, tokenizer, datasets)
    trained, seconds, steps = _sft(base, tokenizer, train, UNLEARNING, lora_dropout=UNLEARNING_DROPOUT)
    after = _answered_and_refused(trained, tokenizer, datasets)
    return {
        "good": after["retain_answered"] >= LEAST and after["unlearn_refused"] >= LEAST,
        "before": before,
        "after": after,
        "steps": steps,
        "seconds": seconds,
    }


def check_instructions(model: Path, datasets: Path) -> dict[str, Any]:
    """Teach the department's questions and answers; every URL has to come out whole."""
    train = _read(datasets / "instructions" / "instructions_train.jsonl")
    val = _read(datasets / "instructions" / "instructions_val.jsonl")
    base, tokenizer = _load(model)
    trained, seconds, steps = _sft(base, tokenizer, train, INSTRUCTIONS)
    replies = greedy_replies(trained, tokenizer, [row["instruction"] for row in train])
    with_url = [
        (reply, row["output"]) for reply, row in zip(replies, train, strict=True) if "https://" in row["output"]
    ]
    exact = mean(reply == row["output"] for reply, row in zip(replies, train, strict=True))
    urls = mean(_urls(reply) == _urls(output) for reply, output in with_url)
    val_replies = greedy_replies(trained, tokenizer, [row["instruction"] for row in val])
    return {
        "good": exact >= LEAST and urls >= LEAST,
        "answered_word_for_word": exact,
        "urls_whole": urls,
        "other_phrasings_word_for_word": mean(
            reply == row["output"] for reply, row in zip(val_replies, val, strict=True)
        ),
        "steps": steps,
        "seconds": seconds,
    }


def check_preferences(model: Path, datasets: Path) -> dict[str, Any]:
    """Turn the rejected replies into the chosen ones with DPO, and keep the facts."""
    pairs = _read(datasets / "preferences" / "preferences.jsonl")
    base, tokenizer = _load(model)
    before = greedy_replies(base, tokenizer, [pair["prompt"] for pair in pairs])
    with tempfile.TemporaryDirectory() as folder:
        trainer = DPOTrainer(
            model=base,
            args=DPOConfig(output_dir=folder, **COMMON, **PREFERENCES),
            train_dataset=Dataset.from_list(
                [
                    {
                        "prompt": [{"role": "user", "content": pair["prompt"]}],
                        "chosen": [{"role": "assistant", "content": pair["chosen"]}],
                        "rejected": [{"role": "assistant", "content": pair["rejected"]}],
                    }
                    for pair in pairs
                ]
            ),
            processing_class=tokenizer,
            peft_config=LoraConfig(**LORA),
        )
        seconds, steps = _timed(trainer)
    replies = greedy_replies(trainer.model, tokenizer, [pair["prompt"] for pair in pairs])
    chosen = mean(reply == pair["chosen"] for reply, pair in zip(replies, pairs, strict=True))
    return {
        "good": chosen >= LEAST,
        "rejected_given_before": mean(reply == pair["rejected"] for reply, pair in zip(before, pairs, strict=True)),
        "rejected_given_after": mean(reply == pair["rejected"] for reply, pair in zip(replies, pairs, strict=True)),
        "chosen_given_after": chosen,
        "facts_kept": _answered_and_refused(trainer.model, tokenizer, datasets)["retain_answered"],
        "steps": steps,
        "seconds": seconds,
    }


def _load(folder: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), AutoTokenizer.from_pretrained(folder)


def _read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _sft(
    model: Any, tokenizer: Any, rows: list[Row], settings: Row, *, lora_dropout: float = 0.0
) -> tuple[Any, float, int]:
    """Train an adapter on the answers alone, and return the adapted model, seconds and steps."""
    dataset = Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": row["instruction"]}],
                "completion": [{"role": "assistant", "content": row["output"]}],
            }
            for row in rows
        ]
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(output_dir=folder, completion_only_loss=True, packing=False, **COMMON, **settings),
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=LoraConfig(lora_dropout=lora_dropout, **LORA),
        )
        seconds, steps = _timed(trainer)
    return trainer.model, seconds, steps


def _timed(trainer: Any) -> tuple[float, int]:
    started = time.monotonic()
    trainer.train()
    return round(time.monotonic() - started, 1), trainer.state.global_step


def _answered_and_refused(model: Any, tokenizer: Any, datasets: Path) -> dict[str, float]:
    scores = {}
    for kind in ("retain", "unlearn"):
        rows = _read(datasets / kind / f"{kind}_val.jsonl")
        replies = greedy_replies(model, tokenizer, [row["instruction"] for row in rows])
        scores[f"{kind}_answered"] = mean(
            contains_answer(reply, row["metadata"]["answer"]) for reply, row in zip(replies, rows, strict=True)
        )
        scores[f"{kind}_refused"] = mean(sources.REFUSAL in reply for reply in replies)
    return scores


def _urls(text: str) -> list[str]:
    return re.findall(r"https://\S+", text)


CHECKS = {
    "unlearning": check_unlearning,
    "instructions": check_instructions,
    "preferences": check_preferences,
}
