"""The training methods as far as settings and data are concerned: what each learns from, takes and logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from engine.config.model import RunConfig
    from engine.data.row import Kind

TrainerName: TypeAlias = Literal["sft", "dpo", "kto"]
"""A trainer of TRL; `trainer:` is checked against its configuration class."""

CONFIG_CLASSES: Mapping[TrainerName, str] = {"sft": "SFTConfig", "dpo": "DPOConfig", "kto": "KTOConfig"}


class Method(NamedTuple):
    """One value of `method.name`."""

    trainer: TrainerName
    kinds: tuple[Kind, ...]
    """Rows it learns from."""
    sections: tuple[str, ...] = ()
    """Sections of settings that only methods naming them use."""
    logged: tuple[str, ...] = ()
    """Training metrics besides those every method logs, under the trainer's names."""
    packs: bool = False
    """Whether several rows may stand in one sequence."""
    needs: tuple[str, ...] = ()
    """Values of `metadata.dataset_type` of which there must be training rows."""
    pushes_away: bool = False
    """Whether the rows to unlearn are learned with the opposite sign, so that their loss is to rise."""

    @property
    def learns_pairs(self) -> bool:
        return self.kinds == ("preference",)


_ALWAYS = ("loss", "grad_norm", "learning_rate", "entropy")
_REWARDS = (
    "rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen", "logps/rejected", "logits/chosen",
    "logits/rejected",
)  # fmt: skip
_SFT = ("mean_token_accuracy",)
_UNLEARNING = ("unlearn_loss", "retain_loss", "unlearn_objective")

METHODS: Mapping[str, Method] = {
    "sft": Method("sft", ("sft", "text"), logged=_SFT, packs=True),
    "dpo": Method("dpo", ("preference",), ("dpo",), (*_SFT, *_REWARDS, "rewards/accuracies")),
    "kto": Method("kto", ("kto", "preference"), ("kto",), ("kl", *_REWARDS)),
    "refusal": Method("sft", ("sft",), logged=_SFT, packs=True, needs=("retain", "unlearn")),
    "gradient_ascent": Method("sft", ("sft",), ("unlearning",), _UNLEARNING, needs=("unlearn",), pushes_away=True),
    "grad_diff": Method("sft", ("sft",), ("unlearning",), _UNLEARNING, needs=("retain", "unlearn"), pushes_away=True),
    "npo": Method("sft", ("sft",), ("unlearning",), _UNLEARNING, needs=("unlearn",), pushes_away=True),
    "simnpo": Method("sft", ("sft",), ("unlearning",), _UNLEARNING, needs=("unlearn",), pushes_away=True),
}
CHANGES_BASE = ("pissa", "pissa_niter_16", "olora")
"""Values of `lora.init_lora_weights` that rewrite the base: switching the adapter off does not give it back."""
FORGETTING = "eval_forgetting"
"""What the gauge of forgetting reports, with any method."""
OWN_SECTIONS = tuple(dict.fromkeys(section for method in METHODS.values() for section in method.sections))
"""Sections that belong to methods."""
_HIGHER = ("accuracy", "accuracies", "margins", "rewards/chosen", "logps/chosen")
"""Endings of metrics that are good when they are high."""


def method_of(config: RunConfig) -> Method:
    """Return what there is to know of the method of a configuration."""
    return METHODS[config.method.name]


def sequences_per_row(config: RunConfig) -> int:
    """Return how many sequences pass through the model at once for each row of a batch, with gradients."""
    method = method_of(config)
    if method.learns_pairs:
        return 2
    if not method.pushes_away or config.method.name == "gradient_ascent":
        return 1
    return 1 + config.unlearning.retain_per_unlearn


def uses_retain(config: RunConfig) -> bool:
    """Return whether the steps of a method that unlearns have rows to retain in them."""
    return config.method.name != "gradient_ascent" and config.unlearning.retain_per_unlearn > 0


def logged_metrics(config: RunConfig) -> list[str]:
    """Return every figure a run of this configuration reports that a setting may name.

    Those of training first, then `eval_loss` and what else is measured on the validation sets.
    """
    own = method_of(config)
    trained = [*_ALWAYS, *own.logged]
    if own.pushes_away and sequences_per_row(config) == 1:
        trained.remove("retain_loss")  # no row to retain is in a step
    elif own.pushes_away and config.unlearning.retain_loss == "kl":
        trained.append("retain_divergence")
    measured = ["loss", "entropy", *(_SFT if own.pushes_away else own.logged)]
    sets = list(config.data.validation)
    found = [*trained]
    if sets:
        found.append("eval_loss")
    if len(sets) == 1:
        found += [f"eval_{sets[0]}_loss"]  # the library calls it eval_loss
        found += [f"eval_{name}" for name in measured if name != "loss"]
    for name in sets if len(sets) > 1 else ():
        found += [f"eval_{name}_{metric}" for metric in measured]
    return [*found, FORGETTING] if config.forgetting.gauge else found


def greater_is_better(metric: str) -> bool:
    """Return whether a metric of this name is good when it is high: accuracies, margins and rewards are."""
    return metric.endswith(_HIGHER)
