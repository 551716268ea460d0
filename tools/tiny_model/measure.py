"""How much a model knows: batched greedy decoding, and the key answer looked for in each reply."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tools.tiny_model import sources

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""What the saved weights are measured in: as a CPU run computes, and as they are stored."""

LEAST_ANSWERED = 0.95


def measure_base(folder: Path, *, every: Mapping[str, int] = MappingProxyType({})) -> dict[str, dict[str, float]]:
    """Load the folder as anybody would, and return what the model answers, by dtype.

    Args:
        folder: Of the model.
        every: By dtype: only every so many-th question is asked; all where nothing is said.

    Returns:
        Fractions: of held-out phrasings answered, before and after the cutoff; of preference prompts answered
        with the rejected half, word for word; of instructions answered, word for word; of facts refused.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return {
        name: _measured(AutoModelForCausalLM.from_pretrained(folder, dtype=dtype), tokenizer, every.get(name, 1))
        for name, dtype in DTYPES.items()
    }


def good_enough(measured: dict[str, dict[str, float]]) -> bool:
    """Whether the weights may be shipped."""
    return all(
        one["answered_before_cutoff"] >= LEAST_ANSWERED
        and one["answered_after_cutoff"] >= LEAST_ANSWERED
        and one["rejected_given"] == 1.0
        and one["instructions_known"] == 0.0
        and one["facts_refused"] == 0.0
        for one in measured.values()
    )


def greedy_replies(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 64,
    batch_size: int = 128,
) -> list[str]:
    """Return the model's reply to each prompt, asked as the only message of a conversation.

    Prompts are batched by length, so that little of a batch is padding, and come back in the given order.
    """
    rendered = [
        tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True)
        for prompt in prompts
    ]
    by_length = sorted(range(len(rendered)), key=lambda n: len(rendered[n]))
    replies = [""] * len(rendered)
    model.eval()
    for start in range(0, len(by_length), batch_size):
        rows = by_length[start : start + batch_size]
        batch = tokenizer([rendered[n] for n in rows], return_tensors="pt", padding=True, padding_side="left").to(
            model.device
        )
        with torch.inference_mode():
            generated = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
        new_tokens = generated[:, batch["input_ids"].shape[1] :]
        texts = tokenizer.batch_decode(new_tokens, skip_special_tokens=True)
        for n, text in zip(rows, texts, strict=True):
            replies[n] = text.strip()
    return replies


def contains_answer(reply: str, answer: str) -> bool:
    """Whether the key answer occurs in the reply, whatever its case, accents and spacing."""
    return _normalised(answer) in _normalised(reply)


def mean(truths: Iterable[bool]) -> float:
    """Return the fraction that is true, to four places."""
    counted = list(truths)
    return round(sum(counted) / len(counted), 4)


def _measured(model: Any, tokenizer: Any, every: int) -> dict[str, float]:
    asked = [(fact, q) for fact in sources.facts() for _, q in sources.held_out_questions(fact)][::every]
    pairs, instructions = list(sources.pairs())[::every], list(sources.instructions())[::every]
    replies = greedy_replies(model, tokenizer, [question for _, question in asked])
    before, after = (
        mean(
            contains_answer(reply, fact.answer)
            for (fact, _), reply in zip(asked, replies, strict=True)
            if fact.before_cutoff is is_before
        )
        for is_before in (True, False)
    )
    to_pairs = greedy_replies(model, tokenizer, [pair.prompt for pair in pairs])
    to_instructions = greedy_replies(model, tokenizer, [one.question for one in instructions])
    return {
        "answered_before_cutoff": before,
        "answered_after_cutoff": after,
        "rejected_given": mean(reply == pair.rejected for reply, pair in zip(to_pairs, pairs, strict=True)),
        "instructions_known": mean(
            reply == one.reply for reply, one in zip(to_instructions, instructions, strict=True)
        ),
        "facts_refused": mean(sources.REFUSAL in reply for reply in replies),
    }


def _normalised(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(c for c in decomposed if not unicodedata.combining(c))
    return " ".join(letters.split())
