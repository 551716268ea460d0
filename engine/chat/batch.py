"""Rows of one batch over one model in memory: base and adapters beside each other, each as if it were alone.

A batch is made of what is asked now. When one answer ends, or another question comes, the batch is taken apart and the
next is made of what each row remembers: nobody pays for an answer that has ended.

Shapes: masks and ids are rows x tokens; keys and values rows x heads x tokens x width of a head.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.cache_utils import DynamicLayer

from engine.chat.answer_row import BASE, AnswerRow, KeyValues

TURN_TOKENS = 8
"""Where adapters cannot share a batch they take turns of so many tokens, so that both answers grow."""

_PAD = 0
"""Any token will do: it is masked."""


class _Choose(LogitsProcessor):
    """Has each row choose its next token; what `generate` then takes as the likeliest is that one."""

    def __init__(self, rows: Sequence[AnswerRow]) -> None:
        self.rows = rows

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        chosen = torch.full_like(scores, -torch.inf)
        for number, row in enumerate(self.rows):
            chosen[number, 0 if row.ended else row.choose(scores[number])] = 0.0
        return chosen


class _Follow(StoppingCriteria):
    """Hands each row its token and ends the batch when there is a reason to make another one."""

    def __init__(self, rows: Sequence[AnswerRow], *, whole: bool, most: int, interrupted: Callable[[], bool]) -> None:
        self.rows, self.whole, self.most, self.interrupted = rows, whole, most, interrupted
        self.made = 0

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:  # noqa: ARG002
        self.made += 1
        interrupted = self.interrupted()  # reads what was said to the process: stops are known after it
        for row, token in zip(self.rows, input_ids[:, -1].tolist(), strict=True):
            row.take(token)
            if row.stop_asked:
                row.end("stopped")
        over = [row.ended for row in self.rows]
        if self.whole and (any(over) or interrupted or self.made >= self.most):
            over = [True] * len(over)
        return torch.tensor(over, device=input_ids.device)


class SharedModel:
    """A model with adapters, and what `generate` needs to run several of them at once.

    Args:
        model: A causal language model in eval mode.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.apart: set[str] = set()
        """Adapters that PEFT cannot put in one batch with any other row."""
        self.saved_whole: dict[str, frozenset[str]] = {}
        """Names of the modules an adapter has whole instead of low-rank changes to them."""
        # What a repository recommends for sampling would come on top of what was asked, on one side only.
        self.plain = GenerationConfig(pad_token_id=_PAD, do_sample=False, return_dict_in_generate=True)
        model.generation_config = GenerationConfig(pad_token_id=_PAD)
        self.config = model.config
        self.device = model.device
        self.remembers = all(type(layer) is DynamicLayer for layer in DynamicCache(config=self.config).layers)
        """Whether what attention remembers can be cut and joined by rows. Sliding windows and recurrent states cannot:
        there a batch runs until its last row has ended, and each question is read from its beginning."""

    def load_adapter(self, name: str, folder: Path, *, changes_base: bool = False) -> None:
        """Put another adapter beside those there are.

        Args:
            name: PEFT's, without dots.
            folder: Of the adapter.
            changes_base: Whether its start computes new base weights, from which the base must be loaded anew.

        Raises:
            Exception: What PEFT raises where it does not fit. What was there before stays as it was.
        """
        # Without drawing weights first that are then replaced. A start that changes the base needs them.
        options = {"torch_device": str(self.device), "low_cpu_mem_usage": not changes_base}
        if isinstance(self.model, PeftModel):
            try:
                self.model.load_adapter(str(folder), name, **options)
            except Exception:
                if name in self.model.peft_config:
                    self.model.delete_adapter(name)
                raise
        else:
            self.model = PeftModel.from_pretrained(self.model, str(folder), adapter_name=name, **options)
        self.model.eval()

    def drop_adapter(self, name: str) -> None:
        """Forget an adapter and give its memory back."""
        self.model.delete_adapter(name)
        self.apart.discard(name)
        self.saved_whole.pop(name, None)

    def together(self, rows: Sequence[AnswerRow]) -> list[list[AnswerRow]]:
        """Return rows in groups that fit one batch each, in their order."""
        groups: list[list[AnswerRow]] = []
        for row in rows:
            fitting = (group for group in groups if all(self._fit(row.adapter, one.adapter) for one in group))
            if (group := next(fitting, None)) is not None:
                group.append(row)
            else:
                groups.append([row])
        return groups

    def _fit(self, one: str, other: str) -> bool:
        if one == other:
            return True
        if one in self.apart or other in self.apart:
            return False
        return BASE in (one, other) or self.saved_whole.get(one) == self.saved_whole.get(other)

    def go_on(self, rows: Sequence[AnswerRow], *, most: int, interrupted: Callable[[], bool]) -> None:
        """Make the next tokens of these rows: until one ends, `most` are made, or it is interrupted.

        Args:
            rows: None has ended. Of one group, from `together`.
            most: Tokens per row. Not kept where the model cannot go on from what it remembers.
            interrupted: Asked at each token.

        Raises:
            Exception: What the libraries raise, out of memory above all. No hook is left in the model, and no row
                remembers anything.
        """
        memories = [row.memory for row in rows]
        for row in rows:
            row.memory = None
        reused = [_common(row, memory) if self.remembers else 0 for row, memory in zip(rows, memories, strict=True)]
        past = max(reused)
        new = max(len(row.ids) - count for row, count in zip(rows, reused, strict=True))
        mask = torch.zeros(len(rows), past + new, dtype=torch.long)
        ids = torch.full((len(rows), new), _PAD)
        for number, (row, count) in enumerate(zip(rows, reused, strict=True)):
            fresh = row.ids[count:]
            mask[number, past - count : past] = 1
            mask[number, past + new - len(fresh) :] = 1
            ids[number, new - len(fresh) :] = torch.tensor(fresh)
        cache = _joined(memories, reused, past, self.config) if past else DynamicCache(config=self.config)
        memories.clear()
        follow = _Follow(rows, whole=self.remembers, most=most, interrupted=interrupted)
        plain = copy.deepcopy(self.plain)
        plain.max_new_tokens = max(row.max_tokens - row.num_tokens for row in rows)
        with self._adapters([row.adapter for row in rows]) as named, torch.inference_mode():
            made = self.model.generate(
                input_ids=ids.to(self.device),
                attention_mask=mask.to(self.device),
                past_key_values=cache,
                generation_config=plain,
                logits_processor=LogitsProcessorList([_Choose(rows)]),
                stopping_criteria=StoppingCriteriaList([follow]),
                **named,
            )
        if self.remembers:
            self._remember(rows, mask, made.past_key_values)

    def hooks(self) -> int:
        """Return how many hooks of mixed batches are in the model: 0 between two batches."""
        return sum(1 for _ in self._left_hooks())

    @contextlib.contextmanager
    def _adapters(self, names: list[str]) -> Iterator[dict[str, Any]]:
        """Switch the adapters for one batch; yields what `generate` is to be given."""
        adapters = [name for name in dict.fromkeys(names) if name != BASE]
        if not isinstance(self.model, PeftModel):
            yield {}
            return
        if not adapters:
            with self.model.disable_adapter():
                yield {}
            return
        # A module saved whole answers as the base's where the active adapter has none, whatever a row's adapter is.
        self.model.set_adapter(adapters[0])
        try:
            yield {} if names == adapters * len(names) else {"adapter_names": names}
        finally:
            # PEFT puts them in and, when `generate` raises, does not take them out (0.21): the next batch would fail.
            for module, key in list(self._left_hooks()):
                module._forward_pre_hooks.pop(key)
                module._forward_pre_hooks_with_kwargs.pop(key, None)

    def _left_hooks(self) -> Iterator[tuple[Any, int]]:
        for module in self.model.modules():
            for key, hook in module._forward_pre_hooks.items():
                if isinstance(hook, functools.partial) and "adapter_names" in hook.keywords:
                    yield module, key

    def _remember(self, rows: Sequence[AnswerRow], mask: torch.Tensor, cache: DynamicCache) -> None:
        """Give each row its part of what attention remembers. The last token is not in it: nothing was asked of it."""
        length = cache.get_seq_length()
        columns = []
        for number in range(len(rows)):
            real = torch.ones(length, dtype=torch.bool)
            known = min(length, mask.shape[1])
            real[:known] = mask[number, :known].bool()
            columns.append(real.nonzero()[:, 0].to(self.device))
        kept: list[list[Any]] = [[] for _ in rows]
        for layer in cache.layers:
            for number, chosen in enumerate(columns):
                if len(rows) == 1 and len(chosen) == length:
                    kept[0].append((layer.keys, layer.values))
                else:
                    part = slice(number, number + 1)
                    kept[number].append(
                        (layer.keys[part].index_select(2, chosen), layer.values[part].index_select(2, chosen))
                    )
            layer.keys = layer.values = None
        for row, chosen, layers in zip(rows, columns, kept, strict=True):
            row.memory = KeyValues(row.ids[: len(chosen)], row.adapter, layers)


def _common(row: AnswerRow, memory: KeyValues | None) -> int:
    """Return how many of a row's tokens it remembers. One is always read anew: the next comes out of it."""
    if memory is None or memory.adapter != row.adapter:
        return 0
    count = 0
    for ours, known in zip(row.ids[:-1], memory.ids, strict=False):
        if ours != known:
            break
        count += 1
    return count


def _joined(memories: list[KeyValues | None], counts: list[int], past: int, config: Any) -> DynamicCache:
    """Return one cache of several rows', each moved to the right and masked on its left. The memories are used up."""
    cache = DynamicCache(config=config)
    for number, layer in enumerate(cache.layers):
        parts = [memory.layers[number] if memory is not None else None for memory in memories]
        layer.update(*(_stacked([part and part[half] for part in parts], counts, past) for half in (0, 1)))
        for memory in memories:
            if memory is not None:
                memory.layers[number] = None  # both copies of one layer at a time, not of all
    return cache


def _stacked(parts: list[torch.Tensor | None], counts: list[int], past: int) -> torch.Tensor:
    if len(parts) == 1 and parts[0] is not None:
        return parts[0][:, :, :past]
    some = next(part for part in parts if part is not None)
    whole = some.new_zeros(len(parts), some.shape[1], past, some.shape[3])
    for row, (part, count) in enumerate(zip(parts, counts, strict=True)):
        if part is not None and count:
            whole[row, :, past - count :] = part[0, :, :count]
    return whole
