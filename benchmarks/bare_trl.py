"""The demo's training as anyone would write it with TRL: `python -m benchmarks.bare_trl OUT ENDS`.

The time at which each step ended is appended to the file ENDS. It trains until it is killed.
"""

from __future__ import annotations

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
    """Writes when each step ended."""

    def __init__(self, path: str) -> None:
        self.file = open(path, "w", buffering=1)  # noqa: SIM115 - until the end of the process

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.file.write(f"{time.time():.3f}\n")


def main() -> None:
    """Train."""
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
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=sys.argv[1],
            max_steps=100_000,
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
        callbacks=[Clock(sys.argv[2])],
    )  # fmt: skip
    trainer.train()


def _target_modules() -> tuple[str, ...]:
    from engine.config.catalogue import catalogue
    from engine.workspace import Workspace

    entry = catalogue(Workspace(ROOT)).get("tiny")
    return entry.target_modules if entry is not None else ()


if __name__ == "__main__":
    main()
