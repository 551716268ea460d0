"""The run configuration: every setting, its range, its default and what it means, declared once.

The YAML, the command line's `--set`, the forms and `docs/configuration.md` are generated from here. Names are the
libraries' names (transformers, TRL, PEFT). A setting that may be "auto" is decided in `engine.config.automatic`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

Auto: TypeAlias = Literal["auto"]
Count: TypeAlias = Annotated[int, Ge(1)]
Text: TypeAlias = Annotated[str, MinLen(1)]

METRIC = r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,79}$"
"""What the name of a metric looks like."""

T = TypeVar("T")


class Section(BaseModel):
    """A group of settings. Unknown keys and values of another type are refused: `"3"` is not a number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def settled(value: T | Auto) -> T:
    """Return a resolved value; a bug in `engine.config.automatic` when it still is "auto"."""
    assert value != "auto"
    return value


def as_list(value: object) -> object:
    """Let one file stand for a list of one file."""
    return [value] if isinstance(value, str) else value


def as_validation_sets(value: object) -> object:
    """Return a mapping of set name to file from any form a person may write.

    A single file is called "validation". Of several, the names are those of the files without `_val`,
    `_validation` or `_eval`: `retain_val.jsonl` and `unlearn_val.jsonl` are "retain" and "unlearn".

    Raises:
        ValueError: Two sets would have one name, or an entry is neither a path nor `{path: ..., name: ...}`.
    """
    if value is None:
        return {}
    entries = as_list(value)
    if not isinstance(entries, list):
        return value
    sets: dict[str, str] = {}
    for entry in entries:
        if isinstance(entry, str):
            entry = {"path": entry}
        known = isinstance(entry, dict) and "path" in entry and set(entry) <= {"path", "name"}
        if not known or not all(isinstance(v, str) for v in entry.values()):
            raise ValueError("an entry is a path, or has a path and a name")
        name = entry.get("name") or ("validation" if len(entries) == 1 else _set_name(entry["path"]))
        if name in sets:
            raise ValueError(f"two sets are called {name}; give them names")
        sets[name] = entry["path"]
    return sets


def as_mapping(value: dict[str, str]) -> dict[str, str]:
    """Return what the columns hold, where it makes rows; empty where that is to be recognised.

    Raises:
        ValueError: A field there is not, or too few of them.
    """
    if value:
        from engine.data.shapes import from_mapping  # only where something is mapped

        from_mapping(value)
    return value


def _set_name(path: str) -> str:
    stem = path.replace("\\", "/").rsplit("/", 1)[-1].split(".")[0]
    for ending in ("_validation", "_val", "_eval", "-validation", "-val", "-eval"):
        stem = stem.removesuffix(ending)
    return stem


class ModelSection(Section):
    """The base model and how its weights are held."""

    name: Text = Field(default="tiny", description="Base model: `tiny` (built in), a folder, or a Hub name `org/name`.")
    revision: Text | None = Field(
        default=None, description="Branch, tag or commit of a Hub model. null: the newest on the main branch."
    )
    adapter: Text | None = Field(
        default=None,
        description="Adapter to go on training instead of a new one: a run (`voice-1`), one of its checkpoints "
        "(`voice-1@120`, `voice-1@best`), or a folder. It is copied into the new run; the settings of `lora` are then "
        "its own where it is trained further. null: a new adapter.",
        json_schema_extra={"accepts": "the name of a run, RUN@CHECKPOINT, a folder, or null"},
    )
    adapter_mode: Literal["continue", "merge", "stack"] = Field(
        default="continue",
        description="What becomes of `adapter`. continue: it is trained further. merge: it is merged into the base "
        "for good, in the run's own copy, and a new adapter is trained on that, so that what was learned before stays. "
        "stack: it stays as it is and a new one is trained beside it, without a copy of the base; a checkpoint holds "
        "both as one adapter, whose rank is the sum of theirs. "
        "With `adapter: latest` and nothing in `models/latest` yet, the run begins from the base, as a first session.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="Type of the base weights and of the arithmetic. auto: bfloat16 where the device has it, "
        "float32 on CPU.",
    )
    load_in_4bit: bool = Field(default=False, description="Quantise the base weights to 4 bits (QLoRA).")
    load_in_8bit: bool = Field(default=False, description="Quantise the base weights to 8 bits.")
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = Field(
        default="nf4", description="Kind of 4-bit number. Used with `load_in_4bit` only."
    )
    bnb_4bit_use_double_quant: bool = Field(
        default=True,
        description="Quantise the quantisation constants too, some 0.4 bits per weight less. "
        "Used with `load_in_4bit` only.",
    )
    attn_implementation: Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3"] | None = Field(
        default=None, description="Attention kernel. null: what transformers chooses, sdpa for nearly every model."
    )
    trust_remote_code: bool = Field(
        default=False, description="Run Python code that the model's repository brings. Never true unless written here."
    )
    chat_template: Text | None = Field(
        default=None,
        description="Template that writes conversations as the model reads them, instead of its own: a .jinja file. "
        "Needed for a model that has none. In a run's own file it is the template itself. null: the model's.",
        json_schema_extra={"accepts": "the path of a .jinja file, or null"},
    )
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:[0-9]{1,3})?)$")] = Field(
        default="auto",
        description="Where to train. cuda is the first GPU. auto: a GPU when there is one.",
        json_schema_extra={"accepts": "auto, cpu, cuda, cuda:0 (any number) or mps"},
    )


class DataSection(Section):
    """The rows to learn from, and those only to measure with."""

    train: Annotated[list[Text], BeforeValidator(as_list)] = Field(
        default=[],
        description="Training files, read one after the other. Needed.",
        json_schema_extra={"accepts": "a path or a list of paths"},
    )
    validation: Annotated[
        dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")], Text],
        BeforeValidator(as_validation_sets),
    ] = Field(
        default={},
        description="Validation sets, each with a loss curve of its own, as `name: path`. A single path is called "
        "`validation`; of a list of paths, `retain_val.jsonl` is called `retain`.",
        json_schema_extra={
            "accepts": "a mapping of names (letters, digits, _ and -) to paths, a path, or a list of paths"
        },
    )
    dev: Text | None = Field(
        default=None, description="The small file that `train --dev` learns from instead. null: there is none."
    )
    mapping: Annotated[dict[Text, Text], AfterValidator(as_mapping)] = Field(
        default={},
        description="What the columns of the files hold, as `field: column`, such as `prompt: question_text`. "
        "{}: recognised from a sample of each file; `ftconsole data convert` prints what was.",
        json_schema_extra={
            "accepts": "a mapping of prompt, context, completion, system, history, messages, text, chosen, rejected, "
            "label, input_ids or labels to column names"
        },
    )
    max_length: Annotated[int, Ge(8)] | Auto = Field(
        default="auto",
        description="Tokens per row; what is longer is cut. auto: 512, 640 or 768 by the number of rows.",
    )
    completion_only_loss: bool = Field(default=True, description="Learn the answers only. false: the questions too.")
    packing: bool = Field(
        default=False,
        description="Put several rows into one sequence of `max_length` tokens. Faster on many short rows; "
        "the same number of rows then makes fewer steps.",
    )
    shuffle: bool = Field(default=True, description="Another order of the training rows in every epoch.")
    replay: Annotated[float, Ge(0), Le(1)] = Field(
        default=0.0,
        description="Rows of what the runs behind `model.adapter` were trained on that are mixed in, as a share of the "
        "new rows: against forgetting. Spread evenly over their files.",
    )
    limit: Count | None = Field(
        default=None, description="Use this many rows of each training file, from its start. null: all."
    )
    accept: Annotated[list[Annotated[str, Field(pattern=r"^[a-z]+(-[a-z]+)+$")]], BeforeValidator(as_list)] = Field(
        default=[],
        description="Codes of what `ftconsole data check` finds grave, where the run is to start all the same; "
        "they are listed in command-line.md.",
        json_schema_extra={"accepts": "a code, such as answer-cut, or a list of codes"},
    )


class MethodSection(Section):
    """How the model learns."""

    name: Literal["sft", "dpo", "kto", "refusal", "gradient_ascent", "grad_diff", "npo", "simnpo"] = Field(
        default="sft",
        description="sft: supervised fine-tuning on answers. dpo: direct preference optimization on pairs of a chosen "
        "and a rejected answer. kto: Kahneman-Tversky optimization on answers marked as good or bad. Unlearning, on "
        "rows whose `metadata.dataset_type` is retain or unlearn: refusal learns the answers and the refusals as they "
        "stand; gradient_ascent, grad_diff, npo and simnpo push the model away from what it says to the questions of "
        "the unlearn rows.",
    )


REFERENCE = (
    "What the model is compared with. start: itself as it begins, which after another stage is that one's result, with "
    "`model.adapter` that adapter, else the base. base: the base, the adapter off; the same unless there is one."
)


class DpoSection(Section):
    """Direct preference optimization. Used with `method.name: dpo`."""

    beta: Annotated[float, Gt(0), Le(100)] = Field(
        default=0.1, description="Temperature: the higher, the nearer the model stays to the reference."
    )
    loss_type: Literal[
        "sigmoid", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
        "apo_zero", "apo_down", "discopop", "sigmoid_norm",
    ] = Field(default="sigmoid", description="Loss. sigmoid is that of the DPO paper.")  # fmt: skip
    label_smoothing: Annotated[float, Ge(0), Lt(0.5)] = Field(
        default=0.0,
        description="How often a preference is taken to be the wrong way round. For robust, exo_pair, aot and "
        "aot_unpaired; exo_pair needs it above 0.",
    )
    precompute_ref_log_probs: bool | Auto = Field(
        default="auto",
        description="Compute the reference's log-probabilities once, before the first step, instead of at every step. "
        "Kept with the prepared rows for the next start. auto: from two epochs on.",
    )
    reference: Literal["start", "base"] = Field(default="start", description=REFERENCE)


class KtoSection(Section):
    """Kahneman-Tversky optimization. Used with `method.name: kto`."""

    beta: Annotated[float, Gt(0), Le(100)] = Field(
        default=0.1, description="Temperature: the higher, the nearer the model stays to the reference."
    )
    loss_type: Literal["kto", "apo_zero_unpaired"] = Field(
        default="kto", description="Loss. kto is that of the paper, and needs 2 rows per forward pass at least."
    )
    desirable_weight: Annotated[float, Gt(0), Le(1000)] = Field(default=1.0, description="Weight of good answers.")
    undesirable_weight: Annotated[float, Gt(0), Le(1000)] = Field(default=1.0, description="Weight of bad answers.")
    reference: Literal["start", "base"] = Field(default="start", description=REFERENCE)


class UnlearningSection(Section):
    """Unlearning by pushing away. Used with `method.name: gradient_ascent`, `grad_diff`, `npo` and `simnpo`."""

    target: Literal["completion", "reply", "auto"] = Field(
        default="auto",
        description="What is unlearned of an unlearn row: its completion, or the base model's own reply to its "
        "question, made once before the first step. auto: reply where the completions are refusals.",
    )
    beta: Annotated[float, Gt(0), Le(100)] = Field(
        default=0.1, description="Temperature of npo and simnpo: the lower, the more like gradient ascent."
    )
    gamma: Annotated[float, Ge(0), Le(100)] = Field(default=0.0, description="Margin of simnpo, in nats per token.")
    ascent_limit: Annotated[float, Gt(0), Le(1000)] | None = Field(
        default=None,
        description="Of gradient_ascent and grad_diff: nats from which a token of an answer is pushed no further. "
        "null: pushed for ever, as in their papers.",
    )
    retain_per_unlearn: Annotated[int, Ge(0), Le(64)] = Field(
        default=1,
        description="Retain rows in a step for each unlearn row; an epoch is a pass over the unlearn rows. "
        "0: none. gradient_ascent takes none whatever stands here.",
    )
    retain_loss: Literal["nll", "kl"] = Field(
        default="nll",
        description="What keeps the retain rows: their negative log-likelihood, or the divergence of the model from "
        "the base, the adapter off, on them.",
    )
    retain_weight: Annotated[float, Ge(0), Le(1000)] = Field(
        default=1.0, description="Weight of the retain rows' loss beside that of the unlearn rows."
    )
    retain_floor: Annotated[float, Gt(0), Lt(1)] | None = Field(
        default=None,
        description="Stop when `eval_retain_mean_token_accuracy` falls below this at an evaluation. Needs validation "
        "sets called `retain` and another. null: never.",
    )


class EarlyStoppingSection(Section):
    """When a run may end before its last step. The formula is below the table."""

    armed: bool = Field(
        default=False, description="Whether it may end the run. Can be changed while it runs: `ftconsole early-stop`."
    )
    criterion: Literal["drop", "patience", "threshold"] = Field(
        default="drop",
        description="drop: the metric no longer improves by more than its noise. patience: it has not improved for "
        "some observations. threshold: it has reached a value.",
    )
    metric: Annotated[str, Field(pattern=METRIC)] = Field(
        default="auto",
        description="What is watched. A metric of validation is observed at each evaluation, one of training as its "
        "mean over each epoch. auto: eval_loss, without validation set loss.",
        json_schema_extra={"accepts": "the name of a metric, or auto"},
    )
    window: Annotated[int, Ge(3), Le(1000)] = Field(
        default=5, description="Newest observations that `drop` looks at; it decides nothing before there are so many."
    )
    min_drop: Annotated[float, Ge(0), Lt(1)] = Field(
        default=0.01,
        description="`drop` goes on while the metric improves over the window by more than this fraction of its value "
        "at the start of the window; `patience` counts smaller improvements as none.",
    )
    minimum_exposure: Annotated[float, Ge(0), Le(10_000)] = Field(
        default=1.0,
        description="How often each training row must have been seen before anything ends the run: 1 is one pass over "
        "the rows.",
    )
    patience: Count = Field(default=3, description="Observations without improvement that `patience` waits for.")
    threshold: float | None = Field(
        default=None, description="Value at which `threshold` ends the run, with which it is needed. null: none."
    )


class ForgettingSection(Section):
    """How much of what the base knew is lost on the way. The formula is below the table."""

    gauge: bool = Field(
        default=False,
        description="Measure it: the loss on a small fixed set of texts, against the base's. A curve "
        "(`eval_forgetting`) and an alarm, whatever the method.",
    )
    probe: Text = Field(
        default="datasets/probe/general.jsonl",
        description="The texts: a file of plain text or of questions with answers, of which the answers count. Some "
        "thousand tokens are enough. The default is 48 texts of general knowledge and language that came with the "
        "program; nothing of it should be trained on.",
        json_schema_extra={"accepts": "a path"},
    )
    eval_steps: Count | Literal["epoch", "auto"] = Field(
        default="auto",
        description="Optimizer steps between two measurements; the untrained model and the last step are measured "
        "besides. auto: with every evaluation, without a validation set about ten in the run.",
    )
    alarm: Annotated[float, Gt(0), Le(100)] = Field(
        default=0.1,
        description="Change at which the alarm is raised, in nats per token: 0.1 is a perplexity 11 % higher than the "
        "base's.",
    )
    stop: bool = Field(
        default=False, description="Whether the alarm ends the run, as its last step would. false: it is told only."
    )


class LoraSection(Section):
    """The adapter: small matrices beside the frozen base weights."""

    r: Count | Auto = Field(default="auto", description="Rank. auto: 8, 16 or 32 by the number of rows.")
    lora_alpha: Count | Auto = Field(
        default="auto", description="The adapter's output is scaled by lora_alpha / r. auto: twice the rank."
    )
    lora_dropout: Annotated[float, Ge(0), Lt(1)] = Field(
        default=0.05, description="Fraction of the adapter's inputs dropped in training."
    )
    target_modules: Annotated[list[Text], MinLen(1)] | Literal["all-linear", "auto"] = Field(
        default="auto",
        description="Which layers get an adapter. auto: the catalogue's list for the model, else all-linear.",
        json_schema_extra={"accepts": "a list of module names, all-linear, or auto"},
    )
    use_rslora: bool = Field(
        default=False, description="Scale by lora_alpha / sqrt(r) instead; steadier at high ranks."
    )
    use_dora: bool = Field(default=False, description="Learn magnitude and direction apart (DoRA). Slower.")
    # `bias` is not offered: it trains the base's own weights, so that switching the adapter off would not give it back.
    init_lora_weights: Literal[True, "gaussian", "orthogonal", "eva", "pissa", "pissa_niter_16", "olora"] = Field(
        default=True,
        description="How the adapter's matrices start; whichever, the model is the base at first. true: PEFT's "
        "default. orthogonal needs an even rank. eva looks at some training rows first. **These change the base** it "
        "is trained on: pissa (pissa_niter_16 faster), olora; what is saved is an ordinary adapter of twice the rank "
        "for the base as it was.",
        json_schema_extra={"accepts": "true, gaussian, orthogonal, eva, pissa, pissa_niter_16 or olora"},
    )
    modules_to_save: list[Text] | None = Field(
        default=None, description="Further modules trained and saved whole, such as `embed_tokens`. null: none."
    )


Scheduler: TypeAlias = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "cosine_with_min_lr",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "warmup_stable_decay",
]
Optimizer: TypeAlias = Literal[
    "adamw_torch_fused",
    "adamw_torch",
    "adamw_bnb_8bit",
    "paged_adamw_32bit",
    "paged_adamw_8bit",
    "lion_32bit",
    "lion_8bit",
    "adafactor",
    "sgd",
]


class TrainingSection(Section):
    """The optimizer loop."""

    num_train_epochs: Annotated[float, Gt(0)] | Auto = Field(
        default="auto", description="Passes over the training rows. auto: 10, 5 or 3 by the number of rows."
    )
    max_steps: Count | None = Field(
        default=None, description="Optimizer steps, whatever `num_train_epochs` says. null: the epochs decide."
    )
    per_device_train_batch_size: Count | Auto = Field(
        default="auto", description="Rows per forward pass. auto: 2, or 4 from 500 rows on."
    )
    gradient_accumulation_steps: Count | Auto = Field(
        default="auto", description="Forward passes per optimizer step. auto: what makes 8 rows per step."
    )
    learning_rate: Annotated[float, Gt(0), Le(1)] = Field(default=2e-4, description="Peak of the schedule.")
    lr_scheduler_type: Scheduler = Field(
        default="cosine",
        description="Shape of the schedule. cosine_with_min_lr and warmup_stable_decay need "
        "`trainer.lr_scheduler_kwargs`.",
    )
    warmup_steps: Annotated[int, Ge(0)] | Annotated[float, Ge(0), Lt(1)] | Auto = Field(
        default="auto",
        description="Steps from 0 to the peak; below 1 a fraction of all steps. "
        "auto: a tenth of the number of rows, at most 50 and at most a third of all steps.",
        json_schema_extra={"accepts": "a whole number of steps from 0, a fraction from 0 to below 1, or auto"},
    )
    weight_decay: Annotated[float, Ge(0), Le(1)] = Field(default=0.0, description="Decoupled weight decay per step.")
    max_grad_norm: Annotated[float, Ge(0)] = Field(
        default=1.0, description="Longer gradients are scaled down to this L2 norm. 0: never."
    )
    optim: Optimizer = Field(
        default="adamw_torch_fused",
        description="Optimizer. The 8bit, paged and lion ones are bitsandbytes' and need a GPU.",
    )
    # numpy's generator, which transformers seeds too, takes 32 bits.
    seed: Annotated[int, Ge(0), Le(2**32 - 1)] = Field(default=42, description="Of every random choice.")
    activation_checkpointing: bool | Auto = Field(
        default="auto",
        description="Compute activations again in the backward pass: less memory, a fifth slower. "
        "auto: on a GPU from 1 billion parameters on.",
    )
    logging_steps: Count = Field(default=1, description="Optimizer steps between two points of the curves.")
    dataloader_num_workers: Annotated[int, Ge(0), Le(256)] = Field(
        default=0, description="Processes that prepare batches. 0: the worker itself."
    )
    report_to: list[Literal["wandb", "tensorboard", "trackio"]] = Field(
        default=[],
        description="Also report to these; each is an optional package. Metrics leave the machine with wandb.",
    )


class EvaluationSection(Section):
    """What is measured while training, and before and after."""

    eval_steps: Count | Literal["epoch", "auto"] | None = Field(
        default="auto",
        description="Optimizer steps between two evaluations. null: none. auto: about ten in the run, "
        "at least every 500 steps. Needs a validation set.",
    )
    per_device_eval_batch_size: Count | Auto = Field(
        default="auto",
        description="Rows per forward pass. auto: as in training; 16 for models below 100 million parameters.",
    )
    prompts: list[Text] | Text = Field(
        default="auto",
        description="Fixed prompts, answered again at each evaluation: a list, or a text file with one per line. "
        "auto: some questions of the validation sets. []: none. Needs a validation set.",
        json_schema_extra={"accepts": "a list of prompts, the path of a text file, or auto"},
    )
    max_new_tokens: Annotated[int, Ge(1), Le(8192)] = Field(default=64, description="Longest answer, in tokens.")
    behaviour: bool | Auto = Field(
        default="auto",
        description="Ask the held-out questions before and after, and count what is answered and what is refused. "
        "auto: when validation rows say `metadata.dataset_type`.",
    )
    behaviour_limit: Count | None = Field(
        default=100, description="Questions asked of each kind, retain and unlearn. null: all."
    )
    suite: Literal["temporal"] | None = Field(
        default=None,
        description="Suite that the run asks of its own checkpoints, as `ftconsole evaluate` does; results stand in "
        "the log, with the checkpoints, and in `evaluations/`. What fails there is told and stops nothing. null: none.",
    )
    suite_at: Annotated[list[Literal["end", "best", "checkpoint"]], BeforeValidator(as_list), MinLen(1)] = Field(
        default=["end"],
        description="Which weights are asked: those after the last step, each that becomes the best, each checkpoint "
        "of `saving.save_steps` or one that was asked for.",
        json_schema_extra={"accepts": "end, best or checkpoint, or a list of them"},
    )
    suite_test: Annotated[list[Text], BeforeValidator(as_list)] = Field(
        default=[],
        description="Files of questions, whose rows say retain or unlearn in `metadata.dataset_type`. "
        "[]: the validation sets.",
        json_schema_extra={"accepts": "a path or a list of paths"},
    )
    suite_limit: Count | None = Field(
        default=100, description="Questions asked of each kind, spread evenly over the files. null: all."
    )
    suite_max_new_tokens: Annotated[int, Ge(1), Le(8192)] = Field(
        default=256, description="Longest reply of the suite, in tokens."
    )


class SavingSection(Section):
    """Checkpoints: when they are written and which are kept."""

    save_steps: Count | Literal["epoch", "auto"] | None = Field(
        default="auto",
        description="Optimizer steps between two checkpoints. null: only on request and at the end. "
        "auto: with every evaluation, else about ten in the run.",
    )
    save_total_limit: Count | None = Field(
        default=3, description="Newest checkpoints kept, at least 2; best and final are kept besides. null: all."
    )
    save_epochs: Count | None = Field(
        default=None, description="Epochs between two checkpoints, instead of `save_steps`. null: `save_steps` decides."
    )
    best_metric: Annotated[str, Field(pattern=METRIC)] | None = Field(
        default="auto",
        description="The metric whose best value makes the best checkpoint: `eval_loss`, `eval_<set>_loss` or any "
        "other that is logged; one of training counts as its mean over an epoch. null: there is no best. "
        "auto: eval_loss, with several sets the mean of theirs; without a validation set loss for dpo and kto; "
        "else null.",
        json_schema_extra={"accepts": "the name of a metric, null or auto"},
    )
    greater_is_better: bool | None = Field(
        default=None,
        description="Whether the highest value of `best_metric` is the best. null: by its name; accuracies, margins "
        "and rewards of chosen answers are best when high.",
    )
    save_best: bool = Field(default=True, description="Keep the best adapter in `best/`.")
    promote: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] | None = Field(
        default=None,
        description="Name in `models/` that the result is copied to when the run finishes: its best adapter, else its "
        "last. `latest` may be there already: that becomes `previous`, and `ftconsole rollback` exchanges the two. "
        "null: none.",
        json_schema_extra={"accepts": "a name of letters, digits, dots, hyphens and underscores, or null"},
    )
    wait_for_room: Annotated[float, Ge(0), Le(86_400)] = Field(
        default=1_800.0,
        description="Seconds a run waits on a full disk before it ends. Once there is room it goes on by itself.",
    )


class LaunchSection(Section):
    """How many processes train together, and how the worker's is treated."""

    num_processes: Count | Auto = Field(
        default="auto",
        description="Processes that train together, those of all machines counted: each has a GPU of its own, or on "
        "CPU a share of the cores. A step then learns from `per_device_train_batch_size` x "
        "`gradient_accumulation_steps` x this many rows. auto: what `config_file` says, else 1.",
    )
    num_machines: Count | Auto = Field(
        default="auto",
        description="Machines, each with as many of the processes, all with the run's folder at the same path. The "
        "others join with `ftconsole join RUN MACHINE`. auto: what `config_file` says, else 1.",
    )
    strategy: Literal["ddp", "fsdp", "deepspeed", "auto"] = Field(
        default="auto",
        description="ddp: each process holds the whole model. fsdp, deepspeed: the model is cut up between them, for "
        "one that does not fit into a GPU; deepspeed needs that package. auto: what `config_file` says, else ddp.",
    )
    config_file: Text | None = Field(
        default=None,
        description="accelerate's own configuration file, as `accelerate config` writes it. What it says of processes, "
        "machines and strategy holds where nothing else is set here. It is copied into the run. null: none; the "
        "user's default of accelerate is not read.",
        json_schema_extra={"accepts": "the path of a .yaml or .json file, or null"},
    )
    main_process_ip: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,253}$")] | None = Field(
        default=None,
        description="Address of the machine that the run is started on, as the others reach it. Needed with several "
        "machines. null: what `config_file` says.",
        json_schema_extra={"accepts": "a name or an address, or null"},
    )
    main_process_port: Annotated[int, Ge(1), Le(65_535)] | None = Field(
        default=None,
        description="Port there on which the processes find each other. null: what `config_file` says, else 29500 "
        "with several machines, and with one any that is free.",
    )

    grace_seconds: Annotated[float, Ge(0), Le(3600)] = Field(
        default=10.0, description="How long a worker told to stop at once may take before it is killed."
    )
    retry_smaller_batch: bool = Field(
        default=True,
        description="When memory runs out in a training step, go on from the newest checkpoint with fewer rows at a "
        "time and more of them accumulated: every step still learns from the same rows.",
    )


class RunConfig(Section):
    """Everything that decides what a run does."""

    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    method: MethodSection = MethodSection()
    lora: LoraSection = LoraSection()
    dpo: DpoSection = DpoSection()
    kto: KtoSection = KtoSection()
    unlearning: UnlearningSection = UnlearningSection()
    training: TrainingSection = TrainingSection()
    evaluation: EvaluationSection = EvaluationSection()
    early_stopping: EarlyStoppingSection = EarlyStoppingSection()
    forgetting: ForgettingSection = ForgettingSection()
    saving: SavingSection = SavingSection()
    launch: LaunchSection = LaunchSection()
    trainer: dict[str, Any] = Field(
        default={},
        description="Any other option of the method's trainer in TRL, under its own name, such as `adam_beta2`.",
    )
