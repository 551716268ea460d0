"""What every trainer of ours adds to TRL's: it reports, obeys and never steps on a NaN; `saving` is how it saves.

`class ObservedSFTTrainer(ObservedTrainer, SFTTrainer)`. The methods overridden are those of `transformers.Trainer`
(5.23); where one is private, a callback cannot do it, and the reason stands beside it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from transformers import PrinterCallback

from engine import events
from engine.config.methods import FORGETTING
from engine.errors import ConfigError, NonFinite
from engine.runs import checkpoints
from engine.training.control import Heard
from engine.training.early_stopping import EarlyStopping, Judgement, ends_a_cycle
from engine.training.epochs import EpochMeans, forget_epochs_after, log_epoch
from engine.training.interruption import Interruption
from engine.training.observation import EARLY_STOPPING, Observation
from engine.training.orders import EvaluationCut
from engine.training.saving import SavingTrainer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.data.rows import Row
    from engine.training.forgetting import Gauge

_LOG_HISTORY_KEPT = 1_000
"""Entries left in `trainer_state.json`. The event log holds them all; at a million steps the list would make
every checkpoint 250 MB bigger."""
_POLL_SECONDS = 0.2
"""How often a paused worker looks for commands."""
_MOST_OVERFLOWS = 20
"""Steps in a row that float16's loss scaling may skip. It begins at 65,536 and halves each time: 16 lead to 1."""
_JUDGING = ("loss", "accuracy", "accuracies", "margins", "rewards/chosen", "rewards/rejected", FORGETTING)
"""How the figures of an evaluation end by which checkpoints are compared."""


class ObservedTrainer(SavingTrainer):
    """Mixed in before a trainer of TRL."""

    gauge_alone = False
    """Whether the next evaluation is of the gauge of forgetting alone."""
    _reported_step = 0
    _reported_tokens = 0
    _summary: Mapping[str, float] = MappingProxyType({})

    def take_prepared(self, rows: Sequence[Row]) -> None:
        """Make of the prepared training rows what is learned from. Called once, after they were counted."""

    def before_first_step(self) -> None:
        """Do what a method needs done before the first step of a run, not of a resume. May refuse the run."""
        if self.observation.forgetting is not None:
            self.gauge_alone = True
            self._evaluate(None, None, skip_scheduler=True)

    def observe(self, observation: Observation) -> None:
        """Begin to report and obey. Called once, before `train`."""
        self.observation = observation
        self.last_evaluation: dict[str, float] = {}
        self._step_began = time.monotonic()
        self._overflows = 0
        self._epoch_means = EpochMeans()
        self._newest_epoch: dict[str, float] = {}
        self._total_train_tokens = self._reported_tokens = observation.before.num_tokens  # TRL counts on from there
        self.remove_callback(PrinterCallback)  # prints every step into worker.log, 300 MB in a million
        self.add_callback(Interruption(self))

    def continue_from(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Take over what the library does not keep in its own state: tokens seen, the best value so far."""
        super().continue_from(checkpoint)
        self._reported_step = self.saved_step
        self._reported_tokens = int(checkpoint.metadata.get("num_tokens", 0))
        self._total_train_tokens = self._reported_tokens  # TRL's counter, which begins at 0 after a resume
        self._epoch_means.restore(checkpoint.metadata.get("epoch_means"))
        newest_epoch = checkpoint.metadata.get("epoch_metrics")
        if isinstance(newest_epoch, dict):
            self._newest_epoch = {name: events.number_from_json(value) for name, value in newest_epoch.items()}
        self.last_evaluation = {k: v for k, v in self.observation.newest.items() if k.startswith("eval_")}
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

    def metadata(self, reason: str) -> dict[str, Any]:
        """Return what `metadata.json` says of the weights and of what is counted as it is now."""
        stopping, gauge = self.observation.early_stopping, self.observation.forgetting
        return {
            **super().metadata(reason),
            # The library's own count: the newest report may be some steps old.
            "num_tokens": int(getattr(self, "_total_train_tokens", self._reported_tokens)),
            # Of the newest whole epoch: with few rows in a step its own figures jump.
            "epoch_metrics": {k: events.json_number(v) for k, v in self._newest_epoch.items()},
            "epoch_means": self._epoch_means.state(),
            "early_stopping": stopping.state() if stopping is not None else None,
            "forgetting": gauge.state() if gauge is not None else None,
        }

    def start_clock(self) -> None:
        """Begin to time the first step now: what came before was not training."""
        self._step_began, self.aside_seconds = time.monotonic(), 0.0

    def train_metrics(self) -> dict[str, float]:
        """Return the library's own summary of the training just ended.

        It covers this attempt. When a resume found all steps taken, that would be a loss of 0 over no step, so the
        mean of the losses in the checkpoint's own history stands instead.
        """
        if self.steps_taken:
            return dict(self._summary)
        losses = [entry["loss"] for entry in self.state.log_history if "loss" in entry]
        return {"train_loss": sum(losses) / len(losses)} if losses else {}

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
        seconds = max(0.0, now - self._step_began - self.aside_seconds) / steps
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
        self._step_began, self.aside_seconds = time.monotonic(), 0.0

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
            self.keep_best(means)
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
            self.observation.ended_early = f"{EARLY_STOPPING}{judged.reason}"
        elif self.observation.ended_early.startswith(EARLY_STOPPING):
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
            remedy=self.after_non_finite(),
        )

    def _loss_is_scaled(self) -> bool:
        """Whether the loss is multiplied before the backward pass, as float16 needs, so that gradients may overflow."""
        scaler = getattr(self.accelerator, "scaler", None)
        return scaler is not None and scaler.is_enabled()

    def _evaluate(self, trial: Any, ignore_keys_for_eval: Any, skip_scheduler: bool = False) -> dict[str, float]:
        """Evaluate and report one sentence for all validation sets, which the library logs one by one."""
        began = time.monotonic()
        self.observation.reporter.enter("evaluating")
        found: dict[str, float] = {}
        alone, self.gauge_alone = self.gauge_alone, False
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
        self.aside_seconds += time.monotonic() - began
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
        self.keep_best(metrics)
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
        began, aside = time.monotonic(), self.aside_seconds
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
        self.aside_seconds = aside + time.monotonic() - began  # a save in it has added its own time

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
        now = self.set_peak(rate)
        if now is None:
            detail = f"the schedule {self.args.lr_scheduler_type} has no peak to set"
        else:
            detail = f"learning_rate {rate:g} from step {self.step + 1} on, {now:g} there"
        self.observation.control.confirm(heard, detail, accepted=now is not None)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
