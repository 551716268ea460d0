"""What every trainer of ours adds to TRL's: it reports, obeys, saves atomically and never steps on a NaN.

`class ObservedSFTTrainer(ObservedTrainer, SFTTrainer)`. The methods overridden are those of `transformers.Trainer`
(5.23); where one is private, a callback cannot do it, and the reason stands beside it.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback

from engine import events
from engine.config.methods import FORGETTING
from engine.errors import ConfigError, DiskFull, EngineError, NonFinite
from engine.runs import checkpoints
from engine.runs.directory import RunDirectory
from engine.training.best import Best
from engine.training.checkpoint_writer import rotate, write_checkpoint
from engine.training.control import Control, Heard
from engine.training.early_stopping import EarlyStopping, Judgement, ends_a_cycle
from engine.training.epochs import EpochMeans, forget_epochs_after, log_epoch
from engine.training.failures import explained
from engine.training.orders import EvaluationCut
from engine.training.precision import trained_types_kept
from engine.training.ranks import Ranks
from engine.training.reporter import Reporter
from engine.training.stacking import is_stacked, load_trained, save_as_one
from engine.training.stages import Before

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.data.rows import Row
    from engine.training.forgetting import Gauge
    from engine.training.initialising import Initial

_LOG_HISTORY_KEPT = 1_000
"""Entries left in `trainer_state.json`. The event log holds them all; at a million steps the list would make
every checkpoint 250 MB bigger."""
_POLL_SECONDS = 0.2
"""How often a paused worker looks for commands."""
_MOST_OVERFLOWS = 20
"""Steps in a row that float16's loss scaling may skip. It begins at 65,536 and halves each time: 16 lead to 1."""
_JUDGING = ("loss", "accuracy", "accuracies", "margins", "rewards/chosen", "rewards/rejected", FORGETTING)
"""How the figures of an evaluation end by which checkpoints are compared."""
_OPTIMIZER_SETTINGS = ("weight_decay", "betas", "eps", "momentum")
"""What a saved optimizer state brings along though it is no state."""
_EARLY_STOPPING = "early stopping: "


@dataclass(slots=True)
class Observation:
    """What an observed trainer needs besides its library's arguments, and what it counts."""

    run: RunDirectory
    run_id: str
    reporter: Reporter
    control: Control
    ranks: Ranks = field(default_factory=Ranks)
    save_steps: int | None = None
    """Optimizer steps between checkpoints. None: as `save_epochs` says."""
    save_epochs: int | None = None
    """Epochs between checkpoints. None, and no `save_steps`: never."""
    save_total_limit: int | None = None
    best: Best = field(default_factory=Best)
    early_stopping: EarlyStopping | None = None
    forgetting: Gauge | None = None
    """None: not measured."""
    before: Before = field(default_factory=Before)
    """What the stages before this one have counted: what is reported goes on from there."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What else `metadata.json` says: the stage, and what a preference is compared with."""
    base_commit: str | None = None
    """Of the base model on the Hub; None for a folder."""
    score: Callable[[Path, str], None] | None = None
    """Asks a suite of the weights that were just written to a folder; the text is a value of `evaluation.suite_at`."""
    answer: Callable[[int], None] | None = None
    """Answers the fixed prompts at a step; called after each evaluation."""
    newest: dict[str, float] = field(default_factory=dict)
    """The newest figures, for `metadata.json`."""
    evaluated_step: int | None = None
    """When the figures of the validation sets among them were measured."""
    largest_grad_norm: float = 0.0
    """0 at the end means that no step changed anything."""
    ended_early: str = ""
    """Why it ends before its last step without having been told to; empty when it does not."""

    @property
    def ends_run(self) -> bool:
        """Whether that ends the run, not only a stage of it: early stopping alone goes on with the next."""
        return bool(self.ended_early) and not self.ended_early.startswith(_EARLY_STOPPING)


class ObservedTrainer(Trainer):
    """Mixed in before a trainer of TRL."""

    observation: Observation

    def take_prepared(self, rows: Sequence[Row]) -> None:
        """Make of the prepared training rows what is learned from. Called once, after they were counted."""

    def before_first_step(self) -> None:
        """Do what a method needs done before the first step of a run, not of a resume. May refuse the run."""
        if self.observation.forgetting is not None:
            self._gauge_alone = True
            self._evaluate(None, None, skip_scheduler=True)

    def observe(self, observation: Observation) -> None:
        """Begin to report and obey. Called once, before `train`."""
        self.observation = observation
        self.last_evaluation: dict[str, float] = {}
        self._step_began = time.monotonic()
        self._aside_seconds = 0.0
        self._saved_step = -1
        self._last_checkpoint_bytes = 0
        self._overflows = 0
        self._epoch_means = EpochMeans()
        self._newest_epoch: dict[str, float] = {}
        self._total_train_tokens = self._reported_tokens = observation.before.num_tokens  # TRL counts on from there
        self.remove_callback(PrinterCallback)  # prints every step into worker.log, 300 MB in a million
        self.add_callback(_Interruption(self))

    def continue_from(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Take over what the library does not keep in its own state: tokens seen, the best value so far."""
        self._first_step = self._reported_step = self._saved_step = checkpoint.step - self.observation.before.step
        self._reported_tokens = int(checkpoint.metadata.get("num_tokens", 0))
        self._total_train_tokens = self._reported_tokens  # TRL's counter, which begins at 0 after a resume
        self.observation.best.restore(checkpoint.metadata)
        self._epoch_means.restore(checkpoint.metadata.get("epoch_means"))
        newest_epoch = checkpoint.metadata.get("epoch_metrics")
        if isinstance(newest_epoch, dict):
            self._newest_epoch = {name: events.number_from_json(value) for name, value in newest_epoch.items()}
        stopping, kept = self.observation.early_stopping, checkpoint.metadata.get("early_stopping")
        if stopping is not None and isinstance(kept, dict):
            stopping.restore(kept)
            self._take_judgement(stopping, stopping.judge())
        if self.observation.forgetting is not None:
            self.observation.forgetting.restore(checkpoint.metadata.get("forgetting"))
            self._end_for_forgetting()
        path = self.observation.run.training_log
        # Where the last step of an epoch was saved before its end was told, it is told again.
        told = checkpoint.step - bool(self._epoch_means.steps)
        if self.observation.ranks.first:
            self.observation.reporter.with_room(lambda: forget_epochs_after(path, told))
        self._saved_rate = checkpoint.metadata.get("learning_rate")
        self._resumed_from = checkpoint
        evaluated = checkpoint.metadata.get("evaluated_step")
        self.observation.evaluated_step = evaluated if type(evaluated) is int else None
        metrics = checkpoint.metadata.get("metrics")
        if isinstance(metrics, dict):
            self.observation.newest = {name: events.number_from_json(value) for name, value in metrics.items()}
            self.last_evaluation = {k: v for k, v in self.observation.newest.items() if k.startswith("eval_")}

    def start_clock(self) -> None:
        """Begin to time the first step now: what came before was not training."""
        self._step_began, self._aside_seconds = time.monotonic(), 0.0

    def train_metrics(self) -> dict[str, float]:
        """Return the library's own summary of the training just ended.

        It covers this attempt. When a resume found all steps taken, that would be a loss of 0 over no step, so the
        mean of the losses in the checkpoint's own history stands instead.
        """
        if self.steps_taken:
            return dict(self._summary)
        losses = [entry["loss"] for entry in self.state.log_history if "loss" in entry]
        return {"train_loss": sum(losses) / len(losses)} if losses else {}

    @property
    def step(self) -> int:
        """Optimizer steps of the run, those of earlier stages included. The library counts those of this stage."""
        return self.observation.before.step + int(self.state.global_step)

    @property
    def epoch(self) -> float:
        """Passes over the rows, those of earlier stages over theirs included."""
        return round(self.observation.before.epoch + float(self.state.epoch or 0.0), 6)

    @property
    def steps_taken(self) -> int:
        """Optimizer steps of this attempt."""
        return int(self.state.global_step) - self._first_step

    # -- numbers ---------------------------------------------------------------------------------------------

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Let the library log, then report a training step."""
        super().log(logs, start_time)
        if len(self.state.log_history) > 2 * _LOG_HISTORY_KEPT:
            del self.state.log_history[:-_LOG_HISTORY_KEPT]
        if "train_runtime" in logs:
            self._summary = {k: v for k, v in logs.items() if _is_number(v)}
        if "loss" not in logs:
            return
        now = time.monotonic()
        steps = max(1, self.state.global_step - self._reported_step)
        seconds = max(0.0, now - self._step_began - self._aside_seconds) / steps
        num_tokens = int(logs.get("num_tokens", 0))
        # Seven digits are what float32 holds; the others made the log of a million steps a quarter longer.
        metrics = {k: float(f"{v:.7g}") for k, v in logs.items() if k not in ("num_tokens", "epoch") and _is_number(v)}
        if num_tokens > self._reported_tokens and seconds > 0:
            metrics["tokens_per_second"] = round((num_tokens - self._reported_tokens) / (seconds * steps), 1)
        self._epoch_means.add(metrics, steps, seconds)
        self.look_at_step(metrics)
        self.observation.newest.update(metrics)
        self.observation.reporter.say(
            events.StepFinished(
                step=self.step,
                epoch=self.epoch,
                num_tokens=num_tokens,
                seconds=round(seconds, 6),
                metrics=metrics,
            )
        )
        self._reported_step, self._reported_tokens = self.state.global_step, num_tokens
        self._step_began, self._aside_seconds = time.monotonic(), 0.0

    def look_at_step(self, metrics: dict[str, float]) -> None:
        """Look at the figures of a step before they are reported."""

    def finish_epoch(self) -> None:
        """Report the means of the epoch just ended, unless the run is to stop: then its resume does.

        Called at the end of every epoch, and once when a run goes on from the last step of one.
        """
        epoch = float(self.state.epoch or 0.0)
        if self.observation.control.stop is not None or not self._epoch_means.steps or abs(epoch - round(epoch)) > 1e-6:
            return
        means, seconds = self.observation.ranks.same(self._epoch_means.take())
        self._newest_epoch = means
        finished = events.EpochFinished(round(epoch), self.step, self._reported_tokens, round(seconds, 3), means)
        reporter = self.observation.reporter
        reporter.say(finished)
        if self.observation.ranks.first:
            reporter.with_room(
                lambda: log_epoch(self.observation.run.training_log, finished, self.observation.about.get("stage"))
            )
        if self.observation.best.of_training:
            self._keep_best(means)
            reporter.enter("training")
        self._observe_for_stopping(means, "epoch")

    def _observe_for_stopping(self, metrics: Mapping[str, float], at: str) -> None:
        stopping = self.observation.early_stopping
        if stopping is not None and stopping.at == at and self.state.global_step > 0 and self._may_observe(stopping):
            judged = stopping.observe(metrics.get(stopping.metric, math.nan), float(self.state.epoch or 0.0))
            self._take_judgement(stopping, judged)
            if stopping.armed:
                self._say_judgement(stopping, judged)

    @property
    def _num_cycles(self) -> int:
        """Cycles of a schedule with warm restarts; 0 of any other."""
        if self.args.lr_scheduler_type != "cosine_with_restarts":
            return 0
        given = self.args.lr_scheduler_kwargs
        return int(given.get("num_cycles", 1)) if isinstance(given, dict) else 1

    def _may_observe(self, stopping: EarlyStopping) -> bool:
        """Whether this observation counts: with warm restarts the last of each cycle, for each begins with a rise."""
        if not self._num_cycles:
            return True
        step, total = self.state.global_step, self.state.max_steps
        gauge = self.observation.forgetting
        every: Any = self.args.eval_steps if self.args.eval_strategy == "steps" else None
        if gauge is not None and stopping.metric == FORGETTING:
            every = gauge.settings.eval_steps
        if stopping.at == "epoch" or not isinstance(every, int | float):
            every = math.ceil(total / max(1e-9, float(self.state.num_train_epochs)))
        warmup = self.args.get_warmup_steps(total)
        return ends_a_cycle(step, step + int(every), total=total, warmup=warmup, cycles=self._num_cycles)

    def _take_judgement(self, stopping: EarlyStopping, judged: Judgement) -> None:
        if judged.stop and stopping.armed:
            self.observation.ended_early = f"{_EARLY_STOPPING}{judged.reason}"
        elif self.observation.ended_early.startswith(_EARLY_STOPPING):
            self.observation.ended_early = ""

    def _say_judgement(self, stopping: EarlyStopping, judged: Judgement) -> None:
        last = stopping.observations[-1] if stopping.observations else math.nan
        self.observation.reporter.say(
            events.EarlyStoppingJudged(
                step=self.step,
                armed=stopping.armed,
                metric=stopping.metric,
                value=-last if stopping.higher_is_better else last,
                exposure=round(float(self.state.epoch or 0.0), 6),
                minimum_exposure=stopping.settings.minimum_exposure,
                stops_in=judged.stops_in,
                at="cycle" if self._num_cycles else stopping.at,
                reason=judged.reason,
            )
        )

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Refuse a step on a loss or on gradients that are not finite.

        Overridden because no callback sees the norm before the optimizer uses the gradients: `on_pre_optimizer_step`
        is not given it. The reads wait for the device once per optimizer step, which `clip_grad_norm_` has just
        made the last thing in its queue. The loss is looked at too: an infinite one can have finite gradients, and
        the library's sum of losses would be NaN from then on.
        """
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        value, loss = float(norm), float(self._tr_loss)
        if math.isfinite(value) and math.isfinite(loss):
            self._overflows = 0
            self.observation.largest_grad_norm = max(self.observation.largest_grad_norm, value)
            return norm
        if math.isfinite(loss) and self._loss_is_scaled() and self._overflows < _MOST_OVERFLOWS:
            self._overflows += 1  # float16: the scaler skips this step and halves its factor
            return norm
        mean = loss / max(1, self.state.global_step + 1 - self._globalstep_last_logged)
        raise NonFinite(
            f"Step {self.step + 1} was not taken: loss {mean:g}, gradient norm {value:g}, learning rate "
            f"{self._get_learning_rate():g}.",
            remedy=self._after_non_finite(),
        )

    def _loss_is_scaled(self) -> bool:
        """Whether the loss is multiplied before the backward pass, as float16 needs, so that gradients may overflow."""
        scaler = getattr(self.accelerator, "scaler", None)
        return scaler is not None and scaler.is_enabled()

    def _after_non_finite(self) -> str:
        """Return what to do. A resume alone repeats the same steps, with the schedule the checkpoint holds."""
        own = self.observation.run_id
        ours = [c for c in checkpoints.all_checkpoints(self.observation.run) if c.run_id == own]
        again = "Start a new run with a lower training.learning_rate or more training.warmup_steps"
        if not ours:
            return f"{again}; there is no checkpoint yet."
        newest = max(ours, key=lambda checkpoint: checkpoint.age_key)
        return f"{again}, or resume from {newest.path.name} and set a lower learning rate while it is paused."

    def _evaluate(self, trial: Any, ignore_keys_for_eval: Any, skip_scheduler: bool = False) -> dict[str, float]:
        """Evaluate and report one sentence for all validation sets, which the library logs one by one."""
        began = time.monotonic()
        self.observation.reporter.enter("evaluating")
        found: dict[str, float] = {}
        alone, self._gauge_alone = self._gauge_alone, False
        try:
            if not alone:
                found = super()._evaluate(trial, ignore_keys_for_eval, skip_scheduler)
            self._report_evaluation(found, began)
            if (answer := self.observation.answer) is not None and not alone:
                self.observation.ranks.alone(lambda: answer(self.step))
        except EvaluationCut:
            alone = True
        if alone:
            self.control.should_evaluate = False  # the library's callback for a whole one was not called
        self.observation.reporter.enter("training")
        self._aside_seconds += time.monotonic() - began
        return found

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Evaluate, every figure under the name of its set.

        Overridden because of several sets TRL calls all but the loss by the same names, so that of each figure the
        last set's would be left.
        """
        found: dict[str, float] = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        prefix = f"{metric_key_prefix}_"
        if metric_key_prefix == "eval":
            return found
        return {
            k if k.startswith(prefix) or not k.startswith("eval_") else prefix + k.removeprefix("eval_"): v
            for k, v in found.items()
        }

    def _report_evaluation(self, found: dict[str, float], began: float) -> None:
        # How long the library took to wrap the model stands there when something is evaluated before the first step.
        metrics = {
            k: float(v)
            for k, v in found.items()
            if k.startswith("eval_") and _is_number(v) and not k.endswith("model_preparation_time")
        }
        losses = [v for k, v in metrics.items() if k.endswith("_loss")]
        if losses:
            metrics.setdefault("eval_loss", sum(losses) / len(losses))
            self.observation.evaluated_step = self.step
        if (gauge := self.observation.forgetting) is not None:
            self._measure(gauge)
            metrics[FORGETTING] = float(f"{gauge.change:.7g}")
            self._end_for_forgetting()
        metrics = self.observation.ranks.same(metrics)
        self.last_evaluation |= metrics
        self.observation.newest.update({k: v for k, v in metrics.items() if k.endswith(_JUDGING)})
        self.observation.reporter.say(
            events.EvaluationFinished(
                step=self.step,
                epoch=self.epoch,
                num_tokens=self._reported_tokens,
                seconds=round(time.monotonic() - began, 3),
                metrics=metrics,
            )
        )
        self.look_at_evaluation(metrics)
        self._keep_best(metrics)
        if (stopping := self.observation.early_stopping) is not None and stopping.metric in metrics:
            self._observe_for_stopping(metrics, "evaluation")

    def _measure(self, gauge: Gauge) -> None:
        ranks = self.observation.ranks
        ranks.alone(lambda: gauge.measure(self.model, self.step, self.hear_in_evaluation))
        if not ranks.first:
            gauge.restore(ranks.same(None))
        elif ranks.several:
            ranks.same(gauge.state())

    def _end_for_forgetting(self) -> None:
        gauge = self.observation.forgetting
        if gauge is None or not gauge.ends:
            return
        if not gauge.step:
            raise ConfigError(
                [f"forgetting.alarm is {gauge.settings.alarm:g}, and the model is there before the first step"],
                remedy=f"Set forgetting.alarm above {gauge.change:.3g}, or forgetting.stop: false.",
            )
        if not self.observation.ended_early:
            self.observation.ended_early = f"forgetting: {gauge.told}"

    def look_at_evaluation(self, metrics: dict[str, float]) -> None:
        """Look at the figures of an evaluation that was reported. What it says in `ended_early` ends the run."""

    # -- commands --------------------------------------------------------------------------------------------

    def hear_in_evaluation(self) -> None:
        """Hear commands between two batches or tokens. Raises `EvaluationCut` or `StopNow` when told to stop."""
        self.observation.control.hear(self.step)
        if self.observation.control.stop is not None:
            raise EvaluationCut

    def _run_epoch(self, *arguments: Any, **named: Any) -> None:
        """Obey what was said since the last step, then train an epoch.

        Overridden because the loop takes a first step whatever was asked for: also when the checkpoint resumed from
        is that of the last step, and a killed run has only its end to repeat.
        """
        if self.state.global_step == self._first_step:
            self.finish_epoch()  # a run that was stopped after the last step of an epoch
        if self.state.global_step < self.state.max_steps:
            self.at_step_boundary()
        else:
            self.control.should_training_stop = True
        if not self.control.should_training_stop:
            super()._run_epoch(*arguments, **named)

    def _maybe_log_save_evaluate(self, *arguments: Any, **named: Any) -> None:
        """Log, evaluate and save as the library does, then hear commands.

        Overridden because this is the one place that comes after a step's figures are known and before the next
        batch is fetched; `on_step_end` comes before them, so a pause there would hide the step it pauses after.
        """
        super()._maybe_log_save_evaluate(*arguments, **named)
        if self.state.global_step > 0:
            self.at_step_boundary()

    def at_step_boundary(self) -> None:
        """Carry out what was asked for. Raises `StopNow`."""
        control, step = self.observation.control, self.step
        began, aside = time.monotonic(), self._aside_seconds
        control.hear(step)
        self._carry_out(step)
        if control.paused and control.stop is None:
            self.observation.reporter.say(events.RunPaused(step))
            while control.paused and control.stop is None:
                time.sleep(_POLL_SECONDS)
                control.hear(step)
                self._carry_out(step)
            self.observation.reporter.say(events.RunUnpaused(step, round(time.monotonic() - began, 3)))
        if control.stop is not None:
            if 0 < self.state.global_step < self.state.max_steps:
                self.save_now("stopping")
            self.control.should_training_stop = True
        if self.observation.ended_early:
            self.control.should_training_stop = True
        self._aside_seconds = aside + time.monotonic() - began  # a save in it has added its own time

    def _carry_out(self, step: int) -> None:
        control = self.observation.control
        while control.rates:
            heard, rate = control.rates.pop(0)
            self._set_learning_rate(heard, rate)
        while control.early_stopping:
            self._set_early_stopping(*control.early_stopping.pop(0))
        if control.save and self.state.global_step > 0:  # before the first step there is nothing to save yet
            self.save_now("requested")
            while control.save:
                control.confirm(control.save.pop(0), f"checkpoint-{step} saved")

    def _set_early_stopping(self, heard: Heard, armed: bool) -> None:
        stopping = self.observation.early_stopping
        if stopping is None:
            self.observation.control.confirm(heard, "there is nothing to stop early", accepted=False)
            return
        stopping.armed = armed
        judged = stopping.judge()
        self._take_judgement(stopping, judged)
        at = "end of a cycle" if self._num_cycles else stopping.at
        word = f"armed: watches {stopping.metric} at each {at}" if armed else "disarmed"
        self.observation.control.confirm(heard, f"early stopping {word}")
        self._say_judgement(stopping, judged)

    def _set_learning_rate(self, heard: Heard, rate: float) -> None:
        now = self._set_peak(rate)
        if now is None:
            detail = f"the schedule {self.args.lr_scheduler_type} has no peak to set"
        else:
            detail = f"learning_rate {rate:g} from step {self.step + 1} on, {now:g} there"
        self.observation.control.confirm(heard, detail, accepted=now is not None)

    def _set_peak(self, rate: float) -> float | None:
        """Set the schedule's highest rate and return what it makes of it now; None when it has none."""
        scheduler = self.lr_scheduler
        if not hasattr(scheduler, "base_lrs") or not hasattr(scheduler, "lr_lambdas"):
            return None
        # The base rates are part of the scheduler's state, so a resumed run keeps them.
        scheduler.base_lrs = [rate for _ in scheduler.base_lrs]
        rates = [base * scale(scheduler.last_epoch) for base, scale in zip(
            scheduler.base_lrs, scheduler.lr_lambdas, strict=True
        )]  # fmt: skip
        for group, value in zip(scheduler.optimizer.param_groups, rates, strict=True):
            group["lr"], group["initial_lr"] = value, rate
        scheduler._last_lr = rates
        return float(rates[0])

    # -- checkpoints -----------------------------------------------------------------------------------------

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Load the states of a checkpoint and keep the settings of the configuration.

        Overridden because the saved states hold the settings they were made with: after a resume that accepts an edited
        run.yaml, another learning rate or weight decay would silently do nothing.
        """
        settings = []
        if checkpoint is not None and self.optimizer is not None:
            settings = [
                {k: group[k] for k in _OPTIMIZER_SETTINGS if k in group} for group in self.optimizer.param_groups
            ]
        super()._load_optimizer_and_scheduler(checkpoint)
        for group, own in zip(self.optimizer.param_groups if settings else [], settings, strict=True):
            group.update(own)
        then, now = self._saved_rate, self.args.learning_rate
        if checkpoint is None or not isinstance(then, float) or then == now:
            return
        if self._set_peak(now) is not None:
            self.observation.reporter.warn(
                "learning-rate-changed",
                f"The learning rate is {now:g} from here on; the checkpoint was made with {then:g}.",
            )
        else:
            self.observation.reporter.warn(
                "learning-rate-kept",
                f"training.learning_rate is {now:g} and the checkpoint was made with {then:g}, which stays: the "
                f"schedule {self.args.lr_scheduler_type} has no peak to set.",
            )

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Save as the library does; a stacked adapter, and one that has changed the base, as an ordinary one.

        Overridden because PEFT puts each adapter into a folder of its own, and no tool would load them together.
        """
        super()._save(output_dir, state_dict)
        if is_stacked(self.model) or self.initial is not None:
            folder = Path(output_dir or self.args.output_dir)
            save_as_one(self.model, folder, to_resume=self._staging is not None, initial=self.initial)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load as the library does; of an adapter that is saved in another form what is trained.

        TRL trains the adapter of a quantised base in bfloat16, and PEFT loads one in float32: a run would go on in
        another precision than it began with.
        """
        with trained_types_kept(self.model):
            if is_stacked(self.model) or self.initial is not None:
                load_trained(self.model, Path(resume_from_checkpoint))
            else:
                super()._load_from_checkpoint(resume_from_checkpoint, model)

    def save_now(self, reason: str) -> None:
        """Write a checkpoint of this step unless there is one already."""
        if self._saved_step != self.state.global_step:
            self._save_reason = reason
            self._save_checkpoint(self.model, None)

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging) if self._staging is not None else str(super()._get_output_dir(trial))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Let the library fill a folder beside, then hash, sync and rename it."""
        observation, step = self.observation, self.step
        began = time.monotonic()
        stage = observation.reporter.stage
        observation.reporter.enter("saving")
        self.check_finite()
        target = observation.run.checkpoints / f"checkpoint-{step}"

        def save(folder: str) -> None:
            self._staging = Path(folder)
            try:
                # Not TRL's: that adds only a model card, into the run's own folder.
                Trainer._save_checkpoint(self, model, trial)
            finally:
                self._staging = None

        def put_together(folder: Path) -> None:
            made = folder / f"checkpoint-{self.state.global_step}"
            for path in list(made.iterdir()):
                path.rename(folder / path.name)
            made.rmdir()

        written = self._write(target, save, self._save_reason, self._expected_bytes(), put_together)
        self._saved_step = self.state.global_step
        reason, self._save_reason = self._save_reason, "scheduled"
        if written is not None:
            self._last_checkpoint_bytes = written.used_bytes
            self._report_saved(written, reason)
            for old in rotate(observation.run, observation.run_id, observation.save_total_limit, keep=[target]):
                observation.reporter.say(
                    events.CheckpointRemoved(old.step, f"checkpoints/{old.path.name}", "beyond saving.save_total_limit")
                )
        if reason != "stopping":
            self.score(target, "checkpoint")
        observation.reporter.enter(stage)
        self._aside_seconds += time.monotonic() - began

    def save_adapter(self, target: Path, reason: str) -> None:
        """Write `best/` or `final/`: the weights and what is needed to load them, nothing to resume from."""
        self.check_finite()
        written = self._write(target, lambda folder: self.save_model(folder, _internal_call=True), reason)
        if written is not None:
            self._report_saved(written, reason)

    def _write(
        self,
        target: Path,
        save: Callable[[str], None],
        reason: str,
        expected_bytes: int = 0,
        then: Callable[[Path], None] | None = None,
    ) -> checkpoints.Checkpoint | None:
        """Write a checkpoint of this step, waiting for room when the disk is full.

        Args:
            target: Its folder.
            save: Fills another one; called in every process, each of which has something of its own to save.
            reason: For its metadata.
            expected_bytes: Room it needs.
            then: Called by the first process once all have saved.

        Returns:
            The checkpoint, in the first process.
        """
        ranks = self.observation.ranks

        def together(folder: Path) -> None:
            ranks.ask_all(str(folder), save)
            if then is not None:
                then(folder)

        def write() -> checkpoints.Checkpoint:
            try:
                return write_checkpoint(
                    target,
                    together,
                    run_id=self.observation.run_id,
                    step=self.step,
                    metadata=self.metadata(reason),
                    expected_bytes=expected_bytes,
                )
            except EngineError:
                raise
            except Exception as error:  # torch and safetensors say it in words of their own
                if isinstance(full := explained(error, "saving"), DiskFull):
                    raise full from error
                raise

        return ranks.alone(lambda: self.observation.reporter.with_room(write), helping=save)

    def metadata(self, reason: str) -> dict[str, Any]:
        """Return what `metadata.json` says of the weights as they are now."""
        return {
            "run": self.observation.run.name,
            "reason": reason,
            "epoch": self.epoch,
            # The library's own count: the newest report may be some steps old.
            "num_tokens": int(getattr(self, "_total_train_tokens", self._reported_tokens)),
            "metrics": {k: events.json_number(v) for k, v in self.observation.newest.items()},
            "evaluated_step": self.observation.evaluated_step,
            # Of the newest whole epoch: with few rows in a step its own figures jump.
            "epoch_metrics": {k: events.json_number(v) for k, v in self._newest_epoch.items()},
            **self.observation.best.state(),
            "epoch_means": self._epoch_means.state(),
            "early_stopping": self.observation.early_stopping.state() if self.observation.early_stopping else None,
            "forgetting": self.observation.forgetting.state() if self.observation.forgetting else None,
            "base_commit": self.observation.base_commit,
            "num_processes": self.observation.ranks.count,
            "learning_rate": float(self.args.learning_rate),
            **self.observation.about,
            # The base it is trained on is another one; what is saved is for the base as it is.
            "base_changed": self.initial is not None,
        }

    def check_finite(self) -> None:
        """Raise `NonFinite` when a trained weight is not a finite number, so that no such checkpoint is ever kept."""
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and not bool(torch.isfinite(parameter).all()):
                raise NonFinite(
                    f"At step {self.step} the weight {name} is not finite, so it was not saved.",
                    remedy=self._after_non_finite(),
                )

    def _keep_best(self, metrics: dict[str, float]) -> None:
        if self.state.global_step > 0 and self.observation.best.improves(metrics):
            self.observation.reporter.enter("saving", "best")
            self.save_adapter(self.observation.run.best, "best")
            self.score(self.observation.run.best, "best")

    def score(self, folder: Path, when: str) -> None:
        """Ask the run's suite, where it has one, of what was just written. Raises `StopNow`."""
        if (score := self.observation.score) is not None:
            with contextlib.suppress(EvaluationCut):  # told to stop: heard at the next step boundary
                self.observation.ranks.alone(lambda: score(folder, when))

    def score_what_was_cut(self) -> None:
        """Ask the suite of the checkpoint that is gone on from, where a kill or a stop kept it from being asked."""
        there = self._resumed_from
        if there is None or there.metadata.get("reason") == "stopping":
            return
        if not (there.path / checkpoints.SCORES).is_file():
            self.score(there.path, "checkpoint")

    def _report_saved(self, written: checkpoints.Checkpoint, reason: str) -> None:
        self.observation.reporter.say(
            events.CheckpointSaved(
                step=self.step,
                path=str(written.path.relative_to(self.observation.run.path)),
                used_bytes=written.used_bytes,
                reason=reason,
                metrics=dict(self.observation.newest),
            ),
            durable=True,
        )

    def _expected_bytes(self) -> int:
        """Room a checkpoint needs: as much as the last one and a tenth more, or adapter plus two Adam moments."""
        if self._last_checkpoint_bytes:
            return int(self._last_checkpoint_bytes * 1.1)
        trained: int = sum(p.numel() * p.element_size() for p in self.model.parameters() if p.requires_grad)
        return 3 * trained + (1 << 20)

    initial: Initial | None = None
    """What the adapter took out of the base when it began; None where it took nothing."""
    _gauge_alone = False
    """Whether the next evaluation is of the gauge of forgetting alone."""
    _staging: Path | None = None
    _save_reason = "scheduled"
    _saved_rate: object = None
    _resumed_from: checkpoints.Checkpoint | None = None
    _first_step = 0
    _reported_step = 0
    _reported_tokens = 0
    _summary: Mapping[str, float] = MappingProxyType({})


class _Interruption(TrainerCallback):
    """Decides when to save, asks what was cut short, and hears orders in long evaluations and accumulated steps."""

    def __init__(self, trainer: ObservedTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.score_what_was_cut()  # the checkpoint's weights are loaded here

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        steps = self.trainer.observation.save_steps
        if steps is not None and state.global_step % steps == 0:
            control.should_save = True
        if state.global_step >= state.max_steps:
            control.should_log = True  # else the last steps are in no curve when logging_steps does not divide them

        gauge = self.trainer.observation.forgetting
        if gauge is not None and gauge.due(state.global_step, last=state.global_step >= state.max_steps):
            self._measure_forgetting(control)

    def _measure_forgetting(self, control: Any) -> None:
        """Have the gauge read in this step's evaluation, or where there is none by itself."""
        if not control.should_evaluate:
            self.trainer._gauge_alone = control.should_evaluate = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.trainer.observation.control.stop is not None:
            control.should_evaluate = control.should_save = False  # told to stop: no evaluation first
            return
        self.trainer.finish_epoch()
        gauge = self.trainer.observation.forgetting
        if gauge is not None and gauge.due_each_epoch and gauge.step != self.trainer.step:
            self._measure_forgetting(control)
        every, epoch = self.trainer.observation.save_epochs, float(state.epoch or 0.0)
        if every is not None and self.trainer._saved_step != state.global_step:
            # With one epoch, what `max_steps` left of the last one counts as one.
            control.should_save = every == 1 or (abs(epoch - round(epoch)) < 1e-6 and round(epoch) % every == 0)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.hear_in_evaluation()

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.observation.control.hear(self.trainer.step)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
