"""What is wrong with settings, as sentences: all of it at once, each with the value and where it was written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from engine.config import trainer_options
from engine.config.declaration import TRAINER, sections, settings
from engine.config.methods import (
    CHANGES_BASE,
    CONFIG_CLASSES,
    FORGETTING,
    METHODS,
    OWN_SECTIONS,
    TrainerName,
    logged_metrics,
    method_of,
)
from engine.config.model import RunConfig
from engine.config.nearest import nearest_section, nearest_setting, why_not_offered
from engine.config.yaml_text import quoted, write_value

_KEY = re.compile(r"[A-Za-z0-9_.-]{1,80}")


class Setting(NamedTuple):
    """One value that somebody wrote."""

    value: Any
    place: str
    """Where: "run.yaml:7", "--set", "preset demo"."""
    preset: bool = False
    """Whether it comes from a preset rather than from the user."""


def check(given: Mapping[str, Setting]) -> tuple[RunConfig, list[str]]:
    """Return the configuration and its problems.

    Args:
        given: Values by key, `section.name`. A key without a dot is a section that is none, or holds no settings.

    Returns:
        The configuration, with defaults in the place of what is wrong, and one sentence per problem.
    """
    trainer = _trainer(given)
    wrong = {
        key: problem
        for key, setting in given.items()
        if (problem := _wrong_key(key, setting, trainer) or _wrong_text(setting.value))
    }
    known = {key: setting for key, setting in given.items() if key not in wrong}
    wrong |= _wrong_values(known)
    config = RunConfig.model_validate(_nested({key: known[key] for key in known if key not in wrong}))
    problems = [f"{shown_key(key)} {wrong[key]} ({given[key].place})" for key in given if key in wrong]
    problems += [problem for keys, problem in _contradictions(config, known) if wrong.keys().isdisjoint(keys)]
    return config, problems


def shown(value: Any) -> str:
    """Return a value as YAML on one line, shortened, safe for a terminal."""
    text = quoted(value) if isinstance(value, str) else write_value(value)
    return text if len(text) <= 60 else text[:57] + "..."


def shown_key(key: str) -> str:
    return key if _KEY.fullmatch(key) else quoted(key[:80])


def _trainer(given: Mapping[str, Setting]) -> TrainerName:
    """Return the trainer whose options `trainer:` may hold."""
    name = given["method.name"].value if "method.name" in given else ""
    return METHODS[name].trainer if isinstance(name, str) and name in METHODS else "sft"


def _wrong_key(key: str, setting: Setting, trainer: TrainerName) -> str | None:
    section, _, name = key.rpartition(".")
    if key in sections() or key == TRAINER:
        return f"is a section: write `{key}:` and settings below it, not {shown(setting.value)}"
    if section == TRAINER:
        return _wrong_option(name, setting.value, trainer)
    if key in settings():
        return None
    # What holds settings was meant as a section, what holds a value as a setting.
    if not section and isinstance(setting.value, dict) and (other := nearest_section(key)):
        return f"is not a section; did you mean {other}?"
    near = nearest_setting(key)
    if near is None and (reason := why_not_offered(name)):
        return f"cannot be set: {reason}"
    if near is None and not section and (other := nearest_section(key)):
        return f"is not a section; did you mean {other}?"
    if near is None and section and section not in sections():
        other = nearest_section(section)
        hint = f"did you mean {other}?" if other else f"the sections are {', '.join([*sections(), TRAINER])}"
        return f"is not a setting, there is no section {shown_key(section)}; {hint}"
    if near is None and section:
        return f"is not a setting; {section} has {', '.join(sections()[section].model_fields)}"
    return f"is not a setting; did you mean {near}?" if near else "is neither a setting nor a section"


def _wrong_option(name: str, value: Any, trainer: TrainerName) -> str | None:
    if reason := trainer_options.why_owned(name, trainer):
        return f"cannot be passed on: {reason}"
    option = trainer_options.options(trainer).get(name)
    if option is None:
        near = nearest_setting(f"{TRAINER}.{name}")
        hint = f"; did you mean {near}?" if near and near != f"{TRAINER}.{name}" else ""
        return f"is not an option of TRL's {CONFIG_CLASSES[trainer]}{hint}"
    accepted = trainer_options.wrong_value(option, value)
    return f"must be {accepted}, not {shown(value)}" if accepted else None


def _wrong_text(value: Any) -> str | None:
    """A NUL can be in no path, and half a surrogate (a file name that is not UTF-8) in no YAML file."""
    match value:
        case str():
            bad = next((c for c in value if c == "\0" or "\ud800" <= c <= "\udfff"), None)
            return None if bad is None else f"holds the character U+{ord(bad):04X}, which no file can hold"
        case list():
            return next((problem for item in value if (problem := _wrong_text(item))), None)
        case dict():
            return _wrong_text([*value.keys(), *value.values()])
    return None


def _wrong_values(good: Mapping[str, Setting]) -> dict[str, str]:
    """Return what is wrong with values on their own, by key."""
    try:
        RunConfig.model_validate(_nested(good))
    except ValidationError as invalid:
        wrong: dict[str, str] = {}
        for error in invalid.errors(include_url=False, include_input=False):
            key = ".".join(str(part) for part in error["loc"][:2])
            if error["type"] == "value_error":
                wrong[key] = f"is not right: {error['ctx']['error']}"
            elif key not in wrong:
                # The alternatives of a union report one error each; what is accepted is said once, in words.
                wrong[key] = f"must be {settings()[key].accepts}, not {shown(good[key].value)}"
        return wrong
    return {}


def _nested(flat: Mapping[str, Setting]) -> dict[str, dict[str, Any]]:
    nested: dict[str, dict[str, Any]] = {}
    for key, setting in flat.items():
        section, _, name = key.partition(".")
        nested.setdefault(section, {})[name] = setting.value
    return nested


SCHEDULER_OPTIONS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    # transformers/optimization.py: keyword arguments of each schedule, and of which it needs at least one
    "linear": (frozenset(), frozenset()),
    "constant": (frozenset(), frozenset()),
    "constant_with_warmup": (frozenset(), frozenset()),
    "cosine": (frozenset({"num_cycles"}), frozenset()),
    "cosine_with_restarts": (frozenset({"num_cycles"}), frozenset()),
    "polynomial": (frozenset({"lr_end", "power"}), frozenset()),
    "inverse_sqrt": (frozenset({"timescale"}), frozenset()),
    "cosine_with_min_lr": (
        frozenset({"num_cycles", "min_lr", "min_lr_rate"}),
        frozenset({"min_lr", "min_lr_rate"}),
    ),
    "warmup_stable_decay": (
        frozenset({"num_decay_steps", "num_stable_steps", "warmup_type", "decay_type", "min_lr_ratio", "num_cycles"}),
        frozenset({"num_decay_steps"}),
    ),
}


def _contradictions(config: RunConfig, given: Mapping[str, Setting]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield settings that are wrong together: their keys and the sentence."""

    def written(key: str) -> bool:
        return key in given and not given[key].preset

    def place(key: str) -> str:
        return f" ({given[key].place})" if key in given else ""

    model, data, saving = config.model, config.data, config.saving
    if not data.train:
        yield ("data.train",), "data.train names no file to learn from"
    if model.load_in_4bit and model.load_in_8bit:
        yield (
            ("model.load_in_4bit", "model.load_in_8bit"),
            f"model.load_in_4bit and model.load_in_8bit are both true; choose one{place('model.load_in_8bit')}",
        )
    if "train" in data.validation:
        yield ("data.validation",), f"data.validation: no set can be called train{place('data.validation')}"
    if not data.validation:
        for key, wanted in _needs_validation(config):
            if written(key):
                yield (key, "data.validation"), f"{key} is {wanted}, but data.validation names no file{place(key)}"
    for key, metric in (("saving.best_metric", saving.best_metric), *_watched(config)):
        measured = metric is None or not _of_validation(metric) or data.validation
        if measured and metric not in (None, "auto", *logged_metrics(config)):
            yield (
                (key, "data.validation", "method.name"),
                f"{key} is {metric}, which this run never logs; it logs {', '.join(logged_metrics(config))}"
                f"{place(key)}",
            )
    if config.lora.init_lora_weights == "orthogonal" and isinstance(config.lora.r, int) and config.lora.r % 2:
        yield (
            ("lora.r", "lora.init_lora_weights"),
            f"lora.r is {config.lora.r}, but lora.init_lora_weights: orthogonal needs an even rank{place('lora.r')}",
        )
    yield from _wrong_beginning(config, place)
    if config.trainer.get("dataloader_prefetch_factor") and not config.training.dataloader_num_workers:
        yield (
            ("trainer.dataloader_prefetch_factor", "training.dataloader_num_workers"),
            "trainer.dataloader_prefetch_factor needs training.dataloader_num_workers above 0"
            + place("trainer.dataloader_prefetch_factor"),
        )
    if saving.save_epochs is not None and saving.save_steps not in (None, "auto"):
        yield (
            ("saving.save_epochs", "saving.save_steps"),
            f"saving.save_epochs is {saving.save_epochs} and saving.save_steps is {shown(saving.save_steps)}; set one "
            f"to null{place('saving.save_epochs')}",
        )
    yield from _wrong_schedule(config, place)
    yield from _wrong_method(config, given, place)
    yield from _wrong_stopping(config, place)


def _watched(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Yield what early stopping looks at. Also where it is not armed: it can be while the run is at work."""
    yield "early_stopping.metric", config.early_stopping.metric


def _wrong_method(
    config: RunConfig, given: Mapping[str, Setting], place: Callable[[str], str]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what does not go together with the method."""
    name, method = config.method.name, method_of(config)
    for key, setting in given.items():
        section = key.partition(".")[0]
        foreign = section in OWN_SECTIONS and section not in method.sections and not setting.preset
        # What a run's own file says of them is no wish: defaults, and what was decided instead of "auto".
        idle = key in settings() and (settings()[key].automatic or setting.value == settings()[key].default)
        if foreign and key in settings() and not idle:
            users = ", ".join(other for other, about in METHODS.items() if section in about.sections)
            yield (key, "method.name"), f"{key} is for method.name {users}, and it is {name}{place(key)}"
    if config.data.packing and not method.packs:
        yield (
            ("data.packing", "method.name"),
            f"data.packing is true, but {name} takes rows one by one{place('data.packing')}",
        )
    if not config.data.completion_only_loss and method.logged != METHODS["sft"].logged:
        yield (
            ("data.completion_only_loss", "method.name"),
            f"data.completion_only_loss is false, but {name} compares answers{place('data.completion_only_loss')}",
        )
    smoothed, loss = config.dpo.label_smoothing, config.dpo.loss_type
    if name == "dpo" and smoothed and loss not in ("robust", "exo_pair", "aot", "aot_unpaired"):
        yield (
            ("dpo.label_smoothing", "dpo.loss_type"),
            f"dpo.label_smoothing has no effect on dpo.loss_type: {loss}; it is for robust, exo_pair, aot and "
            f"aot_unpaired{place('dpo.label_smoothing')}",
        )
    if name == "dpo" and not smoothed and loss == "exo_pair":
        yield (
            ("dpo.label_smoothing", "dpo.loss_type"),
            f"dpo.loss_type: exo_pair needs dpo.label_smoothing above 0, such as 1e-3{place('dpo.loss_type')}",
        )
    if name == "kto" and config.kto.loss_type == "kto" and config.training.per_device_train_batch_size == 1:
        yield (
            ("training.per_device_train_batch_size", "method.name"),
            "training.per_device_train_batch_size is 1, but kto compares the rows of one forward pass with each other: "
            f"set 2 or more, or kto.loss_type: apo_zero_unpaired{place('training.per_device_train_batch_size')}",
        )
    if config.model.adapter is not None and config.model.adapter_mode == "stack":
        yield from _wrong_stack(config, place)
    referring = method.pushes_away and (name == "npo" or config.unlearning.retain_loss == "kl")
    if config.model.adapter is not None and config.model.adapter_mode != "merge" and referring:
        compares = name if name == "npo" else "unlearning.retain_loss: kl"
        yield (
            ("model.adapter", "method.name"),
            f"{compares} compares with the base, the adapter off, and model.adapter does not begin there; set "
            f"model.adapter_mode: merge{place('model.adapter')}",
        )
    wants_retain = "retain" in method.needs and "unlearning" in method.sections
    if wants_retain and not config.unlearning.retain_per_unlearn:
        yield (
            ("unlearning.retain_per_unlearn", "method.name"),
            f"unlearning.retain_per_unlearn is 0, but {name} learns retain rows beside those to unlearn"
            + place("unlearning.retain_per_unlearn"),
        )
    sets = config.data.validation
    if method.pushes_away and config.unlearning.retain_floor is not None and not (len(sets) > 1 and "retain" in sets):
        yield (
            ("unlearning.retain_floor", "data.validation"),
            "unlearning.retain_floor is set, but data.validation has no set called retain beside another"
            + place("unlearning.retain_floor"),
        )


def _wrong_beginning(config: RunConfig, place: Callable[[str], str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what does not go with first weights that rewrite the base."""
    kind, model, method = config.lora.init_lora_weights, config.model, method_of(config)
    key = "lora.init_lora_weights"
    if kind == "eva" and model.adapter is not None and model.adapter_mode == "stack":
        yield ("model.adapter_mode", key), f"{key} is eva, which model.adapter_mode: stack does not have{place(key)}"
    if kind not in CHANGES_BASE:
        return
    quantised = "model.load_in_4bit" if model.load_in_4bit else "model.load_in_8bit"
    refers = method.trainer != "sft" or config.method.name == "npo"
    against = (
        (model.load_in_4bit or model.load_in_8bit, quantised, f"{quantised}: a quantised base cannot be rewritten"),
        (config.lora.use_dora, "lora.use_dora", "lora.use_dora: what is saved would be no ordinary adapter"),
        (bool(config.lora.modules_to_save), "lora.modules_to_save", "lora.modules_to_save"),
        (model.adapter is not None and model.adapter_mode == "stack", "model.adapter_mode", "an adapter beside it"),
        (refers, "method.name", f"{config.method.name}: it compares with the base, the adapter off"),
        (method.pushes_away and config.unlearning.retain_loss == "kl" and not refers, "unlearning.retain_loss",
         "unlearning.retain_loss: kl, which compares with the base, the adapter off"),
    )  # fmt: skip
    for is_so, other, said in against:
        if is_so:
            yield (key, other), f"{key} is {kind}, which rewrites the base, and does not go with {said}{place(key)}"


def _wrong_stack(config: RunConfig, place: Callable[[str], str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what an adapter beside an earlier one cannot be: the two are saved as one ordinary adapter."""
    for key, wanted in (("lora.use_dora", config.lora.use_dora), ("lora.modules_to_save", config.lora.modules_to_save)):
        if wanted:
            yield (
                ("model.adapter_mode", key),
                f"{key} is {shown(wanted)}, but with model.adapter_mode: stack two adapters are saved as one, which "
                f"has no room for that; use merge{place(key)}",
            )
    if method_of(config).trainer != "sft":
        yield (
            ("model.adapter_mode", "method.name"),
            f"model.adapter_mode is stack, but {config.method.name} compares with where it begins, which switching "
            f"adapters off does not give back; use merge{place('model.adapter_mode')}",
        )


def _wrong_stopping(config: RunConfig, place: Callable[[str], str]) -> Iterator[tuple[tuple[str, ...], str]]:
    stopping = config.early_stopping
    if stopping.criterion == "threshold" and stopping.threshold is None:
        yield (
            ("early_stopping.criterion", "early_stopping.threshold"),
            f"early_stopping.criterion: threshold needs early_stopping.threshold{place('early_stopping.criterion')}",
        )
    options = config.trainer.get("lr_scheduler_kwargs") or {}
    if config.training.lr_scheduler_type != "cosine_with_restarts" or not isinstance(options, dict):
        return
    cycles = options.get("num_cycles", 1)
    needed = {"drop": stopping.window, "patience": stopping.patience + 1}.get(stopping.criterion, 0)
    if stopping.armed and isinstance(cycles, int) and cycles < needed:
        key = "early_stopping.window" if stopping.criterion == "drop" else "early_stopping.patience"
        yield (
            ("training.lr_scheduler_type", "trainer.lr_scheduler_kwargs", key),
            f"{key} is {getattr(stopping, key.partition('.')[2])}, but with cosine_with_restarts one observation of "
            f"each cycle counts, and trainer.lr_scheduler_kwargs has num_cycles {cycles}{place(key)}",
        )


def _needs_validation(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Yield what happens at an evaluation only, or compares with one, and what it is set to."""
    evaluation = config.evaluation
    if evaluation.eval_steps not in (None, "auto"):
        yield "evaluation.eval_steps", shown(evaluation.eval_steps)
    if evaluation.prompts not in ("auto", []):
        yield "evaluation.prompts", shown(evaluation.prompts)
    if evaluation.behaviour is True:
        yield "evaluation.behaviour", "true"
    if evaluation.suite is not None and not evaluation.suite_test:
        yield "evaluation.suite", f"{evaluation.suite} without evaluation.suite_test"
    for key, metric in (("saving.best_metric", config.saving.best_metric), *_watched(config)):
        if metric is not None and _of_validation(metric):
            yield key, metric


def _of_validation(metric: str) -> bool:
    return metric.startswith("eval_") and metric != FORGETTING


def _wrong_schedule(config: RunConfig, place: Callable[[str], str]) -> Iterator[tuple[tuple[str, ...], str]]:
    kind = config.training.lr_scheduler_type
    keys = ("training.lr_scheduler_type", "trainer.lr_scheduler_kwargs")
    written = config.trainer.get("lr_scheduler_kwargs") or {}
    if not isinstance(written, dict):  # a text holding JSON, which transformers reads
        return
    allowed, needed = SCHEDULER_OPTIONS[kind]
    if needed and not needed & set(written):
        yield (
            keys,
            f"training.lr_scheduler_type: {kind} needs {' or '.join(sorted(needed))} in {keys[1]}{place(keys[0])}",
        )
    for name in sorted(set(written) - allowed):
        has = f"it has {', '.join(sorted(allowed))}" if allowed else "it has none"
        yield keys, f"{keys[1]}: the {kind} schedule has no option {shown_key(name)}; {has}{place(keys[1])}"
