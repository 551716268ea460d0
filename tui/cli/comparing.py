"""`ftconsole compare`: two checkpoints side by side, as text or as JSON."""

from __future__ import annotations

from typing import Any

from engine.config.yaml_text import write_value
from engine.runs.comparison import ComparedAnswer, Comparison
from engine.runs.comparison import compare as compare_entries
from engine.runs.finding import find_entry
from engine.workspace import Workspace
from tui.cli import output
from tui.display import cell_len, plain
from tui.widgets.new_words import new_words

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
        told = found.as_dict()
        for answer, one in zip(told["answers"], found.answers, strict=True):
            answer["words"] = {"before": _words(one.after, one.before), "after": _words(one.before, one.after)}
        output.emit(told)
    else:
        _print(found)
    return 0


def _words(other: str, text: str) -> list[dict[str, Any]]:
    """Return the words of a text, each told whether the other has it there."""
    return [{"text": word, "only": only} for word, only in new_words(other, text)]


def _print(found: Comparison) -> None:
    before, after = found.before, found.after
    output.out(f"A  {plain(before.spec, limit=200)}, step {before.step:,}", style="bold")
    output.out(f"B  {plain(after.spec, limit=200)}, step {after.step:,}", style="bold")
    if found.figures:
        output.out()
        width = max(cell_len(plain(one.name, limit=60)) for one in found.figures)
        for one in found.figures:
            name = plain(one.name, limit=60)
            better = {"before": "  A is better", "after": "  B is better"}.get(one.better, "")
            values = "  ".join(f"{'-' if value is None else f'{value:.5g}':>11}" for value in (one.before, one.after))
            output.out(f"{name}{' ' * (width - cell_len(name))}  {values}{better}")
    output.out()
    if found.settings_problem:
        output.out(plain(found.settings_problem, limit=500), style="warning")
    elif not found.settings:
        output.out("Their settings are the same.")
    for setting in found.settings:
        output.out(f"{setting.key}: {_value(setting.before)} -> {_value(setting.after)}")
    for answer in found.answers:
        _print_answer(answer)
    if not found.answers:
        output.out("There are no answers of both to the same fixed prompts.")


def _print_answer(one: ComparedAnswer) -> None:
    output.out()
    output.out(f"? {plain(one.prompt, limit=_LONGEST)}", style="dim")
    if one.before == one.after:
        output.out(f"  both: {plain(one.before, limit=_LONGEST)}")
        return
    for label, other, text in (("A", one.after, one.before), ("B", one.before, one.after)):
        output.out(f"  {label}: {plain(_marked(other, text), limit=_LONGEST)}")


def _marked(other: str, text: str) -> str:
    """Return a text with what the other lacks in brackets, `[-so-]`, words that follow each other together."""
    shown, inside = "", False
    for word, only in new_words(other, text):
        if only and not inside:
            shown += "[-"
        elif inside and not only:
            shown = shown.rstrip() + "-] "
        inside = only
        shown += word
    return shown.rstrip() + "-]" if inside else shown


def _value(value: object) -> str:
    return plain(write_value(value), limit=200)
