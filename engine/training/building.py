"""The trainer of any method, with its data prepared and what became of every row reported."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from peft import LoraConfig

from engine import events
from engine.data.preparing import PreparedCache
from engine.data.rows import Row
from engine.errors import NothingToLearn
from engine.training.method import Counted, TrainingMethod
from engine.training.observed import ObservedTrainer
from engine.training.reporter import Reporter
from engine.training.sft import METHOD as SFT
from engine.training.sft import prompt_length
from engine.training.splits import Split

_REPORTED_DROPS = 50


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
    method: TrainingMethod = SFT,
) -> ObservedTrainer:
    """Return the trainer with prepared data, and report what became of every row.

    Args:
        model: The base model on its device, perhaps with an adapter to go on training.
        tokenizer: Its tokenizer.
        arguments: For the method's configuration class, such as `trl.SFTConfig`.
        lora: For `peft.LoraConfig`; None when the model has its adapter already.
        train: Rows to learn from.
        validation: Rows to measure with; one is passed as a data set, several as a mapping, so that TRL reports
            `eval_loss` or `eval_<name>_loss`.
        reporter: Told of every split.
        cache: Where prepared data is kept for the next start; None keeps and looks for nothing.
        method: How it learns.

    Raises:
        NothingToLearn: Every training label is masked.
    """
    for split in (train, *validation):
        method.arrange(split)
    # Only what the library owns to keep: an evaluation set whose rows were all cut has no loss.
    sets = {split.name: method.dataset(split.rows) for split in validation if split.rows}
    evaluated: Any = None
    if sets:
        evaluated = next(iter(sets.values())) if len(sets) == 1 else sets
    # The model is passed, so what loads one by name is not for the trainer.
    config = method.arguments_class(**{name: value for name, value in arguments.items() if name != "model_init_kwargs"})
    trainer = method.trainer_class(
        prepared=cache,
        model=model,
        args=config,
        train_dataset=method.dataset(train.rows),
        eval_dataset=evaluated,
        processing_class=tokenizer,
        peft_config=LoraConfig(**lora) if lora is not None else None,
        **method.trainer_arguments,
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
        event = _prepared(split, prepared.get(split.name), config, tokenizer, cache, method)
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
    trainer.take_prepared(train.rows)
    return trainer


def _prepared(
    split: Split, dataset: Any, config: Any, tokenizer: Any, cache: PreparedCache | None, method: TrainingMethod
) -> events.DataPrepared:
    dropped = [{"path": p.path.name, "line": p.line, "reason": p.reason} for p in split.problems]
    counted = Counted()
    if dataset is not None:
        known = cache.facts(dataset) if cache is not None else None
        counted = Counted(**known) if known is not None else method.count(split.rows, dataset, config, tokenizer)
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


def _longest_prompt(rows: list[Row], tokenizer: Any) -> int:
    return max(prompt_length(row, tokenizer) for row in rows)
