"""The configuration as a run uses it: no "auto" left, and for every value where it came from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from engine.config import check
from engine.config.automatic import Facts, decide, watched
from engine.config.check import Setting
from engine.config.declaration import TRAINER, settings
from engine.config.load import GivenConfig
from engine.config.model import RunConfig
from engine.config.stages import is_shared
from engine.config.yaml_text import STAGES, Entry, read_file, read_mapping, write_value
from engine.errors import ConfigError, NotFound
from engine.workspace import Workspace

_COMMENT = re.compile(r"\s*# (given|preset|automatic|default)(?:(?::| ) ?(.*))?")
_LINE_WIDTH = 88
"""Longer lists and mappings are written one item per line."""

_BEFORE: Mapping[str, Callable[[RunConfig], Any]] = {
    "dpo.precompute_ref_log_probs": lambda _: False,
    "unlearning.target": lambda _: "completion",
    "early_stopping.metric": lambda config: watched(config).value,
    "forgetting.eval_steps": lambda _: "epoch",
    "launch.num_processes": lambda _: 1,
    "launch.num_machines": lambda _: 1,
    "launch.strategy": lambda _: "ddp",
}
"""What runs did that were made before an automatic setting existed: their `run.yaml` has no value of it."""


class Source(NamedTuple):
    """Where a value came from."""

    kind: str
    """"given", "preset", "automatic" or "default"."""
    reason: str = ""
    """The place ("run.yaml:7", "--set"), the preset's name, why this value; empty for a default."""

    def __str__(self) -> str:
        separator = " " if self.kind == "preset" else ": "
        return f"{self.kind}{separator}{self.reason}" if self.reason else self.kind


@dataclass(frozen=True, slots=True)
class ResolvedConfig:
    """A configuration without any "auto"; of a run in several stages that of the first."""

    config: RunConfig
    sources: Mapping[str, Source]
    """By key, `section.name`; for every setting."""
    stages: tuple[tuple[str, ResolvedConfig], ...] = ()
    """Name and whole configuration of each stage, in order; empty for a run in one."""

    def parts(self) -> tuple[tuple[str, ResolvedConfig], ...]:
        """Return the stages; of a run in one itself, under no name."""
        return self.stages or (("", self),)

    def values(self) -> Iterator[tuple[str, Any, Source]]:
        """Yield key, value and source of every setting, in the order of the declaration, then `trainer`'s.

        Of a run in several stages, those of a stage are called `stages.NAME.section.name`.
        """
        for key, value, source in self._values():
            if not self.stages or is_shared(key):
                yield key, value, source
        for name, stage in self.stages:
            yield from ((f"{STAGES}.{name}.{k}", value, s) for k, value, s in stage._values() if not is_shared(k))

    def _values(self) -> Iterator[tuple[str, Any, Source]]:
        for key in settings():
            section, _, name = key.partition(".")
            yield key, getattr(getattr(self.config, section), name), self.sources[key]
        for name, value in self.config.trainer.items():
            yield f"{TRAINER}.{name}", value, self.sources[f"{TRAINER}.{name}"]

    def to_yaml(self) -> str:
        """Return `run.yaml`: every setting with its source as a comment. It loads again, as input too."""
        lines = ["# Every setting of the run, as resolved, and where it came from."]
        shared = [one for one in self._values() if not self.stages or is_shared(one[0])]
        lines += _section_lines(shared)
        for number, (name, stage) in enumerate(self.stages):
            lines += [] if number else [f"{STAGES}:"]
            own = _section_lines(one for one in stage._values() if not is_shared(one[0]))
            lines += [f"  - name: {write_value(name)}", *(f"    {line}" for line in own)]
        return "\n".join(lines) + "\n"

    @classmethod
    def from_yaml(cls, text: str, source: str = "run.yaml") -> ResolvedConfig:
        """Return what `to_yaml` wrote; a value whose comment is gone counts as given.

        Raises:
            ConfigError: It is damaged, or something in it is not settled.
        """
        written = read_mapping(text, source)
        staged = _stages_of(written)
        if not staged:
            return cls._read(_by_key(written), text, source)
        common = _by_key(written)
        stages = tuple((name, cls._read({**common, **own}, text, source)) for name, own in staged)
        return cls(stages[0][1].config, stages[0][1].sources, stages)

    @classmethod
    def _read(cls, written: Mapping[str, Entry], text: str, source: str) -> ResolvedConfig:
        given = {key: Setting(entry.value, f"{source}:{entry.line}") for key, entry in written.items()}
        config, problems = check.check(given)
        problems += [
            f"{key} is auto; a run's own file holds settled values ({given[key].place})"
            for key, setting in settings().items()
            if setting.automatic and key in given and given[key].value == "auto"
        ]
        # A setting that a later version added is at its default in the runs of before; one that has to be decided is
        # what those runs did without it. The others were always there: a file that lacks one is damaged.
        missing = [setting for key, setting in settings().items() if key not in given]
        problems += [
            f"{setting.key} is missing from {source}"
            for setting in missing
            if setting.default == "auto" and setting.key not in _BEFORE
        ]
        if problems:
            raise ConfigError(problems, remedy="Start a new run from its settings, or restore the file.")
        sources = {setting.key: Source("default") for setting in missing}
        values = config.model_dump()
        for key in sources.keys() & _BEFORE.keys():
            section, _, name = key.partition(".")
            values[section][name] = _BEFORE[key](config)
            sources[key] = Source("default", "as before this setting existed")
        return cls(RunConfig.model_validate(values), {**sources, **_sources(written, text, source)})


def read_sources(text: str, source: str = "run.yaml") -> dict[str, Source]:
    """Return where each setting came from that a `run.yaml` holds, of whichever version wrote it.

    Of several stages the last one's.

    Raises:
        ConfigError: It is no mapping of sections.
    """
    written = read_mapping(text, source)
    staged = _stages_of(written)
    return _sources({**_by_key(written), **(staged[-1][1] if staged else {})}, text, source)


def _by_key(written: Mapping[str, Entry]) -> dict[str, Entry]:
    return {
        f"{section}.{name}": inner
        for section, entry in written.items()
        if isinstance(entry.value, dict)
        for name, inner in entry.value.items()
    }


def _stages_of(written: Mapping[str, Entry]) -> list[tuple[str, dict[str, Entry]]]:
    """Return name and settings of each stage of a run's own file."""
    listed = written[STAGES].value if STAGES in written else None
    found = []
    for entry in listed if isinstance(listed, list) else ():
        name = entry.value.get("name") if isinstance(entry.value, dict) else None
        if name is not None and isinstance(name.value, str):
            found.append((name.value, _by_key(entry.value)))
    return found


def _sources(written: Mapping[str, Entry], text: str, source: str) -> dict[str, Source]:
    lines = text.split("\n")
    return {key: _read_source(entry, lines, f"{source}:{entry.line}") for key, entry in written.items()}


def resolve(given: GivenConfig, facts: Facts, workspace: Workspace) -> ResolvedConfig:
    """Settle every value: check what was given, find the files, decide what is automatic.

    File names are made to mean the same from any current folder, and prompts of a file are taken into the
    configuration, so that a run can be repeated.

    Raises:
        ConfigError: All problems of the settings, or all that this machine cannot do.
        NotFound: A data file or the model is not there.
    """
    config = given.check()
    decisions, problems = decide(config, facts)
    model = workspace.model(config.model.name)
    if config.model.revision is not None and model.kind != "hub":
        problems.append(f"model.revision is {config.model.revision}, but {config.model.name} is no Hub model")
    if problems:
        raise ConfigError(problems)
    sources = {key: Source("default") for key in settings()}
    for key, setting in given.settings.items():
        sources[key] = _source_of(setting)
    values: dict[str, dict[str, Any]] = config.model_dump()
    for key, decision in decisions.items():
        sources[key] = Source("automatic", decision.reason)
        section, _, name = key.partition(".")
        values[section][name] = decision.value
    values["model"]["name"] = workspace.lasting_model(config.model.name)
    data = values["data"]
    data["train"] = [workspace.lasting_path(path) for path in data["train"]]
    data["validation"] = {name: workspace.lasting_path(path) for name, path in data["validation"].items()}
    if config.evaluation.suite is not None:
        tests = config.evaluation.suite_test
        values["evaluation"]["suite_test"] = [workspace.lasting_path(path) for path in tests]
    if config.forgetting.gauge:
        values["forgetting"]["probe"] = workspace.lasting_path(config.forgetting.probe)
    if isinstance(prompts := values["evaluation"]["prompts"], str):
        values["evaluation"]["prompts"] = read_prompts(workspace, prompts)
        place = sources["evaluation.prompts"]
        sources["evaluation.prompts"] = Source(place.kind, f"{place.reason}, from {prompts}")
    if (template := values["model"]["chat_template"]) is not None:
        values["model"]["chat_template"] = read_template(workspace, template)
        if values["model"]["chat_template"] != template:
            place = sources["model.chat_template"]
            sources["model.chat_template"] = Source(place.kind, f"{place.reason}, from {template}")
    return ResolvedConfig(RunConfig.model_validate(values), sources)


def read_prompts(workspace: Workspace, path: str) -> list[str]:
    """Return the prompts of a text file: its lines, without the empty ones.

    Raises:
        NotFound: There is no such file.
        ConfigError: It is not text, or holds no prompt.
    """
    lines = read_file(workspace.data_file(path)).splitlines()
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise ConfigError([f"evaluation.prompts: {path} holds no prompt; write one per line"])
    return prompts


def read_template(workspace: Workspace, given: str) -> str:
    """Return the text of a chat template: of the file that is named, or itself when it is one already.

    Raises:
        NotFound: There is no such file.
        ConfigError: It is not text, or empty.
    """
    if "{%" in given or "{{" in given:
        return given
    try:
        path = workspace.data_file(given)
    except NotFound:
        raise NotFound(
            f"There is no chat template {given[:200]!r}.",
            remedy="model.chat_template is the path of a .jinja file, in the workspace or the current folder.",
        ) from None
    text = read_file(path)
    if not text.strip():
        raise ConfigError([f"model.chat_template: {given} is empty"])
    return text


def _source_of(setting: Setting) -> Source:
    if setting.preset:
        return Source("preset", setting.place.removeprefix("preset "))
    return Source("given", setting.place)


def _section_lines(values: Iterable[tuple[str, Any, Source]]) -> list[str]:
    lines = []
    current = ""
    for key, value, source in values:
        section, _, name = key.partition(".")
        if section != current:
            current = section
            lines.append(f"{section}:")
        lines += _setting_lines(name, value, _one_line(str(source)))
    return lines


def _setting_lines(name: str, value: Any, comment: str) -> list[str]:
    whole = f"  {name}: {write_value(value)}"
    if not isinstance(value, list | dict) or not value or len(whole) <= _LINE_WIDTH:
        return [f"{whole}  # {comment}"]
    if isinstance(value, list):
        items = [f"    - {write_value(item)}" for item in value]
    else:
        items = [f"    {write_value(str(key))}: {write_value(item)}" for key, item in value.items()]
    return [f"  {name}:  # {comment}", *items]


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _read_source(entry: Entry, lines: list[str], place: str) -> Source:
    line = lines[entry.line - 1]
    # A value of several lines begins on the next one; keys have no colon.
    comment = line[entry.end_column :] if entry.end_line == entry.line else line.partition(":")[2]
    match = _COMMENT.fullmatch(comment)
    return Source(match[1], match[2] or "") if match else Source("given", place)
