"""The tokens of a row in cells: under the text of each, whether the model learns it.

The mark under a token says it, not its colour: a heavy stroke is trained, a block is trained and stands in one answer
of a pair only, a dot is masked, crosses are cut off, shade is padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from tui.display import cell_len, plain, truncate
from tui.widgets.cells import Piece
from tui.widgets.chart.glyphs import GlyphSet

State = Literal["trained", "only here", "masked", "truncated", "padding"]


class Token(Protocol):
    """What is asked of a token; `engine.data.microscope.Token` is one."""

    @property
    def text(self) -> str: ...
    @property
    def id(self) -> int: ...
    @property
    def trained(self) -> bool: ...
    @property
    def truncated(self) -> bool: ...
    @property
    def padding(self) -> bool: ...
    @property
    def only_here(self) -> bool: ...


STATES: Final[tuple[State, ...]] = ("trained", "only here", "masked", "truncated", "padding")
STYLES: Final[dict[State, str]] = {"trained": "g", "only here": "w", "masked": "m", "truncated": "e", "padding": "d"}
SHOWN_FIRST: Final = 4_000
"""Tokens shown from the beginning of a long row."""
SHOWN_LAST: Final = 1_000
"""Tokens shown from its end: there the answer ends."""
_TOKEN_CHARACTERS: Final = 2_000


@dataclass(frozen=True, slots=True)
class _Marks:
    """What a token is underlined with."""

    only: str
    """Under a token of one cell."""
    inside: str
    last: str
    first: str


_MARKS: Final[dict[State, _Marks]] = {
    "trained": _Marks("╸", "━", "╸", "━"),
    "only here": _Marks("▀", "▀", "▀", "▀"),
    "masked": _Marks("·", " ", " ", "·"),
    "truncated": _Marks("×", "×", "×", "×"),
    "padding": _Marks("░", "░", "░", "░"),
}
_ASCII_MARKS: Final[dict[State, _Marks]] = {
    "trained": _Marks("+", "=", "=", "+"),
    "only here": _Marks("#", "#", "#", "#"),
    "masked": _Marks(".", " ", " ", "."),
    "truncated": _Marks("x", "x", "x", "x"),
    "padding": _Marks("_", "_", "_", "_"),
}


def state_of(token: Token) -> State:
    """Return what becomes of a token."""
    if token.padding:
        return "padding"
    if token.truncated:
        return "truncated"
    if not token.trained:
        return "masked"
    return "only here" if token.only_here else "trained"


def _text(token: Token) -> str:
    """Return the text of a token, visible and harmless."""
    return plain(token.text, limit=_TOKEN_CHARACTERS) or f"<{token.id}>"


def _mark(state: State, cells: int, glyphs: GlyphSet) -> str:
    marks = (_ASCII_MARKS if glyphs == "ascii" else _MARKS)[state]
    if cells <= 1:
        return marks.only[:cells]
    return marks.first + marks.inside * (cells - 2) + marks.last


def legend(tokens: Sequence[Token], glyphs: GlyphSet) -> list[list[Piece]]:
    """Return a group of pieces for each state there is: its mark, its name, how many tokens."""
    counts = dict.fromkeys(STATES, 0)
    for token in tokens:
        counts[state_of(token)] += 1
    return [
        [(_mark(state, 3, glyphs).strip() or ".", STYLES[state]), (f" {state} {counts[state]:,}", STYLES[state])]
        for state in STATES
        if counts[state] or state in ("trained", "masked")
    ]


def _shown(tokens: Sequence[Token]) -> tuple[Sequence[Token], int, Sequence[Token]]:
    """Return the tokens from the beginning, how many are left out, and those from the end."""
    left_out = len(tokens) - SHOWN_FIRST - SHOWN_LAST
    if left_out <= 0:
        return tokens, 0, ()
    return tokens[:SHOWN_FIRST], left_out, tokens[-SHOWN_LAST:]


def mask_rows(tokens: Sequence[Token], width: int, glyphs: GlyphSet) -> list[list[Piece]]:
    """Return pairs of rows: the text of the tokens, and a mark under each. A token with a line break ends its row."""
    if width < 1:
        return []
    first, left_out, last = _shown(tokens)
    rows = list(_flow(first, width, glyphs))
    if left_out:
        rows += [[(f"… {left_out:,} tokens left out …", "m")], [], *_flow(last, width, glyphs)]
    return rows


def _flow(tokens: Sequence[Token], width: int, glyphs: GlyphSet) -> Iterator[list[Piece]]:
    text: list[Piece] = []
    marks: list[Piece] = []
    used = 0
    for token in tokens:
        state = state_of(token)
        style = STYLES[state]
        for part in _parts(_text(token), width, used):
            size = cell_len(part)
            if used and used + size > width:
                yield text
                yield marks
                text, marks, used = [], [], 0
            text.append((part, style))
            marks.append((_mark(state, size, glyphs), style))
            used += size
        if "\n" in token.text and state != "padding":
            yield text
            yield marks
            text, marks, used = [], [], 0
    if text:
        yield text
        yield marks


def _parts(text: str, width: int, used: int) -> list[str]:
    """Return the text of a token in parts that fit into a row; one part where it fits into a row of its own."""
    if cell_len(text) <= width:
        return [text]
    parts, room = [], max(1, width - used)
    while text:
        part = truncate(text, room, ellipsis="") or text[0]
        parts.append(part)
        text, room = text[len(part) :], width
    return parts


def list_rows(tokens: Sequence[Token], width: int, start: int = 0) -> list[list[Piece]]:
    """Return a row for each token: its place, its id, what becomes of it, its text.

    Args:
        tokens: In order.
        width: Of a row.
        start: Place of the first one.
    """
    first, left_out, last = _shown(tokens)
    rows: list[list[Piece]] = [[(f"{'':>5}{'id':>9}  {'':<10} text", "m")]]
    rows += [_row(place, token, width) for place, token in enumerate(first, start)]
    if left_out:
        rows.append([(f"… {left_out:,} tokens left out …", "m")])
        rows += [_row(start + len(tokens) - len(last) + place, token, width) for place, token in enumerate(last)]
    return rows


def _row(place: int, token: Token, width: int) -> list[Piece]:
    state = state_of(token)
    style = STYLES[state]
    # Between strokes, so that blanks at the ends are seen.
    text = truncate(_text(token), max(1, width - 29))
    return [
        (f"{place:>5}", "d"), (f"{token.id:>9}  ", "m"), (f"{state:<10} ", style),
        ("│", "d"), (text, style), ("│", "d"),
    ]  # fmt: skip
