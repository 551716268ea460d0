"""The columns of the list: what each says of a run, and which of them a width has room for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from engine.runs.summary import RunSummary, age_text
from tui.display import cell_len, plain, truncate
from tui.widgets.bar import bar
from tui.widgets.cells import Piece
from tui.widgets.chart.axis import format_value
from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.sparkline import sparkline
from tui.widgets.words import SIGNS, time_left

GAP: Final = 2
"""Cells between two columns."""
_NAME_CHARACTERS: Final = 80


@dataclass(frozen=True, slots=True)
class Column:
    """One column at one width."""

    key: str
    title: str
    width: int
    right: bool = False
    """Whether it is set at its right edge."""
    keep: str = "start"
    """What stays of a text that is too long, as in `truncate`."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a column may be."""

    title: str
    least: int
    """Narrower than this it is left out."""
    most: int
    right: bool = False
    keep: str = "start"
    measured: bool = False
    """Whether it takes no more than its longest text."""
    whole: bool = False
    """Whether its texts are never cut."""


_KINDS: Final[Mapping[str, _Kind]] = {
    "state": _Kind("state", 10, 10),
    "name": _Kind("run", 14, 40, measured=True, keep="ends"),
    "method": _Kind("method", 8, 10, measured=True),
    "model": _Kind("model", 12, 34, measured=True, keep="end"),
    "parent": _Kind("from", 12, 24, measured=True, keep="ends"),
    "bar": _Kind("progress", 8, 20),
    "percent": _Kind("", 4, 4, right=True),
    "steps": _Kind("step", 4, 19, measured=True, whole=True, right=True),
    "loss": _Kind("loss", 8, 8, right=True),
    "curve": _Kind("losses", 8, 24),
    "when": _Kind("time", 10, 10, right=True),
}
"""In the order in which they stand."""
_FIRST: Final = ("name", "percent", "when", "loss", "state", "bar", "curve", "steps", "method", "model", "parent")
"""What matters most comes first: the rest is left out where there is no room."""
_GROWING: Final = ("name", "model", "parent", "curve", "bar")
"""What takes the room that is left, first things first."""
_SIGN: Final = Column("sign", "", 1)


def columns_for(summaries: Iterable[RunSummary], width: int) -> list[Column]:
    """Return the columns for a row of `width` cells.

    Args:
        summaries: What is listed: names and numbers take as much room as the longest needs.
        width: Of a row.
    """
    longest = _longest(summaries)
    least, most = {}, {}
    for key, kind in _KINDS.items():
        need = longest.get(key, kind.most)
        if key == "parent" and not need:
            continue
        most[key] = max(need, len(kind.title)) if kind.whole else min(kind.most, max(need, len(kind.title)))
        least[key] = most[key] if kind.whole else min(most[key], kind.least)
    chosen: dict[str, int] = {}
    room = width - _SIGN.width - GAP
    for key in (key for key in _FIRST if key in most):
        # The sign is part of the state's word.
        free = room + (_SIGN.width + GAP if key == "state" else 0)
        need = least[key] + (GAP if chosen else 0)
        if need > free:
            if not chosen:
                chosen[key], room = max(1, free), 0
            break
        chosen[key] = least[key]
        room = free - need
    for key in _GROWING:
        if key in chosen and room > 0:
            more = min(room, most[key] - chosen[key])
            chosen[key] += more
            room -= more
    columns = [] if "state" in chosen else [_SIGN]
    for key, kind in _KINDS.items():
        if key in chosen:
            columns.append(Column(key, kind.title, chosen[key], kind.right, kind.keep))
    return columns


def _longest(summaries: Iterable[RunSummary]) -> dict[str, int]:
    """Return the cells that the longest text of each measured column takes. A thousand runs: 1 ms."""
    names, methods, models, parents, steps = {""}, {""}, {""}, {""}, 0
    for summary in summaries:
        names.add(summary.name)
        methods.add(summary.method)
        models.add(summary.model)
        parents.add(summary.parent or "")
        steps = max(steps, summary.step, summary.total_steps)
    texts = {"name": names, "method": methods, "model": models, "parent": parents}
    longest = {key: max(map(_width, found)) for key, found in texts.items()}
    return {**longest, "steps": 2 * len(f"{steps:,}") + 1 if steps else 0}


@lru_cache(8192)
def _shown(text: str) -> str:
    return plain(text, limit=_NAME_CHARACTERS)


@lru_cache(8192)
def _width(text: str) -> int:
    return cell_len(_shown(text))


def _text(summary: RunSummary, key: str) -> str:
    """Return what a column of words says of a run."""
    if key == "steps":
        return f"{summary.step:,}/{summary.total_steps:,}" if summary.total_steps else ""
    return _shown(getattr(summary, key) or "")


def cells(summary: RunSummary, columns: Sequence[Column], now: float, glyphs: GlyphSet) -> list[Piece]:
    """Return one row, its columns filled up to their widths."""
    row: list[Piece] = []
    for column in columns:
        if row:
            row.append((" " * GAP, " "))
        row += _padded(_cell(summary, column, now, glyphs), column)
    return row


def heads(columns: Sequence[Column], sorted_by: str = "") -> list[Piece]:
    """Return the row of titles.

    Args:
        columns: As drawn.
        sorted_by: Key of the column that is marked as the one that decides the order.
    """
    row: list[Piece] = []
    for column in columns:
        if row:
            row.append((" " * GAP, " "))
        marked = column.key == sorted_by
        title = f"▾{column.title}" if marked else column.title
        row += _padded([(truncate(title, column.width), "a" if marked else "m")], column)
    return row


def _padded(pieces: list[Piece], column: Column) -> list[Piece]:
    blank = " " * (column.width - sum(cell_len(text) for text, _ in pieces))
    return [(blank, " "), *pieces] if column.right else [*pieces, (blank, " ")]


def _cell(summary: RunSummary, column: Column, now: float, glyphs: GlyphSet) -> list[Piece]:
    width = column.width
    sign, ascii_sign, style = SIGNS[summary.state]
    if column.key in ("sign", "state"):
        shown = ascii_sign if glyphs == "ascii" else sign
        word = style if summary.active or style in ("e", "w") else "m"
        return [(shown, style), (f" {summary.state}", word)] if column.key == "state" else [(shown, style)]
    if column.key == "bar":
        return bar(summary.progress, width, glyphs, _bar_style(summary)) if summary.total_steps else []
    if column.key == "percent":
        return [(percent(summary), "v" if summary.active else " ")]
    if column.key == "loss":
        return _loss(summary, width)
    if column.key == "curve":
        return [(sparkline(summary.losses, width, glyphs), "b" if summary.active else "m")] if summary.losses else []
    if column.key == "when":
        return [(truncate(when(summary, now), width), " " if summary.active else "m")]
    text = truncate(_text(summary, column.key), width, keep=column.keep)
    if column.key == "name":
        return [(text, "v" if summary.active else " ")]
    return [(text, " " if summary.active and column.key == "steps" else "m")]


def _bar_style(summary: RunSummary) -> str:
    if summary.active:
        return SIGNS[summary.state][2]
    return "e" if summary.state in ("failed", "died") else "m"


def _loss(summary: RunSummary, width: int) -> list[Piece]:
    loss = summary.loss
    if loss is None:
        return []
    shown = next((text for digits in (4, 3, 2, 1) if len(text := format_value(loss, digits)) <= width), "~")
    return [(shown, " " if abs(loss) < float("inf") else "e")]


def percent(summary: RunSummary) -> str:
    """Return how far it is; empty while nobody knows how far it goes. 100 % is all of it."""
    if not summary.total_steps:
        return ""
    return f"{int(summary.progress * 100)}%"


def when(summary: RunSummary, now: float) -> str:
    """Return when it will end, or how long ago it did, or for how long it is what it is."""
    if summary.state == "running" and summary.eta_seconds is not None and summary.total_steps > summary.step:
        return f"{time_left(summary.eta_seconds)} left"
    if summary.active:
        return ""
    if not summary.last_said:
        return ""
    age = age_text(summary.last_said, now)
    return "just now" if age.endswith(" s") else f"{age} ago"
