"""How large a text becomes that one step of a template makes: told before it is made, for no timer interrupts it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

WIDENING: Final = ("center", "ljust", "rjust", "zfill", "expandtabs")
"""Methods of texts that take a width."""
WIDENING_FILTERS: Final = ("center", "indent", "batch", "slice")
"""Filters of jinja2 that take a width, or a number of items."""
_PERCENT: Final = re.compile(r"%(?:\([^)]*\))?[-+ #0]*(\d+|\*)?(?:\.(\d+|\*))?")
_BRACES: Final = re.compile(r"\{[^{}:]*:([^{}]*)(\{)?")
_DIGITS: Final = re.compile(r"\d+")


def of_operation(operator: str, left: Any, right: Any) -> int:
    """Return how much `*`, `**` and `%` make: characters or items, bits of a power; 0 where that is little."""
    if operator == "%":
        return of_percent(left, right if isinstance(right, tuple) else (right,)) if isinstance(left, str) else 0
    if operator == "**":
        return left.bit_length() * right if isinstance(left, int) and isinstance(right, int) and right > 0 else 0
    for what, times in ((left, right), (right, left)):
        if isinstance(what, (str, list, tuple)) and isinstance(times, int):
            return len(what) * times
    return 0


def of_call(method: str, arguments: Iterable[Any], named: Mapping[str, Any]) -> int:
    """Return the width that a method of a text is asked for; 0 of one that takes none."""
    return of_widths([*arguments, *named.values()]) if method in WIDENING else 0


def of_widths(given: Iterable[Any]) -> int:
    """Return the largest whole number among arguments."""
    return max((one for one in given if isinstance(one, int)), default=0)


def of_percent(text: str, given: Iterable[Any]) -> int:
    """Return the largest width or precision of a text for `%`. What is put in counts where `*` takes a width of it."""
    asked = [one for found in _PERCENT.findall(text) for one in found if one]
    widths = [int(one) for one in asked if one != "*"]
    return max([*widths, of_widths(given) if "*" in asked else 0])


def of_braces(text: str, given: Iterable[Any]) -> int:
    """Return the largest width or precision of a text for `format`. What is put in counts where a width is put in."""
    found = _BRACES.findall(text)
    widths = [int(digits) for written, _ in found for digits in _DIGITS.findall(written)]
    if any(nested for _, nested in found):
        given = list(given)
        within = [inner for one in given for inner in (one.values() if isinstance(one, Mapping) else [one])]
        widths += [of_widths(within), *(int(one) for one in within if isinstance(one, str) and one.isdecimal())]
    return max(widths, default=0)
