"""A turn as rows of cells: the question, the answer in one of three ways, and the figures below it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from engine.chat.asking import Side
from engine.chat.conversation import Answer, Turn
from engine.chat.votes import HIDDEN_FAILURE
from screens.chat.talk import CHARACTERS, Coming, Talk, View, coming_figures, figures
from tui.display import plain
from tui.widgets.cells import Piece, cut
from tui.widgets.text_rows import wrapped

_LINES = 4_000
_FIRST: dict[Side, tuple[str, list[tuple[str, str]]]] = {
    "left": ("Ask below: both sides answer here, at the same time.", [
        ("Esc", "leaves the line; then letters are keys"),
        ("B", "hides the names; 1 2 3 4 vote"),
        ("f", "questions from a file, n the next"),
        ("s o", "system prompt, sampling"),
        ("v", "Markdown, raw text, words that differ"),
        ("L", "an earlier conversation"),
        ("?", "every key"),
    ]),
    "right": ("Any two models: < and > choose them.", [
        ("base", "of the other side, untrained"),
        ("RUN", "its best checkpoint"),
        ("RUN@120", "one checkpoint: @best, @final"),
        ("FOLDER", "an adapter or a whole model"),
        ("lmstudio:M", "a model of LM Studio"),
        ("http://…#M", "any server with OpenAI's protocol"),
    ]),
}  # fmt: skip
HIDDEN_ERROR = {
    "message": HIDDEN_FAILURE,
    "remedy": "r asks both again; B goes on with names shown.",
}
_WORDS = re.compile(r"\S+\s*|\s+")
_COMPARED = 4_000
"""Words of an answer compared at most: comparing takes the square of them."""


def question_rows(turn: Turn, width: int, mark: str) -> list[list[Piece]]:
    """Return what was asked, the sign of the user before its first row."""
    rows: list[list[Piece]] = []
    text = plain(turn.prompt, limit=CHARACTERS, lines=_LINES)
    for line in text.split("\n"):
        rows += wrapped([(line, "v")], max(8, width - 2))
    first, *rest = rows
    return [[(f"{mark} ", "a"), *first], *([("  ", " "), *row] for row in rest)]


def first_rows(place: Side, width: int) -> list[list[Piece]]:
    """Return what stands in a column before the first question: what can be done here."""
    title, lines = _FIRST[place]
    rows = [*wrapped([(title, "v")], width), []]
    room = max(len(key) for key, _ in lines) + 2
    for key, said in lines:
        rows += wrapped([(key.ljust(room), "k"), (said, "m")], width, indent=room)
    return rows


def answer_rows(
    answer: Answer, other: Answer | None, width: int, view: View, *, hidden: bool = False
) -> list[list[Piece]]:
    """Return an answer, and what is to be said of it below.

    Args:
        answer: Of this side.
        other: Of the other, for the words that differ.
        width: At least 8.
        view: How it is looked at.
        hidden: Say nothing that tells which model it is: an error names it.
    """
    rows: list[list[Piece]] = []
    text = plain(answer.text, limit=CHARACTERS, lines=_LINES)
    if text.strip():
        rows += _body(text, other, width, view)
    elif answer.reason != "error":
        rows.append([("(it said nothing)", "m")])
    if answer.error is not None:
        error = HIDDEN_ERROR if hidden else answer.error
        for part, style in (("message", "e"), ("remedy", "m")):
            said = plain(str(error.get(part) or ""), limit=2_000)
            rows += wrapped([(said, style)], width) if said else []
    rows += wrapped([(figures(answer, hidden=hidden, room=width), "m")], width)
    return rows


def _body(text: str, other: Answer | None, width: int, view: View) -> list[list[Piece]]:
    if view == "differences" and other is not None:
        return _compared(text, plain(other.text, limit=CHARACTERS, lines=_LINES), width)
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
    """Rows of an answer that grows: only its last row is laid out again."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._rows: list[list[Piece]] = []
        self._fetched = 0
        """Pieces that were taken."""
        self._tail = ""
        """What stands on the last row."""

    def rows(self, coming: Coming, now: float, *, hidden: bool = False) -> list[list[Piece]]:
        """Return all there is."""
        self._tail += "".join(coming.shown[self._fetched :]).expandtabs(4)
        self._fetched = len(coming.shown)
        lines = self._tail.split("\n")
        for line in lines[:-1]:
            self._rows += wrapped([(line, " ")], self.width)
        self._tail = lines[-1]
        tail = wrapped([(self._tail, " ")], self.width) if self._tail else []
        if len(tail) > 1:
            self._rows += tail[:-1]
            self._tail = _behind(self._tail, tail[:-1])
            tail = tail[-1:]
        left_out = [[("… more than is shown while it comes", "m")]] if coming.cut else []
        said = wrapped([(coming_figures(coming, now, hidden=hidden), "m")], self.width)
        return [*self._rows, *tail, *left_out, *said]


def _behind(text: str, rows: list[list[Piece]]) -> str:
    """Return what is left of a text behind the rows that were made of its beginning, which lost only blanks."""
    left = sum(not character.isspace() for row in rows for piece, _ in row for character in piece)
    for at, character in enumerate(text):
        if not character.isspace():
            left -= 1
        if left == 0:
            return text[at + 1 :].lstrip()
    return ""


def name_row(talk: Talk, turn: Turn, place: Side, width: int) -> list[Piece]:
    """Return whose answer stands at a place, or the letter it has until the vote."""
    name = cut([(plain(talk.name_at(place, turn), limit=200), "k")], width)
    verdict = talk.verdicts.get(turn.id)
    if verdict is None:
        return name
    said = {"tie": "a tie", "both-bad": "both bad", place: "better"}.get(verdict, "")
    return cut([*name, (f"  {said}", "g" if verdict == place else "m")], width) if said else name


def shown_number(turn: Turn, side: Side) -> int:
    """Return which of several answers counts, from 1."""
    return turn.shown.get(side, len(turn.answers[side]) - 1) + 1


def text_of(rows: Sequence[Sequence[Piece]]) -> str:
    """Return rows as plain text."""
    return "\n".join("".join(text for text, _ in row).rstrip() for row in rows)
