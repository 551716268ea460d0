"""When a trainer of ours saves and measures, and where it hears orders, as a callback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

if TYPE_CHECKING:
    from engine.training.observed import ObservedTrainer


class Interruption(TrainerCallback):
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
            self.trainer.gauge_alone = control.should_evaluate = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.trainer.observation.control.stop is not None:
            control.should_evaluate = control.should_save = False  # told to stop: no evaluation first
            return
        self.trainer.finish_epoch()
        gauge = self.trainer.observation.forgetting
        if gauge is not None and gauge.due_each_epoch and gauge.step != self.trainer.step:
            self._measure_forgetting(control)
        every, epoch = self.trainer.observation.save_epochs, float(state.epoch or 0.0)
        if every is not None and self.trainer.saved_step != state.global_step:
            # With one epoch, what `max_steps` left of the last one counts as one.
            control.should_save = every == 1 or (abs(epoch - round(epoch)) < 1e-6 and round(epoch) % every == 0)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.hear_in_evaluation()

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.observation.control.hear(self.trainer.step)
