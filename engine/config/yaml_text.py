"""Configuration files as YAML 1.2 data with line numbers, and values as text that every YAML reader agrees on.

PyYAML follows YAML 1.1, where `2e-4` is a text, `no` is false and `1:30` is 90. Here plain values are read by the
core schema of YAML 1.2. Only data is built: no tags, no aliases (a few lines of them expand to gigabytes).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from engine.errors import ConfigError, NotFound

MAX_BYTES = 1_000_000
"""Far above any configuration, far below what would take noticeable time to read."""
MAX_DEPTH = 32
STAGES = "stages"
"""The upper key whose value is a list, each entry of which has sections of its own."""

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
# Words that YAML 1.1 or 1.2 reads as something else than a text; any other word of these characters is safe bare.
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_RESERVED = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


class Entry(NamedTuple):
    """One key of a mapping."""

    value: Any
    line: int
    """Line of the key; 1 is the first."""
    end_line: int
    """Line on which the value ends."""
    end_column: int
    """How many characters of that line belong to the value or come before it."""


def read_file(path: Path) -> str:
    """Return the text of a configuration file.

    Raises:
        NotFound: There is no such file.
        ConfigError: It is a folder, cannot be read, is too large, or is not text.
    """
    try:
        if not path.is_file():
            if path.exists():
                raise ConfigError([f"{path} is not a file"], remedy="Name a YAML file.")
            raise NotFound(
                f"There is no configuration file {str(path)!r}.", remedy="Check the path, or write the file first."
            )
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or "it is no path"
        raise ConfigError([f"{str(path)!r} cannot be read: {reason}"]) from error
    if len(content) > MAX_BYTES:
        raise ConfigError([f"{path} is larger than {MAX_BYTES} bytes, so it is no configuration"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}, line {line}: this is not UTF-8 text; is it another kind of file?"]) from error


def read_mapping(text: str, source: str) -> dict[str, Entry]:
    """Return the two upper levels of a YAML mapping: sections, whose values are mappings of `Entry` again.

    Values below the second level are plain data. An entry of the list `stages` is an `Entry` whose value is a mapping
    of the same two levels.

    Args:
        text: The document.
        source: What it is called in messages.

    Raises:
        ConfigError: One problem, with its line: it is not YAML, not a mapping, has a key twice, a tag or an alias.
    """
    found = _read(text, source, entry_levels=2)
    if found is None:
        raise ConfigError([f"{source} is empty"], remedy="Write settings as `section:` and, below it, `key: value`.")
    if not isinstance(found, dict):
        kind = "a list" if isinstance(found, list) else "a single value"
        raise ConfigError(
            [f"{source} holds {kind}, not settings"], remedy="Write `section:` and, below it, `key: value`."
        )
    return found


def read_value(text: str) -> Any:
    """Return the data behind one value, as on a command line: `1e-3`, `null`, `[a, b]`.

    Raises:
        ValueError: It is not one YAML value; the argument says why.
    """
    try:
        return _read(text, "it", entry_levels=0)
    except ConfigError as error:
        raise ValueError(error.problems[0].partition(": ")[2]) from error


def write_value(value: Any) -> str:
    """Return a value on one line, read back as the same by YAML 1.1 and 1.2 and safe to show on a terminal."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _write_float(value)
        case str():
            bare = _PLAIN.fullmatch(value) and value.lower() not in _RESERVED
            return value if bare else quoted(value)
        case dict():
            return "{" + ", ".join(f"{write_value(str(k))}: {write_value(v)}" for k, v in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(write_value, value)) + "]"
    raise TypeError(f"{type(value).__name__} has no YAML form here")


def quoted(text: str) -> str:
    """Return `text` in double quotes, everything that is not printable escaped as YAML and Python do.

    Half a surrogate pair has no YAML form and becomes a question mark.
    """
    shown = json.dumps(text.encode("utf-8", "replace").decode(), ensure_ascii=False)
    return "".join(c if c.isprintable() else _escape(ord(c)) for c in shown)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _write_float(value: float) -> str:
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    text = repr(value)
    # YAML 1.1 takes 1e-05 for a text; it wants the dot.
    return text if "." in text else text.replace("e", ".0e")


# libyaml reads some ten times faster than the reader in Python; both give the same events.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _read(text: str, source: str, *, entry_levels: int) -> Any:
    # Events, not `compose`: composing a file of some 10,000 opening brackets overflows the C stack.
    builder = _Builder(yaml.parse(text, Loader=_Loader), source)
    try:
        return builder.document(entry_levels)
    except yaml.reader.ReaderError as error:
        code = error.character if isinstance(error.character, int) else ord(error.character)
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            [f"{source}, line {line}: holds the character {_escape(code)}; is it another kind of file?"]
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError([f"{source}, line {line}: {_reason(error, text, line)}"]) from error


def _reason(error: yaml.MarkedYAMLError, text: str, line: int) -> str:
    lines = text.split("\n")
    shown = lines[line - 1] if line <= len(lines) else ""
    if re.match(r" *\t", shown):
        return "indented with a tab; YAML wants spaces"
    problem = re.sub(r"\s+", " ", error.problem or "cannot be read")
    if "mapping values are not allowed" in problem:
        return "a colon where none may be; put the value in quotes, or check the indentation"
    return f"not YAML: {problem}" + (f" at {quoted(shown.strip()[:60])}" if shown.strip() else "")


class _Builder:
    """Builds data from the parser's events, and refuses what has no place in a configuration."""

    def __init__(self, events: Iterator[Any], source: str) -> None:
        self.events = events
        self.source = source
        self.end: Any = None
        """Mark where the last value ended."""

    def document(self, entry_levels: int) -> Any:
        """Return the data; in mappings of this many upper levels, values are wrapped as `Entry`."""
        found: Any = None
        documents = 0
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self.failure(event, "a second document begins; a configuration is one")
                found = self.value(next(self.events), 0, entry_levels)
        return found

    def value(self, event: Any, depth: int, entry_levels: int = 0, item_levels: int = 0) -> Any:
        if isinstance(event, yaml.AliasEvent):
            raise self.failure(event, "aliases (*name) are not supported; write the value out")
        if getattr(event, "tag", None) is not None:
            raise self.failure(event, f"the tag {quoted(str(event.tag))} is not accepted; only plain values are")
        if depth > MAX_DEPTH:
            raise self.failure(event, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(depth, entry_levels, bool(event.flow_style))
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(depth, item_levels, bool(event.flow_style))
        self.end = event.end_mark
        return self.scalar(event)

    def mapping(self, depth: int, entry_levels: int, flow: bool) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        while not isinstance(key := next(self.events), yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent):
                raise self.failure(key, "a list, mapping or alias cannot be a key")
            name, line = str(key.value), _line(key)
            if name == "<<":
                raise self.failure(key, "merging with << is not supported; write the settings out")
            if name in found:
                raise self.failure(key, f"{quoted(name)} is set twice, first in line {lines[name]}")
            stages = entry_levels if depth == 0 and name == STAGES else 0
            value = self.value(next(self.events), depth + 1, max(0, entry_levels - 1), stages)
            lines[name] = line
            found[name] = Entry(value, line, self.end.line + 1, self.end.column) if entry_levels else value
        if flow:  # a block ends where its last value does; its end event is at the next key
            self.end = key.end_mark
        return found

    def sequence(self, depth: int, item_levels: int, flow: bool) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            value = self.value(event, depth + 1, item_levels)
            found.append(Entry(value, _line(event), self.end.line + 1, self.end.column) if item_levels else value)
        if flow:
            self.end = event.end_mark
        return found

    def scalar(self, event: Any) -> Any:
        text = str(event.value)
        if event.style:  # in quotes, or a block
            return text
        if text in _SPECIAL:
            return _SPECIAL[text]
        if _INT.fullmatch(text):
            if len(text) > 40:
                raise self.failure(event, f"a number of {len(text)} digits")
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        return float(text) if _FLOAT.fullmatch(text) else text

    def failure(self, event: Any, problem: str) -> ConfigError:
        return ConfigError([f"{self.source}, line {_line(event)}: {problem}"])


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
