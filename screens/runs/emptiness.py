"""What stands in the place of the list while there is nothing in it: what to do first."""

from __future__ import annotations

from collections.abc import Sequence

from tui.display import cell_len
from tui.widgets.cells import Cells, Piece
from tui.widgets.text_rows import wrapped

_WIDEST = 68


class Emptiness(Cells):
    """Paragraphs, and keys with what they do."""

    DEFAULT_CSS = "Emptiness { height: 1fr; }"
    said: Sequence[tuple[str, str]] = ()
    """As from `words.nothing_yet`."""

    def show(self, said: Sequence[tuple[str, str]]) -> None:
        """Say something else."""
        self.said = said
        self.redraw()

    def pieces(self, width: int, height: int) -> list[list[Piece]]:
        inner = min(_WIDEST, width - 2)
        if inner < 4:
            return []
        rows = self._rows(inner, spaced=True)
        if len(rows) > height:
            rows = self._rows(inner, spaced=False)
        top = max(0, (height - len(rows)) // 3)
        margin = (" " * ((width - inner) // 2), " ")
        return [*([] for _ in range(top)), *([margin, *row] for row in rows)][:height]

    def _rows(self, width: int, *, spaced: bool) -> list[list[Piece]]:
        rows: list[list[Piece]] = []
        label = max((cell_len(key) for key, _ in self.said), default=0)
        for index, (key, text) in enumerate(self.said):
            if spaced and index and key != " ":
                rows.append([])
            if not key:
                rows += wrapped([(text, "v" if index == 0 else "m")], width)
                continue
            style = "v" if key == "$" else "m" if key == " " else " "
            for number, row in enumerate(wrapped([(text, style)], max(1, width - label - 3))):
                rows.append([(f"{key if number == 0 else '':<{label}}   ", "k"), *row])
        return rows
