"""Direct preference optimization (Rafailov et al., 2023, arXiv:2305.18290)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from engine.config.model import RunConfig
from engine.data.rows import Row
from engine.training.method import Counted, TrainingMethod
from engine.training.observed import ObservedTrainer
from engine.training.preferences import PreparingPreferences, count_answers


class ObservedDPOTrainer(ObservedTrainer, PreparingPreferences, DPOTrainer):
    """TRL's trainer, observed. Loss and gradients are the library's."""


def pairs_of(rows: Sequence[Row]) -> Dataset:
    """Return preference pairs in the form TRL takes."""
    return Dataset.from_dict(
        {
            "prompt": [row.prompt for row in rows],
            "chosen": [row.completion for row in rows],
            "rejected": [row.rejected for row in rows],
            "row": list(range(len(rows))),
        }
    )


def _count(rows: Sequence[Row], dataset: Any, config: Any, _tokenizer: Any) -> Counted:
    return count_answers(rows, dataset, config.max_length, ("chosen_ids", "rejected_ids"))


def method(config: RunConfig, between: Callable[[], None] | None = None) -> TrainingMethod:
    """Return how pairs are learned; `between` is called between two batches of the reference."""
    arguments = {"between": between, "base_is_reference": config.dpo.reference == "base"}
    return TrainingMethod(DPOConfig, ObservedDPOTrainer, pairs_of, _count, trainer_arguments=arguments)
