"""Greedy answers to a list of conversations, batched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from engine.data.rows import Message


class _Interruptible(StoppingCriteria):
    """Stops nothing by itself; what it calls may raise."""

    def __init__(self, each_token: Callable[[], None]) -> None:
        self.each_token = each_token

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        self.each_token()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


def answer(
    model: Any,
    tokenizer: Any,
    conversations: Sequence[Sequence[Message]],
    *,
    max_new_tokens: int,
    batch_size: int = 32,
    each_token: Callable[[], None] | None = None,
    answered: Callable[[int], None] | None = None,
) -> list[str]:
    """Return one greedy answer per conversation, special tokens left out.

    The model is left in the mode it was in, and no random number is drawn, so a run that answers in between
    trains exactly as one that does not.

    Args:
        model: A causal model, with or without adapter.
        tokenizer: Its tokenizer, with a chat template.
        conversations: Messages that end with what is to be answered.
        max_new_tokens: An answer is cut there.
        batch_size: Rows per forward pass; rows of like length go together.
        each_token: Called for every token of a batch, some microseconds; may raise to end early.
        answered: Called with the number of answers there are, whenever a batch is done.
    """
    texts = [
        tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        for messages in conversations
    ]
    order = sorted(range(len(texts)), key=lambda position: len(texts[position]))
    answers = [""] * len(texts)
    interruptible = StoppingCriteriaList([_Interruptible(each_token)]) if each_token is not None else None
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            inputs = tokenizer(
                [texts[row] for row in rows],
                return_tensors="pt",
                padding=True,
                padding_side="left",
                add_special_tokens=False,  # the template has put them
                return_token_type_ids=False,
            ).to(model.device)
            # Draws no gradients by itself. Under inference_mode a model could keep tensors it cannot train with.
            tokens = model.generate(
                **inputs,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                use_cache=True,
                pad_token_id=tokenizer.pad_token_id,
                stopping_criteria=interruptible,
            )
            said = tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            for row, text in zip(rows, said, strict=True):
                answers[row] = text.strip()
            if answered is not None:
                answered(start + len(rows))
    finally:
        model.train(was_training)
    return answers
