"""What there is to know about the setting under the cursor: name, origin, problem, description, what it accepts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from screens.configure.draft import Reading
from screens.configure.fields import Field, Heading, Line, Value
from screens.configure.rows import facts, origin
from tui.widgets.cells import Cells, Piece, cut, spread
from tui.widgets.text_rows import wrapped

_LABEL = 9


class Details(Cells):
    """One setting, in as many rows as there are."""

    DEFAULT_CSS = "Details { height: 1fr; padding: 0 1; }"
    line: Line | None = None
    reading: Reading | None = None
    settled: Mapping[str, Value] = {}
    others: Mapping[str, Any] | None = None
    other_name = ""

    def show(
        self,
        line: Line | None,
        reading: Reading,
        settled: Mapping[str, Value],
        others: Mapping[str, Any] | None,
        other_name: str,
    ) -> None:
        """Draw what differs."""
        self.line, self.reading, self.settled = line, reading, settled
        self.others, self.other_name = others, other_name
        self.redraw()

    def pieces(self, width: int, height: int) -> list[list[Piece]]:
        if self.reading is None or self.line is None:
            return []
        return details(self.line, self.reading, self.settled, self.others, self.other_name, width)[:height]


def details(
    line: Line,
    reading: Reading,
    settled: Mapping[str, Value],
    others: Mapping[str, Any] | None,
    other_name: str,
    width: int,
) -> list[list[Piece]]:
    """Return everything about a row of the form, in rows of at most `width` cells."""
    if isinstance(line, Heading):
        more = f" {line.folded} of its settings are folded away; Enter lists them." if line.folded else ""
        return [[(line.section, "a")], *wrapped([(line.about + more, " ")], width)]
    assert isinstance(line, Field)
    rows = [cut(spread([(line.key, "a")], origin(line, reading, settled), width), width)]
    if len(rows[0]) == 1:  # no room beside the name
        rows.append(cut(origin(line, reading, settled), width))
    for label, said in facts(line, reading, settled, others, other_name):
        if label:
            label = label if len(label) < _LABEL else f"{label[: _LABEL - 1]}"
            found = wrapped([(f"{label:<{_LABEL}}", "m"), *said], width, indent=_LABEL)
            rows += [[(text, style or " ") for text, style in row] for row in found]  # the indent has no style
        else:
            rows += wrapped(said, width)
    return rows
