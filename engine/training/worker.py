"""One run from its folder to its end: load, prepare, measure, train, save. Imported by the worker process only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from transformers.trainer_utils import set_seed

from engine import events
from engine.config.arguments import lora_arguments, trainer_arguments
from engine.config.methods import greater_is_better, method_of
from engine.config.model import RunConfig, settled
from engine.config.resolved import ResolvedConfig
from engine.config.yaml_text import read_file
from engine.data.preparing import users_cache
from engine.data.rows import Message, Row
from engine.errors import EngineError, NothingToLearn
from engine.runs import checkpoints
from engine.runs.directory import RunDirectory
from engine.runs.provenance import Provenance, cached_commit, read_provenance
from engine.training import behaviour, earlier, loading
from engine.training.ahead import prepare_ahead
from engine.training.best import Best
from engine.training.building import build_trainer
from engine.training.control import Control
from engine.training.early_stopping import EarlyStopping
from engine.training.forgetting import Gauge
from engine.training.initialising import begin, begins_with
from engine.training.method import training_method
from engine.training.monitor import DeviceMonitor
from engine.training.observation import Observation
from engine.training.observed import ObservedTrainer
from engine.training.orders import EvaluationCut
from engine.training.ranks import Ranks
from engine.training.reading import held_out, read_role, read_split, refuse_wasted, warn_of_changed_files
from engine.training.reporter import Reporter
from engine.training.scoring import Scorer
from engine.training.smaller_batch import with_batch_that_fits
from engine.training.splits import Split, leave_out_refused
from engine.training.stages import Stage, stage_of, start_folder

_trainer: ObservedTrainer | None = None
_resumed_step = 0
_stage = ""
_STOPPED = "as asked; `resume` goes on from here"


def current_step() -> int:
    """Return the optimizer steps taken so far; 0 before training."""
    return max(_trainer.step, _resumed_step) if _trainer is not None else _resumed_step


def current_stage() -> str:
    """Return the name of the stage at work; empty for a run in one."""
    return _stage


def work(
    run: RunDirectory,
    reporter: Reporter,
    control: Control,
    *,
    resume: str | None,
    stage: str = "",
    several: bool = False,
) -> str | None:
    """Carry the run to its end, or to that of one of its stages, and return the stage to go on with.

    Args:
        run: Its folder; the caller's keeper holds its lock.
        reporter: Where everything is said.
        control: Where commands are heard.
        resume: Checkpoint folder relative to the run; None begins at step 0 of the stage.
        stage: Of a run in several, where no checkpoint says it; empty for the first.
        several: Whether this is one of several processes, of which the environment tells.

    Raises:
        StopNow: Told to stop without saving.
        StopBeforeTraining: Told to stop before the first step.
        EngineError: What a user can act on. Other exceptions are the libraries'.
    """
    global _trainer
    _trainer = None
    _quiet_libraries()
    task = _taken_up(run, reporter, control, resume=resume, stage=stage, several=several)
    loaded, gauge = _load(task)
    rows = _read_rows(task, loaded)
    trainer = _trainer = _build(task, loaded, rows)
    held = _Held(task, loaded, trainer, rows.asked, rows.prompts)
    _observe(held, gauge)
    del rows  # a 200 MB file is a gigabyte of rows; the trainer has its tokens
    ranks = control.ranks
    monitor = DeviceMonitor(reporter, task.device, loaded.device, lambda: control.paused)
    with monitor if ranks.first else contextlib.nullcontext():
        if task.new:
            ranks.alone(lambda: held.answer(0))
            control.hear_before_training(0)
            held.measure("before", lambda: control.hear_before_training(0))
        if task.resume_from is None:
            trainer.before_first_step()
        _train(task, loaded, trainer)
        following, detail = _finish(held)
    if following is None:
        control.refuse_the_rest()
        outcome = "stopped" if detail is None else "finished"
        reporter.end(outcome, trainer.step, detail=_STOPPED if detail is None else detail)
    return following


@dataclass(slots=True)
class _Task:
    """What is to be done, known before anything is loaded."""

    run: RunDirectory
    reporter: Reporter
    control: Control
    whole: ResolvedConfig
    """With all stages."""
    all_data: Provenance
    """Of all stages."""
    here: Stage
    resolved: ResolvedConfig
    """Of this stage, with the batch that fits."""
    resume_from: checkpoints.Checkpoint | None
    device: torch.device
    commit: str | None
    """Of a base model on the Hub that the run began with."""

    @property
    def ranks(self) -> Ranks:
        return self.control.ranks

    @property
    def config(self) -> RunConfig:
        return self.resolved.config

    @property
    def provenance(self) -> Provenance:
        """Of this stage."""
        return self.here.provenance

    @property
    def new(self) -> bool:
        """Whether the run begins here; another stage has other settings and other data."""
        return self.resume_from is None and self.here.first

    @property
    def merges(self) -> bool:
        """Whether an earlier adapter is merged into the base."""
        return earlier.merges(self.config, self.provenance)

    @property
    def continues(self) -> bool:
        """Whether the model has its adapter before it has a trainer."""
        return not self.here.first or (self.provenance.adapter is not None and not self.merges)

    def hear(self) -> None:
        """Hear commands between two parts of what comes before the first step."""
        self.control.hear_before_training(_resumed_step)


@dataclass(slots=True)
class _Rows:
    """What is learned from, and what is measured with."""

    train: Split
    validation: list[Split]
    asked: list[Row]
    """Questions whose answers are measured before and after."""
    prompts: list[tuple[str, list[Message]]]
    """Answered at each evaluation."""


def _taken_up(
    run: RunDirectory, reporter: Reporter, control: Control, *, resume: str | None, stage: str, several: bool
) -> _Task:
    """Find out what is to be done, and say so."""
    global _resumed_step, _stage
    whole, provenance = ResolvedConfig.from_yaml(read_file(run.config)), read_provenance(run)
    reporter.patience_seconds = whole.config.saving.wait_for_room
    reporter.while_waiting = control.hear_while_waiting
    if several:
        control.ranks = Ranks.joined(on_cpu=whole.config.model.device == "cpu")
    ranks = control.ranks
    resume, stage = ranks.same((resume, stage))
    ranks.alone(lambda: checkpoints.clear_partials(run))
    resume_from = None
    if resume is not None or not stage:
        resume_from = ranks.alone(lambda: _proven(run, provenance, reporter, resume))
        if not ranks.first and resume is not None:
            resume_from = checkpoints.find_checkpoint(run, Path(resume).name)
    here = stage_of(run, whole, provenance, resume_from=resume_from, named=stage)
    resolved = with_batch_that_fits(run, here.resolved, here.name)
    _resumed_step, _stage = resume_from.step if resume_from else here.before.step, here.name
    if here.name:
        reporter.say(here.begun(), durable=True)
    device = loading.pick_device(resolved.config.model.device, ranks.local)
    if resume_from is not None and device.type != "cpu":
        reporter.warn(
            "resume-not-bitwise",
            f"Going on from step {resume_from.step}: data, optimizer and generators are as they were, but kernels on "
            f"{device.type} do not add in a fixed order, so the figures may differ in their last digits.",
        )
    then = resume_from.metadata.get("num_processes", 1) if resume_from is not None else ranks.count
    if then != ranks.count:
        reporter.warn(
            "processes-changed",
            f"The checkpoint was made by {then} processes and this is {ranks.count}: each begins with other random "
            "numbers, and the rows of an epoch are dealt anew, so that some are seen twice and others not.",
        )
    commit = _base_commit(here.provenance, resume_from)
    return _Task(run, reporter, control, whole, provenance, here, resolved, resume_from, device, commit)


def _load(task: _Task) -> tuple[loading.Loaded, Gauge | None]:
    """Load the base, have the gauge of forgetting read on it, and put the adapter on that there is."""
    run, config, reporter, here = task.run, task.config, task.reporter, task.here
    reporter.enter("loading", config.model.name)
    if task.merges:
        task.ranks.alone(lambda: earlier.merged_base(run, config, task.provenance, task.commit, reporter, task.control))
        reporter.enter("loading", f"{config.model.name} and what was learned before")
        loaded = loading.load(task.resolved, str(run.base), task.device)
    else:
        loaded = loading.load(task.resolved, task.provenance.model.source, task.device, commit=task.commit)
    if task.new:
        earlier.tell_of_it(run, config, task.provenance, reporter)
    gauge = None
    if config.forgetting.gauge:
        probe = read_role("probe", "probe", task.provenance)
        leave_out_refused(probe, loaded.tokenizer)

        def gauge_on() -> Gauge:
            return Gauge.on(
                loaded.model,
                probe.rows,
                loaded.tokenizer,
                settings=config.forgetting,
                path=run.forgetting,
                reporter=reporter,
                heard=task.hear,
            )

        # The others take what the first has measured, and kept.
        gauge = task.ranks.alone(gauge_on) or gauge_on()
    if task.continues:
        beside = None
        if here.first and config.model.adapter_mode == "stack":
            set_seed(config.training.seed)  # the new adapter's first weights
            beside = lora_arguments(task.resolved)
        loaded.model = loading.with_adapter(loaded.model, start_folder(run, here), beside=beside)
    task.hear()
    return loaded, gauge


def _read_rows(task: _Task, loaded: loading.Loaded) -> _Rows:
    """Read the rows of this stage, and look at those of later ones when the run begins."""
    config, provenance = task.config, task.provenance
    task.reporter.enter("preparing")
    if task.new:  # a resume has been told, by `changes_since`, and told to go on
        task.ranks.alone(lambda: _look_at_files(task))
        _look_ahead(task, loaded.tokenizer)
    train = _training_rows(config, provenance)
    validation = [read_split(name, provenance, config) for name in provenance.validation_sets()]
    if "template-refuses" in config.data.accept:
        for split in (train, *validation):
            leave_out_refused(split, loaded.tokenizer)
    asked = held_out(task.whole, task.all_data) if task.ranks.first else []
    prompts = behaviour.chosen_prompts(_own_prompts(config), {split.name: split.rows for split in validation})
    if method_of(config).pushes_away and settled(config.unlearning.target) == "reply":
        from engine.training.unlearning_rows import take_own_replies

        name = task.here.name

        def take() -> bool:
            take_own_replies(
                (train, *validation),
                loaded.model,
                loaded.tokenizer,
                path=task.run.path / (f"replies-{name}.jsonl" if name else "replies.jsonl"),
                reporter=task.reporter,
                max_new_tokens=config.evaluation.max_new_tokens,
                heard=task.hear,
            )
            return True

        task.ranks.alone(take) or take()  # the others find the replies written
    return _Rows(train, validation, asked, prompts)


def _look_at_files(task: _Task) -> None:
    warn_of_changed_files(task.all_data, task.reporter)
    refuse_wasted(task.whole, task.all_data)


def _look_ahead(task: _Task, tokenizer: Any) -> None:
    """Prepare the rows of later stages: what is wrong with them is told now, not after hours."""
    for name, part in task.whole.stages[1:]:
        task.reporter.enter("preparing", f"the rows of stage {name}")
        own = task.all_data.of_stage(name)
        splits = [_training_rows(part.config, own)]
        splits += [read_split(split, own, part.config) for split in own.validation_sets()]
        cache = users_cache(task.ranks if task.ranks.count > 1 else None)
        prepare_ahead(task.run, part, name, splits, tokenizer, cache, lambda: task.control.hear_before_training(0))


def _training_rows(config: RunConfig, provenance: Provenance) -> Split:
    """Return the rows to learn from, those of earlier runs that are mixed in last."""
    train = read_split("train", provenance, config, limit=config.data.limit)
    train.rows += earlier.replay(config, provenance, len(train.rows))
    return train


def _build(task: _Task, loaded: loading.Loaded, rows: _Rows) -> ObservedTrainer:
    """Return the trainer with its data prepared and its adapter on the model."""
    config, resumed = task.config, task.resume_from is not None
    task.reporter.enter("preparing", f"{len(rows.train.rows)} rows")
    set_seed(config.training.seed)
    trainer = build_trainer(
        model=loaded.model,
        tokenizer=loaded.tokenizer,
        arguments=trainer_arguments(task.resolved, task.run.path),
        lora=None if task.continues else begins_with(task.resolved, resumed=resumed),
        train=rows.train,
        validation=rows.validation,
        reporter=task.reporter,
        cache=users_cache(task.ranks if task.ranks.count > 1 else None),
        method=training_method(config, between=task.hear),
    )
    if not task.continues:
        trainer.initial = begin(
            trainer,
            config.lora.init_lora_weights,
            task.run.path / "initial",
            resumed=resumed,
            keep=task.ranks.first,
            rows=rows.train.rows,
            tokenizer=loaded.tokenizer,
            heard=task.hear,
        )
    task.hear()
    return trainer


@dataclass(slots=True)
class _Held:
    """What there is while the run trains: the trainer, and what is asked of its model."""

    task: _Task
    loaded: loading.Loaded
    trainer: ObservedTrainer
    asked: list[Row]
    prompts: list[tuple[str, list[Message]]]
    scorer: Scorer | None = None

    def answer(self, step: int) -> None:
        """Answer the fixed prompts."""
        behaviour.answer_prompts(
            self.trainer.model,
            self.loaded.tokenizer,
            self.prompts,
            run=self.task.run,
            reporter=self.task.reporter,
            step=step,
            max_new_tokens=self.task.config.evaluation.max_new_tokens,
            heard=self.trainer.hear_in_evaluation if step else lambda: self.task.control.hear_before_training(0),
        )

    def measure(self, when: str, heard: Callable[[], None]) -> None:
        """Ask the held-out questions, where there are any."""

        def measure() -> None:
            behaviour.measure(
                self.trainer.model,
                self.loaded.tokenizer,
                self.asked,
                run=self.task.run,
                reporter=self.task.reporter,
                step=self.trainer.step,
                when=when,
                max_new_tokens=self.task.config.evaluation.max_new_tokens,
                heard=heard,
            )

        self.task.ranks.alone(lambda: measure() if self.asked else None)

    def score(self, folder: Path, when: str) -> None:
        """Ask the suite of what was written to a folder."""
        if self.scorer is not None:
            self.scorer.score(self.trainer.model, folder, when, self.trainer.hear_in_evaluation)


def _observe(held: _Held, gauge: Gauge | None) -> None:
    """Have the trainer report and obey."""
    task, config, here = held.task, held.task.config, held.task.here
    if config.evaluation.suite is not None:
        held.scorer = Scorer(task.run, config, task.provenance, held.loaded.tokenizer, task.reporter)
    saving = config.saving
    held.trainer.observe(
        Observation(
            run=task.run,
            run_id=task.provenance.run_id,
            reporter=task.reporter,
            control=task.control,
            ranks=task.ranks,
            save_steps=saving.save_steps if isinstance(saving.save_steps, int) else None,
            save_epochs=1 if saving.save_steps == "epoch" else saving.save_epochs,
            save_total_limit=saving.save_total_limit,
            # Figures of two methods cannot be compared: best/ is the last stage's.
            best=_best(config) if here.next is None else Best(None),
            early_stopping=EarlyStopping.watching(config.early_stopping, validation=bool(config.data.validation)),
            forgetting=gauge,
            before=here.before,
            about=here.about,
            base_commit=task.commit or _downloaded_commit(task.provenance),
            score=held.score,
            answer=held.answer,
        )
    )


def _finish(held: _Held) -> tuple[str | None, str | None]:
    """Keep what was learned, and return the stage to go on with, or how the run finished; neither: it was stopped."""
    task, trainer = held.task, held.trainer
    run, reporter, control, here = task.run, task.reporter, task.control, task.here
    goes_on = here.next is not None and not trainer.observation.ends_run
    if control.stop is None and goes_on:
        _refuse_empty_success(trainer)
        _end_stage(run, trainer, here)
    if control.stop is not None and (here.next is not None or trainer.state.global_step < trainer.state.max_steps):
        return None, None
    if goes_on:
        return here.next, None
    _refuse_empty_success(trainer)
    reporter.enter("saving", "final")
    trainer.save_adapter(run.final, "final")
    _write_results(trainer)
    promote = task.config.saving.promote
    if promote is not None and task.ranks.first:
        try:
            earlier.promote(run, promote, reporter)
        except EngineError as error:
            reporter.warn(error.code, f"The result was not copied to models/: {error.message}", error.remedy)
    trainer.score(run.final, "end")
    detail = trainer.observation.ended_early
    try:
        held.measure("after", trainer.hear_in_evaluation)
    except EvaluationCut:
        detail = f"{detail}; " * bool(detail) + "told to stop while the held-out questions were asked again"
    return None, detail


def _end_stage(run: RunDirectory, trainer: ObservedTrainer, here: Stage) -> None:
    """Keep what a stage has learned, for the next to begin with, and hear whether there is to be one.

    The checkpoint is what a resume goes on from until the next stage has one of its own.
    """
    run.stages.mkdir(mode=0o700, exist_ok=True)
    trainer.save_now("stage")
    trainer.save_adapter(run.stages / here.name, "stage")
    path = str((run.stages / here.name).relative_to(run.path))
    detail = trainer.observation.ended_early
    trainer.observation.reporter.say(events.StageEnded(here.name, trainer.step, path, detail), durable=True)
    trainer.at_step_boundary()  # a pause is waited out here: what goes on is another process image


def _train(task: _Task, loaded: loading.Loaded, trainer: ObservedTrainer) -> None:
    """Train to the last step, or until it is to end before."""
    resume_from = task.resume_from
    if resume_from is not None:
        trainer.continue_from(resume_from)
    trainer.add_callback(_Beginning(trainer, loaded, task.here, _resumed_step))
    trainer.train(resume_from_checkpoint=str(resume_from.path) if resume_from else None)


class _Beginning(transformers.TrainerCallback):
    """Says `TrainingStarted` once the number of steps is known."""

    def __init__(self, trainer: ObservedTrainer, loaded: loading.Loaded, stage: Stage, step: int) -> None:
        self.trainer, self.loaded, self.stage, self.step = trainer, loaded, stage, step

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # PEFT's own count: 4-bit weights are stored two to a byte, so that `numel` would say half.
        trained, everything = self.trainer.model.get_nb_trainable_parameters()
        stage, reporter = self.stage, self.trainer.observation.reporter
        epochs = float(args.num_train_epochs) if args.max_steps <= 0 else float(state.num_train_epochs)
        reporter.say(
            events.TrainingStarted(
                total_steps=stage.before.step + state.max_steps + stage.later_steps,
                num_train_epochs=round(stage.before.epoch + epochs + stage.later_epochs, 6),
                resumed_from_step=self.step,
                num_parameters=everything,
                num_trainable_parameters=trained,
                device=self.loaded.device,
                dtype=self.loaded.dtype,
            ),
            durable=True,
        )
        reporter.enter("training")
        self.trainer.start_clock()


def _proven(
    run: RunDirectory, provenance: Provenance, reporter: Reporter, resume: str | None
) -> checkpoints.Checkpoint | None:
    """Return the checkpoint to go on from, proven once more here, and say which newer ones were passed over."""
    if resume is None:
        for other in checkpoints.all_checkpoints(run):  # a resume that found none to trust begins again
            reason = checkpoints.fault(other, provenance.run_id, to_resume=True)
            reporter.say(events.CheckpointSkipped(f"checkpoints/{other.path.name}", reason or "it was not asked for"))
        return None
    chosen = checkpoints.resumable_checkpoint(run, Path(resume).name)
    for other in checkpoints.all_checkpoints(run):
        if other.step <= chosen.step:
            continue  # not hashed: a run that keeps all its checkpoints may have hundreds
        reason = checkpoints.fault(other, provenance.run_id, to_resume=True)
        if reason is not None:
            reporter.say(events.CheckpointSkipped(f"checkpoints/{other.path.name}", reason))
    return chosen


def _own_prompts(config: RunConfig) -> list[str] | None:
    prompts = config.evaluation.prompts
    return prompts if isinstance(prompts, list) else None


def _best(config: RunConfig) -> Best:
    """Return which figure decides about `best/`; the library calls the loss of a single set `eval_loss`."""
    metric = settled(config.saving.best_metric)
    if not config.saving.save_best or metric is None:
        return Best(None)
    if metric.endswith("_loss") and len(config.data.validation) == 1:
        metric = "eval_loss"
    given = config.saving.greater_is_better
    return Best(metric, greater_is_better(metric) if given is None else given)


def _base_commit(provenance: Provenance, resume_from: checkpoints.Checkpoint | None) -> str | None:
    """Return the commit of a Hub model that this run began with; None before the first download, and for a folder.

    Named at every load: the branch may have moved since, and an adapter belongs to one base.
    """
    if provenance.model.kind != "hub":
        return None
    then = resume_from.metadata.get("base_commit") if resume_from is not None else None
    return then if isinstance(then, str) else provenance.model.fingerprint or None


def _downloaded_commit(provenance: Provenance) -> str | None:
    """Return the commit that has just been loaded for the first time; None for a folder."""
    model = provenance.model
    return cached_commit(model.source, model.revision) or None if model.kind == "hub" else None


def _refuse_empty_success(trainer: ObservedTrainer) -> None:
    """Raise when steps were taken and none changed anything. A resume after the last step takes none."""
    if trainer.steps_taken and trainer.observation.largest_grad_norm == 0.0:
        raise NothingToLearn(
            "The gradient was zero at every step, so nothing was learned.",
            remedy="Look at the data with the chosen model: are the answers masked or empty?",
        )


def _write_results(trainer: ObservedTrainer) -> None:
    """Write `train_results.json` and `eval_results.json` under the libraries' names."""
    trainer.save_metrics("train", trainer.train_metrics(), combined=False)
    if trainer.last_evaluation:
        trainer.save_metrics("eval", trainer.last_evaluation, combined=False)


def _quiet_libraries() -> None:
    """Keep progress bars out of worker.log: a bar redrawn into a file is megabytes of carriage returns."""
    datasets.disable_progress_bars()
    os.environ.setdefault("TQDM_DISABLE", "1")  # read at each bar
    transformers.utils.logging.disable_progress_bar()
