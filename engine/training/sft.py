"""Supervised fine-tuning: its trainer, and what its prepared rows hold. `refusal` is this on rows of two kinds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow.compute as compute
from trl import SFTConfig

from engine.data.preparing import PreparingSFTTrainer, dataset_of
from engine.data.rows import Row
from engine.training.method import Counted, TrainingMethod
from engine.training.observed import ObservedTrainer

_TEMPLATE_TOKENS = 256
"""More than any chat template adds to one exchange. A token is at least one byte of the rest."""


class ObservedSFTTrainer(ObservedTrainer, PreparingSFTTrainer):
    """TRL's trainer, observed."""


def counted(rows: Sequence[Row], dataset: Any, config: SFTConfig, tokenizer: Any) -> Counted:
    """Return what a data set prepared for this trainer holds."""
    num_tokens, num_trained = _count_tokens(dataset)
    unlearnable = list(_unlearnable(rows, dataset, config, tokenizer))
    return Counted(num_tokens, num_trained, _count_cut(rows, dataset, config, tokenizer), unlearnable)


def _count_tokens(dataset: Any) -> tuple[int, int]:
    """Return all tokens and those with a label. By the column: 0.1 s for 50,000 rows, which one by one take 8 s."""
    num_tokens = num_trained = 0
    for batch in dataset.select_columns(["input_ids", "labels"]).with_format("arrow").iter(1_000):
        num_tokens += len(compute.list_flatten(batch["input_ids"]))
        num_trained += compute.sum(compute.not_equal(compute.list_flatten(batch["labels"]), -100)).as_py() or 0
    return num_tokens, num_trained


def _unlearnable(rows: Sequence[Row], dataset: Any, config: SFTConfig, tokenizer: Any) -> Iterator[int]:
    """Yield the positions of the rows of which no token is learned, because the question fills the whole length.

    TRL drops them, and keeps the numbers of the others. When it packs it keeps them, cut, and no numbers: then they
    are known by their length.
    """
    if "row" in dataset.column_names:
        kept = set(dataset["row"])
        yield from (position for position in range(len(rows)) if position not in kept)
    elif config.completion_only_loss and config.max_length and config.packing_strategy == "bfd":  # others do not cut
        yield from (n for n, row in enumerate(rows) if prompt_length(row, tokenizer) >= config.max_length)


def _count_cut(rows: Sequence[Row], dataset: Any, config: SFTConfig, tokenizer: Any) -> int:
    """Return how many kept rows have lost the end of their answer to `max_length`.

    The library does not say. Only rows that fill the length are tokenised again; where it packs, they cannot be told
    apart, and all with as many bytes are.
    """
    limit = config.max_length
    if limit is None or (config.packing and config.packing_strategy != "bfd"):  # the others split and lose nothing
        return 0
    if "row" in dataset.column_names:
        full = (
            rows[position]
            for batch in dataset.select_columns(["row", "input_ids"]).with_format("arrow").iter(1_000)
            for position in batch.filter(compute.equal(compute.list_value_length(batch["input_ids"]), limit))[
                "row"
            ].to_pylist()
        )
        return sum(_length(row, tokenizer) > limit for row in full)
    return sum(
        _length(row, tokenizer) > limit and prompt_length(row, tokenizer) < limit
        for row in rows
        if row.kind == "tokenised"
        or sum(len(message["content"].encode()) for message in (*row.prompt, *row.completion)) + _TEMPLATE_TOKENS
        > limit
    )


def _length(row: Row, tokenizer: Any) -> int:
    if row.kind == "tokenised":
        return len(row.input_ids or [])
    if row.kind == "text":
        text = row.completion[-1]["content"]
        return len(tokenizer(text if text.endswith(tokenizer.eos_token) else text + tokenizer.eos_token)["input_ids"])
    return len(tokenizer.apply_chat_template([*row.prompt, *row.completion], tokenize=True, return_dict=False))


def prompt_length(row: Row, tokenizer: Any) -> int:
    """Return how many tokens stand before the first that is learned."""
    if row.kind == "tokenised":
        labels = row.labels or []
        return next((n for n, label in enumerate(labels) if label != -100), len(labels))
    if not row.prompt:
        return 0
    tokens = tokenizer.apply_chat_template(row.prompt, add_generation_prompt=True, tokenize=True, return_dict=False)
    return len(tokens)


METHOD = TrainingMethod(SFTConfig, ObservedSFTTrainer, dataset_of, counted)
