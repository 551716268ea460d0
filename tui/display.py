r"""The one door for foreign text: what rows, names, logs and models say is shown, never obeyed.

Textual hands escape bytes through to the terminal on every surface and reads a plain `str` as markup on most, so
nothing that was not written in this repository may reach a widget or stdout by another way than through here.
A character that would act on a terminal, change the order of its neighbours or take no room is written out as
Python would (`\x1b`, `\u202e`). That is done character by character, so a sequence cut in two by a chunk boundary
is as harmless as a whole one.

Standard library only at import: the command line uses it as well.
"""

from __future__ import annotations

import re
import sys
from codecs import getincrementaldecoder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text
    from textual.content import Content

MAX_CHARACTERS = 20_000
"""What a widget is given at most. A 5 MB string took a Static 8 to 11 s."""
MAX_LINES = 400
"""Lines a widget is given at most. 200,000 lines never came back."""

_EMOJI = "\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
_ACTS = re.compile(
    "(?P<pair>[\ud800-\udbff][\udc00-\udfff])"
    # A single variation selector after a symbol, and a joiner between two emoji, only choose a picture. Terminals
    # disagree about the width of both, so they are left out.
    f"|(?P<picture>(?<=[#*0-9\u00a9\u00ae\u203c\u2049{_EMOJI}])[\ufe0e\ufe0f](?![\ufe00-\ufe0f])"
    f"|(?<=[{_EMOJI}\ufe0f])\u200d(?=[{_EMOJI}]))"
    # A joiner between Arabic or Indic letters is spelling.
    "|(?P<spelling>(?<=[\u0600-\u0dff])[\u200c\u200d](?=[\u0600-\u0dff]))"
    "|["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # soft hyphen, joiner, fillers: no width
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # zero width, line separators, direction
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"  # fillers, variation selectors, byte order mark
    "\ud800-\udfff"  # halves of surrogate pairs
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # format characters, invisible tags
    "]"
)
_WAITS = frozenset("\r\u200c\u200d\ufe0e\ufe0f")
"""Last characters of a piece that read otherwise with what follows."""


def _harmless(match: re.Match[str]) -> str:
    """Return what is shown instead of something that acts."""
    if match["pair"]:
        return match["pair"].encode("utf-16", "surrogatepass").decode("utf-16")
    if match["picture"]:
        return ""
    if match["spelling"]:
        return match["spelling"]
    code = ord(match[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escaped(text: str, start: int = 0, end: int | None = None) -> str:
    """Return `text[start:end]` with everything that acts spelled out; tabs and newlines stay.

    What is outside of `start` and `end` is only looked at as a neighbour.
    """
    end = len(text) if end is None else end
    shown: list[str] = []
    for match in _ACTS.finditer(text, start):
        if match.start() >= end:
            break
        shown += text[start : match.start()], _harmless(match)
        start = match.end()
    shown.append(text[start:end])
    return "".join(shown)


def plain(text: str, *, limit: int = MAX_CHARACTERS, lines: int = 1, tab_size: int = 4) -> str:
    r"""Return `text` so that it can only be read.

    Args:
        text: Anything, of any length. Only the part that is shown is looked at.
        limit: Characters of `text` shown at most.
        lines: Lines shown at most. 1 makes one line: a line break is shown as `⏎`.
        tab_size: Tabs become spaces up to the next multiple of this column; in one line, one space each.

    Returns:
        The text, ending in a note of how much was left out if it was cut.
    """
    left_out = 0
    if len(text) > limit:
        left_out, text = len(text) - limit, text[:limit]
    if lines <= 1:
        shown = _escaped(text.replace("\r\n", "\n")).replace("\n", "⏎").replace("\t", " ")
        return f"{shown} … {left_out:,} more characters" if left_out else shown
    text = text.replace("\r\n", "\n")
    end = -1
    for _ in range(lines):
        end = text.find("\n", end + 1)
        if end < 0:
            break
    lines_left_out = 0
    if 0 <= end < len(text) - 1:
        lines_left_out = text.count("\n", end + 1) + (not text.endswith("\n"))
        left_out += len(text) - end - 1
        text = text[: end + 1]
    shown = _escaped(text).expandtabs(tab_size)
    if left_out:
        more = f"{lines_left_out:,} more lines, " if lines_left_out else ""
        shown = f"{shown.rstrip(chr(10))}\n… {more}{left_out:,} more characters"
    return shown


def content(
    text: str, style: str = "", *, limit: int = MAX_CHARACTERS, lines: int = MAX_LINES, tab_size: int = 4
) -> Content:
    """Return `plain(text)` as literal content, which no widget reads as markup.

    Args:
        text: See `plain`.
        style: A Textual style for all of it, such as "bold $text-error".
        limit: See `plain`.
        lines: See `plain`.
        tab_size: See `plain`.
    """
    from textual.content import Content

    shown = plain(text, limit=limit, lines=lines, tab_size=tab_size)
    return Content.styled(shown, style) if style else Content(shown)


def rich_text(text: str, *, limit: int = MAX_CHARACTERS, lines: int = MAX_LINES) -> Text:
    """Return `plain(text)` for the widgets that only take Rich text: Tree, RichLog, Log."""
    from rich.text import Text

    return Text(plain(text, limit=limit, lines=lines))


def for_terminal(text: str, *, encoding: str | None = None) -> str:
    """Return `text`, uncut, so that it can be printed: what acts is spelled out, also what cannot be encoded.

    Args:
        text: May have many lines; tabs stay.
        encoding: Of the stream it is printed to. None: of stdout.
    """
    shown = _escaped(text.replace("\r\n", "\n"))
    if shown.isascii():
        return shown
    encoding = encoding or getattr(sys.stdout, "encoding", None) or "utf-8"
    if encoding.lower().replace("-", "") == "utf8":
        return shown
    return shown.encode(encoding, "backslashreplace").decode(encoding)


class StreamCleaner:
    """Cleans text that arrives in pieces: the pieces joined are what `plain` shows of the whole, uncut.

    Only what needs its neighbour is held back for the next piece: an incomplete UTF-8 character, a carriage
    return, half a surrogate pair, a joiner. Tabs and newlines are handed on.
    """

    def __init__(self) -> None:
        # Bytes that are no UTF-8 show as `\\x9b`, as a character that acts does.
        self._decoder = getincrementaldecoder("utf-8")("backslashreplace")
        self._before = ""
        """The last character handed on, as it arrived: what a joiner after it means depends on it."""
        self._held = ""

    def feed(self, piece: str | bytes) -> str:
        """Return what can be shown after `piece` has arrived. May be empty."""
        text = self._decoder.decode(piece) if isinstance(piece, bytes) else piece
        last = text[-1:] or self._held
        return self._take(text, hold=last in _WAITS or "\ud800" <= last <= "\udbff")

    def finish(self) -> str:
        """Return what was held back; nothing more comes."""
        return self._take(self._decoder.decode(b"", final=True), hold=False)

    def _take(self, text: str, *, hold: bool) -> str:
        whole = self._before + (self._held + text).replace("\r\n", "\n")
        start, end = len(self._before), len(whole) - hold
        self._held = whole[end:]
        self._before = whole[end - 1 : end] if end else ""
        return _escaped(whole, start, end)


def cell_len(text: str) -> int:
    """Return how many cells `text` takes in a terminal. One line, cleaned."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len as measured

    return measured(text)


def truncate(text: str, width: int, *, ellipsis: str = "…", keep: str = "start") -> str:
    """Return `text` in at most `width` cells, with an ellipsis where something was left out.

    Args:
        text: One line, cleaned.
        width: Cells. 0 or less gives an empty string.
        ellipsis: Stands for what was left out.
        keep: What stays: the "start", the "end" or the "ends".
    """
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return text
    room = width - cell_len(ellipsis)
    if room <= 0:
        return _fitting(ellipsis, width)
    if keep == "end":
        return ellipsis + _fitting(text[::-1], room)[::-1]
    if keep == "ends":
        tail = _fitting(text[::-1], room // 2)[::-1]
        return _fitting(text, room - cell_len(tail)) + ellipsis + tail
    return _fitting(text, room) + ellipsis


def _fitting(text: str, width: int) -> str:
    """Return the longest start of `text` that takes at most `width` cells."""
    if text.isascii():
        return text[:width]
    taken = 0
    for index, character in enumerate(text):
        taken += cell_len(character)
        if taken > width:
            return text[:index]
    return text
