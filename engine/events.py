"""What a run can say: one frozen dataclass per sentence, in the past tense.

`events.jsonl` holds one JSON object per line: `seq` (1, 2, 3 ... without gaps, over all writers), `time`
(Unix seconds), `event` (the class name) and the fields. Numbers that JSON cannot hold are written as the
strings "NaN", "Infinity" and "-Infinity", so that `jq` and every strict parser can read every line.

Order is the order of `seq`, never of `time`: clocks jump.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

JSON: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """The base of all sentences."""


@dataclass(frozen=True, slots=True)
class RunCreated(Event):
    """The run directory exists. Always the first line of a log."""

    name: str
    method: str
    """A value of `method.name`: "sft", "dpo", "npo" ..."""
    model: str
    """Base model as the user named it: a hub name, a folder, or "tiny"."""
    parent: str | None
    """Name of the run whose weights this one starts from; None when it starts from the base."""


@dataclass(frozen=True, slots=True)
class KeeperStarted(Event):
    """A keeper took the lock and is about to start a worker. A resumed run has several."""

    attempt: int
    """1 for the first start, then one more for each resume."""
    pid: int
    resumed_from: str | None
    """Checkpoint folder relative to the run, None for a start from the beginning."""


@dataclass(frozen=True, slots=True)
class StageChanged(Event):
    """The worker went on to another part of its work; the words are for people."""

    stage: str
    """"starting", "loading", "preparing", "training", "evaluating", "answering", "saving", "ending"."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StageBegun(Event):
    """A run in several stages begins one of them, or goes on in it."""

    name: str
    number: int
    """1 for the first."""
    count: int
    """How many there are."""
    method: str
    """A value of `method.name`."""
    first_step: int
    """Optimizer steps of the stages before it: its own first is the one after."""
    first_epoch: float
    begins_with: str
    """"the result of stage sft"; empty for the first."""
    reference: str
    """What dpo and kto compare with: "the result of stage sft", "the base"; empty for other methods."""


@dataclass(frozen=True, slots=True)
class StageEnded(Event):
    """A stage has taken its steps or was stopped early; the next one begins with its result."""

    name: str
    step: int
    path: str
    """Of its adapter, relative to the run: `stages/sft`."""
    detail: str
    """Why before its last step; empty when it took them all."""


@dataclass(frozen=True, slots=True)
class EarlierLearning(Event):
    """What was learned before went into this run, or there was nothing yet."""

    mode: str
    """"continue": its adapter is trained further; "merge": it is part of the base now; "stack": it is
    frozen beside a new one; "none": a first session."""
    parent: str | None
    """The run it is from; None where there is none, or where it is of another tool."""
    adapter: str
    """As `model.adapter` names it."""
    detail: str


@dataclass(frozen=True, slots=True)
class CheckpointPromoted(Event):
    """The result was copied to `models/`, as `saving.promote` asked."""

    path: str
    """Relative to the run: `best` or `final`."""
    name: str
    """In `models/`."""
    detail: str


@dataclass(frozen=True, slots=True)
class DataPrepared(Event):
    """A split was rendered, tokenised and masked. `rows_in == rows_kept + rows_dropped`."""

    split: str
    """"train", or the name of a validation set ("validation", "retain", "unlearn")."""
    rows_in: int
    rows_kept: int
    rows_dropped: int
    dropped: list[dict[str, Any]]
    """The first 50 dropped rows: `path`, `line` (1 is the first) and `reason`."""
    num_tokens: int
    """Tokens of all kept rows, prompts included, before padding."""
    num_trained_tokens: int
    """Tokens whose label is not masked."""
    rows_cut: int = 0
    """Kept rows that are longer than `data.max_length`, so that the end of their answer is not learned."""


@dataclass(frozen=True, slots=True)
class TrainingStarted(Event):
    """The optimizer loop is about to begin or to go on."""

    total_steps: int
    """Optimizer steps the whole run will have, those before a resume included."""
    num_train_epochs: float
    resumed_from_step: int
    """0 for a start from the beginning. Steps after it that the log already has are superseded."""
    num_parameters: int
    """All parameters of the model, adapter included."""
    num_trainable_parameters: int
    device: str
    """"cpu", "cuda:0 NVIDIA H200", "mps"."""
    dtype: str
    """Of the base weights: "float32", "bfloat16", "float16", "nf4", "int8"."""


@dataclass(frozen=True, slots=True)
class StepFinished(Event):
    """The optimizer applied one update (or several, when `logging_steps` is above 1)."""

    step: int
    """1 is the first update. Counts optimizer steps, not micro-batches."""
    epoch: float
    num_tokens: int
    """Tokens seen since the beginning of the run, prompts included."""
    seconds: float
    """Wall time per optimizer step since the last report, data loading included; pauses are not counted."""
    metrics: dict[str, float]
    """As the trainer names them: `loss`, `grad_norm` (before clipping), `learning_rate`, `entropy`,
    `mean_token_accuracy`, `tokens_per_second` ... Any may be NaN."""


@dataclass(frozen=True, slots=True)
class EvaluationFinished(Event):
    """The validation sets were scored."""

    step: int
    epoch: float
    num_tokens: int
    seconds: float
    metrics: dict[str, float]
    """`eval_loss` or, with several sets, `eval_retain_loss` and `eval_unlearn_loss`, and what else
    the trainer reports."""


@dataclass(frozen=True, slots=True)
class EpochFinished(Event):
    """The training rows, or what was left of them, have been passed over once more."""

    epoch: int
    """1 is the first pass, of the stage where there are several."""
    step: int
    num_tokens: int
    seconds: float
    """Wall time of the training steps of this pass, as far as this attempt took them."""
    metrics: dict[str, float]
    """Means over the optimizer steps of the pass, as far as `training.logging_steps` reports them: `loss` ..."""


@dataclass(frozen=True, slots=True)
class EarlyStoppingJudged(Event):
    """Early stopping looked at a new observation of its metric, or was armed or disarmed."""

    step: int
    armed: bool
    metric: str
    value: float
    """The newest observation; NaN before the first."""
    exposure: float
    """How often each training row has been seen."""
    minimum_exposure: float
    stops_in: int | None
    """Observations after which it would end the run if nothing changed; 0 when it has. None: no end is in sight."""
    at: str
    """What an observation is: "evaluation", "epoch", or with warm restarts "cycle"."""
    reason: str
    """What the criterion found, in a few words with the values."""


@dataclass(frozen=True, slots=True)
class ForgettingMeasured(Event):
    """The model was compared with its base on the probe. The figure is a curve too: `eval_forgetting`."""

    step: int
    change: float
    """Loss of the model minus loss of the base, in nats per token; above 0 something is lost."""
    loss: float
    base_loss: float
    alarm: float
    """The change from which on `alarmed` is true."""
    alarmed: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class SamplesAnswered(Event):
    """The fixed prompts were answered again. The answers are in `samples.jsonl` under this step."""

    step: int
    count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BehaviourMeasured(Event):
    """Held-out questions were asked and the replies scored."""

    step: int
    when: str
    """"before" (no update applied yet) or "after" (the weights in `final/`)."""
    scores: dict[str, float]
    """Fractions in [0, 1]: `retain_answered`, `retain_refused`, `unlearn_refused`, `unlearn_leaked`."""
    counts: dict[str, int]
    """How many questions each fraction is over."""
    seconds: float


@dataclass(frozen=True, slots=True)
class CheckpointEvaluated(Event):
    """A suite was asked of a checkpoint just written, as `evaluation.suite` says."""

    step: int
    path: str
    """Relative to the run: `checkpoints/checkpoint-50`, `best`, `final`."""
    suite: str
    scores: dict[str, float]
    """Fractions in [0, 1]: `accuracy` (right over all), and of the temporal suite those of `BehaviourMeasured`."""
    counts: dict[str, int]
    """How many questions each fraction is over."""
    grade: str
    """"excellent", "acceptable" or "poor"."""
    result: str
    """File with every reply, relative to the run."""
    seconds: float


@dataclass(frozen=True, slots=True)
class DeviceMeasured(Event):
    """What the run's device and process used at one moment."""

    device: str
    used_bytes: int | None
    """Device memory in use by everyone on CUDA; resident memory of the worker's processes on CPU."""
    total_bytes: int | None
    """Of the device on CUDA, of the host on CPU. None where it cannot be read."""
    reserved_bytes: int | None
    """What torch's allocator holds. None on CPU."""
    utilization: float | None
    """Busy fraction of the device in [0, 1]; of all cores on CPU. None where it cannot be read."""
    temperature: float | None
    """Degrees Celsius. None where it cannot be read."""
    power_watts: float | None
    """None where it cannot be read."""


@dataclass(frozen=True, slots=True)
class CheckpointSaved(Event):
    """A complete directory was hashed, synced and renamed to its final name."""

    step: int
    path: str
    """Relative to the run: `checkpoints/checkpoint-50`, `best`, `final`."""
    used_bytes: int
    reason: str
    """"scheduled", "requested", "stopping", "stage" (the end of one), "best", "final"."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The newest training and validation figures at that step."""


@dataclass(frozen=True, slots=True)
class CheckpointRemoved(Event):
    """Rotation or a person deleted a checkpoint that its manifest proved to be ours."""

    step: int
    path: str
    reason: str
    """"beyond saving.save_total_limit", or by whom: "deleted by ada@host"."""


@dataclass(frozen=True, slots=True)
class CheckpointSkipped(Event):
    """Resume looked at a checkpoint and did not use it."""

    path: str
    reason: str
    """One plain sentence: what is missing or differs."""


@dataclass(frozen=True, slots=True)
class CommandConfirmed(Event):
    """The worker (or keeper) took a command from `commands.jsonl`."""

    command_id: str
    command: str
    accepted: bool
    detail: str
    """What it did, or why not, in a few words: "learning_rate 0.001 from step 51"."""
    by: str
    """"worker" or "keeper"."""


@dataclass(frozen=True, slots=True)
class RunPaused(Event):
    """No further step is taken until the run goes on. The memory stays in use."""

    step: int


@dataclass(frozen=True, slots=True)
class RunUnpaused(Event):
    """Training goes on after a pause."""

    step: int
    paused_seconds: float


@dataclass(frozen=True, slots=True)
class Warned(Event):
    """Something the user should know; the run goes on."""

    code: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class RunEnded(Event):
    """The worker reached an end of its own choosing. Nothing follows but `WorkerExited`, and deletions by a person."""

    outcome: str
    """"finished" (all steps or early stopping), "stopped" (asked for) or "failed"."""
    step: int
    seconds: float
    """Wall time of this attempt, pauses included."""
    detail: str = ""
    code: str = ""
    """Of the error when the outcome is "failed", else empty."""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class WorkerExited(Event):
    """The keeper saw the worker's process end."""

    exit_code: int | None
    """None when a signal ended it."""
    signal: int | None
    """9 for SIGKILL. None when it exited by itself."""
    out_of_memory: bool
    """True only with evidence: the cgroup's `oom_kill` counter rose during the run."""
    stray_processes: int
    """Children of the worker that were still alive and were ended."""


EVENTS: Mapping[str, type[Event]] = {cls.__name__: cls for cls in Event.__subclasses__()}
_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (float, int),
    "str | None": (str, type(None)),
    "int | None": (int, type(None)),
    "float | None": (float, int, type(None)),
    "list[dict[str, Any]]": (list,),
    "dict[str, float]": (dict,),
    "dict[str, int]": (dict,),
}
_FIELDS: Mapping[str, Mapping[str, tuple[type, ...]]] = {
    name: {f.name: _TYPES[str(f.type)] for f in fields(cls)} for name, cls in EVENTS.items()
}
_NUMBERS: Mapping[str, frozenset[str]] = {
    name: frozenset(f.name for f in fields(cls) if str(f.type) in ("float", "float | None"))
    for name, cls in EVENTS.items()
}
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def json_number(value: float) -> float | str:
    """Return `value`, or its name when JSON has no number for it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def number_from_json(value: object) -> float:
    """Return the float behind a JSON value. What is neither a number nor one of the three names is NaN."""
    if isinstance(value, str):
        return _NON_FINITE.get(value, math.nan)
    if not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:  # an integer of more than 308 digits
        return math.inf if value > 0 else -math.inf


def to_json(event: Event) -> JSON:
    """Return the event's fields and its `event` name, ready for a strict JSON encoder."""
    record: JSON = {"event": type(event).__name__}
    slots: tuple[str, ...] = type(event).__slots__
    for name in slots:
        value = getattr(event, name)
        if isinstance(value, dict):
            value = {k: json_number(v) if isinstance(v, float) else v for k, v in value.items()}
        elif isinstance(value, float):
            value = json_number(value)
        record[name] = value
    return record


def from_json(record: JSON) -> Event | None:
    """Return the event a line holds; None for a kind or shape this version does not know.

    Fields this version does not know are ignored, so that an older console can watch a newer run. A field of
    another type than declared makes the whole event unknown: a log is foreign text too.
    """
    kind = record.get("event")
    cls = EVENTS.get(kind) if isinstance(kind, str) else None
    if cls is None or not isinstance(kind, str):
        return None
    known = _FIELDS[kind]
    values = {k: v for k, v in record.items() if k in known}
    for key in ("metrics", "scores"):
        if isinstance(values.get(key), dict):
            values[key] = {k: number_from_json(v) for k, v in values[key].items()}
    for key in _NUMBERS[kind]:
        if type(values.get(key)) in (str, int):
            values[key] = number_from_json(values[key])
    for key, value in values.items():
        if not isinstance(value, known[key]) or (type(value) is bool and bool not in known[key]):
            return None
    if not all(isinstance(row, dict) for row in values.get("dropped", ())):
        return None
    if not all(type(count) is int for count in values.get("counts", {}).values()):
        return None
    try:
        return cls(**values)
    except TypeError:
        return None
