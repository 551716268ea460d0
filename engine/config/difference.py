"""What is different between two configurations: of runs, of files, of presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from engine.config.declaration import TRAINER, settings
from engine.config.load import GivenConfig
from engine.config.model import RunConfig
from engine.config.resolved import ResolvedConfig
from engine.config.stages import is_shared
from engine.config.yaml_text import STAGES
from engine.errors import ConfigError

_NOTHING_TO_LEARN = "data.train names no file"
"""In the check's sentence about what a preset may leave to its user."""


class Difference(NamedTuple):
    """One setting with two values."""

    key: str
    before: Any
    """The first configuration's value; None also where it has no such option of the trainer."""
    after: Any


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """Return the settings whose values differ, in the order of the declaration, the trainer's options last.

    Args:
        before: Values by key, `section.name`, as `values_of` returns them.
        after: Likewise.
    """
    declared = list(settings())
    options = sorted({key for key in (*before, *after) if key not in settings()})
    return [
        Difference(key, before.get(key), after.get(key))
        for key in [*declared, *options]
        if not _same(before.get(key), after.get(key))
    ]


def values_of(config: RunConfig | ResolvedConfig | GivenConfig) -> dict[str, Any]:
    """Return every value by key; what was not written is at its default, and "auto" stays where nothing is decided.

    Raises:
        ConfigError: A given configuration is wrong. That it names no data yet is no reason.
    """
    if isinstance(config, ResolvedConfig) and config.stages:
        return {key: value for key, value, _ in config.values()}
    if isinstance(config, ResolvedConfig):
        config = config.config
    if isinstance(config, GivenConfig):
        checked, problems = config.checked()
        problems = [one for one in problems if _NOTHING_TO_LEARN not in one]
        if problems:
            raise ConfigError(problems)
        if config.stages:
            parts = [(name, values_of(replace(part, problems=()))) for name, part in config.parts()]
            shared = {key: value for key, value in parts[0][1].items() if is_shared(key)}
            staged = {
                f"{STAGES}.{name}.{key}": value
                for name, values in parts
                for key, value in values.items()
                if not is_shared(key)
            }
            return shared | staged
        config = checked
    nested = config.model_dump()
    found = {key: nested[setting.section][setting.name] for key, setting in settings().items()}
    return found | {f"{TRAINER}.{name}": value for name, value in config.trainer.items()}


def _same(one: Any, other: Any) -> bool:
    """1 and 1.0 are the same number, true and 1 are not the same setting."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
