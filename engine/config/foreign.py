"""Take over the configuration of another tool: Axolotl, LLaMA-Factory, or TRL's own scripts, all of them YAML.

Nothing is dropped in silence: every key is either taken, or listed with the reason why it has no counterpart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.config import check, trainer_options
from engine.config.check import Setting
from engine.config.declaration import TRAINER, sections
from engine.config.foreign_keys import IGNORED, TABLES, Left, Taker, factory_method, looks_like
from engine.config.methods import METHODS
from engine.config.yaml_text import Entry, read_file, read_mapping, write_value
from engine.errors import UsageError


@dataclass(frozen=True, slots=True)
class Taken:
    """A setting that has a counterpart."""

    name: str
    """As the other tool calls it."""
    line: int
    key: str
    """As it is called here, `section.name`."""
    value: Any
    """As it is written here."""


@dataclass(frozen=True, slots=True)
class NotTaken:
    """A setting that has none."""

    name: str
    line: int
    value: Any
    reason: str


@dataclass(slots=True)
class Imported:
    """What became of a file."""

    tool: str
    """"axolotl", "llamafactory" or "trl"."""
    source: str
    taken: list[Taken] = field(default_factory=list)
    left: list[NotTaken] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, Any]:
        """Return the values by key, the last one written winning."""
        return {one.key: one.value for one in self.taken}

    def to_yaml(self) -> str:
        """Return a configuration of ours, with the name that each value had as a comment."""
        origin = {one.key: one for one in self.taken}
        lines = [f"# Taken over from {self.source} ({self.tool})."]
        for section in [*sections(), TRAINER]:
            own = [key for key in self.settings if key.partition(".")[0] == section]
            if own:
                lines.append(f"{section}:")
            lines += [
                f"  {key.partition('.')[2]}: {write_value(self.settings[key])}  # {_plain(origin[key].name)}"
                for key in own
            ]
        return "\n".join(lines) + "\n"


def import_file(path: Path, tool: str | None = None) -> Imported:
    """Read a configuration of another tool.

    Args:
        path: A YAML file.
        tool: "axolotl", "llamafactory" or "trl"; None tells it from the keys.

    Raises:
        NotFound, ConfigError: It cannot be read as a mapping.
        UsageError: It is none of the three.
    """
    written = read_mapping(read_file(path), path.name)
    values = {name: _plain_value(entry) for name, entry in written.items()}
    chosen = tool or looks_like(values)
    if chosen is None:
        ours = any(name in sections() for name in values)
        raise UsageError(
            f"{path.name} is not recognised as a configuration of Axolotl, LLaMA-Factory or TRL.",
            remedy="It looks like one of ours: `ftconsole config` checks it."
            if ours
            else "Name the tool with --from axolotl, llamafactory or trl.",
        )
    if chosen not in TABLES:
        raise UsageError(f"There is no import from {chosen[:40]!r}.", remedy=f"Choose one of {', '.join(TABLES)}.")
    found = Imported(chosen, path.name)
    taker = Taker(values, path.parent)
    for name, entry in written.items():
        _take(found, taker, name, entry.line, values[name])
    if "data.validation" not in found.settings:
        _leave_evaluations(found)
    return found


def _leave_evaluations(found: Imported) -> None:
    """Where no validation set came along there is nothing to evaluate, and a number of steps would be refused."""
    for one in [one for one in found.taken if one.key == "evaluation.eval_steps" and one.value is not None]:
        found.taken.remove(one)
        found.left.append(NotTaken(one.name, one.line, one.value, "it needs data.validation, and no file was named"))


def _take(found: Imported, taker: Taker, name: str, line: int, value: Any) -> None:
    table, method = TABLES[found.tool], _method(found.tool, taker.values)
    if name in IGNORED:
        found.left.append(NotTaken(name, line, value, IGNORED[name]))
        return
    if value is None:
        found.left.append(NotTaken(name, line, value, "it is empty"))
        return
    if name in table:
        try:
            pairs = table[name](taker, value)
        except Left as why:
            found.left.append(NotTaken(name, line, value, str(why)))
            return
    elif name in trainer_options.options(METHODS[method].trainer):
        pairs = {f"{TRAINER}.{name}": value}
    else:
        found.left.append(NotTaken(name, line, value, trainer_options.why_owned(name) or "there is no counterpart"))
        return
    for key, own in pairs.items():
        if problem := _problem(key, own, method, taker.values):
            found.left.append(NotTaken(name, line, value, f"{key} {problem}"))
        else:
            found.taken.append(Taken(name, line, key, own))
    if not pairs:
        found.left.append(NotTaken(name, line, value, "it is so here anyway"))


def _method(tool: str, values: Mapping[str, Any]) -> str:
    """Return the method that the file is for, by which its other keys are judged; "sft" where nothing says it."""
    return (factory_method(values) if tool == "llamafactory" else None) or "sft"


def _problem(key: str, value: Any, method: str, written: Mapping[str, Any]) -> str:
    """Return what is wrong with one value here; empty when nothing is."""
    around: dict[str, Any] = {"data.train": ["rows"], "data.validation": ["rows"], "method.name": method}
    # The two are right or wrong together.
    around["training.lr_scheduler_type"] = written.get("lr_scheduler_type", written.get("lr_scheduler", "cosine"))
    around["trainer.lr_scheduler_kwargs"] = written.get("lr_scheduler_kwargs")
    _, problems = check.check({other: Setting(it, "") for other, it in {**around, key: value}.items()})
    said = [problem for problem in problems if problem.startswith(key)]
    return said[0].removeprefix(key).removesuffix(" ()").strip() if said else ""


def _plain_value(entry: Entry) -> Any:
    value = entry.value
    return {key: inner.value for key, inner in value.items()} if isinstance(value, Mapping) else value


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[:80]
