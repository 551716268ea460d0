"""What every "auto" becomes, and why: from the number of examples, then from the model and the machine.

The tables by number of examples are those that worked for question-and-answer sets of some hundred rows; the
effective batch stays at 8 rows per optimizer step whatever the batch size. They are left only where they would do
harm: a length that would cut the answers, a batch that does not fit into memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from engine.config.methods import method_of
from engine.config.model import RunConfig, settled

if TYPE_CHECKING:
    from engine.data.lengths import Lengths

EFFECTIVE_BATCH = 8
EVALUATIONS_PER_RUN = 10
LONGEST_INTERVAL = 500
"""Optimizer steps between two evaluations at most: what a crash may cost."""
CUT_ROWS_ACCEPTED = 0.01
"""Part of the rows that a length of the table may cut; above it the length follows the rows."""
LONGEST_AUTOMATIC = 4096
LENGTH_STEP = 64
COMFORTABLE = 0.8
"""Part of the free memory above which activations are computed again rather than kept."""


class Facts(NamedTuple):
    """What automatic values are decided from."""

    num_train_examples: int
    """Rows that training will see in one epoch, after `data.limit`; those to unlearn where they are pushed away."""
    device: Literal["cpu", "cuda", "mps"] = "cpu"
    """The best device torch can use here: what `model.device: auto` becomes."""
    chosen_device: str = ""
    """That device with its number where there are several and one is to be used; empty for `device`."""
    bfloat16: bool = True
    """Whether that device computes in bfloat16; older GPUs have float16 only."""
    num_parameters: int | None = None
    """Of the base model. None when nobody knows yet."""
    target_modules: tuple[str, ...] = ()
    """The catalogue's list for the base model; empty when it has none."""
    max_position_embeddings: int | None = None
    """Longest sequence of the base model, in tokens. None when nobody knows yet."""
    dataset_types: frozenset[str] = frozenset()
    """Values of `metadata.dataset_type` in the validation rows."""
    validation_prompts: tuple[str, ...] = ()
    """Questions of the validation sets that can serve as fixed prompts."""
    lengths: Lengths | None = None
    """Tokens of the training rows, sampled. None when the tokenizer is not on this machine."""
    refusals_to_unlearn: bool = False
    """Whether the completions of the rows to unlearn are refusals: pushed away from them, a model learns to answer."""
    free_bytes: int | None = None
    """What a new process could take of the chosen device's memory. None when nobody knows."""
    accelerate: Mapping[str, Any] = MappingProxyType({})
    """What accelerate's configuration file says, by the names of the section `launch`; empty without one."""
    needed_bytes: Callable[[RunConfig, int], int | None] | None = None
    """Predicts the memory of a configuration without "auto" in what decides it, for rows of so many tokens."""


class Decision(NamedTuple):
    value: Any
    reason: str
    """A phrase that stands after "automatic: "."""


class _Size(NamedTuple):
    below: float
    said: str
    r: int
    num_train_epochs: int
    per_device_train_batch_size: int
    max_length: int


SIZES = (
    _Size(100, "below 100", r=8, num_train_epochs=10, per_device_train_batch_size=2, max_length=512),
    _Size(500, "100 to 499", r=16, num_train_epochs=5, per_device_train_batch_size=2, max_length=640),
    _Size(math.inf, "500 and more", r=32, num_train_epochs=3, per_device_train_batch_size=4, max_length=768),
)


def decide(config: RunConfig, facts: Facts) -> tuple[dict[str, Decision], list[str]]:
    """Return the value and reason of each "auto" by key, and what the machine cannot do of what was asked for."""
    decisions: dict[str, Decision] = {}

    def value(key: str, decide_it: Callable[[], Decision]) -> Any:
        section, _, name = key.partition(".")
        written = getattr(getattr(config, section), name)
        if written != "auto":
            return written
        decisions[key] = decide_it()
        return decisions[key].value

    num_rows = facts.num_train_examples
    size = next(size for size in SIZES if num_rows < size.below)

    def by_size(chosen: int) -> Callable[[], Decision]:
        return lambda: Decision(chosen, f"{num_rows} examples: {size.said} -> {chosen}")

    device = value("model.device", lambda: _device(facts))
    kind = device.partition(":")[0]
    value("model.dtype", lambda: _dtype(kind, facts))
    processes = value("launch.num_processes", lambda: _launched("num_processes", 1, facts))
    value("launch.num_machines", lambda: _launched("num_machines", 1, facts))
    sharded = value("launch.strategy", lambda: _launched("strategy", "ddp", facts)) != "ddp" and processes > 1

    rank = value("lora.r", by_size(size.r))
    value("lora.lora_alpha", lambda: Decision(2 * rank, f"twice the rank {rank}"))
    value("lora.target_modules", lambda: _target_modules(config.model.name, facts))

    epochs = value("training.num_train_epochs", by_size(size.num_train_epochs))
    longest = facts.max_position_embeddings
    value("data.max_length", lambda: _max_length(by_size(size.max_length)(), longest, facts.lengths))
    fitting = _Fitting(config, decisions, kind, facts)
    batch = value(
        "training.per_device_train_batch_size", lambda: fitting.batch(by_size(size.per_device_train_batch_size)())
    )
    accumulation = value("training.gradient_accumulation_steps", lambda: _accumulation(batch, processes))
    total_steps = config.training.max_steps or num_optimizer_steps(num_rows, batch, accumulation, epochs, processes)
    value("training.warmup_steps", lambda: _warmup(num_rows, total_steps))
    value("training.activation_checkpointing", lambda: fitting.checkpointing(batch))
    seen = total_steps * batch * accumulation * processes
    value("dpo.precompute_ref_log_probs", lambda: _precompute(seen / max(1, num_rows)))
    value("unlearning.target", lambda: _target(facts))
    for key in ("dpo.precompute_ref_log_probs", "unlearning.target"):
        if key in decisions and key.partition(".")[0] not in method_of(config).sections:
            decisions[key] = decisions[key]._replace(reason=f"not used by {config.method.name}")

    value("evaluation.per_device_eval_batch_size", lambda: _eval_batch(batch, facts.num_parameters))
    value("evaluation.prompts", lambda: _prompts(facts, sharded=sharded))
    value("evaluation.behaviour", lambda: _behaviour(facts, sharded=sharded))
    every = value("evaluation.eval_steps", lambda: _interval(config, total_steps, "evaluations"))
    if not config.data.validation:
        # What a user writes there is refused by the check; a preset's is only for those who bring validation data.
        nothing: dict[str, Any] = {
            "evaluation.eval_steps": None,
            "evaluation.prompts": [],
            "evaluation.behaviour": False,
        }
        decisions |= {key: Decision(without, "no validation set") for key, without in nothing.items()}
        every = None
    value("forgetting.eval_steps", lambda: _gauge_steps(config, total_steps, every))
    value("saving.save_steps", lambda: _save_steps(config, total_steps, every))
    value("saving.best_metric", lambda: _best_metric(config))
    value("early_stopping.metric", lambda: watched(config))
    if config.saving.save_total_limit == 1:
        # As torchtitan does: with a limit of 1 the only whole checkpoint would be deleted before the next is proven.
        decisions["saving.save_total_limit"] = Decision(
            2, "1 raised to 2, so that one is whole while another is written"
        )
    return decisions, list(_impossible(config, kind, facts))


def num_optimizer_steps(
    num_rows: int, batch_size: int, accumulation: int, epochs: float, num_processes: int = 1
) -> int:
    """Return how many updates the Trainer makes, without packing.

    Equal to `transformers.Trainer.set_initial_training_values`: the last, smaller group of an epoch is a step too. Of
    several processes each takes every so many'th batch, and the last ones are filled up from the beginning.
    """
    batches = math.ceil(math.ceil(num_rows / batch_size) / num_processes)
    return max(1, math.ceil(epochs * max(1, math.ceil(batches / accumulation))))


def rows_per_step(config: RunConfig) -> int:
    """Return how many rows an optimizer step learns from, over all processes: the effective batch.

    Args:
        config: Without "auto".
    """
    training = config.training
    batch = settled(training.per_device_train_batch_size) * settled(training.gradient_accumulation_steps)
    return batch * settled(config.launch.num_processes)


def _launched(name: str, otherwise: Any, facts: Facts) -> Decision:
    if name in facts.accelerate:
        return Decision(facts.accelerate[name], "accelerate's configuration file says so")
    return Decision(otherwise, "one process on one device" if name == "num_processes" else "the usual")


def _device(facts: Facts) -> Decision:
    if facts.chosen_device.partition(":")[2]:
        return Decision(facts.chosen_device, "of the GPUs here the one with the most free memory")
    return Decision(facts.device, f"the best device here is {facts.device}")


def _dtype(device: str, facts: Facts) -> Decision:
    if device == "cpu":
        return Decision("float32", "on CPU bfloat16 is slower, and float32 is exact")
    if device == facts.device and not facts.bfloat16:
        return Decision("float16", f"this {device} device has no bfloat16")
    return Decision("bfloat16", f"half the memory of float32 on {device}")


def _target_modules(model: str, facts: Facts) -> Decision:
    if facts.target_modules:
        return Decision(list(facts.target_modules), f"the catalogue's list for {model}")
    return Decision("all-linear", f"the catalogue has no list for {model}")


def _accumulation(batch: int, processes: int) -> Decision:
    steps = max(1, round(EFFECTIVE_BATCH / (batch * processes)))
    rows = batch * steps * processes
    near = "" if rows == EFFECTIVE_BATCH else f", the nearest to {EFFECTIVE_BATCH}"
    factors = f"{batch} x {steps}" + (f" x {processes} processes" if processes > 1 else "")
    return Decision(steps, f"{factors} = {rows} rows per step{near}")


def _warmup(num_rows: int, total_steps: int) -> Decision:
    wanted = min(num_rows // 10, 50)
    longest = total_steps // 3
    if wanted > longest:
        return Decision(longest, f"a third of {total_steps} steps")
    why = "a tenth of the examples, at most 50" if num_rows > 500 else "a tenth of the examples"
    return Decision(wanted, f"{num_rows} examples: {why} -> {wanted}")


class _Fitting:
    """Which of the values that cost memory fit into what is free.

    Args:
        config: As written.
        decisions: Made so far: rank, layers, type of the weights, length.
        kind: Of device.
        facts: Of data, model and machine.
    """

    def __init__(self, config: RunConfig, decisions: dict[str, Decision], kind: str, facts: Facts) -> None:
        self.config, self.decisions, self.kind, self.facts = config, decisions, kind, facts

    def batch(self, by_size: Decision) -> Decision:
        """Return the table's batch, or half of it as often as it takes to fit."""
        free = self.facts.free_bytes
        wanted = self._needed(by_size.value, recompute=self._least_recompute())
        if free is None or wanted is None or wanted <= free:
            return by_size
        rows = by_size.value
        while rows > 1 and (self._needed(rows, recompute=self._least_recompute()) or 0) > free:
            rows //= 2
        short = f"{by_size.value} rows need some {_gigabytes(wanted)}, {_gigabytes(free)} are free"
        if rows == by_size.value:  # of one row there is no half
            return Decision(rows, f"{short}; there is no smaller batch")
        return Decision(rows, f"{short} -> {rows}")

    def checkpointing(self, batch: int) -> Decision:
        """Return whether activations are computed again."""
        free = self.facts.free_bytes
        kept = self._needed(batch, recompute=False)
        if free is None or kept is None:
            return _checkpointing(self.kind, self.facts.num_parameters)
        said = f"some {_gigabytes(kept)} without, {_gigabytes(free)} free"
        if self.kind == "cpu":
            again = kept > free
            return Decision(again, said if again else "on CPU time is scarcer than memory, and it fits without")
        return Decision(kept > COMFORTABLE * free, said)

    def _least_recompute(self) -> bool:
        """A batch is made smaller only where computing activations again, if that is free to choose, does not help."""
        written = self.config.training.activation_checkpointing
        return True if written == "auto" else written

    def _needed(self, rows: int, *, recompute: bool) -> int | None:
        if self.facts.needed_bytes is None:
            return None
        values = self.config.model_dump()
        for key, decision in self.decisions.items():
            section, _, name = key.partition(".")
            values[section][name] = decision.value
        values["training"] |= {"per_device_train_batch_size": rows, "activation_checkpointing": recompute}
        candidate = RunConfig.model_validate(values)
        length: int = settled(candidate.data.max_length)  # decided before the batch
        lengths = self.facts.lengths
        if lengths is not None and not candidate.data.packing:
            length = min(length, lengths.longest)
        return self.facts.needed_bytes(candidate, length)


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:.1f} GB"


def _checkpointing(device: str, num_parameters: int | None) -> Decision:
    if device == "cpu":
        return Decision(False, "on CPU time is scarcer than memory")
    if num_parameters is None:
        return Decision(True, "the model's size is not known")
    billions = f"{num_parameters / 1e9:.2g} billion parameters"
    if num_parameters >= 1_000_000_000:
        return Decision(True, f"{billions}: memory first")
    return Decision(False, f"{billions}: speed first")


def _max_length(by_size: Decision, longest: int | None, lengths: Lengths | None) -> Decision:
    """Return the table's length; more where it would cut rows, never more than the model takes."""
    chosen = by_size
    if lengths is not None and (cut := lengths.share_above(by_size.value)) > CUT_ROWS_ACCEPTED:
        wanted = math.ceil(lengths.longest / LENGTH_STEP) * LENGTH_STEP
        chosen = Decision(
            min(wanted, LONGEST_AUTOMATIC),
            f"{cut:.0%} of the rows are longer than the {by_size.value} of the table; the longest of "
            f"{lengths.counted} has {lengths.longest} tokens",
        )
    if longest is not None and longest < chosen.value:
        return Decision(longest, f"the model's longest sequence, below {chosen.value}")
    return chosen


def _prompts(facts: Facts, *, sharded: bool) -> Decision:
    if sharded:
        return Decision([], "no process has the whole model to be asked")
    prompts = list(facts.validation_prompts)
    return Decision(prompts, f"{len(prompts)} questions of the validation sets")


def _eval_batch(train_batch: int, num_parameters: int | None) -> Decision:
    if num_parameters is not None and num_parameters < 100_000_000:
        return Decision(max(16, train_batch), "a small model")
    return Decision(train_batch, "what fits in training fits here")


def _behaviour(facts: Facts, *, sharded: bool) -> Decision:
    if sharded:
        return Decision(False, "no process has the whole model to be asked")
    if facts.dataset_types:
        return Decision(True, f"validation rows say {' and '.join(sorted(facts.dataset_types))}")
    return Decision(False, "no validation row says metadata.dataset_type")


def _precompute(epochs: float) -> Decision:
    if epochs < 2:
        return Decision(False, "each pair is seen about once, so its reference is needed about once")
    return Decision(True, f"each pair is seen {epochs:.3g} times, and its reference stays what it is")


def _target(facts: Facts) -> Decision:
    if facts.refusals_to_unlearn:
        return Decision("reply", "the completions of the rows to unlearn are refusals")
    return Decision("completion", "the completions of the rows to unlearn are answers")


def watched(config: RunConfig) -> Decision:
    """Return what early stopping watches by itself."""
    if config.data.validation:
        return Decision("eval_loss", "the loss on the validation sets")
    return Decision("loss", "no validation set: the mean training loss of an epoch")


def _save_steps(config: RunConfig, total_steps: int, eval_steps: int | str | None) -> Decision:
    if config.saving.save_epochs is not None:
        return Decision(None, "saving.save_epochs says when")
    if eval_steps is not None:
        return Decision(eval_steps, "with every evaluation")
    return _interval(config, total_steps, "checkpoints")


def _gauge_steps(config: RunConfig, total_steps: int, eval_steps: int | str | None) -> Decision:
    if eval_steps is not None:
        return Decision(eval_steps, "with every evaluation")
    return _interval(config, total_steps, "measurements")


def _interval(config: RunConfig, total_steps: int, of_what: str) -> Decision:
    if config.data.packing and not config.training.max_steps:
        return Decision("epoch", "how many steps packing leaves is not known yet")
    steps = math.ceil(total_steps / EVALUATIONS_PER_RUN)
    if steps > LONGEST_INTERVAL:
        return Decision(LONGEST_INTERVAL, f"{total_steps} steps: at least every {LONGEST_INTERVAL}")
    return Decision(steps, f"{total_steps} steps: about {EVALUATIONS_PER_RUN} {of_what}")


def _best_metric(config: RunConfig) -> Decision:
    sets = list(config.data.validation)
    if method_of(config).pushes_away:
        return Decision(None, "one loss is to stay low and the other to rise: no single one says which is best")
    if len(sets) > 1:
        return Decision("eval_loss", f"the mean of {' and '.join(f'eval_{name}_loss' for name in sets)}")
    if sets:
        return Decision("eval_loss", "the loss on the validation set")
    if method_of(config).trainer != "sft":
        return Decision("loss", "no validation set: the mean training loss of an epoch")
    return Decision(None, "no validation set, no best")


def _impossible(config: RunConfig, device: str, facts: Facts) -> list[str]:
    model, optim = config.model, config.training.optim
    problems = []
    if device != "cpu" and device != facts.device:
        problems.append(f"model.device is {model.device}, but torch can use no such device here, only {facts.device}")
    if device == "cpu" and model.dtype == "float16":
        problems.append("model.dtype is float16, which has no training on CPU; use float32 or bfloat16")
    if device == facts.device and not facts.bfloat16 and model.dtype == "bfloat16":
        problems.append(f"model.dtype is bfloat16, which this {device} device does not have; use float16")
    if device != "cuda" and (model.attn_implementation or "").startswith("flash"):
        problems.append(f"model.attn_implementation is {model.attn_implementation}, which needs a GPU, not {device}")
    if device != "cuda" and optim not in ("adamw_torch_fused", "adamw_torch", "adafactor", "sgd"):
        problems.append(f"training.optim is {optim}, which needs a GPU, not {device}")
    return problems
