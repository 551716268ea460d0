"""Read a configuration: a YAML file, a preset below it, `--set` above it, and where each value was written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.config import check, stages
from engine.config.check import Setting
from engine.config.declaration import TRAINER, sections
from engine.config.model import RunConfig
from engine.config.presets import find_preset, presets
from engine.config.stages import GivenStage
from engine.config.yaml_text import STAGES, Entry, read_file, read_mapping, read_value
from engine.errors import ConfigError, NotFound

PRESET = "preset"
"""The one key at the top of a file that is no section: `preset: demo` puts a preset below the file's settings."""


@dataclass(frozen=True, slots=True)
class GivenConfig:
    """What was written, before anything is checked or decided. Nothing here is a default."""

    settings: Mapping[str, Setting]
    """By key, `section.name`; unknown keys too."""
    problems: tuple[str, ...] = ()
    """What cannot even be held as settings."""
    stages: tuple[GivenStage, ...] = ()
    """In their order, over `settings`; empty for a run in one."""

    def parts(self) -> list[tuple[str, GivenConfig]]:
        """Return name and settings of each stage; of a run in one these settings, under no name."""
        if not self.stages:
            return [("", self)]
        return [
            (
                stage.called(self.settings),
                GivenConfig(stages.for_stage(self.settings, stage, self.stages), self.problems),
            )
            for stage in self.stages
        ]

    def checked(self) -> tuple[RunConfig, list[str]]:
        """Return the configuration, of the first stage where there are several, and every problem."""
        if not self.stages:
            config, problems = check.check(self.settings)
            return config, [*self.problems, *problems]
        listed = list(stages.problems_of(self.stages, self.settings))
        found = [(name, *check.check(part.settings)) for name, part in self.parts()[: stages.MOST_STAGES]]
        # What is written outside of the stages is wrong once; that something is missing is true of each.
        written_once = [one for one in found[0][2] if one.endswith(")")] if len(found) > 1 else []
        everywhere = [one for one in written_once if all(one in own for _, _, own in found)]
        own = [f"stage {name}: {one}" for name, _, problems in found for one in problems if one not in everywhere]
        return found[0][1], [*self.problems, *listed, *everywhere, *own]

    def check(self) -> RunConfig:
        """Return the configuration, defaults filled in and every "auto" still in it; of several stages the first's.

        Raises:
            ConfigError: All problems, in one.
        """
        config, problems = self.checked()
        if problems:
            raise ConfigError(problems)
        return config

    def over(self, below: GivenConfig) -> GivenConfig:
        """Return these settings on top of others, in all their stages."""
        settings = {**below.settings, **self.settings}
        under = [stage.without(self.settings) for stage in below.stages]
        staged = stages.merged(self.stages, under, settings) if self.stages else under
        return GivenConfig(settings, (*below.problems, *self.problems), tuple(staged))

    def override(self, assignments: Iterable[str], place: str = "--set") -> GivenConfig:
        """Return the settings with `key=value` texts applied, the last one winning. Values are YAML: `[a]`, `1e-3`.

        `section.name` is set in all stages, `stages.NAME.section.name` in one.
        """
        result = self
        for text in assignments:
            one = _assignment(text, place)
            if any(key == STAGES or (key.startswith(f"{STAGES}.") and key.count(".") < 3) for key in one.settings):
                key = check.shown_key(next(iter(one.settings)))
                one = GivenConfig({}, (f"{key} is no setting; write {STAGES}.NAME.section.key=value ({place})",))
            there = next((found for key in one.settings if (found := stages.assigned(key))), None)
            setting = next(iter(one.settings.values()), None)
            result = one.over(result) if there is None or setting is None else result._with(*there, setting)
        return result

    def _with(self, stage: str, key: str, setting: Setting) -> GivenConfig:
        """Return the settings with one of a stage, which is named or numbered from 1."""
        names = [one.called(self.settings) for one in self.stages]
        if stage not in names and stage.isdecimal() and 0 < int(stage) <= len(names):
            stage = names[int(stage) - 1]
        if stage not in names:
            there = f"the stages are {', '.join(names)}" if names else "this run has one"
            problem = f"there is no stage {check.shown_key(stage)}; {there} ({setting.place})"
            return replace(self, problems=(*self.problems, problem))
        number = names.index(stage)
        old = self.stages[number]
        new = replace(old, settings={**old.settings, key: setting}, name=old.name or stage)
        return replace(self, stages=(*self.stages[:number], new, *self.stages[number + 1 :]))

    def for_dev(self) -> GivenConfig:
        """Return the settings of a quick test: the dev file alone, for one epoch. The rest stays as it is.

        Raises:
            ConfigError: `data.dev` names no file.
        """
        if self.stages:
            quick_ones = [part.for_dev().settings for _, part in self.parts()]
            changed = ("data.train", "training.num_train_epochs", "training.max_steps")
            return replace(self, stages=tuple(
                replace(stage, settings={**stage.settings, **{key: quick[key] for key in changed}})
                for stage, quick in zip(self.stages, quick_ones, strict=True)
            ))  # fmt: skip
        dev = self.settings.get("data.dev")
        if dev is None or not isinstance(dev.value, str):
            raise ConfigError(
                [*self.problems, "data.dev names no file, so there is nothing for a quick test with --dev"],
                remedy="Set data.dev to a small file of rows.",
            )
        quick = {"data.train": [dev.value], "training.num_train_epochs": 1, "training.max_steps": None}
        return GivenConfig({key: Setting(value, "--dev") for key, value in quick.items()}).over(self)


def load(path: str | Path) -> GivenConfig:
    """Return the settings of a YAML file.

    Raises:
        NotFound: There is no such file.
        ConfigError: It cannot be read as a mapping of sections; wrong settings are left to `GivenConfig.check`.
    """
    path = Path(path)
    return loads(read_file(path), path.name)


def loads(text: str, source: str) -> GivenConfig:
    """Return the settings of a YAML text that messages call `source`.

    Raises:
        ConfigError: As `load`.
    """
    written = read_mapping(text, source)
    below = _preset_below(written.pop(PRESET, None), source)
    return _from_entries(written, source, preset=False).over(below)


def preset(name: str) -> GivenConfig:
    """Return the settings of a preset.

    Raises:
        NotFound: There is none of that name.
    """
    found = find_preset(name)
    return _from_entries(read_mapping(read_file(found.path), found.path.name), f"preset {name}", preset=True)


def _preset_below(entry: Entry | None, source: str) -> GivenConfig:
    if entry is None or entry.value is None:
        return GivenConfig({})
    place = f"{source}:{entry.line}"
    if not isinstance(entry.value, str):
        names = ", ".join(known.name for known in presets())
        return GivenConfig({}, (f"preset must be {names} or null, not a section ({place})",))
    try:
        return preset(entry.value)
    except NotFound as error:
        return GivenConfig({}, (f"{error.message.rstrip('.')} ({place}). {error.remedy}".rstrip("."),))


def _from_entries(written: Mapping[str, Entry], source: str, *, preset: bool) -> GivenConfig:
    listed = written.get(STAGES)
    if listed is None:
        return _settings(written, source, preset=preset)
    common = _settings({key: entry for key, entry in written.items() if key != STAGES}, source, preset=preset)
    place = source if preset else f"{source}:{listed.line}"
    if not isinstance(listed.value, list) or not listed.value:
        wrong = f"{STAGES} must be a list of stages, each a method or sections of settings ({place})"
        return replace(common, problems=(*common.problems, wrong))
    return _with_stages(common, listed.value, source, preset=preset)


def _with_stages(common: GivenConfig, entries: list[Entry], source: str, *, preset: bool) -> GivenConfig:
    """Return the settings with their stages.

    What a stage's preset says of the whole run is the run's, of the first preset that says it. The rest of it is the
    stage's, below all that is written.
    """
    below: dict[str, Setting] = {}
    problems = list(common.problems)
    found = []
    for entry in entries:
        place = source if preset else f"{source}:{entry.line}"
        written = entry.value
        if isinstance(written, str):  # `- dpo`
            written = {"method": entry._replace(value={"name": entry})}
        if not isinstance(written, dict):
            problems.append(f"{STAGES}: {check.shown(written)} is neither a method nor sections of settings ({place})")
            continue
        written = dict(written)
        name = written.pop("name", None)
        under = _preset_below(written.pop(PRESET, None), source)
        own = _settings(written, source, preset=preset)
        problems += [*under.problems, *own.problems]
        if name is not None and not isinstance(name.value, str):
            problems.append(f"{STAGES}: the name of a stage must be a text, not {check.shown(name.value)} ({place})")
        if under.stages:
            problems.append(f"{STAGES}: a preset of several stages cannot be one of them ({place})")
        below = {**{key: value for key, value in under.settings.items() if stages.is_shared(key)}, **below}
        rest = {
            key: value
            for key, value in under.settings.items()
            if not stages.is_shared(key) and (preset or key not in common.settings)
        }
        called = name.value if name is not None and isinstance(name.value, str) else ""
        found.append(GivenStage({**rest, **own.settings}, place, called))
    return GivenConfig({**below, **common.settings}, tuple(problems), tuple(found))


def _settings(written: Mapping[str, Entry], source: str, *, preset: bool) -> GivenConfig:
    found: dict[str, Setting] = {}
    problems = []

    def place(entry: Entry) -> str:
        return source if preset else f"{source}:{entry.line}"

    for section, entry in written.items():
        is_section = section in sections() or section == TRAINER
        if is_section and isinstance(entry.value, dict):
            for name, inner in entry.value.items():
                found[f"{section}.{name}"] = Setting(inner.value, place(inner), preset)
        elif section.count(".") == 1 and section.partition(".")[0] in sections():
            upper, _, name = section.partition(".")
            problems.append(f"{check.shown_key(section)}: write `{upper}:` and, below it, `{name}:` ({place(entry)})")
        elif not (is_section and entry.value is None):  # a section with nothing below it says nothing
            found[section] = Setting(_plain(entry.value), place(entry), preset)
    return GivenConfig(found, tuple(problems))


def _plain(value: Any) -> Any:
    return {k: v.value for k, v in value.items()} if isinstance(value, dict) else value


def _assignment(text: str, place: str) -> GivenConfig:
    key, equals, written = text.partition("=")
    key = key.strip()
    if not equals or not key:
        return GivenConfig({}, (f"{check.shown(text)} is not of the form key=value ({place})",))
    try:
        value = read_value(written)
    except ValueError as error:
        return GivenConfig({}, (f"{check.shown_key(key)} cannot be read: {error} ({place})",))
    if isinstance(value, dict) and (key in sections() or key == TRAINER):
        return GivenConfig({f"{key}.{name}": Setting(inner, place) for name, inner in value.items()})
    return GivenConfig({key: Setting(value, place)})
