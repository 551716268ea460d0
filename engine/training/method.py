"""What a training method is made of: the same few parts for each, so that a worker need not know which it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.config.model import RunConfig
from engine.data.rows import Row
from engine.training.observed import ObservedTrainer

if TYPE_CHECKING:
    from engine.training.splits import Split


@dataclass(slots=True)
class Counted:
    """What counting a prepared data set takes time for; kept beside it in the cache."""

    num_tokens: int = 0
    """All that pass through the model, prompts included and padding not."""
    num_trained_tokens: int = 0
    rows_cut: int = 0
    unlearnable: list[int] = field(default_factory=list)
    """Positions of the rows of which nothing is learned."""


def leave_as_is(_split: Split) -> None:
    """Change nothing."""


@dataclass(frozen=True, slots=True)
class TrainingMethod:
    """How rows become a data set, and what learns from it."""

    arguments_class: Callable[..., Any]
    """A configuration class of TRL."""
    trainer_class: Callable[..., ObservedTrainer]
    dataset: Callable[[Sequence[Row]], Any]
    """From rows to what the trainer prepares; column `row` is the position."""
    count: Callable[[Sequence[Row], Any, Any, Any], Counted]
    """From rows, the prepared data set, the trainer's configuration and the tokenizer."""
    arrange: Callable[[Split], None] = leave_as_is
    """Changes the rows of a split before they become a data set."""
    trainer_arguments: Mapping[str, Any] = field(default_factory=dict)
    """For `trainer_class`, besides what every trainer of TRL takes."""


def training_method(config: RunConfig, *, between: Callable[[], None] | None = None) -> TrainingMethod:
    """Return the method of a resolved configuration. Imports its trainer alone: each takes a second or more.

    Args:
        config: Without any "auto".
        between: Called between two batches of what is computed once before the first step; may raise to end early.
    """
    name = config.method.name
    if name == "dpo":
        from engine.training import dpo

        return dpo.method(config, between)
    if name == "kto":
        from engine.training import kto

        return kto.method(config, between)
    if name in ("sft", "refusal"):
        from engine.training import sft

        return sft.METHOD
    from engine.training import unlearning

    return unlearning.method(config)
