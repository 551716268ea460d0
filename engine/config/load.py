"""Read a configuration: a YAML file, a preset below it, `--set` above it, and where each value was written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config import check
from engine.config.check import Setting
from engine.config.declaration import TRAINER, sections
from engine.config.model import RunConfig
from engine.config.presets import find_preset, presets
from engine.config.yaml_text import Entry, read_file, read_mapping, read_value
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

    def check(self) -> RunConfig:
        """Return the configuration, defaults filled in and every "auto" still in it.

        Raises:
            ConfigError: All problems, in one.
        """
        config, problems = check.check(self.settings)
        if self.problems or problems:
            raise ConfigError([*self.problems, *problems])
        return config

    def over(self, below: GivenConfig) -> GivenConfig:
        """Return these settings on top of others."""
        return GivenConfig({**below.settings, **self.settings}, (*below.problems, *self.problems))

    def override(self, assignments: Iterable[str], place: str = "--set") -> GivenConfig:
        """Return the settings with `key=value` texts applied, the last one winning. Values are YAML: `[a]`, `1e-3`."""
        result = self
        for text in assignments:
            result = _assignment(text, place).over(result)
        return result

    def for_dev(self) -> GivenConfig:
        """Return the settings of a quick test: the dev file alone, for one epoch. The rest stays as it is.

        Raises:
            ConfigError: `data.dev` names no file.
        """
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
