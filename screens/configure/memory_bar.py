"""Memory by component as a bar against what is free, with the letters of the components where colours are missing."""

from __future__ import annotations

from collections.abc import Mapping

from screens.configure.memory import Memory, gigabytes, sentence
from tui.display import plain
from tui.widgets.cells import Cells, Piece, cut, fitted, length
from tui.widgets.chart.glyphs import GlyphSet

STYLES: Mapping[str, str] = {
    "weights": "b", "adapter": "a", "gradients": "g", "optimizer": "w", "activations": "v", "logits": "k",
    "context": "m",
}  # fmt: skip
"""A style for each component, in the order in which they stand in the bar."""
FILLS: Mapping[str, str] = {
    "weights": "█", "adapter": "▓", "gradients": "▒", "optimizer": "▓", "activations": "▒", "logits": "█",
    "context": "░",
}  # fmt: skip
_LEAST_BAR = 16


def bar(memory: Memory, width: int, glyphs: GlyphSet) -> list[Piece]:
    """Return the bar: full width is what is free, or what is needed where that is more."""
    whole = max(memory.total_bytes, memory.free_bytes or 0) or 1
    pieces: list[Piece] = []
    done, cells = 0, 0
    for name, size in memory.components.items():
        done += size
        until = round(width * done / whole)
        if until > cells:
            pieces.append(
                ((name[0] if glyphs == "ascii" else FILLS.get(name, "█")) * (until - cells), STYLES.get(name, "b"))
            )
            cells = until
    if cells < width:
        pieces.append((("." if glyphs == "ascii" else "·") * (width - cells), "o"))
    if memory.free_bytes is not None and not memory.fits:
        free = round(width * memory.free_bytes / whole)
        pieces = _marked(pieces, free, "|" if glyphs == "ascii" else "┃")
    return pieces


def _marked(pieces: list[Piece], at: int, mark: str) -> list[Piece]:
    """Return the bar with a stroke where what is free ends."""
    cells = [(character, style) for text, style in pieces for character in text]
    cells[min(at, len(cells) - 1)] = (mark, "e")
    return cells


def legend(memory: Memory, glyphs: GlyphSet) -> list[list[Piece]]:
    """Return name and size of each component, the largest first."""
    order = sorted(memory.components.items(), key=lambda item: -item[1])
    return [
        [
            (name[0] if glyphs == "ascii" else FILLS.get(name, "█"), STYLES.get(name, "b")),
            (f" {name} ", "m"), (gigabytes(size), " "),
        ]
        for name, size in order
    ]  # fmt: skip


class MemoryBar(Cells):
    """What a run needs. One row, and one more for its parts where there is room."""

    DEFAULT_CSS = "MemoryBar { height: 1; padding: 0 1; background: $surface; }"
    memory: Memory | None = None
    said = ""
    """Why there is no estimate."""
    glyphs: GlyphSet = "braille"

    def show(self, memory: Memory | None, said: str = "") -> None:
        """Draw what differs."""
        self.memory, self.said = memory, said
        self.redraw()

    def pieces(self, width: int, height: int) -> list[list[Piece]]:
        if self.memory is None:
            return [cut([("memory  ", "m"), (plain(self.said, limit=300), "m")], width)]
        memory = self.memory
        style = " " if memory.fits is None else "g" if memory.fits else "e"
        said: list[Piece] = [(sentence(memory), style)]
        room = width - length(said) - 11
        head: list[Piece] = [("memory  ", "m")]
        if room >= _LEAST_BAR:
            head += [*bar(memory, min(room, 80), self.glyphs), ("   ", " ")]
        rows = [cut([*head, *said], width)]
        if height > 1:
            batch = [(f"{memory.rows} x {memory.length:,} tokens", "m")]
            rows.append([("        ", " "), *fitted([*legend(memory, self.glyphs), batch], width - 8)])
        return rows[:height]
