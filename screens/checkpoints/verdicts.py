"""What `parity.json` says of each form of a model: whether it is the same model, and where it first is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, Final

from tui.display import plain
from tui.widgets.cells import Piece
from tui.widgets.text_rows import wrapped

_VERDICTS: Final = {"same": ("✓", "v", "g"), "close": ("≈", "~", "w"), "different": ("✗", "X", "e")}
"""Of each verdict: its sign, its sign in ASCII, its style."""
_FORMS: Final = 20
_CHECKS: Final = 8


def verdict_rows(parity: Mapping[str, Any], width: int, label: int, *, ascii_only: bool) -> list[list[Piece]]:
    """Return a row for each form, and one for each check that failed.

    Args:
        parity: The file; foreign, and nothing of it is taken for granted.
        width: Of a row.
        label: Cells of the label before it.
        ascii_only: Whether signs must be letters.
    """
    rows: list[list[Piece]] = []
    for form in _mappings(parity.get("forms"), _FORMS):
        verdict = form.get("verdict")
        sign, ascii_sign, style = _VERDICTS.get(verdict if isinstance(verdict, str) else "", ("?", "?", "w"))
        said: list[Piece] = [(f"{ascii_sign if ascii_only else sign} {plain(str(verdict), limit=20)}", style)]
        kind = " ".join(str(form.get(name) or "") for name in ("kind", "type")).strip()
        said += [(f"  {plain(kind, limit=40)}", " "), (f"  {_answers(form)}", "m")]
        said.append((f"  {plain(PurePath(str(form.get('path') or '')).name, limit=80)}", "m"))
        rows += wrapped(said, max(8, width - label), 2)
        for check in _mappings(form.get("checks"), _CHECKS):
            if check.get("passed") is False:
                name, words = (plain(str(check.get(key) or ""), limit=300) for key in ("name", "said"))
                rows += wrapped([(f"  {name}: ", "w"), (words, " ")], max(8, width - label), 4)
    return [[(f"{'parity' if index == 0 else '':<{label}}", "m"), *row] for index, row in enumerate(rows)]


def _mappings(value: object, most: int) -> Iterator[Mapping[str, Any]]:
    for one in value[:most] if isinstance(value, list) else ():
        if isinstance(one, dict):
            yield one


def _answers(form: Mapping[str, Any]) -> str:
    equal, asked = form.get("equal_answers"), form.get("num_prompts")
    return f"{equal} of {asked} answers equal" if isinstance(equal, int) and isinstance(asked, int) else ""
