"""What is told of the row under the cursor: whether it is whole, what it is good for, what it consists of."""

from __future__ import annotations

from collections.abc import Sequence

from engine.runs.entries import CheckpointEntry
from engine.runs.summary import age_text
from screens.checkpoints.columns import FIGURES, number, signs
from screens.checkpoints.reading import Details
from screens.checkpoints.rows import Row, best_of, judged_best
from screens.checkpoints.verdicts import behaviour_rows, evaluation_rows, verdict_rows
from tui.display import plain, truncate
from tui.widgets.cells import Piece, length
from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.text_rows import wrapped
from tui.widgets.words import SIGNS, clock, day, number_of, size_text

Rows = list[list[Piece]]
_LABEL = 11
"""Cells of a label."""


def facts(
    row: Row,
    details: Details | None,
    now: float,
    width: int,
    glyphs: GlyphSet,
    verified: CheckpointEntry | None = None,
) -> Rows:
    """Return the rows about a row of the list, what matters most first.

    Args:
        row: The one under the cursor.
        details: None while they are being read, and of a run.
        now: Unix seconds.
        width: Of a row.
        glyphs: What can be drawn.
        verified: The checkpoint as reading every byte has shown it; None where nobody did.
    """
    if row.checkpoint is None:
        return _of_run(row, now, width, glyphs)
    return _of_checkpoint(row, row.checkpoint, details, now, width, glyphs, verified)


def _of_checkpoint(
    row: Row,
    checkpoint: CheckpointEntry,
    details: Details | None,
    now: float,
    width: int,
    glyphs: GlyphSet,
    verified: CheckpointEntry | None,
) -> Rows:
    sign = signs(glyphs)
    rows: Rows = []
    if checkpoint.fault is not None:
        rows += _told(f"{sign.damaged} ", "e", [(f"Damaged: {plain(checkpoint.fault, limit=400)}.", "e")], width, 2)
    elif verified is not None and verified.fault is not None:
        rows += _told(f"{sign.damaged} ", "e", [(f"Damaged: {plain(verified.fault, limit=400)}.", "e")], width, 2)
    elif row.starred:
        by = _metrics(judged_best(checkpoint)) or "what the run judges by"
        rows += _told(f"{sign.best} ", "g", [("Best of its run", "g"), (f" by {by}.", " ")], width, 2)
    elif judged_best(checkpoint):
        rows += _told("", " ", [(f"Best of its run by {_metrics(judged_best(checkpoint))}.", " ")], width, 0)
    if checkpoint.pinned:
        rows += _told(f"{sign.pinned} ", "a", [("Pinned: nothing here removes it.", " ")], width, 2)
    if not checkpoint.ours:
        rows += _told(
            "! ", "w", [("Its manifest does not name this run, so it is shown and never touched.", "w")], width, 2
        )
    figures = _figures(checkpoint)
    if figures:
        rows += _labelled("figures", figures, width)
    if checkpoint.evaluated_step is not None and checkpoint.evaluated_step != checkpoint.step:
        rows += _labelled("", [[(f"validation is that of step {checkpoint.evaluated_step:,}", "w")]], width)
    rows += _labelled("resume", _resume(checkpoint), width)
    rows += _labelled("whole", _whole(checkpoint, verified), width)
    rows += _labelled("size", _sizes(checkpoint), width)
    rows += _labelled("written", _written(checkpoint, now), width)
    if details is not None:
        rows += evaluation_rows(details.evaluations, width, _LABEL)
        if details.behaviour is not None:
            rows += behaviour_rows(details.behaviour, width, _LABEL)
        rows += verdict_rows(details.parity, width, _LABEL, ascii_only=glyphs == "ascii")
        rows += _files(details, width)
    rows += _labelled("path", [[(plain(str(checkpoint.path), limit=400), " ")]], width)
    return rows


def _of_run(row: Row, now: float, width: int, glyphs: GlyphSet) -> Rows:
    run, summary = row.run, row.run.summary
    sign, ascii_sign, style = SIGNS[summary.state]
    state = [(f"{ascii_sign if glyphs == 'ascii' else sign} {summary.state}", style)]
    groups: list[list[Piece]] = [state]
    if summary.total_steps:
        groups.append([(f"step {summary.step:,} of {summary.total_steps:,}", " ")])
    rows: Rows = [_joined(groups)]
    if run.problem:
        rows += _told("! ", "w", [(plain(run.problem, limit=400), "w")], width, 2)
    best = best_of(run)
    if best is not None:
        rows += _labelled("best", [[(plain(best.name), "v"), (f" at step {best.step:,}", " ")], *_figures(best)], width)
    about: list[list[Piece]] = []
    if summary.method:
        about.append([(plain(summary.method, limit=40), " "), (" on ", "m"), (plain(run.base, limit=120), " ")])
    if summary.parent:
        gone = "" if run.parent else ", which is gone"
        about.append([("from ", "m"), (plain(summary.parent, limit=80), " "), (gone, "w")])
    if summary.created:
        about.append([("made ", "m"), (f"{age_text(summary.created, now)} ago", " ")])
    rows += _labelled("about", about, width) if about else []
    rows += _labelled("kept", _kept(row), width)
    rows += _labelled("path", [[(plain(summary.path, limit=400), " ")]], width)
    return rows


def _kept(row: Row) -> list[list[Piece]]:
    checkpoints = row.run.checkpoints
    if not checkpoints:
        return [[("no checkpoint", " ")]]
    adapter, optimizer = (
        sum(getattr(one, name) for one in checkpoints) for name in ("adapter_bytes", "optimizer_bytes")
    )
    groups: list[list[Piece]] = [[(number_of(len(checkpoints), "checkpoint"), " ")]]
    groups.append([(size_text(adapter), "v"), (" weights", "m")])
    if optimizer:
        groups.append([(size_text(optimizer), "v"), (" optimizer", "m")])
    pinned = sum(one.pinned for one in checkpoints)
    damaged = sum(one.fault is not None for one in checkpoints)
    if pinned:
        groups.append([(f"{pinned} pinned", "a")])
    if damaged:
        groups.append([(f"{damaged} damaged", "e")])
    return groups


def _metrics(names: Sequence[str]) -> str:
    shown = [title(name) for name in names]
    return ", ".join(dict.fromkeys(shown))


def title(name: str) -> str:
    """Return what a figure is called here: as the column that shows it, else as the trainer calls it.

    Accuracy and margin have one column, of the validation where there was one; those of training say so here.
    """
    for key, kind in FIGURES.items():
        if name in kind.names:
            if key not in ("accuracy", "margin"):
                return kind.title
            return key if name.startswith("eval_") else f"train {key}"
    if name.startswith("eval_") and name.endswith("_mean_token_accuracy"):
        return f"{plain(name.removeprefix('eval_').removesuffix('_mean_token_accuracy'), limit=30)} accuracy"
    return plain(name, limit=40)


def _figures(checkpoint: CheckpointEntry) -> list[list[Piece]]:
    groups: list[list[Piece]] = []
    known = [name for kind in FIGURES.values() for name in kind.names if name in checkpoint.metrics]
    others = sorted(name for name in checkpoint.metrics if name not in known and name.startswith(("eval_", "rewards/")))
    for name in [*known, *others]:
        value = checkpoint.metrics[name]
        style = "g" if name in judged_best(checkpoint) else "v"
        groups.append([(f"{title(name)} ", "m"), (number(value, 4, 10), style)])
    if checkpoint.epoch is not None:
        groups.append([("epoch ", "m"), (f"{checkpoint.epoch:.2f}", " ")])
    return groups


def _resume(checkpoint: CheckpointEntry) -> list[list[Piece]]:
    if checkpoint.resumable and not checkpoint.kept_anyway:
        return [[("exactly: ", "g"), ("optimizer, schedule, generators and data position are there", " ")]]
    if checkpoint.fault is not None:
        return [[("no: it is damaged", "m")]]
    alone = checkpoint.kept_anyway and not checkpoint.optimizer_bytes
    reason = "it holds the weights alone" if alone else plain(checkpoint.not_exact or "", limit=200)
    return [[("not exactly: ", "w"), (reason, " ")], [("n", "k"), (" begins a new run with its weights", " ")]]


def _whole(checkpoint: CheckpointEntry, verified: CheckpointEntry | None) -> list[list[Piece]]:
    if checkpoint.fault is not None or (verified is not None and verified.fault is not None):
        return [[("no", "e")]]
    if verified is not None:
        return [[("every byte read: as it was written", "g")]]
    return [[("by names and sizes", " ")], [("v", "k"), (" reads every byte", "m")]]


def _sizes(checkpoint: CheckpointEntry) -> list[list[Piece]]:
    groups: list[list[Piece]] = [[(size_text(checkpoint.used_bytes), "v")]]
    weights = "adapter" if checkpoint.kind == "adapter" else "model"
    for size, what in ((checkpoint.adapter_bytes, weights), (checkpoint.optimizer_bytes, "optimizer"),
                       (checkpoint.other_bytes, "tokenizer and the rest")):  # fmt: skip
        if size:
            groups.append([(f"{size_text(size)} ", " "), (what, "m")])
    return groups


def _written(checkpoint: CheckpointEntry, now: float) -> list[list[Piece]]:
    groups: list[list[Piece]] = []
    if checkpoint.created:
        moment = f"{day(checkpoint.created)} {clock(checkpoint.created)}"
        groups.append([(f"{age_text(checkpoint.created, now)} ago", " "), (f", {moment}", "m")])
    if checkpoint.reason:
        groups.append([(plain(checkpoint.reason, limit=40), " ")])
    if checkpoint.stage:
        groups.append([("stage ", "m"), (plain(checkpoint.stage, limit=60), " ")])
    return groups


def _files(details: Details, width: int) -> Rows:
    if not details.files:
        return []
    longest = min(max(len(file.name) for file in details.files), max(12, width - _LABEL - 24))
    rows: Rows = []
    for file in details.files:
        name = truncate(plain(file.name, limit=200), longest, keep="ends")
        label = "files" if not rows else ""
        wrong = "missing" if file.there is None else f"is {size_text(file.there)}" if file.there != file.size else ""
        rows.append([
            (f"{label:<{_LABEL}}", "m"), (f"{name:<{longest}}  ", " "), (f"{size_text(file.size):>9}", " "),
            (f"  {wrong}" if wrong else "", "e"),
        ])  # fmt: skip
    return rows


def _joined(groups: Sequence[Sequence[Piece]]) -> list[Piece]:
    row: list[Piece] = []
    for group in groups:
        row += [("   ", " "), *group] if row else group
    return row


def _labelled(label: str, groups: Sequence[Sequence[Piece]], width: int) -> Rows:
    """Return groups after a label, as many in a row as fit; a group is broken only where it fits in no row."""
    room = max(8, width - _LABEL)
    rows: Rows = []
    row: list[Piece] = []
    for group in groups:
        pieces = list(group)
        if row and length(row) + 3 + length(pieces) > room:
            rows.append(row)
            row = []
        if length(pieces) > room:
            *full, row = wrapped(pieces, room)
            rows += full
        else:
            row = [*row, ("   ", " "), *pieces] if row else pieces
    rows.append(row)
    return [[(f"{label if number == 0 else '':<{_LABEL}}", "m"), *row] for number, row in enumerate(rows)]


def _told(sign: str, style: str, pieces: Sequence[Piece], width: int, indent: int) -> Rows:
    return wrapped([(sign, style), *pieces], max(8, width), indent)


def texts(rows: Sequence[Sequence[Piece]]) -> str:
    """Return rows as plain text."""
    return "\n".join("".join(text for text, _ in row).rstrip() for row in rows)
