"""Ticks at round numbers, and numbers as short as they can be."""

from __future__ import annotations

import math
from collections.abc import Sequence

_DURATION_STEPS = (
    1, 2, 5, 10, 15, 30,
    60, 120, 300, 600, 900, 1800,
    3600, 7200, 10800, 21600, 43200,
    86400, 172800, 604800,
)  # fmt: skip
_SCALES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def nice_step(span: float, count: int, whole: bool = False) -> float:
    """The smallest of 1, 2, 2.5 and 5 times a power of ten that cuts `span` into at most `count` parts.

    Args:
        span: Length of the axis, more than 0.
        count: At least 1.
        whole: The axis counts things: 1 is the smallest step, and 2.5 is none.
    """
    least = span / count
    power = 10.0 ** math.floor(math.log10(least))
    for factor in (1.0, 2.0, 2.5, 5.0, 10.0):
        step = factor * power
        # 1e-9: 0.3 / 3 is a hair more than 0.1.
        if step >= least * (1 - 1e-9) and not (whole and step % 1):
            return step
    return 1.0 if whole else 10.0 * power


def duration_step(span: float, count: int) -> float:
    """Like `nice_step` for seconds: steps of a clock and a calendar."""
    least = span / count
    for step in _DURATION_STEPS:
        if step >= least * (1 - 1e-9):
            return float(step) if least >= 1 else nice_step(span, count)
    return 604800.0 * nice_step(span / 604800.0, count, whole=True)


def multiples(low: float, high: float, step: float) -> list[float]:
    """Every multiple of `step` within [low, high]."""
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def ticks(low: float, high: float, count: int) -> list[float]:
    """At most `count` + 1 round values within [low, high]."""
    return multiples(low, high, nice_step(high - low, max(1, count))) if high > low else [low]


def fit_rows(low: float, high: float, rows: int, whole: bool = False) -> tuple[float, float, int] | None:
    """Ticks that are equally many rows apart, which ticks at any round number are not.

    Args:
        low: Has to fit, as has `high`; the axis may become longer on both sides.
        high: More than `low`.
        rows: Height of the axis.
        whole: Only whole steps: decades.

    Returns:
        The value of the lowest row, the distance of two ticks in value and in rows; None when that would leave
        more than a fifth of the height empty.
    """
    best = None
    for parts in range(1, max(2, rows)):
        step = nice_step(high - low, parts, whole)
        base = math.floor(low / step + 1e-9) * step
        # Half a row of room: `high` may lie in the upper half of the top row.
        every = math.floor((rows - 0.55) / ((high - base) / step))
        if every < 1 or rows <= every:
            continue
        used = (high - low) / step * every / (rows - 0.5)
        # A label on every third or fourth row reads best; each row off costs as much as 4 % of the height.
        cost = 1 - used + 0.04 * abs(every - 3.5) + (0.2 if every < 2 else 0)
        if used >= 0.8 and (best is None or cost < best[0]):
            best = cost, (base, step, every)
    return best and best[1]


def log_ticks(low: float, high: float, count: int) -> list[float]:
    """Round values for a logarithmic axis: decades; 1, 2, 5 within few decades; else as on a linear axis.

    Args:
        low: More than 0.
        high: More than `low`.
        count: At most so many and one more.
    """
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    decades = [10.0**power for power in range(first, last + 1)]
    if len(decades) > count + 1:
        every = math.ceil(len(decades) / (count + 1))
        return [10.0**power for power in range(first, last + 1) if power % every == 0]
    fine = [
        factor * 10.0**power
        for power in range(first - 1, last + 1)
        for factor in (1.0, 2.0, 5.0)
        if low * (1 - 1e-9) <= factor * 10.0**power <= high * (1 + 1e-9)
    ]
    if 2 <= len(fine) <= count + 1:
        return fine
    return decades if len(decades) >= 2 else ticks(low, high, count)


def tick_labels(values: Sequence[float], step: float | None = None) -> list[str]:
    """Labels that belong together: `0.5 1.0 1.5`, `500 1k 1.5k`, `5e-5 1e-4 1.5e-4`.

    Args:
        values: As from `ticks` or `log_ticks`.
        step: Distance of two ticks; None on a logarithmic axis, where each label stands for itself.
    """
    largest = max((abs(value) for value in values), default=0.0)
    if step is None:
        return [_shortest(value) for value in values]
    if largest < 1e-2 or largest >= 1e3:
        return ["0" if abs(value) < step * 1e-6 else _shortest(value, step) for value in values]
    decimals = decimals_of(step)
    return ["0" if abs(value) < step * 1e-6 else f"{value:.{decimals}f}" for value in values]


def decimals_of(step: float) -> int:
    """How many decimals tell two multiples of `step` apart: 0.25 has 2."""
    for decimals in range(16):
        if abs(round(step, decimals) - step) < step * 1e-6:
            return decimals
    return 16


def _shortest(value: float, step: float | None = None) -> str:
    size = abs(value)
    if size == 0 or not math.isfinite(size):
        return "0" if size == 0 else str(value)
    if size < 1e-2:
        exponent = math.floor(math.log10(size) + 1e-9)
        return f"{_plain(value / 10.0**exponent, step and step / 10.0**exponent)}e{exponent}"
    for scale, letter in _SCALES:
        if size >= scale * (1 - 1e-9):
            return f"{_plain(value / scale, step and step / scale)}{letter}"
    return _plain(value, step)


def _plain(value: float, step: float | None) -> str:
    text = f"{value:.{decimals_of(step) if step else 3}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_value(value: float, digits: int = 4) -> str:
    """A measured value with `digits` significant digits: `1.234`, `0.01234`, `1.234e-5`, `12.34k`, `nan`.

    Trailing zeros stay, so that a live value keeps its width.
    """
    size = abs(value)
    if not math.isfinite(size):
        return str(value)
    if size == 0:
        return "0"
    if size < 1e-3:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    value = float(f"{value:.{digits - 1}e}")  # rounded first: 999.96 is 1.000k
    scale, letter = next(((scale, letter) for scale, letter in _SCALES if abs(value) >= scale), (1.0, ""))
    value /= scale
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value)) + 1e-9))}f}{letter}"


def format_count(value: float) -> str:
    """A whole number with thousands separated: `1,234,567`."""
    return f"{round(value):,}"


def format_duration(seconds: float, step: float = 1.0) -> str:
    """`45s`, `10m`, `1h30m`, `2d6h`: the two largest units, and no unit that `step` never shows.

    Args:
        seconds: Not negative.
        step: Distance of two ticks, in seconds.
    """
    if step < 1:
        return f"{seconds:.{decimals_of(step)}f}s" if seconds else "0"
    whole = round(seconds)
    parts: list[str] = []
    for unit, letter in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        amount, whole = divmod(whole, unit)
        if amount:
            parts.append(f"{amount}{letter}")
        elif parts:
            break
    return "".join(parts[:2]) or "0"
