"""The script people merge with: `python -m benchmarks.bare_merge ADAPTER BASE DIR`. What `merge-cost` is against."""

from __future__ import annotations

import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

adapter, base, target = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(target)
AutoTokenizer.from_pretrained(base).save_pretrained(target)
