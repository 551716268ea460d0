"""The fields of the form: what the declaration and TRL's schema offer, and how each stands in a draft."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from engine.config import trainer_options
from engine.config.declaration import TRAINER, section_help, sections, settings
from engine.config.load import PRESET
from engine.config.nearest import OTHER_NAMES
from engine.config.presets import presets
from engine.config.yaml_text import write_value
from screens.configure.draft import Reading, typed

_SHORT = 3
"""Letters up to which a word of a search is only found where a word begins."""
_JSON_CHOICES: Mapping[tuple[str, ...], tuple[Any, ...]] = {
    ("boolean",): (True, False),
    ("boolean", "null"): (True, False, None),
}


@dataclass(frozen=True, slots=True)
class Field:
    """One setting that can be written."""

    key: str
    """`section.name`; `preset` has no section."""
    section: str
    name: str
    accepts: str
    """In words."""
    default: Any
    description: str
    choices: tuple[Any, ...]
    """Every value there is; empty when the choice is open."""
    searched: str
    """Lower case: where words of a search are looked for, other tools' names for it included."""


class Value(NamedTuple):
    """A setting as it will be used."""

    value: Any
    kind: str
    """"given", "preset", "automatic" or "default"."""
    reason: str = ""
    """The place, the preset's name, or why this value."""


class Heading(NamedTuple):
    """The row above the fields of a section."""

    section: str
    about: str
    folded: int
    """Fields that are not listed."""


Line = Heading | Field


@functools.cache
def fields() -> Mapping[str, Field]:
    """Return every field by its key, in the order in which they are listed."""
    names = [preset.name for preset in presets()]
    found = [_field(PRESET, "", PRESET, f"{', '.join(names)} or null", None, _ABOUT_PRESETS, (*names, None))]
    for setting in settings().values():
        found.append(
            _field(
                setting.key, setting.section, setting.name, setting.accepts, setting.default, setting.description,
                setting.choices,
            )
        )  # fmt: skip
    for option in trainer_options.options().values():
        null = (None,) if "null" in option.accepts else ()
        choices = (*option.choices, *null) if option.choices else _JSON_CHOICES.get(option.accepts, ())
        accepts = trainer_options.in_words(option)
        found.append(_field(f"{TRAINER}.{option.name}", TRAINER, option.name, accepts, option.default, option.help,
                            choices))  # fmt: skip
    return {field.key: field for field in found}


_ABOUT_PRESETS = "A beginning of a configuration that stands below everything written here."


def _field(
    key: str, section: str, name: str, accepts: str, default: Any, description: str, choices: tuple[Any, ...]
) -> Field:
    others = [other for other, ours in OTHER_NAMES.items() if ours == key]
    searched = " ".join([key, key.replace("_", " "), description, *others]).lower()
    return Field(key, section, name, accepts, default, description, choices, searched)


def about(field: Field, value: Any) -> str:
    """Return what a field's value is about, where there is more to say than its description."""
    if field.key == PRESET:
        return next((preset.summary for preset in presets() if preset.name == value), "")
    return ""


def value_of(field: Field, reading: Reading, settled: Mapping[str, Value]) -> Value:
    """Return how a field stands.

    Args:
        field: Which.
        reading: The draft.
        settled: What automatic values became when they were last decided, by key.
    """
    if field.key == PRESET:
        return Value(reading.preset or None, "given" if reading.preset else "default")
    setting = reading.given.settings.get(field.key)
    if setting is None or setting.value == "auto" or field.key in reading.wrong:
        decided = settled.get(field.key)
        if decided is not None and decided.kind == "automatic" and field.key not in reading.wrong:
            return decided
    if setting is None:
        return Value(field.default, "automatic" if field.default == "auto" else "default")
    if setting.preset:
        return Value(setting.value, "preset", setting.place.removeprefix("preset "))
    return Value(setting.value, "automatic" if setting.value == "auto" else "given", setting.place)


def in_a_word(value: Any) -> str:
    """Return a value on one line: as typed, a long list without its brackets' worth of blanks."""
    if isinstance(value, str):
        return typed(value)
    if isinstance(value, dict):
        return ", ".join(f"{write_value(str(name))}: {write_value(item)}" for name, item in value.items()) or "{}"
    if isinstance(value, list):
        return ", ".join(map(in_a_word, value)) or "[]"
    return write_value(value)


def listed(
    reading: Reading,
    settled: Mapping[str, Value],
    *,
    query: str = "",
    folded: frozenset[str] = frozenset(),
    only: frozenset[str] | None = None,
) -> Sequence[Line]:
    """Return the rows of the form.

    Args:
        reading: The draft.
        settled: As in `value_of`.
        query: Words that must all be in a field's name, description, source ("given") or other tools' name for it.
            A word after `!` must not be.
        folded: Sections of which only what is written is listed. A search unfolds them.
        only: Keys to list; None lists all.
    """
    words = query.lower().split()
    rows: list[Line] = []
    by_section: dict[str, list[Field]] = {}
    for field in fields().values():
        if (only is None or field.key in only) and _matches(field, reading, settled, words):
            by_section.setdefault(field.section, []).append(field)
    for section in ("", *sections(), TRAINER):
        found = by_section.get(section, [])
        if not found:
            continue
        hidden = 0
        if section in folded and not words and only is None:
            kept = [field for field in found if field.key in reading.given.settings]
            hidden, found = len(found) - len(kept), kept
        if section:
            rows.append(Heading(section, section_help(section), hidden))
        rows += found
    return rows


def _matches(field: Field, reading: Reading, settled: Mapping[str, Value], words: Sequence[str]) -> bool:
    if not words:
        return True
    text = f" {field.searched} {value_of(field, reading, settled).kind}"
    if field.key in reading.wrong:
        text += " wrong"
    return all(
        (not _found(word[1:], text) or word == "!") if word.startswith("!") else _found(word, text) for word in words
    )


def _found(word: str, text: str) -> bool:
    """Short words begin a word: "lr" is a learning rate, and not in "already"."""
    return word in text if len(word) > _SHORT else f" {word}" in text


def differing(reading: Reading, settled: Mapping[str, Value], others: Mapping[str, Any]) -> frozenset[str]:
    """Return the keys whose value here is not what it is in `others`; what that does not say is at its default."""
    found = set()
    for key, field in fields().items():
        there = others.get(key, field.default)
        # What is left to be decided on both sides is the same, whatever it becomes.
        here = value_of(field, reading, {} if there == "auto" else settled).value
        if key != PRESET and here != there:
            found.add(key)
    return frozenset(found)
