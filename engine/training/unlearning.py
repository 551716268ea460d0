"""Unlearning by pushing away: gradient ascent, gradient difference, NPO and SimNPO in one trainer.

A step sees rows to unlearn and rows to retain together; the objectives are in `engine.training.unlearning_losses`.
The reference is the base model, the adapter switched off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from trl import SFTConfig
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import use_adapter

from engine.config.methods import uses_retain
from engine.config.model import RunConfig, UnlearningSection
from engine.data.preparing import PreparingSFTTrainer, dataset_of
from engine.data.rows import Row
from engine.errors import ConfigError, NothingToLearn
from engine.runs import checkpoints
from engine.training import unlearning_losses as losses
from engine.training.method import TrainingMethod
from engine.training.observed import ObservedTrainer
from engine.training.sft import counted
from engine.training.splits import Split
from engine.training.unlearning_rows import PairedRows, collate_pairs, keep_what_is_unlearned, moved

_LOOK_AFTER = 40
"""Reported steps after which both losses ought to have moved from where they began."""
_COMPARED = 15
"""Reported steps that are compared: the first and the newest ones."""
RETAINED = "eval_retain_mean_token_accuracy"
"""What the retain floor is about."""


class ObservedUnlearningTrainer(ObservedTrainer, PreparingSFTTrainer):
    """TRL's trainer for answers with another loss. An evaluation is the library's: the loss of each set.

    Args:
        objective: A value of `method.name`.
        settings: Of the section `unlearning`.
        arguments: For TRL's trainer.
    """

    loss_is_scaled_for_ga = False

    def __init__(self, *, objective: str, settings: UnlearningSection, **arguments: Any) -> None:
        self.objective, self.settings = objective, settings
        self._began: list[tuple[float, float]] = []
        self._newest: list[tuple[float, float]] = []
        self._warned = False
        self._above_floor: dict[str, torch.Tensor] = {}
        """The adapter as it was at the newest evaluation above the floor, on the CPU."""
        super().__init__(**arguments)

    def take_prepared(self, rows: Sequence[Row]) -> None:
        """Learn from pairs: TRL has prepared all rows as one data set."""
        prepared: Any = self.train_dataset
        places: dict[str, list[int]] = {"unlearn": [], "retain": []}
        for place, row in enumerate(prepared["row"]):
            places[str(rows[row].dataset_type)].append(place)
        if not places["unlearn"]:
            raise NothingToLearn(
                "Of the training rows no row to unlearn is left.",
                remedy="DataPrepared in events.jsonl says why each was left out; with unlearning.target: completion "
                "what the rows say is unlearned, whatever the model says.",
            )
        columns = prepared.select_columns(["input_ids", "labels"])
        per_row = 0 if self.objective == "gradient_ascent" else self.settings.retain_per_unlearn
        self.train_dataset: Any = PairedRows(
            columns.select(places["unlearn"]), columns.select(places["retain"]), per_row, self.args.seed
        )
        rows_alone: Any = self.data_collator
        self.data_collator: Any = partial(collate_pairs, rows_alone)

    # -- the loss --------------------------------------------------------------------------------------------

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the objective of a batch of pairs; of any other batch the loss TRL makes of it."""
        num_unlearn = inputs.pop("num_unlearn", None)
        if num_unlearn is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        outputs = model(**inputs, use_cache=False, fused_lm_head=True)
        log_probs_BT, mask_BT = outputs.log_probs, outputs.label_mask
        unlearn, retain = slice(0, num_unlearn), slice(num_unlearn, None)
        objective = self._unlearn_objective(model, inputs, log_probs_BT[unlearn], mask_BT[unlearn], num_unlearn)
        loss, figures = objective, {"unlearn_objective": objective}
        figures["unlearn_loss"] = losses.negative_log_likelihood(log_probs_BT[unlearn], mask_BT[unlearn])
        if log_probs_BT.shape[0] > num_unlearn:
            kept = losses.negative_log_likelihood(log_probs_BT[retain], mask_BT[retain])
            figures["retain_loss"] = kept
            if self.settings.retain_loss == "kl":
                kept = figures["retain_divergence"] = self._divergence(model, inputs, num_unlearn)
            loss = objective + self.settings.retain_weight * kept
        self._note(inputs, outputs, figures)
        return (loss, outputs) if return_outputs else loss

    def _unlearn_objective(
        self, model: Any, inputs: dict[str, Any], log_probs_BT: Any, mask_BT: Any, num_unlearn: int
    ) -> torch.Tensor:
        if self.objective == "npo":
            reference_BT = self._without_adapter(
                lambda: model(**_rows(inputs, slice(0, num_unlearn)), use_cache=False, fused_lm_head=True).log_probs
            )
            return losses.npo(log_probs_BT, reference_BT, self.settings.beta)
        if self.objective == "simnpo":
            return losses.simnpo(log_probs_BT, mask_BT, self.settings.beta, self.settings.gamma)
        return losses.gradient_ascent(log_probs_BT, mask_BT, self.settings.ascent_limit)

    def _divergence(self, model: Any, inputs: dict[str, Any], num_unlearn: int) -> torch.Tensor:
        """Return how far the model is from the base on the answers of the rows to retain."""
        rows = _rows(inputs, slice(num_unlearn, None))
        labels_BT = rows.pop("labels")
        scored_BT = labels_BT[:, 1:] != -100

        def logits() -> torch.Tensor:
            found: torch.Tensor = model(**rows, use_cache=False).logits
            return found[:, :-1][scored_BT]

        return losses.divergence(logits(), self._without_adapter(logits))

    def _without_adapter(self, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        with (
            torch.no_grad(),
            disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs),
            use_adapter(self.accelerator.unwrap_model(self.model), None),
        ):
            return compute()

    def _note(self, inputs: dict[str, Any], outputs: Any, figures: dict[str, torch.Tensor]) -> None:
        """Keep the figures of a micro-batch; TRL's `log` means them over a step."""
        kept = self._metrics["train"]
        scored = outputs.label_mask.sum().clamp(min=1)
        mine = {**figures, "entropy": outputs.entropy.detach().sum() / scored}
        # One row for each process: as if each had been accumulated.
        together = self.accelerator.gather(torch.stack([value.detach().float() for value in mine.values()])[None])
        for name, value in zip(mine, together.mean(0).tolist(), strict=True):
            kept[name].append(value)
        self._total_train_tokens += int(self.accelerator.gather(inputs["attention_mask"].sum()).sum())
        kept["num_tokens"] = [self._total_train_tokens]

    def _run_epoch(self, *arguments: Any, **named: Any) -> None:
        """Deal the rows of the pass that begins, then train it."""
        self.train_dataset.set_epoch(named["epoch"] if "epoch" in named else arguments[1])
        super()._run_epoch(*arguments, **named)

    # -- what is watched -------------------------------------------------------------------------------------

    def look_at_step(self, metrics: dict[str, float]) -> None:
        """Warn once when ascent and descent cancel each other."""
        if self._warned or not {"unlearn_loss", "retain_loss"} <= metrics.keys():
            return
        both = (metrics["unlearn_loss"], metrics["retain_loss"])
        if len(self._began) < _COMPARED:
            self._began.append(both)
            return
        self._newest = [*self._newest, both][-_COMPARED:]
        seen = self.state.global_step // max(1, self.args.logging_steps)
        if seen < max(_LOOK_AFTER, self.args.get_warmup_steps(self.state.max_steps) + _COMPARED):
            return
        self._warned = True
        now, then = zip(*self._newest, strict=True), zip(*self._began, strict=True)
        if any(moved(newest, began) for newest, began in zip(now, then, strict=True)):
            return
        self.observation.reporter.warn(
            "unlearning-cancels",
            f"After {self.state.global_step} steps neither the loss of the rows to unlearn ({both[0]:.3g}) nor that of "
            f"the rows to retain ({both[1]:.3g}) has moved by more than its noise: the two cancel, and nothing is "
            "learned.",
            "Lower unlearning.retain_weight, or raise training.learning_rate.",
        )

    def before_first_step(self) -> None:
        """Measure where everything begins. Raises `ConfigError` when the retain floor is not below that."""
        if not self.eval_dataset:
            super().before_first_step()
            return
        metrics = self._evaluate(None, None, skip_scheduler=True)
        floor, value = self.settings.retain_floor, metrics.get(RETAINED)
        if floor is not None and value is not None and value < floor:
            raise ConfigError(
                [f"unlearning.retain_floor is {floor:g}, but {RETAINED} begins at {value:.3f}"],
                remedy=f"Set unlearning.retain_floor below {value:.2f}.",
            )

    def look_at_evaluation(self, metrics: dict[str, float]) -> None:
        """Stop when more of what is to be retained is lost than was allowed, with the weights of before."""
        floor, value = self.settings.retain_floor, metrics.get(RETAINED)
        if floor is None or value is None:
            return
        if value >= floor:
            self._above_floor = {name: tensor.detach().cpu().clone() for name, tensor in self._trained()}
            return
        step = self.state.global_step
        if not step:  # refused by `before_first_step`, whose measurement this is
            return
        said = f"{RETAINED} fell to {value:.3f} at step {step}, below the retain floor {floor:g}"
        if self._above_floor:
            with torch.no_grad():
                for name, tensor in self._trained():
                    tensor.copy_(self._above_floor[name])
            said += "; the adapter is that of the evaluation before"
        self.observation.ended_early = said
        self.observation.reporter.warn(
            "retain-floor", f"{said}.", "Lower training.learning_rate, or raise unlearning.retain_weight."
        )

    def continue_from(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Take over what is watched, too."""
        super().continue_from(checkpoint)
        kept = checkpoint.metadata.get("unlearning")
        if isinstance(kept, dict) and isinstance(began := kept.get("began"), list):
            self._began = [(float(one), float(other)) for one, other in began]
            self._warned = kept.get("warned") is True

    def metadata(self, reason: str) -> dict[str, Any]:
        """Return what `metadata.json` says of the weights, and what is watched."""
        return {**super().metadata(reason), "unlearning": {"began": self._began, "warned": self._warned}}

    def _trained(self) -> list[tuple[str, torch.Tensor]]:
        return [(name, tensor) for name, tensor in self.model.named_parameters() if tensor.requires_grad]


def _rows(inputs: dict[str, Any], rows: slice) -> dict[str, Any]:
    return {name: value[rows] for name, value in inputs.items()}


def _arrange(split: Split, *, with_retain: bool) -> None:
    if split.name == "train":
        keep_what_is_unlearned(split, with_retain=with_retain)


def method(config: RunConfig) -> TrainingMethod:
    """Return how rows are unlearned."""
    objective, settings = config.method.name, config.unlearning
    with_retain = uses_retain(config)
    return TrainingMethod(
        SFTConfig,
        ObservedUnlearningTrainer,
        dataset_of,
        counted,
        partial(_arrange, with_retain=with_retain),
        {"objective": objective, "settings": settings},
    )
