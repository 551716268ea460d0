"""How states, numbers and times are written."""

from __future__ import annotations

import time
from typing import Final

from engine.runs.lifecycle import State
from tui.state import Level
from tui.widgets.chart.axis import format_duration, format_value

SIGNS: Final[dict[State, tuple[str, str, str]]] = {
    "starting": ("○", "o", "a"),
    "running": ("●", "*", "g"),
    "paused": ("‖", "=", "w"),
    "stopping": ("◌", "o", "w"),
    "finished": ("✓", "v", "g"),
    "stopped": ("■", "#", "a"),
    "failed": ("✗", "X", "e"),
    "died": ("✗", "X", "e"),
    "unknown": ("?", "?", "w"),
}
"""Of each state: its sign, its sign in ASCII, and the style code of `cells`."""
LEVELS: Final[dict[Level, tuple[str, str, str]]] = {
    "info": ("·", ".", "m"),
    "good": ("✓", "v", "g"),
    "warning": ("!", "!", "w"),
    "error": ("✗", "X", "e"),
}
"""Of each level of the log, likewise."""


def count(value: float) -> str:
    """Return a number of many digits in a few: "3.41 M", "640", "12.9 k"."""
    for limit, size, unit in ((1e3, 1.0, ""), (1e6, 1e3, " k"), (1e9, 1e6, " M"), (1e15, 1e9, " B")):
        if value < limit:
            return f"{value / size:.3g}{unit}" if unit else f"{value:.0f}"
    return f"{value:.2g}"


def size_text(used_bytes: float) -> str:
    """Return bytes for a person, in powers of 1000 as disks and model cards have them: "12.3 MB"."""
    for limit, size, unit in ((1e6, 1e3, "kB"), (1e9, 1e6, "MB")):
        if used_bytes < limit:
            return f"{used_bytes / size:.1f} {unit}"
    return f"{used_bytes / 1e9:.1f} GB"


def pace(value: float) -> str:
    """Return a rate with two digits, which changes seldom: "6.4", "12 k", "0.31"."""
    if value >= 1000:
        return f"{float(f'{value:.2g}') / 1000:g} k"
    return f"{float(f'{value:.2g}'):g}"


def time_left(seconds: float) -> str:
    """Return an estimate no finer than it is: whole minutes above ten of them, else steps of five seconds."""
    if seconds > 600:
        return format_duration(round(seconds / 60) * 60)
    return format_duration(-(-seconds // 5) * 5)


def time_spent(seconds: float) -> str:
    """Return a duration, without seconds above an hour."""
    return format_duration(seconds // 60 * 60 if seconds >= 3600 else seconds)


def value(number: float) -> str:
    """Return a metric's value."""
    return format_value(number)


def clock(seconds: float) -> str:
    """Return a time of the day here: "12:03:44"; blank for a time no clock shows."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "        "


def day(seconds: float) -> str:
    """Return a date here: "2026-11-20"; empty for a time no calendar has."""
    try:
        return time.strftime("%Y-%m-%d", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return ""


def number_of(amount: int, thing: str) -> str:
    """Return "1 step", "12 steps"."""
    return f"{amount:,} {thing}" if amount == 1 else f"{amount:,} {thing}s"
