"""Kahneman-Tversky optimization (Ethayarajh et al., 2024, arXiv:2402.01306), with the base model as the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from datasets import Dataset
from trl import KTOConfig, KTOTrainer

from engine.config.model import RunConfig
from engine.data.rows import Row
from engine.training.method import Counted, TrainingMethod
from engine.training.observed import ObservedTrainer
from engine.training.preferences import PreparingPreferences, count_answers
from engine.training.splits import Split, shuffle


class ObservedKTOTrainer(ObservedTrainer, PreparingPreferences, KTOTrainer):
    """TRL's trainer, observed. Loss and gradients are the library's."""


def marked_of(rows: Sequence[Row]) -> Dataset:
    """Return marked answers in the form TRL takes."""
    return Dataset.from_dict(
        {
            "prompt": [row.prompt for row in rows],
            "completion": [row.completion for row in rows],
            "label": [bool(row.label) for row in rows],
            "row": list(range(len(rows))),
        }
    )


def mark(row: Row) -> list[Row]:
    """Return a row as answers with marks: a preference pair is a good one and a bad one."""
    if row.kind != "preference":
        return [row]
    return [
        replace(row, kind="kto", rejected=[], label=True),
        replace(row, kind="kto", completion=row.rejected, rejected=[], label=False),
    ]


def _arrange(split: Split, *, seed: int | None) -> None:
    split.rows = [marked for row in split.rows for marked in mark(row)]
    if seed is not None and split.name == "train":
        shuffle(split, seed)


def _count(rows: Sequence[Row], dataset: Any, config: Any, _tokenizer: Any) -> Counted:
    return count_answers(rows, dataset, config.max_length, ("completion_ids",))


def method(config: RunConfig, between: Callable[[], None] | None = None) -> TrainingMethod:
    """Return how marked answers are learned. They are mixed once: TRL takes them in the order they are prepared in."""
    seed = config.training.seed if config.data.shuffle else None
    arrange = partial(_arrange, seed=seed)
    arguments = {"between": between, "base_is_reference": config.kto.reference == "base"}
    return TrainingMethod(KTOConfig, ObservedKTOTrainer, marked_of, _count, arrange, arguments)
