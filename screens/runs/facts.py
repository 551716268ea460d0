"""What is told of the run under the cursor: how it stands, how it ended, what can be relied on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from screens.runs.columns import percent, when
from screens.runs.words import since
from tui.display import plain
from tui.widgets.cells import Piece, cut, fitted
from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.text_rows import wrapped
from tui.widgets.words import SIGNS, count, day, number_of, size_text, value

if TYPE_CHECKING:
    # At run time only whoever reads the details needs these: 20 ms after the first paint, not before it.
    from engine.events import BehaviourMeasured
    from engine.runs.checkpoints import Checkpoint
    from engine.runs.summary import RunSummary
    from screens.runs.reading import Details

Rows = list[list[Piece]]

_EXPLANATION_ROWS = 3
_LABEL = 11
"""Cells of a label."""
_ASKED_FOR = ("retain_answered", "unlearn_refused")
"""The scores that training is to raise."""


def facts(summary: RunSummary, details: Details | None, now: float, width: int, height: int, glyphs: GlyphSet) -> Rows:
    """Return at most `height` rows, what matters most first.

    Args:
        summary: The run, as the list has it.
        details: None while they are being read.
        now: Unix seconds.
        width: Of a row.
        height: Rows there are.
        glyphs: What can be drawn.
    """
    rows = [_standing(summary, details, now, width, glyphs)]
    rows += _explanation(summary, details, width)
    if details is not None:
        rows += _last_words(details, width)
        rows += [row for row in (_safe(summary, details, width), *_behaviour(details, width)) if row]
    rows.append(_about(summary, details, now, width))
    rows.append(_labelled("folder", [(plain(summary.path, limit=400), " ")], width))
    return [row for row in rows if row][:height]


def _labelled(label: str, pieces: Sequence[Piece], width: int) -> list[Piece]:
    return cut([(f"{label:<{_LABEL}}", "m"), *pieces], width)


def _standing(summary: RunSummary, details: Details | None, now: float, width: int, glyphs: GlyphSet) -> list[Piece]:
    sign, ascii_sign, style = SIGNS[summary.state]
    groups: list[list[Piece]] = [[(f"{ascii_sign if glyphs == 'ascii' else sign} {summary.state}", style)]]
    if summary.active and details is not None and details.state.stage not in ("", "training", summary.state):
        stage = f"{plain(details.state.stage, limit=40)} {plain(details.state.stage_detail, limit=200)}"
        groups.append([(stage.strip(), " ")])
    if summary.stage:
        groups.append([("stage ", "m"), (plain(summary.stage, limit=32), " ")])
    if summary.total_steps:
        step = f"step {summary.step:,} of {summary.total_steps:,}"
        groups.append([(step, " "), (f"  {percent(summary)}", "v")])
    if summary.loss is not None:
        groups.append([("loss ", "m"), (value(summary.loss), "v" if abs(summary.loss) < float("inf") else "e")])
    if text := when(summary, now):
        groups.append([(text, " ")])
    if summary.state == "running" and summary.seconds_per_step:
        pace = summary.seconds_per_step
        groups.append([(f"{pace:.2g} s/step" if pace > 2 else f"{1 / pace:.2g} steps/s", "m")])
    return fitted(groups, width)


def _explanation(summary: RunSummary, details: Details | None, width: int) -> Rows:
    text = summary.explanation
    if not text and summary.state == "unknown" and details is not None and details.reason:
        text = f"Nobody can say whether it still runs: {details.reason}. It is left alone."
    if not text and summary.state == "died" and details is not None and details.reason:
        text = f"It ended without a word: {details.reason}."
    if not text:
        return []
    style = {"failed": "e", "died": "e", "unknown": "w"}.get(summary.state, " ")
    rows = wrapped([(plain(text, limit=1_000), style)], max(8, width))
    if len(rows) > _EXPLANATION_ROWS:
        rows[_EXPLANATION_ROWS - 1] = cut([*rows[_EXPLANATION_ROWS - 1], ("…" * width, style)], width)
    return rows[:_EXPLANATION_ROWS]


def _last_words(details: Details, width: int) -> Rows:
    return [cut([("│ ", "e"), (plain(line, limit=400), "m")], width) for line in details.last_words]


def _safe(summary: RunSummary, details: Details, width: int) -> list[Piece]:
    """Say which weights there are, and what a resume would begin with."""
    groups: list[list[Piece]] = []
    if details.best is not None:
        groups.append([("best ", "g"), *_measured(details.best)])
    if summary.state == "finished" and details.final is not None:
        groups.append([("final ", "g"), (f"step {details.final.step:,}, {size_text(details.final.used_bytes)}", " ")])
    elif details.newest is not None:
        newest = details.newest
        groups.append([(newest.path.name, "v"), (f" {size_text(newest.used_bytes)}", " ")])
        if not summary.active and summary.state != "unknown":
            lost = summary.step - newest.step
            again = f"; {number_of(lost, 'step')} are done again" if lost > 0 else ""
            groups[-1] += [("  ", " "), ("R", "k"), (f" resumes from it{again}", " ")]
    elif not summary.active and summary.state not in ("finished", "unknown"):
        groups.append([("nothing was saved; ", " "), ("R", "k"), (" begins again", " ")])
    return _labelled("weights", fitted(groups, width - _LABEL), width) if groups else []


def _measured(checkpoint: Checkpoint) -> list[Piece]:
    metrics = checkpoint.metadata.get("metrics")
    loss = metrics.get("eval_loss") if isinstance(metrics, dict) else None
    said: list[Piece] = [(f"step {checkpoint.step:,}", " ")]
    if isinstance(loss, int | float):
        said += [(", eval_loss ", " "), (value(float(loss)), "v")]
    return said


def _behaviour(details: Details, width: int) -> Rows:
    scores = behaviour_pieces(details.state.behaviour)
    return [_labelled("behaviour", fitted(scores, width - _LABEL), width)] if scores else []


def behaviour_pieces(behaviour: Mapping[str, BehaviourMeasured]) -> list[list[Piece]]:
    """Return each score before and after, what was asked for first."""
    before, after = behaviour.get("before"), behaviour.get("after")
    groups: list[list[Piece]] = []
    names = [*(after.scores if after else ()), *(before.scores if before else ())]
    for name in dict.fromkeys(sorted(names, key=lambda name: name not in _ASKED_FOR)):
        old = before.scores.get(name) if before else None
        new = after.scores.get(name) if after else None
        pieces: list[Piece] = [(f"{plain(name, limit=40).replace('_', ' ')} ", "m")]
        if old is not None:
            pieces.append((f"{old:.0%}", " "))
        if new is not None:
            pieces += [(" → " if old is not None else "", "m"), (f"{new:.0%}", _judged(name, new))]
        groups.append(pieces)
    return [*groups, [("before training", "m")]] if groups and after is None else groups


def _judged(name: str, score: float) -> str:
    wanted_low = name.endswith(("leaked", "retain_refused"))
    return "g" if (score <= 0.1 if wanted_low else score >= 0.9) else "w"


def _about(summary: RunSummary, details: Details | None, now: float, width: int) -> list[Piece]:
    groups: list[list[Piece]] = []
    if summary.method:
        model = plain(summary.model, limit=200)
        groups.append([(plain(summary.method, limit=40), " "), (" on ", "m"), (model, " ")])
    if summary.parent:
        groups.append([("from ", "m"), (plain(summary.parent, limit=80), " ")])
    state = details.state if details is not None else None
    if state is not None and state.num_parameters:
        share = state.num_trainable_parameters / state.num_parameters
        groups.append([(f"{count(state.num_trainable_parameters)}", " "), (f" trained ({share:.1%})", "m")])
    if state is not None and state.device:
        where = f"{plain(state.device, limit=80)} {plain(state.dtype, limit=40)}"
        groups.append([(where, " ")])
    if summary.created:
        groups.append([("made ", "m"), (f"{since(summary, now)}, {day(summary.created)}", " ")])
    return _labelled("about", fitted(groups, width - _LABEL), width) if groups else []
