"""`ftconsole compare`: two checkpoints side by side, as text or as JSON."""

from __future__ import annotations

from engine.config.yaml_text import write_value
from engine.runs.comparing import Answer, Comparison, Side
from engine.runs.comparing import compare as compare_entries
from engine.runs.finding import find_entry
from engine.workspace import Workspace
from tui.cli import output
from tui.display import cell_len, plain

_LONGEST = 2_000
"""Of an answer that is printed, in characters; with --json it is whole."""


def compare(workspace: str | None, left: str, right: str, *, as_json: bool) -> int:
    """Print in what two checkpoints differ.

    Raises:
        NotFound: One of them is not there.
    """
    place = Workspace.find(workspace)
    found = compare_entries(find_entry(place, left), find_entry(place, right))
    if as_json:
        output.emit(found.as_dict())
    else:
        _print(found)
    return 0


def _print(found: Comparison) -> None:
    left, right = found.left, found.right
    output.out(f"A  {plain(left.spec, limit=200)}, step {left.step:,}", style="bold")
    output.out(f"B  {plain(right.spec, limit=200)}, step {right.step:,}", style="bold")
    if found.figures:
        output.out()
        width = max(cell_len(plain(one.name, limit=60)) for one in found.figures)
        for one in found.figures:
            name = plain(one.name, limit=60)
            better = {"left": "  A is better", "right": "  B is better"}.get(one.better, "")
            values = "  ".join(f"{'-' if value is None else f'{value:.5g}':>11}" for value in (one.left, one.right))
            output.out(f"{name}{' ' * (width - cell_len(name))}  {values}{better}")
    output.out()
    for setting in found.settings:
        output.out(f"{setting.key}: {_value(setting.before)} -> {_value(setting.after)}")
    for note in found.notes:
        output.out(plain(note, limit=500), style="dim")
    for answer in found.answers:
        _print_answer(answer)


def _print_answer(one: Answer) -> None:
    output.out()
    output.out(f"? {plain(one.prompt, limit=_LONGEST)}", style="dim")
    if one.same:
        output.out(f"  both: {plain(one.left or '', limit=_LONGEST)}")
        return
    sides: tuple[tuple[str, Side, str | None], ...] = (("A", "left", one.left), ("B", "right", one.right))
    for label, side, text in sides:
        if text is None:
            output.out(f"  {label}: not asked at this step")
        else:
            output.out(f"  {label}: {plain(_marked(one, side, text), limit=_LONGEST)}")


def _marked(one: Answer, side: Side, text: str) -> str:
    """Return a text with what the other lacks in brackets: `[-so-]`."""
    if not one.pieces:
        return text
    shown = ""
    for piece in one.pieces:
        if piece.side == side:
            word = piece.text.rstrip()
            shown += f"[-{word}-]{piece.text[len(word) :]}"
        elif piece.side == "both":
            shown += piece.text
    return shown


def _value(value: object) -> str:
    return plain(write_value(value), limit=200)
