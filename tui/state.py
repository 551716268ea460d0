"""What the console knows about one run. `RunState.apply` is the only writer; views are functions of it.

No widget and no file is touched here, so a state can be made by hand and looked at in a test.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from engine import events
from engine.events import Event
from engine.runs.history import RunHistory
from engine.runs.lifecycle import ACTIVE, Lifecycle, State
from engine.runs.liveness import Life

LOG_LINES_KEPT = 2_000
"""Lines of the run's log in memory; older ones are in `events.jsonl`."""
CONFIRMATIONS_KEPT = 64
"""Answers to commands in memory; whoever asked looks for his within seconds."""

Level = Literal["info", "good", "warning", "error"]


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the run's log, in plain words."""

    time: float
    """Unix seconds."""
    level: Level
    text: str
    """Foreign text may be in it."""


@dataclass(frozen=True, slots=True)
class CheckpointLine:
    """A checkpoint as the log tells of it."""

    step: int
    path: str
    """Relative to the run."""
    used_bytes: int
    reason: str


@dataclass(slots=True)
class RunState:
    """Everything a view shows of one run."""

    name: str
    method: str = ""
    model: str = ""
    parent: str | None = None
    created: float = 0.0
    """Unix seconds."""
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    life: Life = Life.UNKNOWN
    """From `liveness`, refreshed by whoever follows the run."""
    stages: list[events.StageBegun] = field(default_factory=list)
    """Of a run in several, those that have begun, in order; empty for a run in one."""
    stage: str = ""
    """What the worker is doing: "loading", "training" ..."""
    stage_detail: str = ""
    total_steps: int = 0
    num_train_epochs: float = 0.0
    num_parameters: int = 0
    num_trainable_parameters: int = 0
    device: str = ""
    dtype: str = ""
    step: int = 0
    epoch: float = 0.0
    num_tokens: int = 0
    attempt_began: float = 0.0
    """Unix time at which the newest keeper took over; 0 before."""
    started: float = 0.0
    """Unix time at which the newest attempt began to train; 0 before."""
    last_said: float = 0.0
    """Unix time of the newest event."""
    last_step_time: float = 0.0
    """Unix time of the newest finished step."""
    newest: dict[str, float] = field(default_factory=dict)
    """The newest value of each training metric."""
    evaluation: dict[str, float] = field(default_factory=dict)
    """The newest value of each validation metric."""
    early_stopping: events.EarlyStoppingJudged | None = None
    """What early stopping last found; None as long as it was never armed."""
    forgetting: events.ForgettingMeasured | None = None
    """What the gauge of forgetting last found; None where it is not read."""
    recent_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=101))
    """Seconds per step of the newest steps."""
    history: RunHistory = field(default_factory=RunHistory)
    """Every training and validation figure, for the plots."""
    checkpoints: list[CheckpointLine] = field(default_factory=list)
    data: dict[str, events.DataPrepared] = field(default_factory=dict)
    """By split."""
    behaviour: dict[str, events.BehaviourMeasured] = field(default_factory=dict)
    """By "before" and "after"."""
    measured: events.DeviceMeasured | None = None
    """The newest reading of the run's device."""
    confirmed: dict[str, events.CommandConfirmed] = field(default_factory=dict)
    """What became of the newest commands, by their id."""
    samples_step: int = -1
    """Step of the newest answers in `samples.jsonl`; -1 before the first."""
    samples_count: int = 0
    """How many times the fixed prompts were answered."""
    log: deque[LogLine] = field(default_factory=lambda: deque(maxlen=LOG_LINES_KEPT))
    damaged: int = 0
    """Lines of the event log that could not be read."""
    changes: int = 0
    """Grows with every event: a view that has seen this number has nothing new to draw."""

    @property
    def state(self) -> State:
        """The run's state, for a label."""
        return self.lifecycle.state(self.life)

    @property
    def current_method(self) -> str:
        """The method of the stage that is at work, or was the last."""
        return self.stages[-1].method if self.stages else self.method

    @property
    def active(self) -> bool:
        """Whether a process works on it."""
        return self.state in ACTIVE

    @property
    def progress(self) -> float:
        """Done fraction in [0, 1]."""
        return min(1.0, self.step / self.total_steps) if self.total_steps else 0.0

    @property
    def seconds_per_step(self) -> float | None:
        """Median over the newest steps, so that one evaluation or one slow batch does not move it."""
        values = sorted(self.recent_seconds)
        return values[len(values) // 2] if values else None

    @property
    def eta_seconds(self) -> float | None:
        """Seconds of training left at the newest pace; None when it cannot be told."""
        pace = self.seconds_per_step
        if pace is None or not self.total_steps or self.state not in ("running", "paused"):
            return None
        return max(0, self.total_steps - self.step) * pace

    @property
    def explanation(self) -> str:
        """How it ended, in a sentence; empty while it has not."""
        return self.lifecycle.explanation()

    def silent_seconds(self, now: float) -> float:
        """Return for how long a training run has finished no step; 0 in every other stage, where none is due."""
        if self.state != "running" or self.stage != "training" or not self.last_step_time:
            return 0.0
        return max(0.0, now - self.last_step_time)

    def stuck(self, now: float) -> bool:
        """Return whether the run is silent for so long that somebody should look: a minute and 20 steps."""
        pace = self.seconds_per_step or 0.0
        return self.silent_seconds(now) > max(60.0, 20 * pace)

    def apply(self, event: Event, time: float, *, numbers: bool = True) -> None:
        """Take one event.

        Args:
            event: From the log, in the order of `seq`.
            time: Unix seconds at which it was written.
            numbers: False when the histories come from the index, so that steps are not added twice.
        """
        self.changes += 1
        self.lifecycle.apply(event)
        if numbers:
            self.history.apply(time, event)
        if not isinstance(event, events.CheckpointRemoved):  # a person's deletion, perhaps long after the end
            self.last_said = time
        match event:
            case events.RunCreated():
                self.method, self.model, self.parent, self.created = event.method, event.model, event.parent, time
            case events.KeeperStarted():
                self.stage, self.stage_detail, self.measured = "starting", "", None
                self.attempt_began = time
                self.recent_seconds.clear()
            case events.StageBegun():
                self.stages = [*(one for one in self.stages if one.number < event.number), event]
                # Rows, figures and pace are those of another method.
                self.early_stopping, self.data, self.evaluation = None, {}, {}
                self.recent_seconds.clear()
            case events.StageChanged():
                self.stage, self.stage_detail = event.stage, event.detail
            case events.DataPrepared():
                self.data[event.split] = event
            case events.TrainingStarted():
                self._begin(event, time)
            case events.StepFinished():
                self._step(event, time)
            case events.EvaluationFinished():
                self.evaluation.update(event.metrics)
            case events.EarlyStoppingJudged():
                self.early_stopping = event
            case events.ForgettingMeasured():
                self.forgetting = event
            case events.SamplesAnswered():
                self.samples_step, self.samples_count = event.step, self.samples_count + 1
            case events.BehaviourMeasured():
                self.behaviour[event.when] = event
            case events.DeviceMeasured():
                self.measured = event
            case events.CheckpointSaved():
                self.checkpoints = [c for c in self.checkpoints if c.path != event.path]
                self.checkpoints.append(CheckpointLine(event.step, event.path, event.used_bytes, event.reason))
            case events.CheckpointRemoved():
                self.checkpoints = [c for c in self.checkpoints if c.path != event.path]
            case events.CommandConfirmed():
                self.confirmed[event.command_id] = event
                while len(self.confirmed) > CONFIRMATIONS_KEPT:
                    del self.confirmed[next(iter(self.confirmed))]
            case _:
                pass
        line = sentence(event, killed=self.lifecycle.killed)
        if line is not None:
            self.log.append(LogLine(time, *line))

    def _begin(self, event: events.TrainingStarted, time: float) -> None:
        self.total_steps, self.num_train_epochs = event.total_steps, event.num_train_epochs
        self.num_parameters, self.num_trainable_parameters = event.num_parameters, event.num_trainable_parameters
        self.device, self.dtype = event.device, event.dtype
        self.started = self.last_step_time = time
        self.step = event.resumed_from_step

    def _step(self, event: events.StepFinished, time: float) -> None:
        self.step, self.epoch, self.num_tokens = event.step, event.epoch, event.num_tokens
        self.newest = event.metrics
        self.recent_seconds.append(event.seconds)
        self.last_step_time = time


_ASKED = {
    "Pause": "Pause",
    "Unpause": "Go on",
    "SaveCheckpoint": "Save now",
    "SetLearningRate": "Learning rate",
    "SetEarlyStopping": "Early stopping",
    "Stop": "Stop",
}
"""A command -> what its key is called."""

_OF_AN_EPOCH = {"loss": "loss", "rewards/accuracies": "accuracy", "retain_loss": "retain", "unlearn_loss": "unlearn"}
"""Means of an epoch that a line of the log has."""


def stage_name(stage: events.StageBegun) -> str:
    """Return what a stage is called, with its method where it is not called like it. Foreign."""
    return stage.name if stage.name == stage.method else f"{stage.name} ({stage.method})"


def sentence(event: Event, *, killed: bool = False) -> tuple[Level, str] | None:
    """Return what a log shows of an event; None for those that come too often to be read.

    Args:
        event: What happened.
        killed: Whether the keeper had ended the worker by then because it did not obey (`Lifecycle.killed`).
    """
    match event:
        case events.StepFinished() | events.DeviceMeasured() | events.SamplesAnswered():
            return None
        case events.RunCreated():
            origin = f", from {event.parent}" if event.parent else ""
            return "info", f"Created: {event.method} on {event.model}{origin}"
        case events.KeeperStarted():
            how = f"resuming from {event.resumed_from}" if event.resumed_from else "from the beginning"
            return "info", f"Start {event.attempt}: {how}"
        case events.StageChanged():
            if event.stage in ("training", "answering", "saving", "evaluating") and not event.detail:
                return None
            return "info", f"{event.stage.capitalize()} {event.detail}".rstrip()
        case events.DataPrepared():
            dropped = f", {event.rows_dropped} dropped" if event.rows_dropped else ""
            dropped += f", {event.rows_cut} cut" if event.rows_cut else ""
            share = event.num_trained_tokens / event.num_tokens if event.num_tokens else 0.0
            return (
                "warning" if event.rows_dropped or event.rows_cut else "info",
                f"Data {event.split}: {event.rows_kept} of {event.rows_in} rows{dropped}; "
                f"{event.num_tokens:,} tokens, {share:.0%} trained",
            )
        case events.TrainingStarted():
            return (
                "info",
                f"Training {event.num_trainable_parameters:,} of {event.num_parameters:,} parameters for "
                f"{event.total_steps:,} steps on {event.device} in {event.dtype}",
            )
        case events.EpochFinished():
            means = event.metrics
            told = [f"{label} {means[name]:.4g}" for name, label in _OF_AN_EPOCH.items() if name in means]
            return "info", f"Epoch {event.epoch} ended at step {event.step}: {', '.join(told)}"
        case events.EarlyStoppingJudged():
            # Only the last one says what is not on the screen all the time.
            return ("info", f"Early stopping: {event.reason}") if event.armed and event.stops_in == 0 else None
        case events.ForgettingMeasured():
            said = f"Step {event.step}: forgetting {event.change:+z.3f} nats/token, alarm at {event.alarm:g}"
            return "warning" if event.alarmed else "info", said
        case events.EvaluationFinished():
            losses = [f"{k} {v:.4g}" for k, v in event.metrics.items() if k.endswith("_loss")]
            if not losses:  # of the gauge of forgetting alone, which says it itself
                return None
            return "info", f"Step {event.step}: {', '.join(losses)}"
        case events.BehaviourMeasured():
            parts = [f"{k.replace('_', ' ')} {v:.0%}" for k, v in event.scores.items()]
            return "good", f"Behaviour {event.when} training: {', '.join(parts)}"
        case events.CheckpointEvaluated():
            parts = [f"{name.replace('_', ' ')} {share:.0%}" for name, share in event.scores.items()]
            return "good", f"Evaluated {event.path} ({event.suite}): {', '.join(parts)}; {event.grade}"
        case events.CheckpointSaved():
            return "info", f"Saved {event.path} at step {event.step} ({event.used_bytes / 1e6:.1f} MB, {event.reason})"
        case events.CheckpointRemoved():
            return "info", f"Removed {event.path}: {event.reason}"
        case events.CheckpointSkipped():
            return "warning", f"Passed over {event.path}: {event.reason}"
        case events.CommandConfirmed():
            what = _ASKED.get(event.command, event.command)
            if event.accepted:
                return "info", f"{what}: {event.detail}"
            return "warning", f"{what} refused: {event.detail}"
        case events.StageBegun():
            origin = f", from {event.begins_with}" if event.begins_with else ""
            compared = f", compared with {event.reference}" if event.reference else ""
            return "good", f"Stage {event.number} of {event.count}, {stage_name(event)}{origin}{compared}"
        case events.StageEnded():
            why = f", {event.detail}" if event.detail else ""
            return "good", f"Stage {event.name} ended at step {event.step}{why}: {event.path}"
        case events.EarlierLearning():
            return "good" if event.parent or event.mode != "none" else "info", event.detail
        case events.CheckpointPromoted():
            return "good", event.detail
        case events.RunPaused():
            return "info", f"Paused after step {event.step}"
        case events.RunUnpaused():
            return "info", f"Went on after {event.paused_seconds:.0f} s"
        case events.Warned():
            return "warning", f"{event.message} {event.remedy}".rstrip()
        case events.RunEnded():
            level: Level = {"finished": "good", "stopped": "info"}.get(event.outcome, "error")  # type: ignore[assignment]
            said = f"{event.outcome.capitalize()} at step {event.step}"
            detail = " ".join(t for t in (event.detail, event.remedy) if t)
            return level, f"{said}: {detail}" if detail else said
        case events.WorkerExited():
            if event.signal is None and event.exit_code == 0:
                return None
            return "info" if killed else "error", Lifecycle(killed=killed, exited=event).explanation()
        case _:
            return None
