"""A measured figure, the table of all of them, and `results.json`."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).with_name("results.json")


@dataclass(frozen=True, slots=True)
class Figure:
    """One number against one bar."""

    id: str
    """Row of the table, and after a dot which of its figures: `first-paint.cold`."""
    what: str
    value: float | None
    """None where it cannot be measured here; `what` says why."""
    unit: str
    bar: str
    """What is promised: "<= 300", ">= 0.99", "< against"."""
    holds: bool | None
    against: float | None = None
    """The alternative's figure, measured in the same call. None where there is none."""
    command: str = ""


def figure(
    id: str, what: str, value: float | None, unit: str, bar: str, *, against: float | None = None, digits: int = 2
) -> Figure:
    """Return a figure, judged against its bar.

    Args:
        id: Of the figure.
        what: In words.
        value: None when it could not be measured.
        unit: "ms", "kB/s", "% of a core" ...
        bar: A comparison and a number, or a comparison and "against".
        against: The alternative's value.
        digits: The value is rounded to so many; the bar is held against the rounded value that is printed.
    """
    value = None if value is None else round(value, digits)
    against = None if against is None else round(against, digits)
    comparison, _, limit = bar.partition(" ")
    bound = against if limit == "against" else float(limit)
    holds = None
    if value is not None and bound is not None:
        holds = {"<=": value <= bound, ">=": value >= bound, "<": value < bound, ">": value > bound}[comparison]
    return Figure(id, what, value, unit, bar, holds, against, f"make bench ONLY={id.partition('.')[0]}")


def machine() -> str:
    """Return this machine in a line: processor, cores, system."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return (
        f"{name}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as aligned text."""
    head = ("id", "what", "value", "bar", "against", "holds")
    rows = [head]
    for one in figures:
        value = "-" if one.value is None else f"{one.value:g} {one.unit}".strip()
        against = "" if one.against is None else f"{one.against:g} {one.unit}".strip()
        holds = {True: "yes", False: "NO", None: "-"}[one.holds]
        rows.append((one.id, one.what, value, f"{one.bar} {one.unit}".strip(), against, holds))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def write(figures: Sequence[Figure]) -> None:
    """Write `results.json`; rows measured now replace those of the same benchmark, the others stay."""
    measured = {one.id.partition(".")[0] for one in figures}
    try:
        before = json.loads(RESULTS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = []
    kept = [row for row in before if row["id"].partition(".")[0] not in measured]
    rows = kept + [{**asdict(one), "machine": machine()} for one in figures]
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
