"""Supervised fine-tuning: the data sets and the trainer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow.compute as compute
from datasets import Dataset
from jinja2 import TemplateError
from peft import LoraConfig
from trl import SFTConfig

from engine import events
from engine.data.preparing import PreparedCache, PreparingSFTTrainer, dataset_of
from engine.data.rows import Problem, Row
from engine.errors import NothingToLearn
from engine.training.observed import ObservedTrainer
from engine.training.reporter import Reporter

_REPORTED_DROPS = 50
_TEMPLATE_TOKENS = 256
"""More than any chat template adds to one exchange. A token is at least one byte of the rest."""


class ObservedSFTTrainer(ObservedTrainer, PreparingSFTTrainer):
    """TRL's trainer, observed."""


@dataclass(slots=True)
class Split:
    """The rows of one split, as read."""

    name: str
    """"train" or the name of a validation set."""
    rows: list[Row]
    problems: list[Problem]

    def dataset(self) -> Dataset:
        """Return the rows in TRL's form; `row` is the position in `rows`."""
        return dataset_of(self.rows)


def build_trainer(
    *,
    model: Any,
    tokenizer: Any,
    arguments: dict[str, Any],
    lora: dict[str, Any] | None,
    train: Split,
    validation: list[Split],
    reporter: Reporter,
    cache: PreparedCache | None = None,
) -> ObservedSFTTrainer:
    """Return the trainer with prepared data, and report what became of every row.

    Args:
        model: The base model on its device, perhaps with an adapter to go on training.
        tokenizer: Its tokenizer.
        arguments: For `trl.SFTConfig`.
        lora: For `peft.LoraConfig`; None when the model has its adapter already.
        train: Rows to learn from.
        validation: Rows to measure with; one is passed as a data set, several as a mapping, so that TRL reports
            `eval_loss` or `eval_<name>_loss`.
        reporter: Told of every split.
        cache: Where prepared data is kept for the next start; None keeps and looks for nothing.

    Raises:
        NothingToLearn: Every training label is masked.
    """
    # Only what the library owns to keep: an evaluation set whose rows were all cut has no loss.
    sets = {split.name: split.dataset() for split in validation if split.rows}
    evaluated: Any = None
    if sets:
        evaluated = next(iter(sets.values())) if len(sets) == 1 else sets
    # The model is passed, so what loads one by name is not for the trainer.
    config = SFTConfig(**{name: value for name, value in arguments.items() if name != "model_init_kwargs"})
    trainer = ObservedSFTTrainer(
        prepared=cache,
        model=model,
        args=config,
        train_dataset=train.dataset(),
        eval_dataset=evaluated,
        processing_class=tokenizer,
        peft_config=LoraConfig(**lora) if lora is not None else None,
    )
    if config.fp16:
        # TRL gives adapters on a quantised base bfloat16, which float16's loss scaling cannot unscale.
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    prepared = {train.name: trainer.train_dataset}
    if len(sets) == 1:
        prepared[next(iter(sets))] = trainer.eval_dataset
    elif sets:
        prepared.update(trainer.eval_dataset)
    if cache is not None and cache.hits and not cache.misses:
        reporter.enter("preparing", f"{len(train.rows)} rows, as prepared before")
    trained_tokens = 0
    for split in (train, *validation):
        event = _prepared(split, prepared.get(split.name), config, tokenizer, cache)
        reporter.say(event)
        if event.rows_cut:
            reporter.warn(
                "rows-cut",
                f"{event.rows_cut} of {event.rows_kept} rows of {split.name} are longer than data.max_length "
                f"{config.max_length}: the ends of their answers are cut off.",
                "Set data.max_length higher, or shorten them; a model taught without ends does not stop.",
            )
        if split is train:
            trained_tokens = event.num_trained_tokens
        elif not event.num_trained_tokens:
            reporter.warn(
                "nothing-to-measure",
                f"Validation set {split.name} has no loss: no answer fits into data.max_length {config.max_length}.",
                "Set data.max_length higher, or shorten its questions.",
            )
            if isinstance(trainer.eval_dataset, dict) and len(trainer.eval_dataset) > 1:
                del trainer.eval_dataset[split.name]  # packed, its loss would be 0.0, and part of the mean
    if not trained_tokens:
        longest = _longest_prompt(train.rows, tokenizer)
        raise NothingToLearn(
            f"All {len(train.rows)} training rows are masked: no token of an answer is left within data.max_length "
            f"{config.max_length}. The longest question has {longest} tokens.",
            remedy=f"Set data.max_length to more than {longest}, or shorten the questions.",
        )
    return trainer


def leave_out_refused(split: Split, tokenizer: Any) -> None:
    """Make problems of the rows whose conversation the chat template refuses; TRL would end with the first."""
    kept = []
    for row in split.rows:
        try:
            if row.kind not in ("text", "tokenised"):
                tokenizer.apply_chat_template([*row.prompt, *row.completion], tokenize=False)
                tokenizer.apply_chat_template(row.prompt, tokenize=False, add_generation_prompt=True)
            kept.append(row)
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            split.problems.append(Problem(row.path, row.line, f"the chat template refuses it: {error}", False))
    split.rows = kept


def _prepared(
    split: Split, dataset: Any, config: SFTConfig, tokenizer: Any, cache: PreparedCache | None
) -> events.DataPrepared:
    dropped = [{"path": p.path.name, "line": p.line, "reason": p.reason} for p in split.problems]
    counted = _Counted()
    if dataset is not None:
        known = cache.facts(dataset) if cache is not None else None
        counted = _Counted(**known) if known is not None else _counted(split.rows, dataset, config, tokenizer)
        if cache is not None and known is None:
            cache.keep_facts(dataset, asdict(counted))
        reason = f"no token of the answer is left within data.max_length {config.max_length}"
        for row in (split.rows[position] for position in counted.unlearnable):
            dropped.append({"path": row.path.name, "line": row.line, "reason": reason})
    rows_in = len(split.rows) + len(split.problems)
    return events.DataPrepared(
        split=split.name,
        rows_in=rows_in,
        rows_kept=rows_in - len(dropped),
        rows_dropped=len(dropped),
        dropped=dropped[:_REPORTED_DROPS],
        num_tokens=counted.num_tokens,
        num_trained_tokens=counted.num_trained_tokens,
        rows_cut=counted.rows_cut,
    )


@dataclass(slots=True)
class _Counted:
    """What counting a prepared data set takes time for; kept beside it in the cache."""

    num_tokens: int = 0
    num_trained_tokens: int = 0
    rows_cut: int = 0
    unlearnable: list[int] = field(default_factory=list)
    """Positions of the rows of which nothing is learned."""


def _counted(rows: list[Row], dataset: Any, config: SFTConfig, tokenizer: Any) -> _Counted:
    num_tokens, num_trained = _count_tokens(dataset)
    unlearnable = list(_unlearnable(rows, dataset, config, tokenizer))
    return _Counted(num_tokens, num_trained, _count_cut(rows, dataset, config, tokenizer), unlearnable)


def _count_tokens(dataset: Any) -> tuple[int, int]:
    """Return all tokens and those with a label. By the column: 0.1 s for 50,000 rows, which one by one take 8 s."""
    num_tokens = num_trained = 0
    for batch in dataset.select_columns(["input_ids", "labels"]).with_format("arrow").iter(1_000):
        num_tokens += len(compute.list_flatten(batch["input_ids"]))
        num_trained += compute.sum(compute.not_equal(compute.list_flatten(batch["labels"]), -100)).as_py() or 0
    return num_tokens, num_trained


def _unlearnable(rows: list[Row], dataset: Any, config: SFTConfig, tokenizer: Any) -> Iterator[int]:
    """Yield the positions of the rows of which no token is learned, because the question fills the whole length.

    TRL drops them, and keeps the numbers of the others. When it packs it keeps them, cut, and no numbers: then they
    are known by their length.
    """
    if "row" in dataset.column_names:
        kept = set(dataset["row"])
        yield from (position for position in range(len(rows)) if position not in kept)
    elif config.completion_only_loss and config.max_length and config.packing_strategy == "bfd":  # others do not cut
        yield from (n for n, row in enumerate(rows) if _prompt_length(row, tokenizer) >= config.max_length)


def _count_cut(rows: list[Row], dataset: Any, config: SFTConfig, tokenizer: Any) -> int:
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
        _length(row, tokenizer) > limit and _prompt_length(row, tokenizer) < limit
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


def _prompt_length(row: Row, tokenizer: Any) -> int:
    """Return how many tokens stand before the first that is learned."""
    if row.kind == "tokenised":
        labels = row.labels or []
        return next((n for n, label in enumerate(labels) if label != -100), len(labels))
    if not row.prompt:
        return 0
    tokens = tokenizer.apply_chat_template(row.prompt, add_generation_prompt=True, tokenize=True, return_dict=False)
    return len(tokens)


def _longest_prompt(rows: list[Row], tokenizer: Any) -> int:
    return max(_prompt_length(row, tokenizer) for row in rows)
