"""Make a run ready to start, or to go on: everything that can be refused is refused here, before anything is made."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, cast

from engine import events
from engine.config.automatic import Facts
from engine.config.catalogue import CatalogueEntry, catalogue
from engine.config.check import Setting
from engine.config.load import GivenConfig
from engine.config.methods import method_of, sequences_per_row
from engine.config.model import RunConfig
from engine.config.resolved import ResolvedConfig, read_template, resolve
from engine.config.stages import is_shared
from engine.config.yaml_text import read_file
from engine.data.rows import Row, check_file, read_rows, recognise_file
from engine.errors import CheckpointError, DataError, EngineError, MissingPackage, NotFound, RunBusy, TargetExists
from engine.hardware.devices import best_device, num_visible_gpus
from engine.hardware.machine import Room, room
from engine.hardware.measured import correction
from engine.hardware.memory import Batch, estimate
from engine.hardware.model_shape import NotEstimated, find_shape
from engine.launch.continuing import Start, earlier_data, replayed_rows, starting_adapter, told
from engine.launch.examined import examine_run, in_stage
from engine.launch.several import FILE, accelerate_settings, accelerate_text, refuse_unlaunchable, worker_of
from engine.launch.start import start
from engine.runs import checkpoints, provenance
from engine.runs.checkpoints import Checkpoint
from engine.runs.directory import RunDirectory, check_name, create_run, free_name
from engine.runs.lifecycle import Lifecycle
from engine.runs.liveness import Life, liveness
from engine.runs.provenance import DataFile
from engine.runs.summary import summarise
from engine.workspace import ModelReference, Workspace

if TYPE_CHECKING:
    from engine.data.lengths import Lengths
    from engine.data.row import Kind

FROM_THE_START = "start"
"""In the place of a checkpoint: none of them."""
_PROMPTS_PER_RUN = 6
_OTHER_KINDS: Mapping[str, tuple[Kind, ...]] = {"probe": ("text", "sft"), "suite": ("sft",)}
"""Rows of the files that nothing is learned from: what the gauge of forgetting can score, what a suite can ask."""
_NAME_ATTEMPTS = 50
"""How often a free name is looked for: as many starts at the same moment all get a run."""
_ROWS_LOOKED_AT = 2_000
"""Rows of each validation file in which `metadata.dataset_type` is looked for."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """How a run went on."""

    checkpoint: Checkpoint | None
    """None when it began again, because no checkpoint could be used."""
    skipped: list[tuple[Checkpoint, str]]
    """Newer checkpoints that were passed over, each with the reason."""
    inexact: list[str] = field(default_factory=list)
    """Why figures may differ in their last digits although nothing is missing, a sentence each."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A configuration with nothing left to decide, and what it was decided from."""

    resolved: ResolvedConfig
    data: list[DataFile]
    """Every file, read whole: the training files first, in the order given."""
    model: ModelReference
    facts: Facts
    named: str = ""
    """The model as it was written; the resolved name may be a path."""
    start: Start | None = None
    """The adapter to go on training; None: a new one."""
    accelerate: str | None = None
    """What stands in `launch.config_file`; None without one."""
    stages: tuple[tuple[str, Settled], ...] = ()
    """Name and settled configuration of each stage; empty for a run in one. What stands above is the first's, but for
    `data`, which is everybody's."""

    def parts(self) -> tuple[tuple[str, Settled], ...]:
        """Return the stages; of a run in one itself, under no name."""
        return self.stages or (("", self),)

    @property
    def methods(self) -> list[str]:
        """The method of each stage."""
        return [part.resolved.config.method.name for _, part in self.parts()]

    @property
    def stem(self) -> str:
        """What a run of it is called, but for its number."""
        return f"{'-'.join(self.methods)}-{Path(self.named).name}"


Known: TypeAlias = dict[tuple[str, str, str, int, int, str], DataFile]
"""Files read before: by role, name as given, path, size, time of change in nanoseconds, and what is read as what."""


def settle(workspace: Workspace, given: GivenConfig, *, known: Known | None = None) -> Settled:
    """Check what was given, read the data, and decide every value. Nothing is written.

    Args:
        workspace: Where files are looked for.
        given: What the user wrote.
        known: Remembers files between two calls, so that a form settles again in milliseconds; None reads every file.

    Raises:
        ConfigError: All problems of the settings.
        NotFound: The model or a data file is not there.
        DataError: A data file is damaged or teaches nothing.
        MissingPackage: `training.report_to` names a package that is not installed.
        EngineError: The adapter of `model.adapter` cannot be trained on, as `starting_adapter`.
    """
    given.check()
    if not given.stages:
        return _settle(workspace, given, known)
    known = {} if known is None else known
    stages: list[tuple[str, Settled]] = []
    for name, part in given.parts():
        with in_stage(name):
            stages.append((name, _settle(workspace, _as_in(stages[0][1], part) if stages else part, known)))
    first = stages[0][1]
    refuse_unlaunchable(first.resolved.config, accelerate_settings(first.accelerate), stages=len(stages))
    resolved = replace(first.resolved, stages=tuple((name, _like(first, one).resolved) for name, one in stages))
    data = [replace(file, stage=name) for name, one in stages for file in one.data]
    return replace(first, resolved=resolved, data=data, stages=tuple(stages))


def _as_in(first: Settled, part: GivenConfig) -> GivenConfig:
    """Return a later stage's settings with what is the whole run's as the first stage had it decided."""
    decided = {
        key: Setting(value, "the first stage")
        for key, value, source in first.resolved.values()
        if is_shared(key) and source.kind == "automatic"
    }
    return replace(part, settings={**part.settings, **decided})


def _like(first: Settled, later: Settled) -> Settled:
    """Return a stage that says of what is the whole run's where it came from as the first does."""
    shared = {key: source for key, source in first.resolved.sources.items() if is_shared(key)}
    return replace(later, resolved=replace(later.resolved, sources={**later.resolved.sources, **shared}))


def _settle(workspace: Workspace, given: GivenConfig, known: Known | None) -> Settled:
    given, start = starting_adapter(workspace, given)
    config = given.check()
    _require_reporters(config)
    model = workspace.model(config.model.name)
    text = accelerate_text(workspace, config)
    accelerate = accelerate_settings(text)
    data = list(_checked_files(workspace, config, {} if known is None else known))
    if config.data.replay:
        data += _still_there(earlier_data(workspace, start))
    facts = _facts(workspace, config, model, data, accelerate)
    resolved = told(resolve(given, facts, workspace), start)
    refuse_unlaunchable(resolved.config, accelerate)
    return Settled(resolved, data, model, facts, config.model.name, start, accelerate=text)


def new_run(workspace: Workspace, given: GivenConfig, *, name: str | None = None) -> RunDirectory:
    """Check and settle everything, then make the run's folder. Nothing is started.

    Args:
        workspace: Where files are looked for and the run is made.
        given: What the user wrote.
        name: Of the run; None takes the next free one, such as `sft-tiny-3`.

    Raises:
        EngineError: As `settle`.
        DataRefused: The doctor found something grave in the data that `data.accept` does not name.
        TargetExists: The name is taken.
        WorkspaceError: The workspace cannot be written.
    """
    if name is not None:
        check_name(name)
    settled = settle(workspace, given)
    for stage, part in settled.parts():
        with in_stage(stage):
            examine_run(part).refuse(part.resolved.config.data.accept)
    text = settled.resolved.to_yaml()
    model, revision = settled.model, settled.resolved.config.model.revision
    named = settled.named  # as written; the resolved one may be a path
    start = settled.start
    parent = start.parent if start is not None else None
    where = provenance.collect(
        parent=parent,
        config=text,
        model=provenance.model_source(named, model.kind, model.source, revision),
        data=settled.data,
        workspace=workspace.path,
        adapter=start.source if start is not None else None,
    )
    method = "+".join(settled.methods)
    launched = {FILE: settled.accelerate} if settled.accelerate is not None else {}
    for attempts_left in reversed(range(_NAME_ATTEMPTS)):
        chosen = name or free_name(workspace.runs, settled.stem)
        try:
            made = create_run(
                workspace.runs,
                chosen,
                created=events.RunCreated("", method, named, parent),
                files={"run.yaml": text, "provenance.json": where.to_json(), **launched},
                copies=start.copies if start is not None else {},
            )
        except TargetExists:
            # Another start took the name between our look and now: that is no reason to bother anybody.
            if name is not None or not attempts_left:
                raise
        else:
            return _with_what_was_proven(made, start)
    raise AssertionError("the last attempt returns or raises")


def _with_what_was_proven(run: RunDirectory, start: Start | None) -> RunDirectory:
    """Return a run just made.

    Raises:
        CheckpointError: The adapter was replaced while it was copied; the run is removed.
    """
    if start is not None and checkpoints.sha256(run.start / provenance.ADAPTER_WEIGHTS) != start.source.sha256:
        _remove_unstarted(run)
        raise CheckpointError(
            f"{start.model.label} was replaced while it was copied.", remedy="Start again, or name another checkpoint."
        )
    return run


def start_run(run: RunDirectory) -> None:
    """Start a run just made.

    Raises:
        EngineError: It could not be started; its folder is removed, since nothing has happened in it.
    """
    try:
        resolved = ResolvedConfig.from_yaml(read_file(run.config))
        start(run, grace_seconds=resolved.config.launch.grace_seconds, worker=worker_of(resolved))
    except EngineError:
        _remove_unstarted(run)
        raise


def resume_run(
    run: RunDirectory, *, checkpoint: str | None = None, accept_changes: bool = False, dry_run: bool = False
) -> Resumed:
    """Go on with a run whose processes are dead, exactly where a checkpoint left it.

    Args:
        run: The run.
        checkpoint: A step or `checkpoint-N`; None takes the newest that is whole; "start" begins again at step 0.
        accept_changes: Go on although settings, data or base model are not what they were.
        dry_run: Only say from where, and start nothing.

    Raises:
        RunBusy: It is alive, or cannot be proven dead.
        NotFound: There is no such checkpoint.
        CheckpointError: The one named is damaged, none can be gone on from exactly, something it depends on has
            changed, or the run has finished.
    """
    resolved = ResolvedConfig.from_yaml(read_file(run.config))
    config = resolved.config
    if liveness(run.path).life is Life.DEAD and summarise(run).state == "finished" and checkpoint is None:
        raise CheckpointError(
            f"Run {run.name} has finished, so there is nothing to go on with.",
            remedy=f"`ftconsole continue {run.name}` begins a new run with its weights; --from CHECKPOINT repeats what "
            "came after that one.",
        )
    changes = provenance.changes_since(run)
    if changes and not accept_changes:
        raise CheckpointError(
            f"Run {run.name} would not go on exactly: {'; '.join(changes)}.",
            remedy="Restore what changed, or go on all the same with --accept-changes. "
            f"`ftconsole continue {run.name}` begins a new run with its weights.",
        )
    skipped: list[tuple[Checkpoint, str]] = []
    chosen: Checkpoint | None = None
    if checkpoint is None:
        chosen, skipped = checkpoints.newest_valid(run)
        if chosen is None:
            _refuse_to_lose_weights(run, skipped)
    elif checkpoint != FROM_THE_START:
        chosen = checkpoints.resumable_checkpoint(run, checkpoint)
    names = [name for name, _ in resolved.stages]
    stage = chosen.metadata.get("stage") if chosen is not None else None
    if stage in names[1:]:
        checkpoints.stage_result(run, names[names.index(stage) - 1])  # what it begins with, and is compared to
    inexact = provenance.inexact_since(run, config.model.device) if chosen is not None else []
    if dry_run:
        found = liveness(run.path)
        if found.life is not Life.DEAD:
            raise RunBusy(f"Run {run.name} cannot be gone on with: {found.reason}.", remedy="Stop it first.")
        return Resumed(chosen, skipped, inexact)
    start(run, resume=chosen, grace_seconds=config.launch.grace_seconds, worker=worker_of(resolved))
    return Resumed(chosen, skipped, inexact)


def _refuse_to_lose_weights(run: RunDirectory, skipped: list[tuple[Checkpoint, str]]) -> None:
    """Raise where no exact resume is possible and beginning again would pass over weights that are whole."""
    own = checkpoints.run_id(run)
    for checkpoint, reason in skipped:
        if checkpoints.fault(checkpoint, own, weights_only=True) is None:
            raise CheckpointError(
                f"Run {run.name} cannot go on exactly: {checkpoint.path.name} has its weights, but {reason}.",
                remedy=f"{checkpoints.continue_hint(run, checkpoint)}; "
                f"`ftconsole resume {run.name} --from {FROM_THE_START}` begins again at step 0.",
            )


def _checked_files(workspace: Workspace, config: RunConfig, known: Known) -> Iterator[DataFile]:
    """Read every data file whole: a run must not end at row 900,000 for a torn line."""
    roles = [("train", path) for path in config.data.train]
    roles += [(f"validation:{name}", path) for name, path in config.data.validation.items()]
    if config.forgetting.gauge:
        roles.append(("probe", config.forgetting.probe))
    if config.evaluation.suite is not None:
        roles += [("suite", path) for path in config.evaluation.suite_test]
    for role, given in roles:
        split = {"train": "train", "suite": "test"}.get(role, "validation")
        for path in workspace.data_files(given, split):
            about = path.stat()
            kinds = _OTHER_KINDS.get(role) or method_of(config).kinds
            mapping = config.data.mapping if role not in _OTHER_KINDS else {}
            read_as = f"{mapping} {kinds}"
            key = (role, given, str(path), about.st_size, about.st_mtime_ns, read_as)
            if key not in known:
                rows, _ = check_file(path, mapping, kinds=kinds)
                known[key] = provenance.data_file(role, given, path, rows)
            yield known[key]


def _still_there(files: list[DataFile]) -> list[DataFile]:
    """Return the files of earlier runs as they are now.

    Raises:
        NotFound: One is gone.
    """
    for file in files:
        if not os.path.isfile(file.path):
            raise NotFound(
                f"data.replay needs {file.path}, which an earlier run was trained on, and it is gone.",
                remedy="Put it back, or set data.replay: 0.",
            )
    return files


def _facts(
    workspace: Workspace,
    config: RunConfig,
    model: ModelReference,
    data: list[DataFile],
    accelerate: Mapping[str, Any],
) -> Facts:
    limit = config.data.limit
    kind, bfloat16 = best_device()
    entry = catalogue(workspace).get(config.model.name)
    shape = _model_shape(model)
    types, prompts = _validation_facts(
        [file for file in data if file.role.startswith("validation:")], config.data.mapping
    )
    _require_suite(config, data)
    method = method_of(config)
    num_rows = sum(min(f.rows, limit or f.rows) for f in data if f.role == "train")
    replayed = replayed_rows(config.data.replay, num_rows, sum(f.rows for f in data if f.role == "replay"))
    num_examples = num_rows + replayed
    if config.method.name == "kto":
        num_examples += _second_answers(config, data, replayed)
    types_to_learn = _trained_types(data, config) if method.needs else None
    if types_to_learn is not None:
        _require_types(config, types_to_learn)
        if method.pushes_away:
            num_examples = types_to_learn.unlearn
    num_parameters = entry.num_parameters if entry is not None else None
    device = _chosen_device(config, kind, accelerate)
    there = room(device)
    free = there.free_bytes
    if there.kind == "cpu" and free is not None:
        free //= _num_processes(config, accelerate)  # each holds the model
    return Facts(
        num_train_examples=num_examples,
        device=cast(Literal["cpu", "cuda", "mps"], kind),
        chosen_device=device,
        bfloat16=bfloat16,
        num_parameters=num_parameters or _parameters_on_disk(model),
        target_modules=entry.target_modules if entry is not None else (),
        max_position_embeddings=shape.get("max_position_embeddings") or _context_length(entry),
        dataset_types=types,
        validation_prompts=prompts,
        lengths=_lengths(workspace, config, model, data),
        refusals_to_unlearn=types_to_learn is not None and types_to_learn.refusals_to_unlearn,
        free_bytes=free,
        accelerate=accelerate,
        needed_bytes=_predictor(model, entry, there),
    )


def _num_processes(config: RunConfig, accelerate: Mapping[str, Any]) -> int:
    asked = config.launch.num_processes
    return int(accelerate.get("num_processes", 1)) if asked == "auto" else asked


def _chosen_device(config: RunConfig, kind: str, accelerate: Mapping[str, Any]) -> str:
    """Return the device of one process: of several GPUs the one with the most free memory, where none was named."""
    if config.model.device != "auto":
        return config.model.device
    if kind != "cuda" or _num_processes(config, accelerate) > 1:
        return kind
    free = [room(f"cuda:{index}").free_bytes or 0 for index in range(num_visible_gpus() or 1)]
    return f"cuda:{free.index(max(free))}" if len(free) > 1 else kind


def _second_answers(config: RunConfig, data: list[DataFile], replayed: int) -> int:
    """Return how many more answers there are than rows: KTO learns two of each preference pair."""
    found, earlier = 0, [0, 0]
    for file in data:
        if file.role not in ("train", "replay"):
            continue
        pairs = _holds_pairs(file.path, file.sha256, tuple(config.data.mapping.items()))
        if file.role == "train":
            found += min(file.rows, config.data.limit or file.rows) if pairs else 0
        else:
            earlier = [earlier[0] + (file.rows if pairs else 0), earlier[1] + file.rows]
    return found + (round(replayed * earlier[0] / earlier[1]) if earlier[1] else 0)


@functools.lru_cache(maxsize=64)
def _holds_pairs(path: str, _sha256: str, mapping: tuple[tuple[str, str], ...]) -> bool:
    """Remembered by the hash of the file: a form settles at every key."""
    return recognise_file(Path(path), dict(mapping)).kind == "preference"


class _TrainedTypes(NamedTuple):
    """Training rows by what `metadata.dataset_type` says they are."""

    retain: int
    unlearn: int
    refusals_to_unlearn: bool
    """Whether most of the rows to unlearn have a refusal as their completion."""


def _trained_types(data: list[DataFile], config: RunConfig) -> _TrainedTypes:
    files = tuple((file.path, file.sha256) for file in data if file.role == "train")
    return _count_types(files, config.data.limit, tuple(config.data.mapping.items()))


@functools.lru_cache(maxsize=8)
def _count_types(
    files: tuple[tuple[str, str], ...], limit: int | None, mapping: tuple[tuple[str, str], ...]
) -> _TrainedTypes:
    """Remembered by the hash of the files: a form settles at every key."""
    from engine.evaluation.refusal import refuses

    retain = unlearn = refused = 0
    for path, _ in files:
        for row in read_rows(Path(path), limit=limit, mapping=dict(mapping)):
            if isinstance(row, Row):
                retain += row.dataset_type == "retain"
                if row.dataset_type == "unlearn":
                    unlearn += 1
                    refused += refuses(row.completion[-1]["content"]) if row.completion else False
    return _TrainedTypes(retain, unlearn, refused * 2 > unlearn)


def _require_types(config: RunConfig, found: _TrainedTypes) -> None:
    """Refuse an unlearning run without the rows it is about."""
    name, needs = config.method.name, list(method_of(config).needs)
    if config.unlearning.retain_per_unlearn and name not in ("gradient_ascent", "refusal") and "retain" not in needs:
        needs.append("retain")
    missing = [kind for kind in needs if not getattr(found, kind)]
    if missing:
        without = " Without rows to retain set unlearning.retain_per_unlearn: 0." if missing == ["retain"] else ""
        raise DataError(
            f"data.train has no row to {' and none to '.join(missing)}: method.name {name} needs rows whose "
            f"metadata.dataset_type is {' and '.join(missing)}.",
            remedy=f'Name a file of such rows, each with {{"metadata": {{"dataset_type": "{missing[0]}"}}}}.'
            + (without if name != "grad_diff" else ""),
        )


def _require_suite(config: RunConfig, data: list[DataFile]) -> None:
    """Refuse a suite that would have nothing to ask."""
    if config.evaluation.suite is None:
        return
    own = [file for file in data if file.role == "suite"]
    files = own or [file for file in data if file.role.startswith("validation:")]
    types, _ = _validation_facts(files, {} if own else config.data.mapping)
    if not types & {"retain", "unlearn"}:
        where = "evaluation.suite_test" if own else "data.validation"
        raise DataError(
            f"evaluation.suite is {config.evaluation.suite}, and no row of {where} says in metadata.dataset_type "
            "whether it is to be answered or refused.",
            remedy="Write retain or unlearn there, or name another file as evaluation.suite_test.",
        )


def _lengths(workspace: Workspace, config: RunConfig, model: ModelReference, data: list[DataFile]) -> Lengths | None:
    """Return how long the training rows are, where the tokenizer is on this machine."""
    from engine.data.templates import local_folder  # deferred: tokenizers and jinja2 are needed only here

    folder = local_folder(model)
    if folder is None:
        return None
    template = config.model.chat_template
    template = read_template(workspace, template) if template is not None else None
    files = tuple((file.path, file.sha256) for file in data if file.role == "train")
    return _sampled(files, folder, template, tuple(config.data.mapping.items()))


@functools.lru_cache(maxsize=4)
def _sampled(
    files: tuple[tuple[str, str], ...], folder: Path, template: str | None, mapping: tuple[tuple[str, str], ...]
) -> Lengths | None:
    """Remembered: a form settles at every key, and a tokenizer of 150,000 tokens takes half a second to load."""
    from engine.data.lengths import sample_lengths

    return sample_lengths([Path(path) for path, _ in files], folder, template=template, mapping=dict(mapping))


def _predictor(
    model: ModelReference, entry: CatalogueEntry | None, there: Room
) -> Callable[[RunConfig, int], int | None]:
    """Return what predicts the memory of a configuration on this machine; None for a model that nobody knows."""
    try:
        shape = find_shape(model, entry)
    except NotEstimated:
        return lambda _config, _length: None

    def needed(config: RunConfig, length: int) -> int:
        rows = config.training.per_device_train_batch_size
        assert isinstance(rows, int)
        known = correction(config, there.device)
        batch = Batch(rows * sequences_per_row(config), length)
        return estimate(config, shape, kind=there.kind, batch=batch, correction=known).total_bytes

    return needed


def _validation_facts(files: list[DataFile], mapping: Mapping[str, str]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the dataset types of the validation rows, and some of their questions, evenly over the sets."""
    types: set[str] = set()
    prompts: list[str] = []
    for file in files:
        items = read_rows(Path(file.path), limit=_ROWS_LOOKED_AT, mapping=mapping)
        rows = [item for item in items if isinstance(item, Row) and item.prompt]  # plain text asks nothing
        types.update(kind for row in rows if (kind := row.dataset_type) is not None)
        each = max(1, _PROMPTS_PER_RUN // len(files))
        chosen = [rows[n * len(rows) // each] for n in range(min(each, len(rows)))]
        prompts += [row.prompt[-1]["content"] for row in chosen if len(row.prompt) == 1]
    return frozenset(types), tuple(dict.fromkeys(prompts))


def _model_shape(model: ModelReference) -> dict[str, int]:
    if model.path is None:
        return {}
    try:
        raw = json.loads((model.path / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise NotFound(f"The model folder {model.path} has no readable config.json: {error}.") from error
    return {k: v for k, v in raw.items() if isinstance(v, int)} if isinstance(raw, dict) else {}


def _context_length(entry: CatalogueEntry | None) -> int | None:
    value = entry.fields.get("context_length") if entry is not None else None
    return value if isinstance(value, int) else None


def _parameters_on_disk(model: ModelReference) -> int | None:
    """Estimate from the weights' size at two bytes a parameter: it decides speed or memory first, not a result."""
    if model.path is None:
        return None
    return sum(path.stat().st_size for path in model.path.glob("*.safetensors")) // 2 or None


def _require_reporters(config: RunConfig) -> None:
    for package in config.training.report_to:
        if importlib.util.find_spec(package) is None:
            raise MissingPackage(
                f"training.report_to names {package}, which is not installed.",
                remedy=f"Install it with `pip install 'ftconsole[{package}]'`, or take it out of report_to.",
            )


def _remove_unstarted(run: RunDirectory) -> None:
    import shutil

    from engine.runs.follow import EventReader

    lifecycle = Lifecycle()
    for record in EventReader(run.events).read().records:
        lifecycle.apply(record.event)
    if lifecycle.attempt == 0:
        shutil.rmtree(run.path, ignore_errors=True)
