"""The configuration that is being written: its text, what can be read of it, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.config import check
from engine.config.load import PRESET, GivenConfig, loads
from engine.config.model import RunConfig
from engine.config.yaml_text import MAX_BYTES, read_mapping, read_value, write_value
from engine.errors import ConfigError
from screens.configure.yaml_edit import drop, put
from tui.display import plain

UNSAVED = "form"
"""What messages call a text that is no file yet."""
_KEY = re.compile(r"(?:[a-z]+\.[A-Za-z0-9_]+|preset)\b")


@dataclass(frozen=True)
class Draft:
    """A text, and where it is kept."""

    text: str = ""
    path: Path | None = None
    """None: nowhere yet."""
    saved: str | None = None
    """What the file held when it was last read or written."""
    about: str = ""
    """Where an unsaved text comes from, such as "from run sft-tiny-3"."""

    @property
    def name(self) -> str:
        """What it is called."""
        return self.path.name if self.path is not None else self.about or "new run"

    @property
    def changed(self) -> bool:
        """Whether something would be lost with it."""
        return self.text != self.saved if self.saved is not None else bool(self.text.strip())

    @cached_property
    def reading(self) -> Reading:
        """What the text says."""
        return read(self.text, self.path.name if self.path is not None else UNSAVED)

    def put(self, key: str, value: Any) -> Draft:
        """Return the draft with a setting set. Raises ConfigError where the text cannot be read."""
        return replace(self, text=put(self.text, key, value))

    def drop(self, key: str) -> Draft:
        """Return the draft without a setting. Raises ConfigError where the text cannot be read."""
        return replace(self, text=drop(self.text, key))


@dataclass(frozen=True)
class Reading:
    """A text as settings."""

    given: GivenConfig
    """Empty where the text cannot be read."""
    config: RunConfig
    """With defaults in the place of what is wrong."""
    problems: tuple[str, ...]
    """All of them, as sentences."""
    broken: bool = False
    """The text cannot be read as YAML; there is one problem."""
    preset: str = ""
    """Name of the preset below the settings; empty without one."""

    @cached_property
    def wrong(self) -> Mapping[str, str]:
        """The first problem of each setting, by key."""
        found: dict[str, str] = {}
        for problem in self.problems:
            key = key_of(problem)
            if key:
                found.setdefault(key, problem)
        return found

    def line(self, key: str) -> int | None:
        """Return the line on which a setting is written; None where it is not, or in a preset."""
        setting = self.given.settings.get(key)
        number = setting.place.rpartition(":")[2] if setting is not None and not setting.preset else ""
        return int(number) if number.isdigit() else None

    def key_at(self, line: int) -> str | None:
        """Return the setting that is written on a line, or whose value goes on there; None above the first."""
        before = [(at, key) for key in self.given.settings if (at := self.line(key)) is not None and at <= line]
        return max(before)[1] if before else None


def read(text: str, source: str) -> Reading:
    """Return what `text` says; never raises for what somebody wrote.

    Args:
        text: A configuration; may be empty.
        source: What messages call it.
    """
    if len(text) > MAX_BYTES:
        too_long = f"{source} is larger than {MAX_BYTES} bytes, so it is no configuration"
        return Reading(GivenConfig({}), RunConfig(), (too_long,), broken=True)
    if all(not line.strip() or line.lstrip().startswith("#") for line in text.splitlines()):
        config, problems = check.check({})
        return Reading(GivenConfig({}), config, tuple(problems))
    try:
        given = loads(text, source)
        entry = read_mapping(text, source).get(PRESET)
    except ConfigError as error:
        return Reading(GivenConfig({}), RunConfig(), tuple(error.problems), broken=True)
    config, problems = given.checked()
    preset = entry.value if entry is not None and isinstance(entry.value, str) else ""
    return Reading(given, config, tuple(problems), preset=preset)


def key_of(problem: str) -> str:
    """Return the setting a problem is about; empty when it names none first."""
    match = _KEY.match(problem)
    return match[0] if match else ""


def typed(value: Any) -> str:
    """Return a value as one would type it into a field; `meant` reads it back."""
    if isinstance(value, str):
        bare = plain(value) == value and value == value.strip() and value and meant(value) == value
        return value if bare else write_value(value)
    return write_value(value)


def meant(text: str) -> Any:
    """Return the value that typed text stands for. What is not YAML is a text: nothing typed is ever lost."""
    text = text.strip()
    try:
        value = read_value(text)
    except ValueError:
        return text
    # `a: b` in a field is a text with a colon, unless written as {a: b}.
    return text if isinstance(value, dict) and not text.startswith("{") else value
