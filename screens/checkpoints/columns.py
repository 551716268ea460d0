"""The columns of the list: what each says of a run or a checkpoint, and which of them a width has room for.

Numbers of a column have as many digits behind the point as all others in it, so that the points stand in a line.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from engine.runs.catalogue import RunEntry
from engine.runs.entries import CheckpointEntry
from engine.runs.summary import age_text
from screens.checkpoints.rows import Row, best_of, figure, judged_best
from tui.display import cell_len, plain, truncate
from tui.widgets.cells import Piece, cut, length
from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.words import SIGNS, number_of, size_text

GAP: Final = 2
"""Cells between two columns."""
_GUTTER: Final = 2
"""Cells before the name: which of the two marked ones it is."""
_NAME: Final = (20, 44)
"""Cells the name has at least and at most."""
_DIGITS: Final = 4
"""Behind the point of a figure; fewer where it has many before it."""


class Signs(NamedTuple):
    """What stands for a state of a checkpoint."""

    best: str
    whole: str
    damaged: str
    pinned: str
    open: str
    folded: str
    below: str


_SIGNS: Final = Signs("★", "·", "✗", "⚑", "▾", "▸", "└ ")
_ASCII: Final = Signs("*", ".", "X", "P", "-", "+", "` ")


def signs(glyphs: GlyphSet) -> Signs:
    """Return the signs that can be drawn."""
    return _ASCII if glyphs == "ascii" else _SIGNS


class _Figure(NamedTuple):
    """A column of figures."""

    title: str
    names: tuple[str, ...]
    """As trainers call it, the first that is there counts."""
    digits: int = _DIGITS


FIGURES: Final[Mapping[str, _Figure]] = {
    "step": _Figure("step", (), 0),
    "epoch": _Figure("epoch", (), 2),
    "loss": _Figure("train", ("loss", "train_loss")),
    "eval_loss": _Figure("valid", ("eval_loss",)),
    "eval_retain_loss": _Figure("retain", ("eval_retain_loss",)),
    "eval_unlearn_loss": _Figure("unlearn", ("eval_unlearn_loss",)),
    "accuracy": _Figure("acc.", ("eval_rewards/accuracies", "eval_mean_token_accuracy", "rewards/accuracies",
                                 "mean_token_accuracy"), 3),
    "margin": _Figure("margin", ("eval_rewards/margins", "rewards/margins"), 3),
    "temporal": _Figure("temporal", ("temporal/accuracy",), 3),
}  # fmt: skip
"""Columns of figures by key, in the order in which they stand."""
_FIRST: Final = (
    "name", "eval_loss", "eval_retain_loss", "eval_unlearn_loss", "temporal", "age", "adapter", "loss", "optimizer",
    "step", "accuracy", "margin", "epoch",
)  # fmt: skip
"""What matters most comes first: the rest is left out where there is no room."""
_STANDING: Final = ("name", *FIGURES, "adapter", "optimizer", "age")


@dataclass(frozen=True, slots=True)
class Column:
    """One column at one width."""

    key: str
    title: str
    width: int
    digits: int = 0
    """Behind the point."""
    right: bool = True


def value_of(checkpoint: CheckpointEntry, key: str) -> float | None:
    """Return what a column of figures says of a checkpoint."""
    if key == "step":
        return checkpoint.step
    if key == "epoch":
        return checkpoint.epoch
    return figure(checkpoint, *FIGURES[key].names)


class Extents:
    """How long names and figures are, remembered for each run: ten thousand checkpoints are looked at once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[RunEntry, Extent]] = {}

    def of(self, runs: Iterable[RunEntry]) -> Extent:
        """Return what all of some runs need."""
        whole = Extent(0, 0, {})
        for run in runs:
            known = self._known.get(run.name)
            if known is None or known[0] is not run:
                known = self._known[run.name] = (run, _extent(run))
            whole = whole.with_(known[1])
        return whole


class Extent(NamedTuple):
    """What the longest needs."""

    name: int
    """Cells of the longest name in the tree."""
    spec: int
    """Cells of the longest that stands alone."""
    largest: Mapping[str, float]
    """The largest figure by column; negative ones count ten times, for their sign. None of a column without any."""

    def with_(self, other: Extent) -> Extent:
        """Return what both need."""
        largest = dict(self.largest)
        for key, value in other.largest.items():
            largest[key] = max(largest.get(key, 0.0), value)
        return Extent(max(self.name, other.name), max(self.spec, other.spec), largest)


def _extent(run: RunEntry) -> Extent:
    """Two hundred runs with fifty checkpoints each: 20 ms."""
    longest = max((cell_len(_shown(one.name)) for one in run.checkpoints), default=0)
    own = cell_len(_shown(run.name))
    largest: dict[str, float] = {}
    for key, kind in FIGURES.items():
        if key == "step":
            values: list[float] = [one.step for one in run.checkpoints]
        elif key == "epoch":
            values = [one.epoch for one in run.checkpoints if one.epoch is not None]
        else:
            values = [value for name in kind.names for one in run.checkpoints
                      if (value := one.metrics.get(name)) is not None]  # fmt: skip
        if values:
            finite = [one for one in values if math.isfinite(one)] or [0.0]
            largest[key] = max(max(finite), -10 * min(finite))  # the sign of a negative one takes a cell
    name = max(longest + 2 if longest else 0, own) + 2 * run.depth + 4
    return Extent(name, own + 1 + longest + 4 if longest else 0, largest)


def columns_for(rows: Sequence[Row], width: int, extents: Extents | None = None) -> list[Column]:
    """Return the columns for a row of `width` cells.

    They are the same whichever runs are folded: what nobody has of the runs that are listed is no column.

    Args:
        rows: What is listed.
        width: Of a row.
        extents: What remembers how long things are.
    """
    runs = {row.run.name: row.run for row in rows}
    extent = (extents or Extents()).of(runs.values())
    longest = extent.spec if rows and rows[0].alone else extent.name
    possible = {"name": Column("name", "run, checkpoint", max(_NAME[0], min(_NAME[1], longest)), right=False)}
    for key, kind in FIGURES.items():
        if key in extent.largest:
            possible[key] = _figures(key, kind, extent.largest[key])
    if extent.largest:
        possible["adapter"] = Column("adapter", "adapter", 8)
        possible["optimizer"] = Column("optimizer", "optim.", 8)
    possible["age"] = Column("age", "age", 6)
    wanted = possible["name"].width
    room = width - _GUTTER
    narrow = max(1, min(wanted, _NAME[0], room))
    chosen = {"name": Column("name", possible["name"].title, narrow, right=False)}
    room -= narrow
    for key in (key for key in _FIRST[1:] if key in possible):
        if possible[key].width + GAP > room:
            break
        chosen[key] = possible[key]
        room -= possible[key].width + GAP
    chosen["name"] = Column("name", possible["name"].title, max(narrow, min(wanted, narrow + room)), right=False)
    return [chosen[key] for key in _STANDING if key in chosen]


def _figures(key: str, kind: _Figure, largest: float) -> Column:
    """Return a column of figures, wide enough for each of them."""
    before = len(f"{largest:.0f}")
    digits = max(0, min(kind.digits, 7 - before)) if kind.digits else 0
    needed = len(f"{int(largest):,}") if not digits else before + 1 + digits
    return Column(key, kind.title, max(len(kind.title), min(needed, 10)), digits)


@lru_cache(8192)
def _shown(text: str) -> str:
    return plain(text, limit=120)


def _called(row: Row) -> str:
    """Return what a row is called in the list."""
    if row.checkpoint is None:
        return row.run.name
    return row.spec if row.alone else row.checkpoint.name


def _indent(row: Row) -> str:
    if row.alone:
        return ""
    return "  " * (row.run.depth + (row.checkpoint is not None))


# Rows


def heads(columns: Sequence[Column], sorted_by: str = "") -> list[Piece]:
    """Return the row of titles.

    Args:
        columns: As drawn.
        sorted_by: Key of the column that is marked as the one that decides the order.
    """
    pieces: list[Piece] = [(" " * _GUTTER, " ")]
    for column in columns:
        if column.key != "name":
            pieces.append((" " * GAP, " "))
        marked = column.key == sorted_by
        title = truncate(f"▾{column.title}" if marked else column.title, column.width)
        pieces.append(
            (f"{title:>{column.width}}" if column.right else f"{title:<{column.width}}", "a" if marked else "m")
        )
    return pieces


def cells(row: Row, columns: Sequence[Column], now: float, glyphs: GlyphSet, mark: str = "") -> list[Piece]:
    """Return one row, its columns filled up to their widths.

    Args:
        row: Of the list.
        columns: As from `columns_for`.
        now: Unix seconds.
        glyphs: What can be drawn.
        mark: Letter of a row that is marked for the comparison.
    """
    gutter: list[Piece] = [(mark, "t"), (" " * (_GUTTER - len(mark)), " ")]
    if row.checkpoint is None:
        return gutter + _run_cells(row, columns, now, glyphs)
    return gutter + _checkpoint_cells(row, row.checkpoint, columns, now, glyphs)


def _checkpoint_cells(
    row: Row, checkpoint: CheckpointEntry, columns: Sequence[Column], now: float, glyphs: GlyphSet
) -> list[Piece]:
    name, *others = columns
    pieces = _filled(_name(row, checkpoint, name.width, glyphs), name.width)
    if checkpoint.fault is not None:
        # Figures of what cannot be used are of no use either: the reason stands in their place.
        told = [column for column in others if column.key in FIGURES]
        room = sum(column.width + GAP for column in told)
        if room > GAP:
            reason = truncate(plain(checkpoint.fault, limit=200), room - GAP)
            pieces += [(" " * GAP, " "), *_filled([(reason, "e")], room - GAP)]
        others = others[len(told) :]
    for column in others:
        pieces += [(" " * GAP, " "), *_cell(checkpoint, column, now)]
    return pieces


def _name(row: Row, checkpoint: CheckpointEntry, width: int, glyphs: GlyphSet) -> list[Piece]:
    sign = signs(glyphs)
    shown, style = (sign.damaged, "e") if checkpoint.fault else (sign.best, "g") if row.starred else (sign.whole, "m")
    pinned = f" {sign.pinned}" if checkpoint.pinned else ""
    indent = _indent(row)
    called = truncate(_shown(_called(row)), width - len(indent) - 2 - len(pinned), keep="ends")
    text = "m" if checkpoint.fault else "v" if row.starred else " "
    return [(indent, " "), (f"{shown} ", style), (called, text), (pinned, "a")]


def _cell(checkpoint: CheckpointEntry, column: Column, now: float) -> list[Piece]:
    if column.key in FIGURES:
        value = value_of(checkpoint, column.key)
        return _filled(_figure(checkpoint, column, value), column.width, right=True)
    if column.key == "adapter":
        return _filled([(size_text(checkpoint.adapter_bytes), " ")], column.width, right=True)
    if column.key == "optimizer":
        text = size_text(checkpoint.optimizer_bytes) if checkpoint.optimizer_bytes else "-"
        return _filled([(text, "m")], column.width, right=True)
    return _filled([(age_text(checkpoint.created, now) if checkpoint.created else "", "m")], column.width, right=True)


def _figure(checkpoint: CheckpointEntry, column: Column, value: float | None) -> list[Piece]:
    if value is None:
        return []
    best = any(name in judged_best(checkpoint) for name in FIGURES[column.key].names)
    style = "e" if not math.isfinite(value) else "g" if best else "m" if column.key in ("step", "epoch") else " "
    return [(number(value, column.digits, column.width), style)]


def number(value: float, digits: int, width: int) -> str:
    """Return a figure with its digits behind the point; in few letters where it is longer than its column."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "inf" if value > 0 else "-inf"
    text = f"{value:,.0f}" if not digits else f"{value:.{digits}f}"
    return text if len(text) <= width else f"{value:.{max(0, width - 7)}e}"[:width]


def _run_cells(row: Row, columns: Sequence[Column], now: float, glyphs: GlyphSet) -> list[Piece]:
    """Return the row of a run: its name, then in a few words what it is and what it has, and its sizes."""
    name, *others = columns
    sign, summary = signs(glyphs), row.run.summary
    fold = " " if not row.run.checkpoints else sign.folded if row.folded else sign.open
    indent = "  " * max(0, row.run.depth - 1) + (sign.below if row.run.depth else "")
    called = truncate(_shown(summary.name), name.width - len(indent) - 2, keep="ends")
    pieces = _filled([(indent, "m"), (f"{fold} ", "m"), (called, "v")], name.width)
    sizes = [column for column in others if column.key in ("adapter", "optimizer", "age")]
    room = sum(column.width + GAP for column in others if column not in sizes)
    if room > GAP:
        pieces += [(" " * GAP, " "), *_filled(_said(row, room - GAP, glyphs), room - GAP)]
    for column in sizes:
        pieces += [(" " * GAP, " "), *_filled(_sum(row, column, now), column.width, right=True)]
    return pieces


def _said(row: Row, width: int, glyphs: GlyphSet) -> list[Piece]:
    """Return what a run is, first what matters most: its best when it is folded, how it stands, what it comes from."""
    run, summary = row.run, row.run.summary
    state, ascii_state, style = SIGNS[summary.state]
    groups: list[list[Piece]] = []
    if summary.active:
        groups.append([(f"{ascii_state if glyphs == 'ascii' else state} {summary.state}", style)])
    best = best_of(run) if row.folded else None
    if best is not None:
        groups.append(_best(best, glyphs))
    if row.folded:
        groups.append([(number_of(len(run.checkpoints), "checkpoint"), "m")])
    elif not run.checkpoints:
        groups.append([("no checkpoint" if summary.active else "kept no checkpoint", "m")])
    damaged = sum(one.fault is not None for one in run.checkpoints) if row.folded else 0
    if damaged:
        groups.append([(f"{damaged} damaged", "e")])
    source = f"from {run.parent}" if run.parent else f"on {run.base}" if run.base else ""
    if summary.method or source:
        groups.append([(plain(f"{summary.method} {source}".strip(), limit=120), "m")])
    said: list[Piece] = []
    for group in groups:
        said += [("  ", " "), *group] if said else group
    return cut(said, width)


def _best(best: CheckpointEntry, glyphs: GlyphSet) -> list[Piece]:
    value = figure(best, "eval_loss", "eval_retain_loss", "loss")
    sign: Piece = (f"{signs(glyphs).best} ", "g")
    if value is None:
        return [sign, (f"step {best.step:,}", " ")]
    return [sign, (number(value, _DIGITS, 8), "g"), (f" at {best.step:,}", " ")]


def _sum(row: Row, column: Column, now: float) -> list[Piece]:
    checkpoints = row.run.checkpoints
    if column.key == "age":
        newest = max((one.created for one in checkpoints), default=row.run.summary.last_said)
        return [(age_text(newest, now), "m")] if newest else []
    if not row.folded:
        return []
    total = sum(one.adapter_bytes if column.key == "adapter" else one.optimizer_bytes for one in checkpoints)
    return [(size_text(total), "m")] if total else []


def _filled(pieces: list[Piece], width: int, *, right: bool = False) -> list[Piece]:
    if length(pieces) > width:
        pieces = cut(pieces, width)
    blank = " " * (width - length(pieces))
    return [(blank, " "), *pieces] if right else [*pieces, (blank, " ")]
