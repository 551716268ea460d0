"""The demo's training as anyone would write it with TRL: `python -m benchmarks.bare_trl OUT JSON`.

JSON holds `steps` and `skipped`; steps per second over those after the first `skipped` are printed.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

from engine.config.load import preset

ROOT = Path(__file__).resolve().parent.parent


class Clock(TrainerCallback):
    """Notes when each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ends.append(time.perf_counter())


def main() -> None:
    """Train and print steps per second."""
    options = json.loads(sys.argv[2])
    demo = preset("demo").check()
    rows = load_dataset("json", data_files=[str(ROOT / path) for path in demo.data.train], split="train")
    rows = rows.map(
        lambda row: {
            "prompt": [{"role": "user", "content": row["instruction"]}],
            "completion": [{"role": "assistant", "content": row["output"]}],
        },
        remove_columns=rows.column_names,
    )
    model = AutoModelForCausalLM.from_pretrained(ROOT / "models" / "tiny", dtype="float32")
    clock = Clock()
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=sys.argv[1],
            max_steps=options["steps"],
            per_device_train_batch_size=16,
            gradient_accumulation_steps=1,
            learning_rate=demo.training.learning_rate,
            lr_scheduler_type=demo.training.lr_scheduler_type,
            max_length=768,
            bf16=False,
            use_cpu=True,
            activation_checkpointing=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(ROOT / "models" / "tiny"),
        peft_config=LoraConfig(
            r=demo.lora.r, lora_alpha=demo.lora.lora_alpha, lora_dropout=demo.lora.lora_dropout,
            target_modules=list(_target_modules()) or "all-linear", task_type="CAUSAL_LM",
        ),
        callbacks=[clock],
    )  # fmt: skip
    trainer.train()
    ends = clock.ends[options["skipped"] - 1 :]
    print((len(ends) - 1) / (ends[-1] - ends[0]))


def _target_modules() -> tuple[str, ...]:
    from engine.config.catalogue import catalogue
    from engine.workspace import Workspace

    entry = catalogue(Workspace(ROOT)).get("tiny")
    return entry.target_modules if entry is not None else ()


if __name__ == "__main__":
    main()
