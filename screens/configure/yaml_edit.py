"""One setting of a YAML text changed in place: comments, order and what else a person wrote stay as they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from engine.config.declaration import TRAINER, sections
from engine.config.load import PRESET
from engine.config.yaml_text import STAGES, Entry, read_mapping, write_value
from engine.errors import ConfigError

_LINE_WIDTH = 88
"""Longer lists and mappings are written one item per line."""
_BREAKS = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
"""What the YAML reader counts as the end of a line."""


def put(text: str, key: str, value: Any) -> str:
    """Return `text` with a setting set.

    Args:
        text: A readable configuration; may be empty.
        key: `section.name`, or `preset`.
        value: Plain data.

    Raises:
        ConfigError: `text` cannot be read.
    """
    entries = _entries(text)
    wanted = _data(entries)
    section, _, name = key.partition(".")
    if name:
        below = wanted.get(section)
        wanted[section] = {**below, name: value} if isinstance(below, dict) else {name: value}
    else:
        wanted[section] = value
    return _proven(_with(text, entries, section, name, value), wanted)


def drop(text: str, key: str) -> str:
    """Return `text` without a setting; a section that holds nothing more goes too.

    Raises:
        ConfigError: `text` cannot be read.
    """
    entries = _entries(text)
    wanted = _data(entries)
    section, _, name = key.partition(".")
    below = wanted.get(section)
    if section not in wanted or (name and not (isinstance(below, dict) and name in below)):
        return text
    if isinstance(below, dict) and name:
        del below[name]
    if not name or not below:
        del wanted[section]
    return _proven(_without(text, entries, section, name if below else ""), wanted)


def write(data: Mapping[str, Any]) -> str:
    """Return a configuration as text: sections, and values that stand outside of any."""
    lines: list[str] = []
    for section, value in data.items():
        if section == STAGES and isinstance(value, list) and all(isinstance(one, dict) for one in value):
            lines.append(f"{section}:")
            lines += [line for one in value for line in _stage_lines(one)]
        else:
            lines += _section_lines(section, value)
    return "\n".join(lines) + "\n" if lines else ""


def _stage_lines(stage: Mapping[str, Any]) -> list[str]:
    """Return an entry of the list: its sections, indented below a dash."""
    lines = [line for name, value in stage.items() for line in _section_lines(name, value)] or ["{}"]
    return [f"  - {lines[0]}", *(f"    {line}" for line in lines[1:])]


def _proven(text: str | None, wanted: Mapping[str, Any]) -> str:
    """Return `text` if it says what it should; else what does, without the comments.

    Flow mappings over several lines, block texts and the like are not worth a parser that keeps blanks.
    """
    try:
        if text is not None and _data(_entries(text)) == wanted:
            return text
    except ConfigError:
        pass
    return write(wanted)


def _entries(text: str) -> dict[str, Entry]:
    lines = (line.strip() for line in _BREAKS.split(text))
    if all(not line or line.startswith("#") for line in lines):
        return {}
    return read_mapping(text, "it")


def _data(entries: Mapping[str, Entry]) -> dict[str, Any]:
    return {section: _plain(entry) for section, entry in entries.items()}


def _plain(value: Any) -> Any:
    """Return data without where it stands; a list of stages has that in each of its entries."""
    if isinstance(value, Entry):
        return _plain(value.value)
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _with(text: str, entries: Mapping[str, Entry], section: str, name: str, value: Any) -> str | None:
    """Return `text` with a line set; None where that is not plain."""
    lines = _BREAKS.split(text)
    entry = entries.get(section)
    if not name:
        if entry is not None:
            return _replaced(lines, entry, section, value, "")
        return _joined([*_setting_lines("", section, value), *lines])
    if entry is None:
        at = _place_for(section, entries, lines)
        return _joined(lines[:at] + _section_lines(section, {name: value}) + lines[at:])
    if not isinstance(entry.value, dict) or not entry.value:
        if entry.value not in (None, {}) or not re.match(rf"{re.escape(section)}\s*:", lines[entry.line - 1]):
            return None
        return _joined([*lines[: entry.line - 1], *_section_lines(section, {name: value}), *lines[entry.end_line :]])
    if any(inner.line == entry.line for inner in entry.value.values()):  # {a: 1, b: 2}
        written = {known: inner.value for known, inner in entry.value.items()} | {name: value}
        return _joined(lines[: entry.line - 1] + _section_lines(section, written) + lines[entry.end_line :])
    inner = entry.value.get(name)
    first = next(iter(entry.value.values()))
    indent = re.match(r"\s*", lines[first.line - 1])
    blank = indent[0] if indent else ""
    if inner is not None:
        return _replaced(lines, inner, name, value, blank)
    at = max(inner.end_line for inner in entry.value.values())
    return _joined(lines[:at] + _setting_lines(blank, name, value) + lines[at:])


def _replaced(lines: list[str], entry: Entry, name: str, value: Any, blank: str) -> str | None:
    start = re.match(rf"\s*(?:{re.escape(name)}|\"{re.escape(name)}\"|'{re.escape(name)}')\s*:", lines[entry.line - 1])
    rest = lines[entry.end_line - 1][entry.end_column :].strip()
    if start is None or (rest and not rest.startswith("#")):
        return None
    written = _setting_lines(blank, name, value)
    if rest:
        written[0] = f"{written[0]}  {rest}"
    return _joined(lines[: entry.line - 1] + written + lines[entry.end_line :])


def _without(text: str, entries: Mapping[str, Entry], section: str, name: str) -> str | None:
    lines = _BREAKS.split(text)
    entry = entries[section]
    gone = entry.value[name] if name else entry
    if name and not lines[gone.line - 1].lstrip().startswith((name, f'"{name}"', f"'{name}'")):
        return None
    return _joined(lines[: gone.line - 1] + lines[gone.end_line :])


def _place_for(section: str, entries: Mapping[str, Entry], lines: list[str]) -> int:
    """Return the index of the line before which a new section goes, in the order of the declaration."""
    order = [PRESET, *sections(), TRAINER]
    later = order[order.index(section) + 1 :] if section in order else []
    at = min((entry.line - 1 for name, entry in entries.items() if name in later), default=len(lines))
    if at == len(lines):
        while at and not lines[at - 1].strip():
            at -= 1
        return at
    while at and lines[at - 1].startswith("#"):  # what is said about the next section stays with it
        at -= 1
    return at


def _section_lines(section: str, value: Any) -> list[str]:
    if not isinstance(value, dict) or not value:
        return _setting_lines("", section, value)
    lines = [f"{write_value(section)}:"]
    for name, inner in value.items():
        lines += _setting_lines("  ", name, inner)
    return lines


def _setting_lines(blank: str, name: str, value: Any) -> list[str]:
    key = write_value(name)
    whole = f"{blank}{key}: {write_value(value)}"
    if len(whole) <= _LINE_WIDTH or not isinstance(value, list | dict) or not value:
        return [whole]
    if isinstance(value, list):
        return [f"{blank}{key}:", *(f"{blank}  - {write_value(item)}" for item in value)]
    return [
        f"{blank}{key}:",
        *(f"{blank}  {write_value(str(inner))}: {write_value(item)}" for inner, item in value.items()),
    ]


def _joined(lines: list[str]) -> str:
    return "\n".join(lines).strip("\n") + "\n"
