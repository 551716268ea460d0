"""Direct preference optimization (Rafailov et al., 2023, arXiv:2305.18290)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from engine.config.model import RunConfig
from engine.data.rows import Row
from engine.runs import checkpoints
from engine.training.collapse import Collapse
from engine.training.method import Counted, TrainingMethod
from engine.training.observed import ObservedTrainer
from engine.training.preferences import PreparingPreferences, count_answers


class ObservedDPOTrainer(ObservedTrainer, PreparingPreferences, DPOTrainer):
    """TRL's trainer, observed. Loss and gradients are the library's."""

    def __init__(self, **arguments: Any) -> None:
        self._collapse = Collapse()
        super().__init__(**arguments)

    def look_at_step(self, metrics: dict[str, float]) -> None:
        """Warn once when the chosen answers are lost together with the rejected ones."""
        if (found := self._collapse.seen(metrics)) is not None:
            then, now = found
            self.observation.reporter.warn(
                "chosen-collapses",
                f"At step {self.step} the chosen answers are worth {now:.3g} nats to the model, and were {then:.3g} at "
                "its beginning (logps/chosen): the rejected ones are pushed away and take the chosen ones with them, "
                "which loss and accuracy do not show. It may be unlearning to speak.",
                "Look at the samples, or ask an earlier checkpoint. Raise dpo.beta, lower training.learning_rate, or "
                "train for fewer epochs.",
            )

    def continue_from(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Take over what is watched, too."""
        super().continue_from(checkpoint)
        self._collapse.restore(checkpoint.metadata.get("collapse"))

    def metadata(self, reason: str) -> dict[str, Any]:
        """Return what `metadata.json` says of the weights, and what is watched."""
        return {**super().metadata(reason), "collapse": self._collapse.state()}


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
