"""A turn as rows of cells: the question, the answer in one of three ways, and the figures below it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from engine.chat.asking import Side
from engine.chat.conversation import Answer, Turn
from screens.chat.talk import Coming, Talk, View, coming_figures, figures
from tui.display import plain
from tui.widgets.cells import Piece, cut
from tui.widgets.text_rows import wrapped

_CHARACTERS = 200_000
"""Of an answer, drawn at most: 50,000 tokens."""
_LINES = 4_000
_WORDS = re.compile(r"\S+\s*|\s+")
_COMPARED = 4_000
"""Words of an answer compared at most: comparing takes the square of them."""


def question_rows(turn: Turn, width: int, mark: str) -> list[list[Piece]]:
    """Return what was asked, the sign of the user before its first row."""
    rows: list[list[Piece]] = []
    text = plain(turn.prompt, limit=_CHARACTERS, lines=_LINES)
    for line in text.split("\n"):
        rows += wrapped([(line, "v")], max(8, width - 2))
    first, *rest = rows
    return [[(f"{mark} ", "a"), *first], *([("  ", " "), *row] for row in rest)]


def answer_rows(answer: Answer, other: Answer | None, width: int, view: View) -> list[list[Piece]]:
    """Return an answer, and what is to be said of it below."""
    rows: list[list[Piece]] = []
    text = plain(answer.text, limit=_CHARACTERS, lines=_LINES)
    if text.strip():
        rows += _body(text, other, width, view)
    elif answer.reason != "error":
        rows.append([("(it said nothing)", "m")])
    if answer.error is not None:
        for part, style in (("message", "e"), ("remedy", "m")):
            said = plain(str(answer.error.get(part, "")), limit=2_000)
            rows += wrapped([(said, style)], width) if said else []
    rows += wrapped([(figures(answer), "m")], width)
    return rows


def _body(text: str, other: Answer | None, width: int, view: View) -> list[list[Piece]]:
    if view == "differences" and other is not None:
        return _compared(text, plain(other.text, limit=_CHARACTERS, lines=_LINES), width)
    if view == "markdown":
        from screens.chat.markdown_rows import markdown_rows

        return markdown_rows(text, width)
    return raw_rows(text, width)


def raw_rows(text: str, width: int) -> list[list[Piece]]:
    """Return cleaned text, its own lines kept."""
    rows: list[list[Piece]] = []
    for line in text.split("\n"):
        rows += wrapped([(line, " ")], width)
    return rows


def _compared(text: str, other: str, width: int) -> list[list[Piece]]:
    """Return a text with the words that the other has not."""
    mine, theirs = _WORDS.findall(text)[:_COMPARED], _WORDS.findall(other)[:_COMPARED]
    matcher = difflib.SequenceMatcher(None, [w.strip() for w in mine], [w.strip() for w in theirs], autojunk=False)
    pieces: list[Piece] = []
    for kind, start, end, _, _ in matcher.get_opcodes():
        pieces += [(word, "m" if kind == "equal" else "v") for word in mine[start:end]]
    rows: list[list[Piece]] = []
    line: list[Piece] = []
    for word, style in pieces:
        first, *further = word.split("\n")
        line.append((first, style))
        for part in further:
            rows += wrapped(line, width)
            line = [(part, style)]
    return rows + wrapped(line, width)


class ComingRows:
    """Rows of an answer that grows: lines that are over are not laid out again."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._rows: list[list[Piece]] = []
        self._taken = 0
        """Characters whose lines are over."""

    def rows(self, coming: Coming, now: float) -> list[list[Piece]]:
        """Return all there is."""
        end = coming.shown.rfind("\n") + 1
        if end > self._taken:
            self._rows += raw_rows(coming.shown[self._taken : end - 1], self.width)
            self._taken = end
        tail = raw_rows(coming.shown[self._taken :], self.width) if coming.shown[self._taken :] else []
        return [*self._rows, *tail, *wrapped([(coming_figures(coming, now), "m")], self.width)]


def name_row(talk: Talk, turn: Turn, place: Side, width: int) -> list[Piece]:
    """Return whose answer stands at a place, or the letter it has until the vote."""
    return cut([(plain(talk.name_at(place, turn.id), limit=200), "k")], width)


def text_of(rows: Sequence[Sequence[Piece]]) -> str:
    """Return rows as plain text."""
    return "\n".join("".join(text for text, _ in row).rstrip() for row in rows)
