"""One run from its folder to its end: load, prepare, measure, train, save. Imported by the worker process only."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import transformers
from transformers.trainer_utils import set_seed

from engine import events
from engine.config.arguments import lora_arguments, trainer_arguments
from engine.config.methods import greater_is_better, method_of
from engine.config.model import RunConfig, settled
from engine.config.resolved import ResolvedConfig
from engine.config.yaml_text import read_file
from engine.data.doctor import examine_files
from engine.data.preparing import users_cache
from engine.data.rows import Row, read_rows
from engine.data.templates import local_folder
from engine.errors import EngineError, NothingToLearn
from engine.launch.examined import asked_about, in_stage
from engine.runs import checkpoints
from engine.runs.directory import RunDirectory
from engine.runs.provenance import Provenance, cached_commit, changed_file, read_provenance
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
from engine.training.observed import EvaluationCut, Observation, ObservedTrainer
from engine.training.reporter import Reporter
from engine.training.scoring import Scorer
from engine.training.smaller_batch import with_batch_that_fits
from engine.training.splits import Split, leave_out_refused
from engine.training.stages import Stage, stage_of, start_folder
from engine.workspace import ModelReference

_trainer: ObservedTrainer | None = None
_resumed_step = 0
_stage = ""


def current_step() -> int:
    """Return the optimizer steps taken so far; 0 before training."""
    return max(_trainer.step, _resumed_step) if _trainer is not None else _resumed_step


def current_stage() -> str:
    """Return the name of the stage at work; empty for a run in one."""
    return _stage


def work(run: RunDirectory, reporter: Reporter, control: Control, *, resume: str | None, stage: str = "") -> str | None:
    """Carry the run to its end, or to that of one of its stages, and return the stage to go on with.

    Args:
        run: Its folder; the caller's keeper holds its lock.
        reporter: Where everything is said.
        control: Where commands are heard.
        resume: Checkpoint folder relative to the run; None begins at step 0 of the stage.
        stage: Of a run in several, where no checkpoint says it; empty for the first.

    Raises:
        StopNow: Told to stop without saving.
        StopBeforeTraining: Told to stop before the first step.
        EngineError: What a user can act on. Other exceptions are the libraries'.
    """
    global _trainer, _resumed_step, _stage
    _trainer = None
    whole, provenance = ResolvedConfig.from_yaml(read_file(run.config)), read_provenance(run)
    config = whole.config
    reporter.patience_seconds, reporter.while_waiting = config.saving.wait_for_room, control.hear_while_waiting
    _quiet_libraries()
    checkpoints.clear_partials(run)
    resume_from = _proven(run, provenance, reporter, resume) if resume is not None or not stage else None
    here = stage_of(run, whole, provenance, resume_from=resume_from, named=stage)
    new = resume_from is None and here.first  # of the run; another stage has other settings and other data
    resolved, all_data, provenance = with_batch_that_fits(run, here.resolved, here.name), provenance, here.provenance
    config, _stage = resolved.config, here.name
    _resumed_step = resume_from.step if resume_from else here.before.step
    if here.name:
        reporter.say(here.begun(), durable=True)

    device = loading.pick_device(config.model.device)
    if resume_from is not None and device.type != "cpu":
        reporter.warn(
            "resume-not-bitwise",
            f"Going on from step {resume_from.step}: data, optimizer and generators are as they were, but kernels on "
            f"{device.type} do not add in a fixed order, so the figures may differ in their last digits.",
        )
    reporter.enter("loading", config.model.name)
    commit = _base_commit(provenance, resume_from)
    merged = earlier.merges(config, provenance)
    continued = not here.first or (provenance.adapter is not None and not merged)
    if merged:
        base = earlier.merged_base(run, config, provenance, commit, reporter, control)
        reporter.enter("loading", f"{config.model.name} and what was learned before")
        loaded = loading.load(resolved, str(base), device)
    else:
        loaded = loading.load(resolved, provenance.model.source, device, commit=commit)
    if new:
        earlier.tell_of_it(run, config, provenance, reporter)
    gauge = None
    if config.forgetting.gauge:
        probe = _read_role("probe", "probe", provenance)
        leave_out_refused(probe, loaded.tokenizer)
        gauge = Gauge.on(
            loaded.model,
            probe.rows,
            loaded.tokenizer,
            settings=config.forgetting,
            path=run.forgetting,
            reporter=reporter,
            heard=lambda: control.hear_before_training(_resumed_step),
        )
    if continued:
        beside = None
        if here.first and config.model.adapter_mode == "stack":
            set_seed(config.training.seed)  # the new adapter's first weights
            beside = lora_arguments(resolved)
        loaded.model = loading.with_adapter(loaded.model, start_folder(run, here), beside=beside)
    control.hear_before_training(_resumed_step)

    reporter.enter("preparing")
    if new:  # a resume has been told, by `changes_since`, and told to go on
        _warn_of_changed_files(all_data, reporter)
        _refuse_wasted(whole, all_data)
        for name, part in whole.stages[1:]:
            reporter.enter("preparing", f"the rows of stage {name}")
            own = all_data.of_stage(name)
            splits = [_read_split("train", own, part.config, limit=part.config.data.limit)]
            splits[0].rows += earlier.replay(part.config, own, len(splits[0].rows))
            splits += [_read_split(split, own, part.config) for split in own.validation_sets()]
            prepare_ahead(run, part, name, splits, loaded.tokenizer, lambda: control.hear_before_training(0))
    train = _read_split("train", provenance, config, limit=config.data.limit)
    train.rows += earlier.replay(config, provenance, len(train.rows))
    validation = [_read_split(name, provenance, config) for name in provenance.validation_sets()]
    if "template-refuses" in config.data.accept:
        for split in (train, *validation):
            leave_out_refused(split, loaded.tokenizer)
    asked = _held_out(whole, all_data)
    prompts = behaviour.chosen_prompts(_own_prompts(config), {split.name: split.rows for split in validation})
    if method_of(config).pushes_away and settled(config.unlearning.target) == "reply":
        from engine.training.unlearning_rows import take_own_replies

        take_own_replies(
            (train, *validation),
            loaded.model,
            loaded.tokenizer,
            path=run.path / (f"replies-{here.name}.jsonl" if here.name else "replies.jsonl"),
            reporter=reporter,
            max_new_tokens=config.evaluation.max_new_tokens,
            heard=lambda: control.hear_before_training(_resumed_step),
        )
    reporter.enter("preparing", f"{len(train.rows)} rows")
    set_seed(config.training.seed)
    trainer = _trainer = build_trainer(
        model=loaded.model,
        tokenizer=loaded.tokenizer,
        arguments=trainer_arguments(resolved, run.path),
        lora=None if continued else begins_with(resolved, resumed=resume_from is not None),
        train=train,
        validation=validation,
        reporter=reporter,
        cache=users_cache(),
        method=training_method(config, between=lambda: control.hear_before_training(_resumed_step)),
    )
    if not continued:
        trainer.initial = begin(
            trainer,
            config.lora.init_lora_weights,
            run.path / "initial",
            resumed=resume_from is not None,
            rows=train.rows,
            tokenizer=loaded.tokenizer,
            heard=lambda: control.hear_before_training(_resumed_step),
        )
    del train  # a 200 MB file is a gigabyte of rows; the trainer has its tokens
    control.hear_before_training(_resumed_step)

    def answer(step: int) -> None:
        behaviour.answer_prompts(
            trainer.model,
            loaded.tokenizer,
            prompts,
            run=run,
            reporter=reporter,
            step=step,
            max_new_tokens=config.evaluation.max_new_tokens,
            heard=trainer.hear_in_evaluation if step else lambda: control.hear_before_training(0),
        )

    def measure(when: str, heard: Callable[[], None]) -> None:
        behaviour.measure(
            trainer.model,
            loaded.tokenizer,
            asked,
            run=run,
            reporter=reporter,
            step=trainer.step,
            when=when,
            max_new_tokens=config.evaluation.max_new_tokens,
            heard=heard,
        )

    def score(folder: Path, when: str) -> None:
        if scorer is not None:
            scorer.score(trainer.model, folder, when, trainer.hear_in_evaluation)

    scorer = None
    if config.evaluation.suite is not None:
        scorer = Scorer(run, config, provenance, loaded.tokenizer, reporter)
    saving = config.saving
    observation = Observation(
        run=run,
        run_id=provenance.run_id,
        reporter=reporter,
        control=control,
        save_steps=saving.save_steps if isinstance(saving.save_steps, int) else None,
        save_epochs=1 if saving.save_steps == "epoch" else saving.save_epochs,
        save_total_limit=saving.save_total_limit,
        # Figures of two methods cannot be compared: best/ is the last stage's.
        best=_best(config) if here.next is None else Best(None),
        early_stopping=EarlyStopping.watching(config.early_stopping, validation=bool(config.data.validation)),
        forgetting=gauge,
        before=here.before,
        about=here.about,
        base_commit=commit or _downloaded_commit(provenance),
        score=score,
        answer=answer,
    )
    trainer.observe(observation)
    with DeviceMonitor(reporter, device, loaded.device, lambda: control.paused):
        if new:
            answer(0)
            control.hear_before_training(0)
            if asked:
                measure("before", lambda: control.hear_before_training(0))
        if resume_from is None:
            trainer.before_first_step()
        _train(trainer, observation, loaded, here, resume_from)
        if control.stop is None and here.next is not None and not observation.ends_run:
            _refuse_empty_success(trainer, observation)
            _end_stage(run, trainer, here)
        if control.stop is not None and (here.next is not None or trainer.state.global_step < trainer.state.max_steps):
            control.refuse_the_rest()
            reporter.end("stopped", trainer.step, detail="as asked; `resume` goes on from here")
            return None
        if here.next is not None and not observation.ends_run:
            return here.next
        _refuse_empty_success(trainer, observation)
        reporter.enter("saving", "final")
        trainer.save_adapter(run.final, "final")
        _write_results(trainer)
        if saving.promote is not None:
            try:
                earlier.promote(run, saving.promote, reporter)
            except EngineError as error:
                reporter.warn(error.code, f"The result was not copied to models/: {error.message}", error.remedy)
        trainer.score(run.final, "end")
        detail = observation.ended_early
        if asked:
            try:
                measure("after", trainer.hear_in_evaluation)
            except EvaluationCut:
                detail = f"{detail}; " * bool(detail) + "told to stop while the held-out questions were asked again"
    control.refuse_the_rest()
    reporter.end("finished", trainer.step, detail=detail)
    return None


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


def _train(
    trainer: ObservedTrainer,
    observation: Observation,
    loaded: loading.Loaded,
    here: Stage,
    resume_from: checkpoints.Checkpoint | None,
) -> None:
    if resume_from is not None:
        trainer.continue_from(resume_from)
    trainer.add_callback(_Beginning(trainer, observation, loaded, here, _resumed_step))
    trainer.train(resume_from_checkpoint=str(resume_from.path) if resume_from else None)


class _Beginning(transformers.TrainerCallback):
    """Says `TrainingStarted` once the number of steps is known."""

    def __init__(
        self, trainer: ObservedTrainer, observation: Observation, loaded: loading.Loaded, stage: Stage, step: int
    ) -> None:
        self.trainer, self.observation, self.loaded, self.step = trainer, observation, loaded, step
        self.stage = stage

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # PEFT's own count: 4-bit weights are stored two to a byte, so that `numel` would say half.
        trained, everything = self.trainer.model.get_nb_trainable_parameters()
        stage = self.stage
        epochs = float(args.num_train_epochs) if args.max_steps <= 0 else float(state.num_train_epochs)
        self.observation.reporter.say(
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
        self.observation.reporter.enter("training")
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


def _warn_of_changed_files(provenance: Provenance, reporter: Reporter) -> None:
    """Say which files are not what they were when the run was checked, seconds or a queue's days ago."""
    for file in provenance.data:
        if sentence := changed_file(file):
            reporter.warn(
                "data-changed",
                f"{sentence} since this run was made; what is there now is learned.",
                "Stop the run and start a new one if that is not meant.",
            )


def _refuse_wasted(whole: ResolvedConfig, provenance: Provenance) -> None:
    """Examine the rows with the template of a Hub model, which may not have been on this machine before.

    Those of every stage: a fault in the last one's is told now, not after hours.

    Raises:
        DataRefused: Something grave was found that `data.accept` does not name.
    """
    model = provenance.model
    if model.kind != "hub":
        return
    folder = local_folder(ModelReference("hub", model.source, None, model.revision))
    for name, part in whole.parts():
        with in_stage(name):
            files = provenance.of_stage(name or None).data
            examine_files(asked_about(part.config, files, folder)).refuse(part.config.data.accept)


def _read_split(name: str, provenance: Provenance, config: RunConfig, limit: int | None = None) -> Split:
    role = "train" if name == "train" else f"validation:{name}"
    return _read_role(role, name, provenance, limit, config.data.mapping)


def _read_role(
    role: str, name: str, provenance: Provenance, limit: int | None = None, mapping: Mapping[str, str] | None = None
) -> Split:
    split = Split(name, [], [])
    for file in provenance.files(role):
        for item in read_rows(Path(file.path), limit=limit, mapping=mapping):
            if isinstance(item, Row):
                split.rows.append(item)
            else:
                split.problems.append(item)
    return split


def _held_out(whole: ResolvedConfig, provenance: Provenance) -> list[Row]:
    """Return the questions whose answers are measured before and after; empty when that is off.

    They are those of all stages, so that before the first and after the last the same is asked.
    """
    found: list[Row] = []
    files: set[str] = set()
    for name, part in whole.parts():
        if part.config.evaluation.behaviour is False:
            continue
        own = provenance.of_stage(name or None)
        new = [file for file in own.data if file.role.startswith("validation:") and file.path not in files]
        files.update(file.path for file in new)
        splits = [_read_split(split, replace(own, data=new), part.config) for split in own.validation_sets()]
        rows = [row for split in splits for row in split.rows if row.prompt]  # plain text asks nothing
        limit = part.config.evaluation.behaviour_limit
        for kind in ("retain", "unlearn"):
            found += behaviour.spread([row for row in rows if row.dataset_type == kind], limit)
    return found


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


def _refuse_empty_success(trainer: ObservedTrainer, observation: Observation) -> None:
    """Raise when steps were taken and none changed anything. A resume after the last step takes none."""
    if trainer.steps_taken and observation.largest_grad_norm == 0.0:
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
