"""How every trainer of ours saves: atomically, never what is not finite, the best apart; and takes up what was saved.

The methods overridden are those of `transformers.Trainer` (5.23); where one is private, a callback cannot do it, and
the reason stands beside it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import Trainer

from engine import events
from engine.errors import DiskFull, EngineError, NonFinite
from engine.runs import checkpoints
from engine.training.checkpoint_writer import rotate, write_checkpoint
from engine.training.failures import explained
from engine.training.observation import Observation
from engine.training.orders import EvaluationCut
from engine.training.precision import trained_types_kept
from engine.training.stacking import is_stacked, load_trained, save_as_one

if TYPE_CHECKING:
    from engine.training.initialising import Initial

_OPTIMIZER_SETTINGS = ("weight_decay", "betas", "eps", "momentum")
"""What a saved optimizer state brings along though it is no state."""


class SavingTrainer(Trainer):
    """Mixed in before a trainer of TRL."""

    observation: Observation
    initial: Initial | None = None
    """What the adapter took out of the base when it began; None where it took nothing."""
    aside_seconds = 0.0
    """Since the last step was reported: what was not training."""
    saved_step = -1
    """Optimizer steps of this stage at the newest checkpoint."""
    _first_step = 0
    _staging: Path | None = None
    _save_reason = "scheduled"
    _saved_rate: object = None
    _resumed_from: checkpoints.Checkpoint | None = None
    _last_checkpoint_bytes = 0

    def continue_from(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Take over what the library does not keep in its own state."""
        self._first_step = self.saved_step = checkpoint.step - self.observation.before.step
        self.observation.best.restore(checkpoint.metadata)
        self._saved_rate = checkpoint.metadata.get("learning_rate")
        self._resumed_from = checkpoint
        evaluated = checkpoint.metadata.get("evaluated_step")
        self.observation.evaluated_step = evaluated if type(evaluated) is int else None
        metrics = checkpoint.metadata.get("metrics")
        if isinstance(metrics, dict):
            self.observation.newest = {name: events.number_from_json(value) for name, value in metrics.items()}

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

    def set_peak(self, rate: float) -> float | None:
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
        if self.set_peak(now) is not None:
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
        if self.saved_step != self.state.global_step:
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
        self.saved_step = self.state.global_step
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
        self.aside_seconds += time.monotonic() - began

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
            "metrics": {k: events.json_number(v) for k, v in self.observation.newest.items()},
            "evaluated_step": self.observation.evaluated_step,
            **self.observation.best.state(),
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
                    remedy=self.after_non_finite(),
                )

    def keep_best(self, metrics: dict[str, float]) -> None:
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

    def after_non_finite(self) -> str:
        """Return what to do. A resume alone repeats the same steps, with the schedule the checkpoint holds."""
        own = self.observation.run_id
        ours = [c for c in checkpoints.all_checkpoints(self.observation.run) if c.run_id == own]
        again = "Start a new run with a lower training.learning_rate or more training.warmup_steps"
        if not ours:
            return f"{again}; there is no checkpoint yet."
        newest = max(ours, key=lambda checkpoint: checkpoint.age_key)
        return f"{again}, or resume from {newest.path.name} and set a lower learning rate while it is paused."
