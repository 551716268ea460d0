"""The form as plain text: every listed setting, its value and origin, what is wrong, what it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from screens.configure.deciding import Decided
from screens.configure.draft import Draft, Reading
from screens.configure.fields import Field, Line, in_a_word, value_of
from screens.configure.memory import gigabytes, sentence
from tui.display import plain


def twin(
    draft: Draft,
    reading: Reading,
    rows: Sequence[Line],
    decided: Decided,
    others: Mapping[str, Any] | None,
    other_name: str,
) -> str:
    """Return the view as text."""
    lines = [f"Configure: {plain(draft.name)}{', not saved' if draft.changed else ''}"]
    if reading.problems:
        lines += ["", f"{len(reading.problems)} problems:", *(f"- {plain(problem)}" for problem in reading.problems)]
    for row in rows:
        if not isinstance(row, Field):
            lines += ["", f"{row.section}: {row.about}" + (f" ({row.folded} more, folded)" if row.folded else "")]
            continue
        shown = value_of(row, reading, decided.values)
        origin = f"{shown.kind}: {shown.reason}" if shown.reason else shown.kind
        lines.append(f"  {row.name}: {plain(in_a_word(shown.value))}  ({plain(origin)})")
        if others is not None:
            there = in_a_word(others.get(row.key, row.default))
            lines.append(f"    in {plain(other_name)}: {plain(there)}")
    if decided.memory is not None:
        parts = ", ".join(f"{name} {gigabytes(size)}" for name, size in decided.memory.components.items())
        lines += ["", f"Memory {sentence(decided.memory)} ({parts})"]
    return "\n".join(lines) + "\n"
