"""How answers that are compared or marked are prepared: the preparation and the collators of TRL's DPO and KTO.

For worker processes: imports torch and TRL. They cut otherwise than the trainer for answers: a row is left out where
its question alone fills the length, and of what is too long the collator takes the beginning, of each answer by itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

from peft import LoraConfig

from engine.data.preparing import PREPARED_ONCE, placeholder, refusals_told, stream
from engine.data.row import Kind, Row

_DECIDING = ("max_length", "truncation_mode", "pad_token", "pad_to_multiple_of")
"""What of a run's arguments decides tokens and mask."""


class Side(NamedTuple):
    """A question with one answer, as the collator gives it."""

    ids: list[int]
    labels: list[int]
    """-100 where nothing is learned."""
    padding: list[bool]


class AnswersPreparation:
    """The preparation and the collator a run would use for such rows, without its model; see `Preparation`."""

    keeps_end = False
    """TRL 1.16 has no other way of cutting for these."""

    def __init__(self, tokenizer: Any, arguments: dict[str, Any], first: Row) -> None:
        """Take the arguments of a trainer of TRL; of them, only what decides tokens and mask.

        Raises:
            DataError: TRL refuses options and row together.
        """
        self._paired = first.kind == "preference"
        here = {
            **{name: arguments[name] for name in _DECIDING if name in arguments},
            **PREPARED_ONCE,
            "output_dir": tempfile.gettempdir(),
        }
        make, trainer = load(first.kind)
        # With another loss KTO prepares the answers of other rows beside each one's own.
        config = make(**here) if self._paired else make(loss_type="apo_zero_unpaired", **here)
        with refusals_told():
            self._trainer = trainer(
                model=placeholder(),
                args=config,
                train_dataset=stream(self._columns([first])),
                processing_class=tokenizer,
                # An adapter, so that no second model is loaded for the reference.
                peft_config=LoraConfig(task_type="CAUSAL_LM", r=1, target_modules=["q_proj"]),
            )

    @property
    def max_length(self) -> int | None:
        limit: int | None = self._trainer.args.max_length
        return limit

    def prepare(self, rows: Sequence[Row], *, whole: bool = False) -> list[dict[str, Any]]:
        """Return the prepared examples with `prompt_ids` and ids of answers; rows that TRL drops are missing.

        Args:
            rows: Of the kind of the first one.
            whole: None is dropped.
        """
        arguments = self._trainer.args
        limit = arguments.max_length
        if whole:
            arguments.max_length = None
        try:
            # The name says which set it is. Of "train" KTO weighs good against bad, which is none of a row's business.
            prepared = self._trainer._prepare_dataset(
                stream(self._columns(rows)), self._trainer.processing_class, arguments, "rows"
            )
            return list(prepared)
        finally:
            arguments.max_length = limit

    def uncut(self, row: Row) -> list[list[int]]:
        """Return question and answer of each side, neither cut nor dropped."""
        (example,) = self.prepare([row], whole=True)
        answers = ("chosen_ids", "rejected_ids") if self._paired else ("completion_ids",)
        return [[*example["prompt_ids"], *example[name]] for name in answers]

    def collate(self, examples: list[dict[str, Any]]) -> list[Side]:
        """Return the sides of the first example, in the batch that all of them make."""
        batch = self._trainer.data_collator(examples)
        # All chosen answers, then all rejected ones.
        places = (0, len(examples)) if self._paired else (0,)
        return [
            Side(
                batch["input_ids"][place].tolist(),
                batch["input_ids"][place].where(batch["completion_mask"][place].bool(), -100).tolist(),
                (batch["attention_mask"][place] == 0).tolist(),
            )
            for place in places
        ]

    def _columns(self, rows: Sequence[Row]) -> dict[str, list[Any]]:
        """Return the columns as `engine.training.dpo.pairs_of` and `kto.marked_of` give them to a run."""
        prompts, answers = [row.prompt for row in rows], [row.completion for row in rows]
        if self._paired:
            return {"prompt": prompts, "chosen": answers, "rejected": [row.rejected for row in rows]}
        return {"prompt": prompts, "completion": answers, "label": [bool(row.label) for row in rows]}


def load(kind: Kind) -> tuple[Any, Any]:
    """Return the configuration and the trainer of TRL for rows of a kind. Importing them takes a second or more."""
    if kind == "preference":
        from trl import DPOConfig, DPOTrainer

        return DPOConfig, DPOTrainer
    from trl import KTOConfig, KTOTrainer

    return KTOConfig, KTOTrainer


def only_here(one: Sequence[int], other: Sequence[int]) -> tuple[list[bool], list[bool]]:
    """Return of each token of two sequences whether the other lacks it there.

    What comes behind the first difference is compared in the order it stands in, up to 2,000 tokens of each: that takes
    the product of both lengths. What is longer counts as different.
    """
    import difflib

    start = common_prefix(one, other)
    most = 2_000
    same_one, same_other = set(range(start)), set(range(start))
    compared = difflib.SequenceMatcher(None, one[start : start + most], other[start : start + most], autojunk=False)
    for left, right, size in compared.get_matching_blocks():
        same_one.update(range(start + left, start + left + size))
        same_other.update(range(start + right, start + right + size))
    return (
        [place not in same_one for place in range(len(one))],
        [place not in same_other for place in range(len(other))],
    )


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two sequences begin with alike."""
    differ = (place for place, (left, right) in enumerate(zip(one, other, strict=False)) if left != right)
    return next(chain(differ, [min(len(one), len(other))]))
