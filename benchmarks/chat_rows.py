"""Base and adapter in one batch, against either alone: `python -m benchmarks.chat_rows FOLDER`. Prints JSON lines.

A process of its own, with one thread, in float32: there the two must be equal to the token.
"""

from __future__ import annotations

import itertools
import json
import random
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from engine.chat.answer_row import BASE, AnswerRow
from engine.chat.asking import Sampling
from engine.chat.batch import SharedModel
from engine.chat.streamed_text import StreamedText
from engine.workspace import shipped_folder

TINY = shipped_folder() / "models" / "tiny"
NUM_PROMPTS = 200
MAX_TOKENS = 32
NUM_CANCELLED = 50
PROMPT_TOKENS, NEW_TOKENS, TURNS = 48, 32, 3
GREEDY = Sampling(temperature=0)
END = 3071


def make_medium(folder: Path) -> Path:
    """Write a model of 150 million random weights, with the built-in model's tokenizer."""
    if not (folder / "config.json").is_file():
        torch.manual_seed(0)
        shape = Qwen2Config(
            hidden_size=896, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=14,
            num_key_value_heads=2, vocab_size=24_000, max_position_embeddings=2048, tie_word_embeddings=True,
            eos_token_id=END, pad_token_id=3069, bos_token_id=None,
        )  # fmt: skip
        Qwen2ForCausalLM(shape).save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            (folder / name).write_bytes((TINY / name).read_bytes())
    return folder


def make_adapter(model: Path, folder: Path, seed: int) -> Path:
    """Write an adapter of rank 16 on all linear layers, of random weights."""
    if not (folder / "adapter_config.json").is_file():
        base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        torch.manual_seed(seed)
        settings = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", init_lora_weights=False)
        get_peft_model(base, settings).save_pretrained(folder)
    return folder


def _loaded(model: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()


def _row(adapter: str, prompt: list[int], tokenizer: Any, *, most: int, ends: frozenset[int]) -> AnswerRow:
    text = StreamedText(lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True)))
    return AnswerRow(0, adapter, prompt, GREEDY, most, ends, text, lambda _: None)


def _answer(shared: SharedModel, rows: list[AnswerRow]) -> list[list[int]]:
    while alive := [row for row in rows if not row.ended]:
        for group in shared.together(alive):
            shared.go_on(group, most=10**9, interrupted=lambda: False)
    return [row.ids[len(row.prompt) :] for row in rows]


def _cpu(work: Any) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def pair_cost(name: str, model: Path, adapter: Path) -> Iterator[dict[str, Any]]:
    """CPU seconds of both together over the sum of the two alone, by turns, the same tokens each time."""
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    prompt = list(range(5, 5 + PROMPT_TOKENS))
    bare, shared = SharedModel(_loaded(model)), SharedModel(_loaded(model))
    shared.load_adapter("one", adapter)

    def both(in_model: SharedModel, *names: str) -> float:
        rows = [_row(one, prompt, tokenizer, most=NEW_TOKENS, ends=frozenset()) for one in names]
        return _cpu(lambda: _answer(in_model, rows))

    ratios = []
    for turn in range(TURNS + 1):
        apart = both(bare, BASE) + both(shared, "one")
        together = both(shared, BASE, "one")
        if turn:  # the first warms up allocators and kernels
            ratios.append(together / apart)
    yield {"pair_cost": name, "ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


def base_is_base(adapter: Path) -> Iterator[dict[str, Any]]:
    """Answers of pairs with histories of unlike length, against transformers and PEFT with one row."""
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    shared = SharedModel(_loaded(TINY))
    shared.load_adapter("one", adapter)
    models = {BASE: _loaded(TINY), "one": PeftModel.from_pretrained(_loaded(TINY), str(adapter)).eval()}
    prompts = [_prompt(tokenizer, turns) for turns in _histories()]
    others = prompts[1:] + prompts[:1]
    base_differ = adapter_differ = same = 0
    for left, right in zip(prompts, others, strict=True):
        rows = [
            _row(name, prompt, tokenizer, most=MAX_TOKENS, ends=frozenset([END]))
            for name, prompt in ((BASE, left), ("one", right))
        ]
        base, changed = _answer(shared, rows)
        base_differ += base != _alone(models[BASE], left)
        adapter_differ += changed != _alone(models["one"], right)
        same += base == changed
    yield {"base_differ": base_differ, "adapter_differ": adapter_differ, "same": same, "of": len(prompts)}


def hooks(adapter: Path) -> Iterator[dict[str, Any]]:
    """What is left in the model after answers that were stopped, and after as many that broke off."""
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    shared = SharedModel(_loaded(TINY))
    shared.load_adapter("one", adapter)
    before = _all_hooks(shared.model)
    for number in range(NUM_CANCELLED):
        rows = [_row(name, list(range(5, 30)), tokenizer, most=NEW_TOKENS, ends=frozenset()) for name in (BASE, "one")]
        rows[number % 2].stop_asked = number % 4 < 2
        passed = itertools.count()

        def break_off(*_: Any, passed: Iterator[int] = passed, last: int = 3 + number % 5) -> None:
            if next(passed) == last:
                raise torch.OutOfMemoryError("for the benchmark")

        hook = shared.model.get_base_model().lm_head.register_forward_pre_hook(break_off)
        try:
            _answer(shared, rows)
        except torch.OutOfMemoryError:
            pass
        finally:
            hook.remove()
    yield {"hooks": _all_hooks(shared.model) - before}


def _all_hooks(model: Any) -> int:
    return sum(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules())


def _alone(model: Any, prompt: list[int]) -> list[int]:
    ids = torch.tensor([prompt])
    made = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=MAX_TOKENS, do_sample=False
    )
    return list(made[0, len(prompt) :].tolist())


def _histories() -> list[list[str]]:
    """Return conversations of one to five turns out of the sample rows."""
    folder = shipped_folder() / "datasets"
    rows = [
        json.loads(line)
        for name in ("retain/retain_train.jsonl", "unlearn/unlearn_train.jsonl")
        for line in (folder / name).read_text(encoding="utf-8").splitlines()
    ]
    chosen = random.Random(0)
    made = []
    for number in range(NUM_PROMPTS):
        turns = [text for row in chosen.sample(rows, number % 3) for text in (row["instruction"], row["output"])]
        made.append([*turns, chosen.choice(rows)["instruction"]])
    return made


def _prompt(tokenizer: Any, turns: list[str]) -> list[int]:
    roles = itertools.cycle(("user", "assistant"))
    messages = [{"role": role, "content": turn} for role, turn in zip(roles, turns, strict=False)]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def main() -> None:
    """Do what is asked for after the folder: pair-cost, base-is-base, hooks or models."""
    folder, what = Path(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    one = make_adapter(TINY, folder / "tiny-1", 1)
    found: Iterator[dict[str, Any]] = iter(())
    if what == "pair-cost":
        medium = make_medium(folder / "medium")
        found = itertools.chain(
            pair_cost("tiny", TINY, one), pair_cost("medium", medium, make_adapter(medium, folder / "medium-1", 1))
        )
    elif what == "base-is-base":
        found = base_is_base(one)
    elif what == "hooks":
        found = hooks(one)
    else:
        medium = make_medium(folder / "medium")
        for seed in range(1, 6):
            make_adapter(TINY, folder / f"tiny-{seed}", seed)
            make_adapter(medium, folder / f"medium-{seed}", seed)
    for line in found:
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
