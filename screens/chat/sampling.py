"""Sampling settings as text and back: each for itself in a form, or all of them as one line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace

from engine.chat.asking import Sampling

_PAIR = re.compile(r'([a-z_]+)\s*=\s*("(?:[^"\\]|\\.)*"|\[[^\]]*\]|[^\s,]+)')
FIELDS = {
    "temperature": "0 always takes the likeliest token",
    "top_p": "only the likeliest tokens that make up this share",
    "top_k": "only so many of the likeliest tokens; none: all",
    "max_tokens": "an answer is cut there",
    "seed": "the same seed gives the same answer; none: any",
    "stop": 'an answer ends before: "\\n" or ["###", "\\n\\n"]',
    "repetition_penalty": "above 1: says less again; none: off",
}
"""Field -> what it does."""
PRESETS = {
    "steady (0.2)": {"temperature": "0.2", "top_p": "0.9"},
    "lively (0.7)": {"temperature": "0.7", "top_p": "0.9"},
    "greedy (0)": {"temperature": "0", "top_p": "1"},
}
"""What most recipes ask a fine-tuned model with, by name."""


def as_fields(sampling: Sampling) -> dict[str, str]:
    """Return each setting as text; "none" for what is left to the model."""
    said = {}
    for name in FIELDS:
        value = getattr(sampling, name)
        if name == "stop":
            said[name] = json.dumps(list(value), ensure_ascii=False) if value else "none"
        else:
            said[name] = "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return said


def from_fields(fields: Mapping[str, str]) -> Sampling:
    """Return settings from the text of each; nothing is "none".

    Raises:
        ValueError: Why not, in a sentence.
    """
    return Sampling(**{name: _value(name, text.strip() or "none") for name, text in fields.items()})  # type: ignore[arg-type]


def problem_of(name: str, text: str) -> str | None:
    """Return why a setting cannot be that, in a sentence; None when it can."""
    try:
        _value(name, text.strip() or "none")
    except ValueError as error:
        return str(error)
    return None


def as_text(sampling: Sampling) -> str:
    """Return settings as `name=value`, what is not set left out."""
    parts = [f"temperature={sampling.temperature:g}", f"top_p={sampling.top_p:g}", f"max_tokens={sampling.max_tokens}"]
    for name in ("top_k", "seed", "repetition_penalty"):
        value = getattr(sampling, name)
        if value is not None:
            parts.append(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}")
    if sampling.stop:
        parts.append(f"stop={json.dumps(list(sampling.stop))}")
    return " ".join(parts)


def from_text(text: str, before: Sampling) -> Sampling:
    """Return settings read from `name=value ...`; what is not named stays as it was before.

    Raises:
        ValueError: Why not, in a sentence.
    """
    rest = _PAIR.sub("", text).replace(",", " ").strip()
    if rest:
        raise ValueError(f"{rest[:40]!r} is not written as name=value.")
    values: dict[str, object] = {}
    for name, given in _PAIR.findall(text):
        if name not in FIELDS:
            raise ValueError(f"There is no {name!r}; there are {', '.join(FIELDS)}.")
        values[name] = _value(name, given)
    return replace(before, **values)  # type: ignore[arg-type]


def _value(name: str, given: str) -> object:
    none = given.lower() in ("none", "null", "off")
    if name == "stop":
        return () if none else _texts(given)
    if name in ("top_k", "max_tokens", "seed"):
        if none and name != "max_tokens":
            return None
        number = _number(name, given)
        if number != int(number) or number < (0 if name == "seed" else 1):
            raise ValueError(f"{name} is a whole number from {0 if name == 'seed' else 1}, and {given[:40]} is not.")
        return int(number)
    if none and name == "repetition_penalty":
        return None
    number = _number(name, given)
    low, high = {"temperature": (0.0, 5.0), "top_p": (0.0, 1.0), "repetition_penalty": (0.1, 10.0)}[name]
    if not low <= number <= high or (name == "top_p" and not number):
        raise ValueError(f"{name} is between {low:g} and {high:g}, and {given[:40]} is not.")
    return number


def _number(name: str, given: str) -> float:
    try:
        number = float(given)
    except ValueError:
        raise ValueError(f"{name} is a number, and {given[:40]!r} is none.") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError(f"{name} is a number, and {given[:40]!r} is none.")
    return number


def _texts(given: str) -> tuple[str, ...]:
    try:
        value = json.loads(given) if given[:1] in '["' else given
    except ValueError:
        raise ValueError(f"stop is text in quotes or a list of them, and {given[:40]} is not.") from None
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) and one for one in texts):
        raise ValueError("Each stop string is text, and not empty.")
    return tuple(texts)
