"""A row in words: its messages, the line as it stands in the file, two answers compared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from screens.data.pane import Told
from tui.display import cell_len, plain
from tui.widgets.cells import Piece
from tui.widgets.new_words import new_words
from tui.widgets.text_rows import wrapped

if TYPE_CHECKING:
    from engine.data.row import Row

CHARACTERS = 20_000
"""Of one text that are shown: a book in a cell would be thousands of rows."""
LINES = 400
BESIDE = 64
"""Width from which two answers stand beside each other."""
_INDENT = 2


def told(rows: Iterable[Sequence[Piece]]) -> list[Told]:
    """Return rows that lead nowhere."""
    return [Told(row) for row in rows]


def paragraph(text: str, width: int, style: str = " ", indent: int = 0) -> list[list[Piece]]:
    """Return foreign text of many lines in rows, broken between words."""
    rows: list[list[Piece]] = []
    margin: list[Piece] = [(" " * indent, " ")] if indent else []
    for line in plain(text, limit=CHARACTERS, lines=LINES).split("\n"):
        rows += [[*margin, *row] for row in wrapped([(line, style)], max(4, width - indent))]
    return rows


def message_rows(row: Row, width: int) -> list[list[Piece]]:
    """Return the messages of a row: the role, and below it what it says."""
    rows: list[list[Piece]] = []
    if row.kind == "tokenised":
        count = len(row.input_ids or ())
        trained = sum(label != -100 for label in row.labels) if row.labels is not None else count
        return [[(f"{count:,} tokens, {trained:,} of them trained. ", " "), ("The row has no text of its own.", "m")]]
    for message in row.prompt:
        rows += _message(message, width, "m", "")
    if row.rejected:
        rows += _pair_rows(row, width)
    else:
        note = "learned" if row.kind == "sft" else {True: "wanted", False: "unwanted", None: ""}[row.label]
        for message in row.completion:
            rows += _message(message, width, "g", note)
    return rows[:-1] if rows and not rows[-1] else rows


def _message(message: Mapping[str, str], width: int, style: str, note: str) -> list[list[Piece]]:
    head: list[Piece] = [(plain(message["role"], limit=40), "g" if style == "g" else "a")]
    if note:
        head.append((f"  {note}", "m"))
    return [head, *paragraph(message["content"], width, " ", _INDENT), []]


def _pair_rows(row: Row, width: int) -> list[list[Piece]]:
    """Return the chosen answer and the rejected one; bold is what only one of them says."""
    chosen, rejected = _joined(row.completion), _joined(row.rejected)
    same = common_prefix(chosen, rejected)
    if chosen == rejected:
        agree: Piece = ("chosen and rejected are the same: there is nothing to prefer", "e")
    elif same:
        agree = (f"the same for {same:,} characters, then different; bold is what only one of them says", "m")
    else:
        agree = ("different from the first character on; bold is what only one of them says", "m")
    lengths = f"{len(chosen):,} against {len(rejected):,} characters"
    marked = _marked(rejected, chosen, "g"), _marked(chosen, rejected, "e")
    rows: list[list[Piece]] = []
    if width >= BESIDE:
        half = (width - 3) // 2
        left = [[("chosen", "g")], *wrapped(marked[0], half)]
        right = [[("rejected", "e")], *wrapped(marked[1], half)]
        rows += beside_each_other(left, right, half)
    else:
        rows += [[("chosen", "g")], *_indented(marked[0], width), [], [("rejected", "e")], *_indented(marked[1], width)]
    return [*rows, [], *wrapped([agree], width), *wrapped([(lengths, "m")], width), []]


def beside_each_other(
    left: Sequence[Sequence[Piece]], right: Sequence[Sequence[Piece]], half: int
) -> list[list[Piece]]:
    """Return rows of which each has one of both sides.

    Args:
        left: None is wider than `half`.
        right: The other side.
        half: Cells of one side; three more stand between the two.
    """
    rows: list[list[Piece]] = []
    for index in range(max(len(left), len(right))):
        first = left[index] if index < len(left) else []
        second = right[index] if index < len(right) else []
        gap = half - sum(cell_len(text) for text, _ in first)
        rows.append([*first, (" " * gap, " "), (" │ ", "d"), *second])
    return rows


def _indented(pieces: list[Piece], width: int) -> list[list[Piece]]:
    return [[(" " * _INDENT, " "), *row] for row in wrapped(pieces, max(4, width - _INDENT))]


def _joined(messages: Sequence[Mapping[str, str]]) -> str:
    return "\n".join(message["content"] for message in messages)


def _marked(before: str, after: str, style: str) -> list[Piece]:
    """Return the words of `after`, those that `before` lacks in `style`."""
    shown = plain(after, limit=CHARACTERS), plain(before, limit=CHARACTERS)
    return [(word, style if new else " ") for word, new in new_words(shown[1], shown[0])] or [("(empty)", "w")]


def common_prefix(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    differ = (place for place, (left, right) in enumerate(zip(one, other, strict=False)) if left != right)
    return next(differ, min(len(one), len(other)))


def raw_rows(raw: bytes, width: int, *, truncated: bool = False) -> list[list[Piece]]:
    """Return a line of the file: one key below the other where it is JSON, else as it stands.

    Args:
        raw: The line, or its beginning.
        width: Of a row.
        truncated: Whether it is only the beginning.
    """
    if not truncated:
        try:
            return _json_rows(json.loads(raw), width)
        except (ValueError, RecursionError):
            pass
    text = raw.decode("utf-8", "backslashreplace")
    rows = paragraph(text, width, " ")
    if truncated:
        rows.append([(f"… the line goes on; its first {len(raw):,} bytes are shown", "m")])
    return rows


def _json_rows(value: Any, width: int) -> list[list[Piece]]:
    rows: list[list[Piece]] = []
    # Line breaks inside of texts stay spelled out: that is what is in the file.
    text = json.dumps(value, ensure_ascii=False, indent=2)
    for line in plain(text, limit=CHARACTERS, lines=LINES).split("\n"):
        indent = len(line) - len(line.lstrip())
        key, colon, rest = line.partition('": ')
        if colon and key.lstrip().startswith('"'):
            pieces: list[Piece] = [(f'{key}"', "a"), (": ", "m"), (rest, " ")]
        else:
            pieces = [(line, "m" if line.strip() in ("{", "}", "},", "[", "]", "],") else " ")]
        rows += wrapped(pieces, width, min(indent + 2, width // 2))
    return rows
