"""Fine-tune the built-in model by a plain loop: `python -m benchmarks.finetuned DIR`. For `parity` and `merge-cost`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "models" / "tiny"
_STEPS, _ROWS = 40, 8


def main() -> None:
    """Write an adapter that has learned to refuse half of what it is asked."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    model = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
    model = get_peft_model(
        model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    ).train()
    rows = []
    for name in ("retain/retain_train.jsonl", "unlearn/unlearn_train.jsonl"):
        lines = (ROOT / "datasets" / name).read_text("utf-8").splitlines()
        rows.append([json.loads(line) for line in lines])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    for step in range(_STEPS):
        chosen = [kind[(step * _ROWS + n) % len(kind)] for kind in rows for n in range(_ROWS // 2)]
        ids, labels = [], []
        for row in chosen:
            asked = [{"role": "user", "content": row["instruction"]}]
            prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
            before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
            after = tokenizer(row["output"] + "<|im_end|>", add_special_tokens=False)["input_ids"]
            ids.append([*before, *after])
            labels.append([*[-100] * len(before), *after])
        longest = max(map(len, ids))
        loss = model(
            input_ids=torch.tensor([[*one, *[tokenizer.pad_token_id] * (longest - len(one))] for one in ids]),
            attention_mask=torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in ids]),
            labels=torch.tensor([[*one, *[-100] * (longest - len(one))] for one in labels]),
        ).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(sys.argv[1])


if __name__ == "__main__":
    main()
