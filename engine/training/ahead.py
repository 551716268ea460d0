"""The rows of later stages prepared before the first begins: what is wrong with them is told now, not after hours.

Each stage's own trainer is made around a model of a few hundred weights, as the mask microscope does it, so that the
rows go into the cache of prepared data under the key under which that stage will look for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.config.arguments import trainer_arguments
from engine.config.methods import method_of
from engine.config.resolved import ResolvedConfig
from engine.data.preparing import WITHOUT_MODEL, PreparedCache, placeholder
from engine.launch.examined import in_stage
from engine.runs.directory import RunDirectory
from engine.training.building import build_trainer
from engine.training.method import training_method
from engine.training.reporter import Quiet
from engine.training.splits import Split, leave_out_refused

_HERE = {**WITHOUT_MODEL, "dataloader_pin_memory": False, "optim": "adamw_torch"}
"""What would want the run's device or packages."""
_LORA = {"task_type": "CAUSAL_LM", "r": 1, "target_modules": "all-linear"}


def prepare_ahead(
    run: RunDirectory,
    resolved: ResolvedConfig,
    name: str,
    splits: list[Split],
    tokenizer: Any,
    cache: PreparedCache,
    heard: Callable[[], None],
) -> None:
    """Prepare the rows of a stage that has not begun.

    Args:
        run: Its folder.
        resolved: Of the stage.
        name: Of the stage.
        splits: The training rows first, then the validation sets.
        tokenizer: The run's.
        cache: Where the stage will look for them.
        heard: Called once before; may raise to end early.

    Raises:
        NothingToLearn: Every training label is masked.
    """
    config = resolved.config
    heard()
    if method_of(config).pushes_away and config.unlearning.target == "reply":
        return  # what is learned of its rows is what the model says by then
    with in_stage(name):
        if "template-refuses" in config.data.accept:
            for split in splits:
                leave_out_refused(split, tokenizer)
        arguments = {**trainer_arguments(resolved, run.path), **_HERE}
        if "precompute_ref_log_probs" in arguments:
            arguments["precompute_ref_log_probs"] = False
        build_trainer(
            model=placeholder(),
            tokenizer=tokenizer,
            arguments=arguments,
            lora=_LORA,
            train=splits[0],
            validation=splits[1:],
            reporter=Quiet(run.events),  # each stage says of its rows what there is to say when it begins
            cache=cache,
            method=training_method(config),
        )
