"""Questions out of a file: lines of text, rows of data, or a suite with categories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from engine.chat.asking import Message, Role
from engine.data.spellings import MESSAGES, QUESTIONS
from engine.errors import DataError

_TEXT_ENDINGS = (".txt", ".md", ".text")
_YAML_ENDINGS = (".yaml", ".yml")
_CATEGORY = ("category", "dataset_type", "topic")
_MOST = 100_000
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question."""

    text: str
    """Foreign."""
    category: str = ""
    before: tuple[Message, ...] = ()
    """What stands before it: a system prompt, earlier turns."""


def read_prompts(path: Path) -> tuple[list[Prompt], list[str]]:
    """Return the questions of a file, and of what was left out line and reason.

    Args:
        path: `.txt`: one question a line. `.yaml`: a suite, `categories: {NAME: [QUESTION, ...]}` or a list. Otherwise
            any data file: rows with a question, which may have answers (those are not asked), and `category`.

    Raises:
        NotFound, DataError: It cannot be read, or holds no question.
    """
    if path.suffix.lower() in _YAML_ENDINGS:
        found, left_out = _of_suite(path), list[str]()
    elif path.suffix.lower() in _TEXT_ENDINGS:
        found, left_out = from_lines(_text(path).splitlines()), []
    else:
        found, left_out = _of_rows(path)
    if not found:
        why = f": {'; '.join(left_out[:_SHOWN])}" if left_out else ""
        raise DataError(
            f"There is no question in {path}{why}.",
            remedy='One a line in a .txt, or rows with "prompt" and "category" in a .jsonl.',
        )
    return found, left_out


def from_lines(lines: Iterable[str]) -> list[Prompt]:
    """Return lines as questions; blank ones are none."""
    return [Prompt(line.strip()) for line in lines if line.strip()]


def _of_rows(path: Path) -> tuple[list[Prompt], list[str]]:
    from engine.data.files import Record, records, sample
    from engine.data.shapes import recognise, row_of

    recognised = recognise(sample(path, 200))
    found, left_out = list[Prompt](), list[str]()
    for item in records(path, limit=_MOST):
        if not isinstance(item, Record):
            left_out.append(f"line {item.line}: {item.reason}")
            continue
        category = _category(item.value)
        row = row_of(item.value, recognised, path, item.line)
        messages: list[Any] = []
        if hasattr(row, "prompt") and row.prompt:
            messages = row.prompt
        elif (own := _own(item.value)) is not None:
            messages = own
        prompt = _prompt(messages, category)
        if prompt is None:
            left_out.append(f"line {item.line}: no question in it")
        else:
            found.append(prompt)
    return found, left_out


def _own(record: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return what a row without an answer asks: it is no row to learn from."""
    for name in QUESTIONS:
        if isinstance(text := record.get(name), str) and text.strip():
            system = record.get("system")
            before = [{"role": "system", "content": system}] if isinstance(system, str) and system.strip() else []
            return [*before, {"role": "user", "content": text}]
    for name in MESSAGES:
        if isinstance(messages := record.get(name), list):
            return messages
    return None


def _prompt(messages: list[Any], category: str) -> Prompt | None:
    """Return messages up to their last question."""
    kept: list[Message] = []
    for each in messages:
        if not isinstance(each, Mapping) or not isinstance(each.get("content"), str):
            return None
        if each.get("role") not in ("system", "user", "assistant"):
            return None
        kept.append(Message(cast(Role, each["role"]), each["content"]))
    while kept and kept[-1].role != "user":
        kept.pop()
    return Prompt(kept[-1].content, category, tuple(kept[:-1])) if kept and kept[-1].content.strip() else None


def _category(record: Mapping[str, Any]) -> str:
    about = record.get("metadata")
    for place in (record, about if isinstance(about, Mapping) else {}):
        for name in _CATEGORY:
            if isinstance(value := place.get(name), str) and value:
                return value[:100]
    return ""


def _of_suite(path: Path) -> list[Prompt]:
    import yaml

    try:
        value = yaml.safe_load(_text(path))
    except (yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{path} is no YAML: {' '.join(str(error).split())[:200]}.", remedy="Correct it.") from None
    if isinstance(value, dict):
        value = value.get("categories", value.get("prompts", value))
    if isinstance(value, dict):
        return [prompt for name, asked in value.items() for prompt in _of_list(asked, str(name)[:100])]
    return _of_list(value, "")


def _of_list(value: object, category: str) -> list[Prompt]:
    found = []
    for each in value if isinstance(value, list) else []:
        if isinstance(each, str) and each.strip():
            found.append(Prompt(each.strip(), category))
        elif isinstance(each, dict) and (own := _own(each)) is not None:
            prompt = _prompt(own, _category(each) or category)
            if prompt is not None:
                found.append(prompt)
    return found


def _text(path: Path) -> str:
    from engine.errors import NotFound

    try:
        return path.read_text("utf-8-sig", errors="replace")
    except FileNotFoundError:
        raise NotFound(f"There is no file {str(path)!r}.", remedy="Check the path.") from None
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.", remedy="Check its permissions.") from error
