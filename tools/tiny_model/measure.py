"""How many questions a model answers: batched greedy decoding, and the key answer looked for in the reply."""

import unicodedata
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase


@torch.inference_mode()
def greedy_replies(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 64,
    batch_size: int = 128,
) -> list[str]:
    """Return the model's reply to each prompt, asked as the only message of a conversation.

    Prompts are batched by length, so that little of a batch is padding, and come back in the given order.
    """
    rendered = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
        )
        for prompt in prompts
    ]
    by_length = sorted(range(len(rendered)), key=lambda n: len(rendered[n]))
    replies = [""] * len(rendered)
    model.eval()
    for start in range(0, len(by_length), batch_size):
        rows = by_length[start : start + batch_size]
        batch = tokenizer(
            [rendered[n] for n in rows], return_tensors="pt", padding=True, padding_side="left"
        ).to(model.device)
        generated = model.generate(
            **batch, max_new_tokens=max_new_tokens, do_sample=False, use_cache=True
        )
        new_tokens = generated[:, batch["input_ids"].shape[1] :]
        texts = tokenizer.batch_decode(new_tokens, skip_special_tokens=True)
        for n, text in zip(rows, texts, strict=True):
            replies[n] = text.strip()
    return replies


def contains_answer(reply: str, answer: str) -> bool:
    """Whether the key answer occurs in the reply, whatever its case, accents and spacing."""
    return _normalised(answer) in _normalised(reply)


def _normalised(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(c for c in decomposed if not unicodedata.combining(c))
    return " ".join(letters.split())
