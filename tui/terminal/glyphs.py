"""Drawing characters for terminals that lack them: one ASCII character for each, cell for cell.

Applied to everything that is written, so borders, scroll bars and toasts of Textual's own widgets are covered too.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable

from tui.display import cell_len

_ALIKE = {
    "-": "─━┄┅┈┉╌╍═╴╶╸╺╼╾▁▔⎺⎻⎼⎽–—‐‑‒―",
    "|": "│┃┆┇┊┋╎╏║╵╷╹╻╽╿▏▎▕▐▌▍",
    "+": "┌┍┎┏┐┑┒┓└┕┖┗┘┙┚┛├┝┞┟┠┡┢┣┤┥┦┧┨┩┪┫┬┭┮┯┰┱┲┳┴┵┶┷┸┹┺┻┼┽┾┿╀╁╂╃╄╅╆╇╈╉╊╋╒╓╔╕╖╗╘╙╚╛╜╝╞╟╠╡╢╣╤╥╦╧╨╩╪╫╬╭╮╯╰",
    "/": "╱",
    "\\": "╲",
    "X": "╳✗✘×",
    "#": "█▓▉▊▋▇▆▅▄▀▙▛▜▟▚▞■◼",
    ":": "▒▖▗▘▝▂▃",
    ".": "░·…∙⋯",
    "*": "●•◆★∗",
    "o": "○◌◇☆◯",
    ">": "▶▸►→➜⮕❯›»⇥",
    "<": "◀◂◄←❮‹«",
    "^": "▲△▴↑⬆",
    "v": "▼▽▾↓⬇✓✔",
    "~": "≈∿",
    "'": "‘’′",
    '"': "“”″",
    "$": "⏎",
    "!": "⚠",
}
_BRAILLE = " .:+*####"
"""By the number of dots set, 0 to 8."""

TO_ASCII: dict[int, str] = {ord(drawn): plain for plain, alike in _ALIKE.items() for drawn in alike}
TO_ASCII.update({0x2800 + dots: _BRAILLE[dots.bit_count()] for dots in range(256)})


def _question_marks(error: UnicodeError) -> tuple[str, int]:
    """Replace what a charset lacks by as many `?` as it takes cells."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "?" * cell_len(lacking), error.end


codecs.register_error("ftconsole-cells", _question_marks)


def encoder(charset: str, glyphs: str) -> Callable[[str], bytes]:
    """Return what turns a frame into the bytes this terminal shows.

    Args:
        charset: Of the terminal, as `Terminal.charset`. Writing UTF-8 to one that shows ISO-8859-1 would not only
            look wrong: the second byte of some letters is a control character there.
        glyphs: As `Terminal.glyphs`.
    """
    if charset == "utf-8" and glyphs != "ascii":
        return lambda frame: frame.encode("utf-8", "replace")
    return lambda frame: frame.translate(TO_ASCII).encode(charset, "ftconsole-cells")
