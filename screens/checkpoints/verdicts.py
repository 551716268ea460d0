"""What was found out about a checkpoint: each form held against it, each evaluation, what training made of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from screens.runs.facts import behaviour_pieces
from tui.display import plain
from tui.widgets.cells import Piece
from tui.widgets.text_rows import wrapped

if TYPE_CHECKING:
    from engine.evaluation.evaluate import Result
    from engine.events import BehaviourMeasured
    from engine.export.proof import FormProof

_VERDICTS: Final = {"same": ("✓", "v", "g"), "close": ("≈", "~", "w"), "not-asked": ("?", "?", "w"),
                    "different": ("✗", "X", "e")}  # fmt: skip
"""Of each verdict: its sign, its sign in ASCII, its style."""
_GRADES: Final = {"excellent": "g", "acceptable": "w", "poor": "e"}
_ASKED_FOR: Final = ("retain_answered", "unlearn_refused")
"""The scores that training is to raise."""
_FORMS: Final = 20
_EVALUATIONS: Final = 3


def verdict_rows(forms: Sequence[FormProof], width: int, label: int, *, ascii_only: bool) -> list[list[Piece]]:
    """Return a line for each form: whether it is the same model, and the first thing in which it is not.

    Args:
        forms: Foreign, from `parity.json`.
        width: Of a row.
        label: Cells of the label before it.
        ascii_only: Whether signs must be letters.
    """
    rows: list[list[Piece]] = []
    for form in forms[:_FORMS]:
        sign, ascii_sign, style = _VERDICTS[form.verdict]
        said: list[Piece] = [(f"{ascii_sign if ascii_only else sign} {form.verdict}", style)]
        said.append((f"  {plain(f'{form.kind} {form.type}'.strip(), limit=40)}", " "))
        if form.num_prompts and form.verdict != "not-asked":
            said.append((f"  {form.equal_answers} of {form.num_prompts} answers equal", "m"))
        said.append((f"  {plain(form.path if form.kind == 'server' else PurePath(form.path).name, limit=80)}", "m"))
        if form.failure is not None:
            said.append((f"  {plain(form.failure.get('message', ''), limit=300)}", "w"))
        for check in form.failed[:1]:
            said += [(f"  {plain(check.name, limit=60)}: ", "w"), (plain(check.said, limit=300), " ")]
        more = len(form.failed) - 1
        if more > 0:
            said.append((f" and {more} more", "m"))
        rows += wrapped(said, max(8, width - label), 4)
    return _labelled("parity", rows, label)


def evaluation_rows(results: Sequence[Result], width: int, label: int) -> list[list[Piece]]:
    """Return a line for each evaluation, the newest first.

    Args:
        results: From `engine.evaluation.evaluate.results_of`.
        width: Of a row.
        label: Cells of the label before it.
    """
    rows: list[list[Piece]] = []
    for result in results[:_EVALUATIONS]:
        grade = plain(result.grade, limit=20)
        said: list[Piece] = [(grade, _GRADES.get(grade, "w"))]
        for name in _ASKED_FOR:
            if name in result.scores:
                said += [(f"  {name.replace('_', ' ')} ", "m"), (f"{result.scores[name]:.0%}", "v")]
        said.append((f"  {plain(result.suite, limit=40)} {plain(result.created[:10])}", "m"))
        rows += wrapped(said, max(8, width - label), 2)
    if len(results) > _EVALUATIONS:
        rows.append([(f"and {len(results) - _EVALUATIONS} earlier", "m")])
    return _labelled("evaluated", rows, label)


def behaviour_rows(measured: BehaviourMeasured, width: int, label: int) -> list[list[Piece]]:
    """Return what the run measured after training."""
    said = [piece for group in behaviour_pieces({"after": measured}) for piece in [*group, ("  ", " ")]]
    return _labelled("behaviour", wrapped([*said, ("after training", "m")], max(8, width - label), 2), label)


def _labelled(name: str, rows: Sequence[list[Piece]], label: int) -> list[list[Piece]]:
    return [[(f"{name if number == 0 else '':<{label}}", "m"), *row] for number, row in enumerate(rows)]
